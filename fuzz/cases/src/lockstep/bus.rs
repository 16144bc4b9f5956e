//! A board that answers anything, decides by the access alone what to ask of the CPU, and
//! remembers everything that it saw.

use x86::bus::{Bus, Signals};
use x86::{GuestPhysAddr, InsnCount};

use crate::script::{Script, mix};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuzzBus {
    /// Follows from every access so far.
    seen: u64,
    /// Every access so far: which kind, and what it said.
    pub log: Vec<[u64; 4]>,
    /// The vector of the interrupt that waits.
    pub pending: Option<u8>,
    /// The board wants control back.
    pub attention: bool,
    /// The count at which an interrupt comes.
    pub deadline: InsnCount,
    /// Steps between interrupts.
    period: u64,
    priority: u8,
}

impl FuzzBus {
    /// Answers by `seed`; the first interrupt comes at the count `first`, and then one every `period` steps.
    pub fn with_timer(seed: u64, first: u64, period: u64) -> Self {
        FuzzBus {
            seen: seed,
            log: Vec::new(),
            pending: None,
            attention: false,
            deadline: InsnCount(first),
            period,
            priority: 0,
        }
    }

    /// As the script says.
    pub fn new(script: &mut Script<'_>) -> Self {
        let period = script.pick(&[0, 0, 0, 1, 2, 9, 50, 333]);
        let period = if period == 0 { u64::MAX } else { period };
        let seen = u64::from(script.u8());
        FuzzBus::with_timer(seen, period, period)
    }

    /// Raises the interrupt that is due at `now`.
    pub fn tick(&mut self, now: InsnCount) {
        if now >= self.deadline {
            self.deadline = InsnCount(now.0.saturating_add(self.period));
            self.pending = Some(mix(now.0) as u8 | 0x20);
        }
    }

    fn see(&mut self, facts: [u64; 4]) -> u64 {
        self.log.push(facts);
        for fact in facts {
            self.seen = mix(self.seen ^ fact);
        }
        self.seen
    }

    /// Asks something of the CPU now and then, as devices do when they are written to.
    fn react(&mut self, to: u64) {
        match to % 16 {
            0..4 => self.pending = Some((to >> 8) as u8),
            4 => self.attention = true,
            5 => self.pending = None,
            _ => {}
        }
    }
}

impl Bus for FuzzBus {
    fn port_read(&mut self, port: u16, size: u8, at: InsnCount) -> u32 {
        check_size(size);
        self.see([1, port.into(), size.into(), at.0]) as u32
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32, at: InsnCount) {
        check_size(size);
        let to = self.see([2, u64::from(port) << 8 | u64::from(size), value.into(), at.0]);
        self.react(to);
    }

    fn mmio_read(&mut self, addr: GuestPhysAddr, size: u8, at: InsnCount) -> u64 {
        check_size(size);
        self.see([3, addr.0, size.into(), at.0])
    }

    fn mmio_write(&mut self, addr: GuestPhysAddr, size: u8, value: u64, at: InsnCount) {
        check_size(size);
        let to = self.see([4 | u64::from(size) << 8, addr.0, value, at.0]);
        self.react(to);
    }

    fn msr_read(&mut self, msr: u32, at: InsnCount) -> Option<u64> {
        let value = self.see([5, msr.into(), 0, at.0]);
        (value & 3 != 0).then_some(value)
    }

    fn msr_write(&mut self, msr: u32, value: u64, at: InsnCount) -> Option<()> {
        let to = self.see([6, msr.into(), value, at.0]);
        self.react(to);
        (to & 3 != 0).then_some(())
    }

    fn cr8(&mut self) -> u8 {
        self.priority
    }

    fn set_cr8(&mut self, priority: u8, at: InsnCount) {
        assert!(priority < 16, "four bits of priority");
        self.see([7, priority.into(), 0, at.0]);
        self.priority = priority;
    }

    fn tsc(&mut self, at: InsnCount) -> u64 {
        at.0
    }

    fn set_tsc_offset(&mut self, offset: u64, at: InsnCount) {
        self.see([8, offset, 0, at.0]);
    }

    fn acknowledge_interrupt(&mut self, at: InsnCount) -> Option<u8> {
        let vector = self.pending.take()?;
        self.see([9, vector.into(), 0, at.0]);
        Some(vector)
    }

    fn signals(&mut self) -> Signals {
        Signals { interrupt: self.pending.is_some(), attention: self.attention, until: self.deadline }
    }
}

fn check_size(size: u8) {
    assert!(matches!(size, 1 | 2 | 4 | 8), "an access of {size} bytes");
}
