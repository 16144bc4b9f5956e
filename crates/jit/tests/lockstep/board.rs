//! The smallest board: devices that answer by the step count, an interrupt now and then.

use x86::{Bus, GuestPhysAddr, InsnCount, Signals};

/// See the module's text.
#[derive(Default)]
pub struct Board {
    /// Steps between interrupts; 0: none.
    pub period: u64,
    next: u64,
    now: u64,
    /// A sum of all that was written, with when.
    pub written: u64,
}

impl Board {
    fn note(&mut self, value: u64, at: InsnCount) {
        self.now = self.now.max(at.0);
        self.written = self.written.rotate_left(9) ^ value.wrapping_mul(0x9e37_79b9) ^ at.0;
    }
}

impl Bus for Board {
    fn port_read(&mut self, port: u16, _: u8, at: InsnCount) -> u32 {
        u32::from(port) ^ at.0 as u32
    }
    fn port_write(&mut self, _: u16, _: u8, value: u32, at: InsnCount) {
        self.note(value.into(), at);
    }
    fn mmio_read(&mut self, addr: GuestPhysAddr, size: u8, at: InsnCount) -> u64 {
        (addr.0 ^ at.0.wrapping_mul(0x1_0001)) & (u64::MAX >> (64 - 8 * u32::from(size)))
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: u8, value: u64, at: InsnCount) {
        self.note(value, at);
    }
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
    fn acknowledge_interrupt(&mut self, at: InsnCount) -> Option<u8> {
        self.now = at.0;
        self.next = at.0 + self.period;
        Some(0x40)
    }
    fn signals(&mut self) -> Signals {
        let interrupt = self.period > 0 && self.now >= self.next;
        let until = if self.period > 0 { InsnCount(self.next.max(self.now + 1)) } else { InsnCount(u64::MAX) };
        self.now = self.now.max(self.next);
        Signals { interrupt, attention: false, until: if interrupt { InsnCount(u64::MAX) } else { until } }
    }
}
