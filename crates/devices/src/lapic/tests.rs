//! What operating systems rely on in one local APIC.

use x86::VirtualTime;

use super::timer::{Mode, Timer};
use super::wiring::GpFault;
use super::{CpuSignal, Effect, LocalApic};
use crate::conformance;
use crate::fabric::{ApicMessage, DeliveryMode, Destination};
use crate::{Saved, Width};

const ZERO: VirtualTime = VirtualTime::ZERO;

fn ns(ns: u64) -> VirtualTime {
    VirtualTime::from_ns(ns)
}

/// An xAPIC that software has enabled.
fn enabled() -> LocalApic {
    let mut lapic = LocalApic::new(0);
    write(&mut lapic, 0xf0, 0x1ff, ZERO);
    lapic
}

fn x2apic(id: u8) -> LocalApic {
    let mut lapic = LocalApic::new(id);
    let base = lapic.msr_read(0x1b, ZERO).unwrap();
    lapic.msr_write(0x1b, base | 0x400, ZERO).unwrap();
    lapic
}

fn read(lapic: &mut LocalApic, offset: u64, now: VirtualTime) -> u32 {
    lapic.mmio_read(offset, Width::Dword, now) as u32
}

fn write(lapic: &mut LocalApic, offset: u64, value: u32, now: VirtualTime) -> Effect {
    lapic.mmio_write(offset, Width::Dword, value.into(), now)
}

fn fixed(vector: u8, level_triggered: bool) -> ApicMessage {
    ApicMessage { mode: DeliveryMode::Fixed, vector, destination: Destination::All, level_triggered }
}

