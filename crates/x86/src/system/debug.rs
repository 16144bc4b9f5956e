//! Debug registers and what they watch (SDM Vol. 3B, chapter 18).

use crate::vcpu::Vcpu;

/// DR0 to DR3, DR6 and DR7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugRegisters {
    /// Linear addresses of the four breakpoints.
    pub address: [u64; 4],
    /// DR6: status.
    pub dr6: u64,
    /// DR7: control.
    pub dr7: u64,
}

impl Vcpu {
    /// True if a data breakpoint lies in the page of `linear`, so that accesses to it must be seen.
    #[inline]
    pub fn watches_page(&self, linear: u64) -> bool {
        let _ = linear;
        false
    }

    /// Notes a data breakpoint that an access of `bytes` bytes hits, for delivery after the instruction.
    #[inline]
    pub fn watch(&mut self, linear: u64, bytes: u64, write: bool) {
        let _ = (linear, bytes, write);
    }
}
