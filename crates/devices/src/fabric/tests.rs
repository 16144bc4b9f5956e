//! How the interrupt controllers work together.

use x86::VirtualTime;

use super::InterruptFabric;
use crate::conformance;
use crate::lapic::CpuSignal;
use crate::pic::Pic;
use crate::{IrqLine, Saved, Width};

const ZERO: VirtualTime = VirtualTime::ZERO;

fn write(fabric: &mut InterruptFabric, vcpu: usize, offset: u64, value: u32) {
    fabric.mmio_write(vcpu, offset, Width::Dword, value.into(), ZERO);
}

/// A fabric whose local APICs are all enabled, with flat logical IDs.
fn enabled(vcpus: u8) -> InterruptFabric {
    let mut fabric = InterruptFabric::new(vcpus);
    for vcpu in 0..vcpus.into() {
        write(&mut fabric, vcpu, 0xf0, 0x1ff);
        write(&mut fabric, vcpu, 0xd0, 1 << (24 + vcpu));
    }
    fabric
}

fn redirect(fabric: &mut InterruptFabric, input: u64, low: u32, destination: u32) {
    for (register, value) in [(0x11 + 2 * input, destination << 24), (0x10 + 2 * input, low)] {
        fabric.ioapic_write(0x00, Width::Dword, register);
        fabric.ioapic_write(0x10, Width::Dword, value.into());
    }
}

fn icr(fabric: &mut InterruptFabric, sender: usize, destination: u32, low: u32) {
    write(fabric, sender, 0x310, destination << 24);
    write(fabric, sender, 0x300, low);
}

/// Which processors have an interrupt.
fn waiting(fabric: &InterruptFabric, vcpus: usize) -> Vec<usize> {
    (0..vcpus).filter(|&vcpu| fabric.has_interrupt(vcpu)).collect()
}

fn unmask_pic(fabric: &mut InterruptFabric) {
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)] {
        fabric.port_write(port, Width::Byte, value);
    }
}

#[test]
fn the_8259s_reach_the_bootstrap_processor_by_virtual_wire() {
    let mut fabric = InterruptFabric::new(2);
    fabric.set_up_as_firmware();
    unmask_pic(&mut fabric);
    fabric.set_irq(IrqLine(1), true);
    assert_eq!(waiting(&fabric, 2), [0]);
    assert_eq!(fabric.acknowledge(0), Some(0x21));
    assert_eq!(waiting(&fabric, 2), []);
    write(&mut fabric, 0, 0x350, 0x1_0700);
    fabric.port_write(0x20, Width::Byte, 0x20);
    fabric.set_irq(IrqLine(4), true);
    assert_eq!(waiting(&fabric, 2), [], "LINT0 is masked");
}

#[test]
fn the_8259s_reach_a_processor_whose_apic_is_off() {
    let mut fabric = InterruptFabric::new(1);
    unmask_pic(&mut fabric);
    fabric.set_irq(IrqLine(1), true);
    assert!(!fabric.has_interrupt(0), "LINT0 is masked after reset");
    fabric.msr_write(0, 0x1b, 0xfee0_0100, ZERO).unwrap();
    assert_eq!(fabric.acknowledge(0), Some(0x21));
}

#[test]
fn the_timer_line_is_input_two_and_the_8259s_are_input_zero() {
    let mut fabric = enabled(1);
    redirect(&mut fabric, 2, 0x30, 0);
    fabric.set_irq(IrqLine(0), true);
    assert_eq!(fabric.acknowledge(0), Some(0x30));
    write(&mut fabric, 0, 0xb0, 0);
    fabric.set_irq(IrqLine(0), false);
    redirect(&mut fabric, 0, 0x700, 0);
    unmask_pic(&mut fabric);
    fabric.set_irq(IrqLine(5), true);
    assert_eq!(fabric.acknowledge(0), Some(0x25), "ExtINT through the I/O APIC");
}