#[test]
fn registers_after_reset() {
    let mut lapic = LocalApic::new(3);
    let expected = [
        (0x20, 0x0300_0000),
        (0x30, 0x0005_0014),
        (0x80, 0),
        (0xd0, 0),
        (0xe0, 0xffff_ffff),
        (0xf0, 0xff),
        (0x320, 0x1_0000),
        (0x350, 0x1_0000),
        (0x370, 0x1_0000),
        (0x380, 0),
        (0x390, 0),
        (0x3e0, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(read(&mut lapic, offset, ZERO), value, "register {offset:#x}");
    }
    assert_eq!(lapic.msr_read(0x1b, ZERO), Ok(0xfee0_0800));
    assert_eq!(LocalApic::new(0).msr_read(0x1b, ZERO), Ok(0xfee0_0900));
}

#[test]
fn priorities_decide_and_eoi_ends_the_highest() {
    let mut lapic = enabled();
    let chip = &mut lapic.chip;
    assert!(chip.receive(fixed(0x31, false)) && chip.receive(fixed(0x45, false)));
    assert_eq!(chip.acknowledge(), Some(0x45));
    assert_eq!(chip.acknowledge(), None, "a lower class waits");
    chip.receive(fixed(0x4f, false));
    assert_eq!(chip.deliverable(), None, "so does the same class");
    assert_eq!(chip.processor_priority(), 0x40);
    assert_eq!(write(&mut lapic, 0xb0, 0, ZERO), Effect::None);
    assert_eq!(lapic.chip.acknowledge(), Some(0x4f));
    write(&mut lapic, 0xb0, 0, ZERO);
    write(&mut lapic, 0x80, 0x3f, ZERO);
    assert_eq!(lapic.cr8(), 3);
    assert_eq!(lapic.chip.deliverable(), None);
    lapic.set_cr8(2);
    assert_eq!(read(&mut lapic, 0x80, ZERO), 0x20);
    assert_eq!(lapic.chip.acknowledge(), Some(0x31));
}

#[test]
fn eoi_of_a_level_interrupt_is_broadcast() {
    let mut lapic = enabled();
    lapic.chip.receive(fixed(0x61, true));
    assert_eq!(read(&mut lapic, 0x1b0, ZERO), 2, "TMR");
    lapic.chip.acknowledge();
    assert_eq!(write(&mut lapic, 0xb0, 0, ZERO), Effect::EndOfInterrupt(0x61));
    lapic.chip.receive(fixed(0x61, false));
    assert_eq!(read(&mut lapic, 0x1b0, ZERO), 0);
    assert_eq!(write(&mut lapic, 0xb0, 0, ZERO), Effect::None, "nothing was in service");
}

#[test]
fn disabling_by_software_masks_and_refuses() {
    let mut lapic = enabled();
    write(&mut lapic, 0x320, 0x40, ZERO);
    lapic.chip.receive(fixed(0x50, false));
    write(&mut lapic, 0xf0, 0xff, ZERO);
    assert_eq!(read(&mut lapic, 0x320, ZERO), 0x1_0040);
    write(&mut lapic, 0x320, 0x40, ZERO);
    assert_eq!(read(&mut lapic, 0x320, ZERO), 0x1_0040, "cannot be unmasked");
    assert!(!lapic.chip.receive(fixed(0x51, false)));
    assert_eq!(lapic.chip.acknowledge(), Some(0x50), "what waits is still delivered");
    assert_eq!(write(&mut lapic, 0xf0, 0x1ff, ZERO), Effect::Listening);
}

#[test]
fn errors_show_after_a_write_and_interrupt() {
    let mut lapic = enabled();
    write(&mut lapic, 0x370, 0xfe, ZERO);
    read(&mut lapic, 0x400, ZERO);
    assert_eq!(read(&mut lapic, 0x280, ZERO), 0);
    assert_eq!(lapic.chip.acknowledge(), Some(0xfe));
    lapic.chip.receive(fixed(15, false));
    write(&mut lapic, 0x300, 0x4000, ZERO);
    write(&mut lapic, 0x280, 0, ZERO);
    assert_eq!(read(&mut lapic, 0x280, ZERO), 0xe0);
    write(&mut lapic, 0x280, 0, ZERO);
    assert_eq!(read(&mut lapic, 0x280, ZERO), 0);
}

#[test]
fn odd_accesses_to_the_window() {
    let mut lapic = enabled();
    assert_eq!(lapic.mmio_read(0x31, Width::Byte, ZERO), 0);
    assert_eq!(lapic.mmio_read(0x32, Width::Byte, ZERO), 5);
    assert_eq!(lapic.mmio_read(0x34, Width::Dword, ZERO), 0);
    assert_eq!(lapic.mmio_read(0x30, Width::Qword, ZERO), 0x0005_0014);
    lapic.mmio_write(0x80, Width::Byte, 0x20, ZERO);
    lapic.mmio_write(0x84, Width::Dword, 0x20, ZERO);
    assert_eq!(read(&mut lapic, 0x80, ZERO), 0);
    lapic.mmio_write(0x80, Width::Qword, 0x20, ZERO);
    assert_eq!(read(&mut lapic, 0x80, ZERO), 0x20);
}

#[test]
fn one_shot_and_periodic_timer() {
    let mut lapic = enabled();
    write(&mut lapic, 0x3e0, 0b1011, ZERO);
    write(&mut lapic, 0x320, 0x70, ZERO);
    write(&mut lapic, 0x380, 1000, ns(100));
    assert_eq!(lapic.chip.deadline(), ns(1100));
    assert_eq!(read(&mut lapic, 0x390, ns(600)), 500);
    lapic.chip.advance(ns(1100));
    assert_eq!(lapic.chip.acknowledge(), Some(0x70));
    assert_eq!(read(&mut lapic, 0x390, ns(1200)), 0);
    assert_eq!(lapic.chip.deadline(), VirtualTime::NEVER);

    write(&mut lapic, 0xb0, 0, ns(1200));
    write(&mut lapic, 0x320, 0x2_0070, ns(1200));
    assert_eq!(read(&mut lapic, 0x390, ns(1200)), 0, "an expired count stays at zero");
    write(&mut lapic, 0x3e0, 0b0011, ns(1200));
    write(&mut lapic, 0x380, 100, ns(1200));
    assert_eq!(lapic.chip.deadline(), ns(2800), "divided by 16");
    lapic.chip.advance(ns(2800));
    assert_eq!((lapic.chip.acknowledge(), lapic.chip.deadline()), (Some(0x70), ns(4400)));
    write(&mut lapic, 0x320, 0x70, ns(3600));
    assert_eq!(read(&mut lapic, 0x390, ns(3600)), 50, "a change of mode leaves the count");
    write(&mut lapic, 0x3e0, 0b1011, ns(3600));
    assert_eq!(lapic.chip.deadline(), ns(3650), "and the divider changes what remains");
}

#[test]
fn a_masked_timer_counts_without_deadlines() {
    let mut lapic = enabled();
    write(&mut lapic, 0x3e0, 0b1011, ZERO);
    write(&mut lapic, 0x320, 0x3_0070, ZERO);
    write(&mut lapic, 0x380, 1000, ZERO);
    assert_eq!(lapic.chip.deadline(), VirtualTime::NEVER);
    assert_eq!(read(&mut lapic, 0x390, ns(12_300)), 700);
    write(&mut lapic, 0x320, 0x2_0070, ns(12_300));
    assert_eq!(lapic.chip.deadline(), ns(13_000));
    assert_eq!(lapic.chip.deliverable(), None);
}

#[test]
fn tsc_deadline_timer() {
    let mut lapic = enabled();
    lapic.msr_write(0x6e0, 5000, ZERO).unwrap();
    assert_eq!(lapic.msr_read(0x6e0, ZERO), Ok(0), "not in this mode");
    write(&mut lapic, 0x320, 0x4_0070, ZERO);
    lapic.set_tsc_offset(1000, ZERO);
    lapic.msr_write(0x6e0, 5000, ns(10)).unwrap();
    assert_eq!(lapic.chip.deadline(), ns(4000));
    write(&mut lapic, 0x380, 7, ns(10));
    assert_eq!((read(&mut lapic, 0x380, ns(10)), read(&mut lapic, 0x390, ns(10))), (0, 0));
    lapic.chip.advance(ns(3999));
    assert_eq!(lapic.chip.deliverable(), None);
    lapic.chip.advance(ns(4000));
    assert_eq!(lapic.chip.acknowledge(), Some(0x70));
    assert_eq!(lapic.msr_read(0x6e0, ns(4000)), Ok(0));
    write(&mut lapic, 0xb0, 0, ns(4000));
    lapic.msr_write(0x6e0, 1, ns(4000)).unwrap();
    assert_eq!(lapic.chip.acknowledge(), Some(0x70), "a deadline in the past");
    write(&mut lapic, 0xb0, 0, ns(4000));
    lapic.msr_write(0x6e0, 100_000, ns(4000)).unwrap();
    lapic.set_tsc_offset(90_000, ns(4000));
    assert_eq!(lapic.chip.deadline(), ns(10_000));
    lapic.msr_write(0x6e0, 0, ns(4000)).unwrap();
    assert_eq!(lapic.chip.deadline(), VirtualTime::NEVER);
}

#[test]
fn timer_dividers() {
    for (config, divider) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
        let mut timer = Timer::default();
        timer.write_divide(config, Mode::OneShot, ZERO);
        timer.write_initial(10, Mode::OneShot, ZERO);
        assert_eq!(timer.expiry, ns(10 * divider));
    }
}

