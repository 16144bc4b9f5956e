//! One timer of the HPET: its comparator against the main counter (IA-PC HPET 1.0a, section 2.3.8).

mod config {
    pub const LEVEL: u64 = 1 << 1;
    pub const INTERRUPT: u64 = 1 << 2;
    pub const PERIODIC: u64 = 1 << 3;
    pub const PERIODIC_CAP: u64 = 1 << 4;
    pub const SIZE_64_CAP: u64 = 1 << 5;
    pub const VALUE_SET: u64 = 1 << 6;
    pub const MODE_32: u64 = 1 << 8;
    pub const ROUTE_SHIFT: u64 = 9;
    pub const ROUTE: u64 = 0x1f << ROUTE_SHIFT;
    pub const WRITABLE: u64 = LEVEL | INTERRUPT | PERIODIC | VALUE_SET | MODE_32 | ROUTE;
}

/// The bits of a saved configuration that can be set.
pub(super) const CONFIG_MASK: u32 = config::WRITABLE as u32;

/// Comparator, configuration and what the interrupt logic remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub config: u64,
    pub comparator: u64,
    pub period: u64,
    /// The bit in the general interrupt status: level-triggered and fired.
    pub status: bool,
    /// Edge-triggered and fired: the line stays high until shortly before the next edge.
    pub edge_high: bool,
}

impl Default for Timer {
    fn default() -> Self {
        Timer { config: 0, comparator: u64::MAX, period: 0, status: false, edge_high: false }
    }
}

impl Timer {
    /// The configuration register; `routes` are the I/O APIC inputs that the timer can have.
    pub fn config_register(&self, routes: u32) -> u64 {
        self.config | config::PERIODIC_CAP | config::SIZE_64_CAP | u64::from(routes) << 32
    }

    /// Writes the configuration register. A route that does not exist leaves the old one.
    pub fn write_config(&mut self, value: u64, routes: u32) {
        let mut new = value & config::WRITABLE;
        if routes >> ((new & config::ROUTE) >> config::ROUTE_SHIFT) & 1 == 0 {
            new = new & !config::ROUTE | self.config & config::ROUTE;
        }
        self.config = new;
        if self.level_triggered() {
            self.edge_high = false;
        } else {
            self.status = false;
        }
        if !self.interrupt_enabled() {
            self.edge_high = false;
        }
        if self.is_32_bit() {
            self.comparator &= self.mask();
            self.period &= self.mask();
        }
    }

    /// Writes the comparator: `value` where `written` has ones.
    ///
    /// A periodic timer takes the last value written as its period; the comparator itself (the
    /// accumulator) only takes it while VAL_SET is on, which then goes off.
    pub fn write_comparator(&mut self, value: u64, written: u64) {
        let merge = |old: u64| old & !written | value & written;
        let mask = self.mask();
        if !self.periodic() || self.config & config::VALUE_SET != 0 {
            self.comparator = merge(self.comparator) & mask;
        }
        if self.periodic() {
            self.period = merge(self.period) & mask;
        }
        self.config &= !config::VALUE_SET;
    }

    /// The counter goes from `from` on by `elapsed`. Returns whether an edge is due on the line.
    pub fn count(&mut self, from: u64, elapsed: u64) -> bool {
        let Some(distance) = self.distance(from).filter(|&distance| distance <= elapsed) else {
            return false;
        };
        if self.periodic() && self.period != 0 {
            let periods = (elapsed - distance) / self.period + 1;
            self.comparator = self.comparator.wrapping_add(self.period.wrapping_mul(periods)) & self.mask();
        }
        if self.level_triggered() {
            self.status = true;
        }
        !self.level_triggered() && self.interrupt_enabled()
    }

    /// How many counts after `from` the timer does something that is seen outside.
    pub fn next_event(&self, from: u64) -> Option<u64> {
        let seen = self.interrupt_enabled() && !(self.level_triggered() && self.status);
        self.distance(from).filter(|_| seen)
    }

    /// Whether this timer holds its line high.
    pub fn asserted(&self) -> bool {
        self.interrupt_enabled() && (self.status || self.edge_high)
    }

    /// The I/O APIC input chosen.
    pub fn route(&self) -> u8 {
        ((self.config & config::ROUTE) >> config::ROUTE_SHIFT) as u8
    }

    /// Counts from `from` to the next match, at least 1; none if that is a whole turn of 64 bits.
    fn distance(&self, from: u64) -> Option<u64> {
        let mask = self.mask();
        match self.comparator.wrapping_sub(from) & mask {
            0 => mask.checked_add(1),
            distance => Some(distance),
        }
    }

    fn mask(&self) -> u64 {
        if self.is_32_bit() { u64::from(u32::MAX) } else { u64::MAX }
    }

    fn is_32_bit(&self) -> bool {
        self.config & config::MODE_32 != 0
    }

    fn periodic(&self) -> bool {
        self.config & config::PERIODIC != 0
    }

    fn level_triggered(&self) -> bool {
        self.config & config::LEVEL != 0
    }

    fn interrupt_enabled(&self) -> bool {
        self.config & config::INTERRUPT != 0
    }
}
