//! The MC146818: divider chain, time, alarm, periodic and update-ended flags, and its RAM
//! (Motorola MC146818A data sheet; Intel ICH9 data sheet, section 13.6, for the PC's additions).
//!
//! Nothing ticks. The chip knows when its divider chain started; whenever it is looked at, it
//! works out what has happened since, and its deadline is the next thing that would interrupt.

use x86::VirtualTime;

use super::calendar::{Format, TimeBytes};

/// The crystal.
pub(super) const CRYSTAL_HZ: u64 = 32_768;
/// Update in progress is shown this long before the time changes: 244 us of warning and 1984 us
/// for the update itself, in ticks of the crystal.
const UPDATE_WINDOW_TICKS: u64 = 73;
/// Bytes in each of the two banks.
pub(super) const BANK_LEN: usize = 128;

pub(super) mod reg {
    pub const SECOND: usize = 0x00;
    pub const SECOND_ALARM: usize = 0x01;
    pub const MINUTE: usize = 0x02;
    pub const MINUTE_ALARM: usize = 0x03;
    pub const HOUR: usize = 0x04;
    pub const HOUR_ALARM: usize = 0x05;
    pub const WEEKDAY: usize = 0x06;
    pub const DAY: usize = 0x07;
    pub const MONTH: usize = 0x08;
    pub const YEAR: usize = 0x09;
    pub const A: usize = 0x0a;
    pub const B: usize = 0x0b;
    pub const C: usize = 0x0c;
    pub const D: usize = 0x0d;
    pub const CENTURY: usize = 0x32;
}

mod a {
    pub const UPDATE_IN_PROGRESS: u8 = 0x80;
    pub const RATE: u8 = 0x0f;
}

mod b {
    pub const SET: u8 = 0x80;
    pub const UPDATE_INTERRUPT: u8 = 0x10;
    pub const SQUARE_WAVE: u8 = 0x08;
    pub const BINARY: u8 = 0x04;
    pub const HOURS_24: u8 = 0x02;
}

/// The flags of register C; register B has the enables in the same places.
mod flag {
    pub const REQUEST: u8 = 0x80;
    pub const PERIODIC: u8 = 0x40;
    pub const ALARM: u8 = 0x20;
    pub const UPDATE: u8 = 0x10;
    pub const ALL: u8 = PERIODIC | ALARM | UPDATE;
}

/// Registers and RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Both banks. Register A is held without UIP, C without the request bit.
    pub(super) memory: [u8; 2 * BANK_LEN],
    /// When the divider chain was last started, and the tick that it started from.
    pub(super) chain_base: VirtualTime,
    pub(super) chain_start: u64,
    /// The tick up to which everything has been done.
    pub(super) ticks_seen: u64,
}

impl Chip {
    /// A chip whose clock shows `unix_seconds` at power-on, in BCD and 24 hours.
    pub fn new(unix_seconds: i64) -> Self {
        let mut chip = Chip { memory: [0; 2 * BANK_LEN], chain_base: VirtualTime::ZERO, chain_start: 0, ticks_seen: 0 };
        chip.memory[reg::A] = 0x26;
        chip.memory[reg::B] = b::HOURS_24;
        chip.memory[reg::D] = 0x80;
        chip.set_time(&chip.format().time_bytes(unix_seconds));
        chip
    }

    /// Reads byte `index` of both banks; reading register C clears it. [`Self::advance`] comes first.
    pub fn read(&mut self, index: u8) -> u8 {
        let index = usize::from(index);
        match index {
            reg::A => self.memory[reg::A] | if self.updating() { a::UPDATE_IN_PROGRESS } else { 0 },
            reg::C => {
                let request = if self.interrupt() { flag::REQUEST } else { 0 };
                request | std::mem::take(&mut self.memory[reg::C])
            }
            _ => self.memory[index],
        }
    }

    /// Writes byte `index` of both banks. [`Self::advance`] comes first.
    pub fn write(&mut self, index: u8, value: u8, now: VirtualTime) {
        let index = usize::from(index);
        match index {
            reg::A => self.write_a(value, now),
            reg::B => self.write_b(value),
            reg::C | reg::D => {} // read-only
            _ => self.memory[index] = value,
        }
    }

    /// Whether the interrupt pin is asserted.
    pub fn interrupt(&self) -> bool {
        self.memory[reg::B] & self.memory[reg::C] & flag::ALL != 0
    }

    /// The reset pin: no interrupt is enabled or pending. Time and memory stay.
    pub fn reset(&mut self) {
        self.memory[reg::B] &= !(flag::ALL | b::SQUARE_WAVE);
        self.memory[reg::C] = 0;
    }

    /// Does everything that the divider chain has caused by `now`.
    pub fn advance(&mut self, now: VirtualTime) {
        let ticks = self.ticks(now);
        let seconds = ticks / CRYSTAL_HZ - self.ticks_seen / CRYSTAL_HZ;
        if let Some(period) = self.period()
            && ticks / period != self.ticks_seen / period
        {
            self.memory[reg::C] |= flag::PERIODIC;
        }
        self.ticks_seen = ticks;
        if seconds == 0 || self.memory[reg::B] & b::SET != 0 {
            return;
        }
        if self.seconds_to_alarm().is_some_and(|alarm| alarm <= seconds) {
            self.memory[reg::C] |= flag::ALARM;
        }
        self.memory[reg::C] |= flag::UPDATE;
        self.set_time(&self.format().later(&self.time(), seconds));
    }