#[test]
fn apic_base_transitions() {
    let mut lapic = LocalApic::new(0);
    let mut to = |value: u64| lapic.msr_write(0x1b, value, ZERO).map(|_| ());
    const BASE: u64 = 0xfee0_0100;
    assert_eq!(to(BASE | 0x400), Err(GpFault), "x2APIC without enable");
    assert_eq!(to(BASE | 0xc00 | 1 << 40), Err(GpFault), "beyond the physical address width");
    assert_eq!(to(BASE | 0x801), Err(GpFault), "reserved");
    assert_eq!(to(BASE | 0xc00), Ok(()));
    assert_eq!(to(BASE | 0x800), Err(GpFault), "x2APIC to xAPIC");
    assert_eq!(to(BASE), Ok(()));
    assert_eq!(to(BASE | 0xc00), Err(GpFault), "off to x2APIC");
    assert_eq!(to(BASE | 0x800), Ok(()));
    assert_eq!(to(0xfed0_0900), Ok(()));
    assert_eq!(lapic.mmio_base(), Some(0xfed0_0000));
    lapic.set_cr8(5);
    lapic.msr_write(0x1b, 0xfed0_0100, ZERO).unwrap();
    assert_eq!((lapic.mmio_base(), lapic.cr8()), (None, 5));
}

#[test]
fn x2apic_registers_fault_as_they_should() {
    let mut xapic = enabled();
    assert_eq!(xapic.msr_read(0x802, ZERO), Err(GpFault));
    let mut lapic = x2apic(5);
    assert_eq!(lapic.mmio_base(), None);
    assert_eq!(lapic.msr_read(0x802, ZERO), Ok(5));
    assert_eq!(lapic.msr_read(0x80d, ZERO), Ok(1 << 5));
    for msr in [0x800, 0x809, 0x80b, 0x80c, 0x80e, 0x82f, 0x831, 0x83f, 0x840, 0x8ff] {
        assert_eq!(lapic.msr_read(msr, ZERO), Err(GpFault), "RDMSR {msr:#x}");
    }
    for msr in [0x802, 0x803, 0x809, 0x80a, 0x80d, 0x80e, 0x810, 0x827, 0x831, 0x839, 0x8ff] {
        assert_eq!(lapic.msr_write(msr, 0, ZERO), Err(GpFault), "WRMSR {msr:#x}");
    }
    let bad = [(0x808, 0x100), (0x80b, 1), (0x80f, 0x1000), (0x828, 1), (0x830, 1 << 13), (0x832, 1 << 8)];
    for (msr, value) in bad {
        assert_eq!(lapic.msr_write(msr, value, ZERO), Err(GpFault), "WRMSR {msr:#x} of {value:#x}");
    }
    assert_eq!(lapic.msr_write(0x838, 1 << 32, ZERO), Err(GpFault));
    for (msr, value) in [(0x808, 0xff), (0x80b, 0), (0x80f, 0x1ff), (0x828, 0), (0x83e, 0xb), (0x832, 0x4_00ff)] {
        assert!(lapic.msr_write(msr, value, ZERO).is_ok(), "WRMSR {msr:#x} of {value:#x}");
    }
}

