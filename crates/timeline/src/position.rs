//! An instant of a run.

use machine::Machine;
use x86::VirtualTime;
use x86::units::UNITS_PER_NS;

/// An instant: between two instructions, or while the machine waits.
///
/// The number of steps executed says where, except while no vCPU runs: then time alone moves on. So
/// instants are ordered by both, and at a settled machine ([`Machine::settle`]) both together name one
/// state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Steps of all vCPUs together since power-on.
    pub insns: u64,
    /// Virtual time since power-on.
    pub time: VirtualTime,
}

impl Position {
    /// Where a machine stands, counted from its own power-on.
    pub fn of(machine: &Machine) -> Self {
        Position { insns: machine.insn_count().0, time: machine.now() }
    }

    /// This instant of a machine whose power-on was at `base`; saturates.
    pub fn after(self, base: Position) -> Self {
        Position {
            insns: self.insns.saturating_add(base.insns),
            time: VirtualTime::from_units(self.time.units().saturating_add(base.time.units())),
        }
    }

    /// The same instant counted from `base`; saturates.
    pub fn since(self, base: Position) -> Self {
        Position {
            insns: self.insns.saturating_sub(base.insns),
            time: VirtualTime::from_units(self.time.units().saturating_sub(base.time.units())),
        }
    }

    /// The time it would be after `insns` more steps at one step a nanosecond; wraps.
    pub(crate) fn expected_time(self, insns: u64) -> u64 {
        self.time.units().wrapping_add(insns.wrapping_mul(UNITS_PER_NS))
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ns = self.time.as_ns();
        write!(f, "{} ({}.{:09} s)", self.insns, ns / 1_000_000_000, ns % 1_000_000_000)
    }
}
