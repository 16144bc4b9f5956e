//! The main counter and the register map of the HPET (IA-PC HPET 1.0a, section 2.3).

use x86::VirtualTime;
use x86::units::UNITS_PER_NS;

use super::timer::Timer;

/// Number of timers.
pub const TIMER_COUNT: usize = 3;
/// Femtoseconds of one count: 100 MHz.
pub const PERIOD_FS: u32 = 10_000_000;

/// One count in units of virtual time.
const UNITS_PER_COUNT: u64 = UNITS_PER_NS * (PERIOD_FS as u64 / 1_000_000);
/// What the low half of the capabilities register says: Intel, legacy replacement, 64-bit
/// counter, three timers, revision 1. ACPI's HPET table repeats it.
pub const EVENT_TIMER_BLOCK_ID: u32 = 0x8086_0000 | 1 << 15 | 1 << 13 | ((TIMER_COUNT as u32 - 1) << 8) | 1;
/// The I/O APIC inputs that each timer can have, as in Intel's ICH9: none that an ISA device uses,
/// apart from 11.
pub(super) const ROUTES: [u32; TIMER_COUNT] = [0x00f0_0000, 0x00f0_0000, 0x00f0_0800];

pub(super) mod general {
    pub const ENABLE: u64 = 1 << 0;
    pub const LEGACY: u64 = 1 << 1;
}

/// Counter and timers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    /// General configuration.
    pub(super) config: u64,
    /// The counter at `base_time`; its value as long as it stands still.
    pub(super) base_count: u64,
    pub(super) base_time: VirtualTime,
    /// The count up to which the timers have been dealt with.
    pub(super) count_seen: u64,
    pub(super) timers: [Timer; TIMER_COUNT],
}

impl Chip {
    /// The register at `offset`, a multiple of 8. [`Self::advance`] comes first.
    pub fn read(&self, offset: u64) -> u64 {
        match offset {
            0x000 => u64::from(PERIOD_FS) << 32 | u64::from(EVENT_TIMER_BLOCK_ID),
            0x010 => self.config,
            0x020 => (0..TIMER_COUNT).fold(0, |bits, i| bits | u64::from(self.timers[i].status) << i),
            0x0f0 => self.count_seen,
            _ => match timer_register(offset) {
                Some((i, 0x00)) => self.timers[i].config_register(ROUTES[i]),
                Some((i, 0x08)) => self.timers[i].comparator,
                _ => 0, // reserved; no FSB delivery
            },
        }
    }

    /// Writes `value` to the bits `written` of the register at `offset`, a multiple of 8.
    /// [`Self::advance`] comes first.
    pub fn write(&mut self, offset: u64, value: u64, written: u64, now: VirtualTime) {
        let merged = self.read(offset) & !written | value & written;
        match offset {
            0x010 => self.write_config(merged, now),
            0x020 => {
                for (i, timer) in self.timers.iter_mut().enumerate() {
                    if value & written & 1 << i != 0 {
                        timer.status = false;
                    }
                }
            }
            0x0f0 => self.set_base(merged, now),
            _ => match timer_register(offset) {
                Some((i, 0x00)) => self.timers[i].write_config(merged, ROUTES[i]),
                Some((i, 0x08)) => self.timers[i].write_comparator(value, written),
                _ => {}
            },
        }
    }

    /// Lets the counter come to `now`. Bit i of the result: timer i sends an edge.
    #[must_use]
    pub fn advance(&mut self, now: VirtualTime) -> u32 {
        if !self.enabled() {
            return 0;
        }
        let elapsed_units = now.units().saturating_sub(self.base_time.units());
        let count = self.base_count.wrapping_add(elapsed_units / UNITS_PER_COUNT);
        let elapsed = count.wrapping_sub(self.count_seen);
        let from = self.count_seen;
        self.count_seen = count;
        let timers = self.timers.iter_mut().enumerate();
        timers.fold(0, |edges, (i, timer)| edges | u32::from(timer.count(from, elapsed)) << i)
    }

    /// When a timer next does something that is seen outside.
    pub fn deadline(&self) -> VirtualTime {
        if !self.enabled() {
            return VirtualTime::NEVER;
        }
        let next = self.timers.iter().filter_map(|timer| timer.next_event(self.count_seen)).min();
        let Some(distance) = next else { return VirtualTime::NEVER };
        let counts = u128::from(self.count_seen.wrapping_sub(self.base_count)) + u128::from(distance);
        let units = u128::from(self.base_time.units()) + counts * u128::from(UNITS_PER_COUNT);
        u64::try_from(units).map_or(VirtualTime::NEVER, VirtualTime::from_units)
    }

    /// Whether timers 0 and 1 stand in for the PIT and the RTC on their interrupt lines.
    pub fn legacy_replacement(&self) -> bool {
        self.config & general::LEGACY != 0
    }

    /// The interrupt line of a timer.
    pub fn line(&self, timer: usize) -> u8 {
        match timer {
            0 if self.legacy_replacement() => 0,
            1 if self.legacy_replacement() => 8,
            _ => self.timers[timer].route(),
        }
    }

    /// The lines that are high, a bit each.
    pub fn lines(&self) -> u32 {
        if !self.enabled() {
            return 0;
        }
        let asserted = (0..TIMER_COUNT).filter(|&i| self.timers[i].asserted());
        asserted.fold(0, |lines, i| lines | 1 << self.line(i))
    }

    fn enabled(&self) -> bool {
        self.config & general::ENABLE != 0
    }

    fn set_base(&mut self, count: u64, now: VirtualTime) {
        self.base_count = count;
        self.base_time = now;
        self.count_seen = count;
    }

    fn write_config(&mut self, value: u64, now: VirtualTime) {
        let was_enabled = self.enabled();
        self.config = value & (general::ENABLE | general::LEGACY);
        if self.enabled() && !was_enabled {
            // It goes on from where it stood.
            self.set_base(self.count_seen, now);
        }
        if !self.enabled() {
            self.timers.iter_mut().for_each(|timer| timer.edge_high = false);
        }
    }
}

/// Which timer, and which of its registers, is at an offset.
fn timer_register(offset: u64) -> Option<(usize, u64)> {
    let relative = offset.checked_sub(0x100)?;
    let timer = (relative / 0x20) as usize;
    (timer < TIMER_COUNT).then_some((timer, relative % 0x20))
}
