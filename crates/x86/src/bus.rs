//! What a CPU sees of the board.

use crate::units::{GuestPhysAddr, InsnCount};

/// The world outside one vCPU: ports, memory-mapped devices, the local APIC, the clock.
///
/// `at` is always the vCPU's own step count at the access, from which the board derives
/// virtual time. Sizes are 1, 2, 4 or 8 bytes.
pub trait Bus {
    /// IN.
    fn port_read(&mut self, port: u16, size: u8, at: InsnCount) -> u32;
    /// OUT.
    fn port_write(&mut self, port: u16, size: u8, value: u32, at: InsnCount);
    /// A read of physical memory that is not RAM.
    fn mmio_read(&mut self, addr: GuestPhysAddr, size: u8, at: InsnCount) -> u64;
    /// A write of physical memory that is not RAM.
    fn mmio_write(&mut self, addr: GuestPhysAddr, size: u8, value: u64, at: InsnCount);
    /// RDMSR of a register that belongs to the board (local APIC, TSC deadline); `None` is #GP.
    fn msr_read(&mut self, msr: u32, at: InsnCount) -> Option<u64>;
    /// WRMSR of such a register; `None` is #GP.
    fn msr_write(&mut self, msr: u32, value: u64, at: InsnCount) -> Option<()>;
    /// The task priority, as CR8 shows it (0 to 15).
    fn cr8(&mut self) -> u8;
    /// MOV to CR8.
    fn set_cr8(&mut self, priority: u8, at: InsnCount);
    /// The time-stamp counter of the board, in ticks, without this vCPU's IA32_TSC_ADJUST. During a run it follows from the count
    /// alone, and goes up by at most one tick a step. Asking for it changes nothing.
    fn tsc(&mut self, at: InsnCount) -> u64;
    /// This vCPU's IA32_TSC_ADJUST or TSC changed: `offset` is what is now added to [`Self::tsc`].
    fn set_tsc_offset(&mut self, offset: u64, at: InsnCount);
    /// Takes the highest pending interrupt; `None` if it went away.
    fn acknowledge_interrupt(&mut self, at: InsnCount) -> Option<u8>;
    /// FERR#: an x87 exception pends, CR0.NE is clear, and the instruction that waits is tried again until an interrupt comes
    /// or [`crate::Vcpu::ignore_numeric_error`] is called. A board without that line does nothing.
    fn numeric_error(&mut self, _at: InsnCount) {}
    /// What the vCPU must know before its next instruction. Asked at the start of a run and
    /// after every access through this trait.
    fn signals(&mut self) -> Signals;
}

/// The state of the lines between board and vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// An interrupt waits to be acknowledged.
    pub interrupt: bool,
    /// The board wants control back at the next instruction boundary.
    pub attention: bool,
    /// The step count at which the board's next deadline falls: stop before it.
    pub until: InsnCount,
}