#[test]
fn lint0_as_virtual_wire_and_as_level_interrupt() {
    let mut lapic = enabled();
    write(&mut lapic, 0x350, 0x700, ZERO);
    lapic.chip.set_lint0(true);
    assert!(lapic.chip.wants_ext_int());
    write(&mut lapic, 0x350, 0x1_0700, ZERO);
    assert!(!lapic.chip.wants_ext_int());
    write(&mut lapic, 0x350, 0x8041, ZERO);
    assert_eq!(read(&mut lapic, 0x350, ZERO), 0xc041, "remote IRR");
    assert_eq!(lapic.chip.acknowledge(), Some(0x41));
    write(&mut lapic, 0xb0, 0, ZERO);
    assert_eq!(lapic.chip.acknowledge(), Some(0x41));
    lapic.chip.set_lint0(false);
    write(&mut lapic, 0xb0, 0, ZERO);
    assert_eq!(lapic.chip.acknowledge(), None);
    write(&mut lapic, 0x360, 0x400, ZERO);
    lapic.chip.set_lint1(true);
    assert_eq!(lapic.chip.take_signal(), Some(CpuSignal::Nmi));
}

#[test]
fn conforms() {
    let fresh = || LocalApic::new(1);
    conformance::check(fresh, |lapic, step| {
        let (rng, now, trace) = (step.rng, step.now, step.trace);
        *now = now.after_ns(rng.below(300));
        let number = if rng.one_in(8) { rng.below(256) } else { rng.pick(&REGISTERS) };
        match rng.below(9) {
            0 => trace.note(lapic.mmio_read(number << 4, Width::Dword, *now)),
            1 => {
                let effect = lapic.mmio_write(number << 4, Width::Dword, rng.value(), *now);
                trace.note(u64::from(effect != Effect::None));
            }
            2 => trace.note(lapic.msr_read(0x800 + number as u32, *now).unwrap_or(0x4750)),
            3 => trace.note(lapic.msr_write(0x800 + number as u32, rng.value(), *now).is_ok()),
            4 => {
                let value = 0xfee0_0000 | rng.below(4) << 10 | rng.below(2) << 8;
                if rng.one_in(4) {
                    trace.note(lapic.msr_write(0x1b, value, *now).is_ok());
                }
                trace.note(lapic.msr_write(0x6e0, now.as_ns() + rng.below(100), *now).is_ok());
            }
            5 => {
                let mode = DeliveryMode::from_bits(rng.next() as u32).unwrap_or(DeliveryMode::Fixed);
                let mode = if rng.one_in(8) { mode } else { DeliveryMode::Fixed };
                let message = ApicMessage { mode, ..fixed(rng.next() as u8, rng.one_in(2)) };
                trace.note(lapic.chip.receive(message));
            }
            6 => {
                lapic.chip.set_lint0(rng.one_in(2));
                lapic.chip.set_lint1(rng.one_in(2));
                trace.note(u64::from(lapic.chip.take_signal().is_some()));
            }
            7 => trace.note(lapic.chip.acknowledge().unwrap_or(0)),
            _ => {
                lapic.mmio_write(0xf0, Width::Dword, 0x1ff, *now);
                lapic.chip.advance(*now);
            }
        }
        trace.note(lapic.chip.wants_ext_int());
        trace.note(lapic.chip.deadline().units());
        trace.note(lapic.cr8());
    });
    let mut lapic = fresh();
    let damaged = super::LocalApicState { base: 0x400, ..lapic.save() };
    assert!(lapic.restore(damaged).is_err());
}

/// The registers that exist.
const REGISTERS: [u64; 24] = [
    0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x0f, 0x10, 0x22, 0x28, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3e, 0x3f,
];
