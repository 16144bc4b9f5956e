//! The board: any accesses to ports, registers and MSRs, at any times, and a second board that is made
//! from the first one's saved state now and then. Both must answer alike and keep time.

use devices::Saved;
use machine::board::cpu_bus::CpuBus;
use machine::board::{Board, BoardConfig};
use machine::clock::Clock;
use machine::memory_map::{ECAM_BASE, HPET_BASE, IOAPIC_BASE, LAPIC_BASE, MemoryLayout};
use prost::Message;
use x86::bus::{Bus, Signals};
use x86::{GuestPhysAddr, InsnCount, VirtualTime};

use crate::script::Script;

/// First ports of devices, with how many ports are looked at.
const PORTS: [(u16, u16); 22] = [
    (0x20, 2),
    (0x40, 4),
    (0x60, 5),
    (0x61, 1),
    (0x70, 4),
    (0x80, 1),
    (0x92, 1),
    (0xa0, 2),
    (0xb2, 2),
    (0xe0, 4),
    (0xe9, 1),
    (0xf4, 4),
    (0x3f8, 8),
    (0x3f8, 8),
    (0x4d0, 2),
    (0x510, 12),
    (0x5c0, 16),
    (0x600, 16),
    (0x620, 16),
    (0xcf8, 8),
    (0x2000, 24),
    (0, 0xffff),
];

/// First registers in memory, with how many bytes are looked at.
const REGISTERS: [(u64, u32); 7] = [
    (LAPIC_BASE, 0x400),
    (IOAPIC_BASE, 0x50),
    (HPET_BASE, 0x180),
    (ECAM_BASE, 0x1000),
    (ECAM_BASE, 0x1000_0000),
    (0xff00_0000, 0x1_0000),
    (0xfe00_0000, 0x0200_0000),
];

/// A saved board needs no more than this many bytes, whatever was done to it.
const MAX_STATE_BYTES: usize = 1 << 17;

/// A board with its clock.
struct Rig {
    board: Board,
    clock: Clock,
    vcpus: usize,
}

/// What an access gave.
#[derive(Debug, PartialEq)]
enum Answer {
    Nothing,
    Value(u64),
    Msr(Option<u64>),
    Vector(Option<u8>),
    Signals(Signals),
}

/// Does what the script says to one board and its copy.
///
/// # Panics
/// If they answer differently, the copy cannot be made, or a deadline lies in the past.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let vcpus = 1 + script.u8() % 8;
    let layout = MemoryLayout::new(2 << 20).expect("2 MiB is possible");
    let rtc_start_unix_seconds = script.value();
    let config = BoardConfig { layout, vcpus, debug_exit: script.flag(), rtc_start_unix_seconds };
    let new = || Rig { board: Board::new(config), clock: Clock::new(), vcpus: vcpus.into() };
    let (mut first, mut second) = (new(), new());
    while !script.is_over() {
        let mut same = script.clone();
        let answer = first.step(&mut script);
        assert_eq!(second.step(&mut same), answer, "the copy answers differently");
        if script.one_in(8) {
            second = Rig { clock: first.clock, ..new() };
            copy(&first.board, &mut second.board);
        }
    }
    assert_eq!(second.board.save(), first.board.save(), "the copy ends in another state");
}

/// Puts the state of one board into a fresh one.
fn copy(from: &Board, to: &mut Board) {
    let state = from.save();
    let len = state.encoded_len();
    assert!(len <= MAX_STATE_BYTES, "the state has grown to {len} bytes");
    to.restore(state.clone()).unwrap_or_else(|error| panic!("a state that accesses led to is refused: {error}"));
    assert_eq!(to.save(), state, "restoring keeps everything");
    assert_eq!(to.deadline(), from.deadline(), "the deadline follows from the state");
}

impl Rig {
    fn step(&mut self, script: &mut Script<'_>) -> Answer {
        let kind = script.u8() % 16;
        let size = script.pick(&[1, 4, 2, 8]);
        let vcpu = usize::from(script.u8()) % self.vcpus;
        let at = InsnCount(0);
        if kind < 3 {
            return self.advance(kind, script);
        }
        let mut bus = CpuBus { board: &mut self.board, clock: &self.clock, vcpu };
        match kind {
            3..6 => Answer::Value(bus.port_read(port(script), size.min(4), at).into()),
            6..10 => {
                bus.port_write(port(script), size.min(4), script.value() as u32, at);
                Answer::Nothing
            }
            10 | 11 => Answer::Value(bus.mmio_read(register(script), size, at)),
            12 | 13 => {
                bus.mmio_write(register(script), size, script.value(), at);
                Answer::Nothing
            }
            14 => model_specific(&mut bus, script, at),
            _ => interrupts(&mut bus, script, at),
        }
    }

    /// Lets time pass, a little, a lot, or up to the next deadline and a bit.
    fn advance(&mut self, kind: u8, script: &mut Script<'_>) -> Answer {
        let at = InsnCount(0);
        let now = self.clock.at(at);
        let later = match kind {
            0 => VirtualTime::from_units(now.units().saturating_add(u64::from(script.u16()))),
            1 => VirtualTime::from_units(now.units().saturating_add(script.value() >> 2)),
            _ => match self.board.deadline() {
                VirtualTime::NEVER => now,
                deadline => deadline.after_ns(u64::from(script.u8())),
            },
        };
        self.clock.skip_to(later, at);
        self.board.advance(self.clock.at(at));
        let deadline = self.board.deadline();
        let now = self.clock.at(at);
        assert!(deadline > now || now == VirtualTime::NEVER, "the deadline {deadline:?} has passed at {now:?}");
        Answer::Value(deadline.units())
    }
}

/// A port, most often one that a device has.
pub(crate) fn port(script: &mut Script<'_>) -> u16 {
    let (base, count) = script.pick(&PORTS);
    base + if count > 256 { script.u16() % count } else { u16::from(script.u8()) % count }
}

/// An address, most often that of a register.
pub(crate) fn register(script: &mut Script<'_>) -> GuestPhysAddr {
    let (base, len) = script.pick(&REGISTERS);
    // Most registers are read where they start.
    let offset = if script.flag() { u32::from(script.u8()) * 16 } else { script.u32() };
    GuestPhysAddr(base + u64::from(offset % len))
}

fn model_specific(bus: &mut CpuBus<'_>, script: &mut Script<'_>, at: InsnCount) -> Answer {
    let msr = match script.u8() % 4 {
        0 => 0x1b,
        1 => 0x6e0,
        2 => 0x800 + u32::from(script.u8() % 0x40),
        _ => script.value() as u32,
    };
    match script.u8() % 4 {
        0 => Answer::Msr(bus.msr_read(msr, at)),
        1 => Answer::Msr(bus.msr_write(msr, script.value(), at).map(|()| 0)),
        2 => {
            // The registers that exist have few bits.
            let value = 0xfee0_0000 | u64::from(script.u16());
            Answer::Msr(bus.msr_write(msr, value, at).map(|()| 0))
        }
        _ => {
            bus.set_tsc_offset(script.value(), at);
            Answer::Value(bus.tsc(at))
        }
    }
}

fn interrupts(bus: &mut CpuBus<'_>, script: &mut Script<'_>, at: InsnCount) -> Answer {
    match script.u8() % 4 {
        0 | 1 => Answer::Vector(bus.acknowledge_interrupt(at)),
        2 => {
            bus.set_cr8(script.u8() % 16, at);
            Answer::Value(bus.cr8().into())
        }
        // What asks for attention is not saved: the machine acts on it before anyone can save.
        _ => Answer::Signals(Signals { attention: false, ..bus.signals() }),
    }
}
