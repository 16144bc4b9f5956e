//! What executes a vCPU: the interpreter, and every later engine, behind one trait.

use crate::bus::Bus;
use crate::memory::phys::GuestMemory;
use crate::units::InsnCount;
use crate::vcpu::Vcpu;

/// Why [`Engine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The count asked for was reached.
    Until,
    /// The board asked for attention ([`crate::bus::Signals::attention`]).
    Attention,
    /// The vCPU executed HLT, or waits for a start-up IPI.
    Halted,
    /// PAUSE: another vCPU may have something better to do.
    Yield,
    /// Triple fault.
    Shutdown,
}

/// An executor of guest instructions. Every engine gives the same bits.
pub trait Engine {
    /// Runs `vcpu` until its step count is `until`, exactly, or something else ends the run.
    ///
    /// A later engine or an interrupted run must be able to go on from the state left behind.
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit;

    /// Drops everything derived from guest memory, for a machine whose RAM was replaced.
    fn forget(&mut self, memory: &mut GuestMemory);
}
