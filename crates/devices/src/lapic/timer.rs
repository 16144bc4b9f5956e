//! The APIC timer: one-shot, periodic and TSC-deadline.
//!
//! Nothing counts: the timer knows when it expires, and the current count is what remains until
//! then. So it costs nothing while it runs, and its expiry is exact.

use x86::VirtualTime;
use x86::units::UNITS_PER_NS;

/// The frequency of the timer's input clock, before the divider. One tick is 1 ns.
pub const APIC_TIMER_HZ: u64 = 1_000_000_000;

/// The timer mode field of the timer's local vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Counts down once.
    OneShot,
    /// Starts again at each expiry.
    Periodic,
    /// Expires when the time-stamp counter reaches IA32_TSC_DEADLINE.
    TscDeadline,
    /// The reserved mode: like one-shot.
    Reserved,
}

impl Mode {
    /// From the local vector table entry, bits 17 and 18.
    pub fn of_lvt(lvt: u32) -> Mode {
        match lvt >> 17 & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::Reserved,
        }
    }
}

/// The timer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The divide configuration register: bits 0, 1 and 3.
    pub divide_config: u8,
    /// The initial count register.
    pub initial: u32,
    /// When it expires next; `NEVER` if stopped.
    pub expiry: VirtualTime,
    /// IA32_TSC_DEADLINE; zero if not armed.
    pub tsc_deadline: u64,
    /// What this processor's time-stamp counter shows at power-on; it ticks at 1 GHz.
    pub tsc_offset: u64,
}

impl Default for Timer {
    fn default() -> Self {
        Timer { divide_config: 0, initial: 0, expiry: VirtualTime::NEVER, tsc_deadline: 0, tsc_offset: 0 }
    }
}

impl Timer {
    /// The state after INIT. The time-stamp counter goes on.
    pub fn reset(&mut self) {
        *self = Timer { tsc_offset: self.tsc_offset, ..Timer::default() };
    }

    /// Nanoseconds in one count: 1 to 128.
    fn ns_per_count(&self) -> u64 {
        let code = self.divide_config & 3 | self.divide_config >> 1 & 4;
        if code == 7 { 1 } else { 2 << code }
    }

    fn units_per_count(&self) -> u64 {
        self.ns_per_count() * UNITS_PER_NS
    }

    /// The current count register. Zero in TSC-deadline mode.
    pub fn current(&self, mode: Mode, now: VirtualTime) -> u32 {
        if mode == Mode::TscDeadline || self.expiry == VirtualTime::NEVER {
            return 0;
        }
        let left = self.expiry.units().saturating_sub(now.units());
        left.div_ceil(self.units_per_count()) as u32
    }

    fn start(&mut self, counts: u32, now: VirtualTime) {
        self.expiry = match counts {
            0 => VirtualTime::NEVER,
            _ => now.after_ns(u64::from(counts) * self.ns_per_count()),
        };
    }

    /// Writes the initial count: starts the timer, or stops it with zero. Without effect in
    /// TSC-deadline mode.
    pub fn write_initial(&mut self, value: u32, mode: Mode, now: VirtualTime) {
        if mode != Mode::TscDeadline {
            self.initial = value;
            self.start(value, now);
        }
    }

    /// Writes the divide configuration. A running count goes on from where it is, at the new rate.
    pub fn write_divide(&mut self, value: u32, mode: Mode, now: VirtualTime) {
        let left = self.current(mode, now);
        self.divide_config = value as u8 & 0b1011;
        if left != 0 {
            self.start(left, now);
        }
    }

    /// Going to or from TSC-deadline mode disarms the timer.
    pub fn change_mode(&mut self, from: Mode, to: Mode) {
        if (from == Mode::TscDeadline) != (to == Mode::TscDeadline) {
            self.initial = 0;
            self.tsc_deadline = 0;
            self.expiry = VirtualTime::NEVER;
        }
    }

    /// Writes IA32_TSC_DEADLINE. Without effect in the other modes; zero disarms; a deadline that
    /// has passed expires now.
    pub fn write_tsc_deadline(&mut self, deadline: u64, mode: Mode, now: VirtualTime) {
        if mode == Mode::TscDeadline {
            self.tsc_deadline = deadline;
            self.aim(now);
        }
    }

    /// Changes what the time-stamp counter shows; an armed deadline comes sooner or later.
    pub fn set_tsc_offset(&mut self, offset: u64, now: VirtualTime) {
        self.tsc_offset = offset;
        if self.tsc_deadline != 0 {
            self.aim(now);
        }
    }

    fn aim(&mut self, now: VirtualTime) {
        let tsc = now.as_ns().wrapping_add(self.tsc_offset);
        self.expiry = match self.tsc_deadline {
            0 => VirtualTime::NEVER,
            deadline if deadline <= tsc => now,
            deadline => VirtualTime::from_ns(now.as_ns().saturating_add(deadline - tsc)),
        };
    }

    /// Whether the timer expired at `now` or before; it is then ready for the next time.
    pub fn expire(&mut self, mode: Mode, now: VirtualTime) -> bool {
        if self.expiry > now || self.expiry == VirtualTime::NEVER {
            return false;
        }
        self.tsc_deadline = 0;
        let period = u64::from(self.initial) * self.units_per_count();
        self.expiry = if mode == Mode::Periodic && period != 0 {
            let late = now.units() - self.expiry.units();
            VirtualTime::from_units(now.units().saturating_add(period - late % period))
        } else {
            VirtualTime::NEVER
        };
        true
    }
}
