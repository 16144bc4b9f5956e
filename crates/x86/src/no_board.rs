//! A board with nothing on it, for tests of instructions that need none, and of engines.

use crate::bus::{Bus, Signals};
use crate::units::{GuestPhysAddr, InsnCount};

/// Reads give ones, writes go nowhere, the time stamp counter counts steps, and nothing ever happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBoard;

impl Bus for NoBoard {
    fn port_read(&mut self, _: u16, _: u8, _: InsnCount) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: InsnCount) {}
    fn mmio_read(&mut self, _: GuestPhysAddr, _: u8, _: InsnCount) -> u64 {
        u64::MAX
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: u8, _: u64, _: InsnCount) {}
    fn msr_read(&mut self, _: u32, _: InsnCount) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _: u32, _: u64, _: InsnCount) -> Option<()> {
        None
    }
    fn cr8(&mut self) -> u8 {
        0
    }
    fn set_cr8(&mut self, _: u8, _: InsnCount) {}
    fn tsc(&mut self, at: InsnCount) -> u64 {
        at.0
    }
    fn set_tsc_offset(&mut self, _: u64, _: InsnCount) {}
    fn acknowledge_interrupt(&mut self, _: InsnCount) -> Option<u8> {
        None
    }
    fn signals(&mut self) -> Signals {
        Signals { interrupt: false, attention: false, until: InsnCount(u64::MAX) }
    }
}