#[test]
fn a_level_interrupt_comes_again_after_eoi() {
    let mut fabric = enabled(1);
    redirect(&mut fabric, 10, 0x8051, 0);
    fabric.set_irq(IrqLine(10), true);
    assert_eq!(fabric.acknowledge(0), Some(0x51));
    assert!(!fabric.has_interrupt(0));
    write(&mut fabric, 0, 0xb0, 0);
    assert_eq!(fabric.acknowledge(0), Some(0x51));
    fabric.set_irq(IrqLine(10), false);
    write(&mut fabric, 0, 0xb0, 0);
    assert!(!fabric.has_interrupt(0));
}

#[test]
fn a_level_interrupt_waits_for_an_apic_that_listens() {
    let mut fabric = InterruptFabric::new(1);
    redirect(&mut fabric, 10, 0x8051, 0);
    fabric.set_irq(IrqLine(10), true);
    assert!(!fabric.has_interrupt(0));
    write(&mut fabric, 0, 0xf0, 0x1ff);
    assert!(fabric.has_interrupt(0));
}

#[test]
fn destinations_of_ipis() {
    let to = |destination: u32, low: u32| {
        let mut fabric = enabled(4);
        icr(&mut fabric, 1, destination, 0x4000 | low);
        waiting(&fabric, 4)
    };
    assert_eq!(to(2, 0x44), [2]);
    assert_eq!(to(0xff, 0x44), [0, 1, 2, 3]);
    assert_eq!(to(9, 0x44), []);
    assert_eq!(to(0b1010, 0x844), [1, 3]);
    assert_eq!(to(0, 0x4_0044), [1]);
    assert_eq!(to(0, 0x8_0044), [0, 1, 2, 3]);
    assert_eq!(to(0, 0xc_0044), [0, 2, 3]);
    assert_eq!(to(0b1100, 0x944), [2], "lowest priority");
}

#[test]
fn cluster_model_and_x2apic_logical_destinations() {
    let mut fabric = enabled(4);
    for (vcpu, id) in [0x11, 0x12, 0x21, 0x22].into_iter().enumerate() {
        write(&mut fabric, vcpu, 0xe0, 0x0fff_ffff);
        write(&mut fabric, vcpu, 0xd0, id << 24);
    }
    icr(&mut fabric, 0, 0x23, 0x4844);
    assert_eq!(waiting(&fabric, 4), [2, 3]);

    let mut fabric = enabled(4);
    for vcpu in 0..4 {
        let base = fabric.msr_read(vcpu, 0x1b, ZERO).unwrap();
        fabric.msr_write(vcpu, 0x1b, base | 0x400, ZERO).unwrap();
    }
    fabric.msr_write(0, 0x830, 0b1001 << 32 | 0x4844, ZERO).unwrap();
    assert_eq!(waiting(&fabric, 4), [0, 3]);
    fabric.msr_write(0, 0x830, 1 << 32 | 0x4045, ZERO).unwrap();
    assert_eq!(waiting(&fabric, 4), [0, 1, 3]);
    assert_eq!(fabric.acknowledge(1), Some(0x45));
    fabric.msr_write(2, 0x83f, 0x46, ZERO).unwrap();
    assert_eq!(fabric.acknowledge(2), Some(0x46), "self-IPI");
    redirect(&mut fabric, 4, 0x8b0, 0b0010);
    fabric.set_irq(IrqLine(4), true);
    assert_eq!(fabric.acknowledge(1), Some(0xb0));
}

#[test]
fn init_and_start_up() {
    let mut fabric = enabled(2);
    icr(&mut fabric, 0, 1, 0xc500);
    icr(&mut fabric, 0, 1, 0x8500);
    icr(&mut fabric, 0, 1, 0x4608);
    icr(&mut fabric, 0, 1, 0x4609);
    assert!(fabric.has_signal(1) && !fabric.has_signal(0));
    assert_eq!(fabric.take_signal(1), Some(CpuSignal::Init));
    assert_eq!(fabric.take_signal(1), Some(CpuSignal::Sipi(8)));
    assert_eq!(fabric.take_signal(1), None);
    assert_eq!(fabric.mmio_read(1, 0xf0, Width::Dword, ZERO), 0xff, "INIT resets the APIC");
    assert_eq!(fabric.mmio_read(1, 0x20, Width::Dword, ZERO), 0x0100_0000);
}