    /// When the interrupt pin may next rise.
    pub fn deadline(&self) -> VirtualTime {
        if !self.running() {
            return VirtualTime::NEVER;
        }
        // A flag that is already up cannot rise again.
        let waits_for = |flag| self.memory[reg::B] & !self.memory[reg::C] & flag != 0;
        let mut next = u64::MAX;
        if let Some(period) = self.period()
            && waits_for(flag::PERIODIC)
        {
            next = (self.ticks_seen / period + 1) * period;
        }
        let second = self.ticks_seen / CRYSTAL_HZ;
        if self.memory[reg::B] & b::SET == 0 {
            if waits_for(flag::UPDATE) {
                next = next.min((second + 1) * CRYSTAL_HZ);
            }
            if waits_for(flag::ALARM)
                && let Some(seconds) = self.seconds_to_alarm()
            {
                next = next.min((second + seconds) * CRYSTAL_HZ);
            }
        }
        if next == u64::MAX {
            return VirtualTime::NEVER;
        }
        let from_base = VirtualTime::at_tick(next - self.chain_start, CRYSTAL_HZ);
        VirtualTime::from_units(self.chain_base.units().saturating_add(from_base.units()))
    }

    /// Whether the divider chain runs: register A, DV. 11x holds it in reset; 000 and 001 are for
    /// other crystals, with which a PC would still keep some time.
    fn running(&self) -> bool {
        self.memory[reg::A] & 0x70 <= 0x20
    }

    /// Ticks of the divider chain; it stands still while it is held in reset.
    fn ticks(&self, now: VirtualTime) -> u64 {
        if !self.running() {
            return self.ticks_seen;
        }
        let since = VirtualTime::from_units(now.units().saturating_sub(self.chain_base.units()));
        // Ticks never run backwards, whatever a saved state said.
        (self.chain_start + since.ticks(CRYSTAL_HZ)).max(self.ticks_seen)
    }

    fn updating(&self) -> bool {
        let to_update = CRYSTAL_HZ - self.ticks_seen % CRYSTAL_HZ;
        self.running() && self.memory[reg::B] & b::SET == 0 && to_update <= UPDATE_WINDOW_TICKS
    }

    /// Ticks between two periodic flags (data sheet, table 5).
    fn period(&self) -> Option<u64> {
        match self.memory[reg::A] & a::RATE {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn format(&self) -> Format {
        let b = self.memory[reg::B];
        Format { binary: b & b::BINARY != 0, hours_24: b & b::HOURS_24 != 0 }
    }

    fn time(&self) -> TimeBytes {
        TimeBytes {
            second: self.memory[reg::SECOND],
            minute: self.memory[reg::MINUTE],
            hour: self.memory[reg::HOUR],
            weekday: self.memory[reg::WEEKDAY],
            day: self.memory[reg::DAY],
            month: self.memory[reg::MONTH],
            year: self.memory[reg::YEAR],
            century: self.memory[reg::CENTURY],
        }
    }

    fn set_time(&mut self, time: &TimeBytes) {
        let TimeBytes { second, minute, hour, weekday, day, month, year, century } = *time;
        self.memory[reg::SECOND] = second;
        self.memory[reg::MINUTE] = minute;
        self.memory[reg::HOUR] = hour;
        self.memory[reg::WEEKDAY] = weekday;
        self.memory[reg::DAY] = day;
        self.memory[reg::MONTH] = month;
        self.memory[reg::YEAR] = year;
        self.memory[reg::CENTURY] = century;
    }

    fn write_a(&mut self, value: u8, now: VirtualTime) {
        let was_running = self.running();
        self.memory[reg::A] = value & 0x7f;
        if self.running() && !was_running {
            // Out of reset, the first update comes half a second later.
            self.chain_base = now;
            self.chain_start = CRYSTAL_HZ / 2;
            self.ticks_seen = self.chain_start;
        }
    }

    fn write_b(&mut self, value: u8) {
        let before = (self.format(), self.time());
        // Setting SET ends the update cycles' interrupts.
        let cleared = if value & b::SET != 0 { b::UPDATE_INTERRUPT } else { 0 };
        self.memory[reg::B] = value & !cleared;
        // The data sheet wants the time set again after a change of format. Kernels switch and read
        // on; the time is rewritten for them.
        let (format, time) = before;
        if value & b::SET == 0 && format != self.format() {
            let weekday = self.format().encode(format.later(&time, 0).weekday);
            let bytes = self.format().time_bytes(format.unix_seconds(&time));
            self.set_time(&TimeBytes { weekday, ..bytes });
        }
    }

    /// Seconds from now to the next update after which the alarm bytes match; none if they never do.
    fn seconds_to_alarm(&self) -> Option<u64> {
        let format = self.format();
        let matches = |register: usize, byte: u8| {
            let alarm = self.memory[register];
            alarm & 0xc0 == 0xc0 || alarm == byte
        };
        let now = format.unix_seconds(&self.time()).rem_euclid(86_400) as u64;
        let (hour, minute, second) = (now / 3600, now / 60 % 60, now % 60);
        for hours in 0..=24 {
            let h = (hour + hours) % 24;
            if !matches(reg::HOUR_ALARM, format.encode_hour(h as u8)) {
                continue;
            }
            for m in if hours == 0 { minute } else { 0 }..60 {
                if !matches(reg::MINUTE_ALARM, format.encode(m as u8)) {
                    continue;
                }
                let first = if hours == 0 && m == minute { second + 1 } else { 0 };
                let found = (first..60).find(|&s| matches(reg::SECOND_ALARM, format.encode(s as u8)));
                if let Some(s) = found {
                    return Some((hour + hours) * 3600 + m * 60 + s - now);
                }
            }
        }
        None
    }
}