#[test]
fn two_nmis_are_remembered_and_software_disabling_does_not_stop_them() {
    let mut fabric = InterruptFabric::new(1);
    for _ in 0..3 {
        icr(&mut fabric, 0, 0, 0x4400);
    }
    assert!(fabric.has_signal(0));
    assert_eq!(fabric.take_signal(0), Some(CpuSignal::Nmi));
    assert_eq!(fabric.take_signal(0), Some(CpuSignal::Nmi));
    assert!(!fabric.has_signal(0));
}

#[test]
fn message_signalled_interrupts() {
    let mut fabric = enabled(2);
    fabric.msi(0xfee0_1000, 0x41);
    assert_eq!(fabric.acknowledge(1), Some(0x41));
    fabric.msi(0xfee0_3004, 0x42);
    assert_eq!(waiting(&fabric, 2), [0], "priority 4 is in service on 1");
    fabric.msi(0xfee0_0000, 0x8042);
    fabric.msi(0xfee0_0000, 0x0300);
}

#[test]
fn lowest_priority_goes_to_the_least_busy() {
    let mut fabric = enabled(2);
    fabric.set_tpr(0, 2);
    fabric.msi(0xfee0_3004, 0x151);
    assert_eq!(waiting(&fabric, 2), [1]);
}

#[test]
fn the_deadline_is_that_of_the_first_timer() {
    let mut fabric = enabled(2);
    assert_eq!(fabric.deadline(), VirtualTime::NEVER);
    for (vcpu, count) in [(0, 500), (1, 300)] {
        write(&mut fabric, vcpu, 0x3e0, 0xb);
        write(&mut fabric, vcpu, 0x320, 0x2_0060);
        write(&mut fabric, vcpu, 0x380, count);
    }
    assert_eq!(fabric.deadline(), VirtualTime::from_ns(300));
    fabric.advance(VirtualTime::from_ns(300));
    assert_eq!(waiting(&fabric, 2), [1]);
    assert_eq!(fabric.deadline(), VirtualTime::from_ns(500));
}

#[test]
fn conforms() {
    let fresh = || InterruptFabric::new(3);
    conformance::check(fresh, |fabric, step| {
        let (rng, now, trace) = (step.rng, step.now, step.trace);
        *now = now.after_ns(rng.below(1000));
        if fabric.deadline() <= *now {
            fabric.advance(*now);
            assert!(fabric.deadline() > *now);
        }
        let vcpu = rng.below(3) as usize;
        let (port, len) = rng.pick(&Pic::PORTS);
        let register = rng.pick(&[0x80, 0xb0, 0xd0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x380, 0x3e0]);
        match rng.below(12) {
            0 => fabric.port_write(port + rng.below(len.into()) as u16, Width::Byte, rng.value() as u32),
            1 => trace.note(fabric.port_read(port, Width::Word)),
            2 => fabric.ioapic_write(0, Width::Dword, rng.below(0x40)),
            3 => fabric.ioapic_write(0x10, Width::Dword, rng.value() & !0x1_0000),
            4 => trace.note(fabric.ioapic_read(0x10, Width::Dword)),
            5 | 6 => fabric.mmio_write(vcpu, register, Width::Dword, rng.value(), *now),
            7 => fabric.mmio_write(vcpu, 0xf0, Width::Dword, 0x1ff, *now),
            8 => trace.note(fabric.mmio_read(vcpu, register, Width::Dword, *now)),
            9 => fabric.msi(rng.below(4) << 12 | rng.below(8), rng.value() as u32),
            10 => trace.note(u64::from(fabric.take_signal(vcpu).is_some())),
            _ => fabric.set_irq(IrqLine(rng.below(24) as u8), rng.one_in(2)),
        }
        if fabric.has_interrupt(vcpu) {
            trace.note(fabric.acknowledge(vcpu).expect("there is one"));
        }
        trace.note(fabric.has_signal(vcpu));
        trace.note(fabric.deadline().units());
        fabric.set_tpr(vcpu, (rng.below(16) * rng.below(2)) as u8);
    });
    let mut other = InterruptFabric::new(2);
    assert!(other.restore(fresh().save()).is_err(), "another number of processors");
}
