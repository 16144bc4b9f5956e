//! One channel of an 8254. Time is the number of its clocks since power-on.

use super::counting::{Mode, high_half};

/// Which bytes of the counter are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Access {
    /// The low byte; the high byte is zero.
    Low = 1,
    /// The high byte; the low byte is zero.
    High = 2,
    /// The low byte, then the high byte.
    Both = 3,
}

/// What the counter is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Not counting: it waits for a count or a trigger, and shows this value.
    Held(u16),
    /// Counting since it was loaded at this clock.
    Running(u64),
    /// Stopped by the gate, this many clocks after it was loaded.
    Paused(u64),
}

/// A count that waits for the end of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The clock at which it will be loaded.
    pub at: u64,
    /// It is loaded in the middle of a square wave, where the low half begins.
    pub low_half: bool,
}

/// A latched count: what is still to be read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latch {
    /// The counter when it was latched.
    pub value: u16,
    /// The low byte has been read.
    pub low_done: bool,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The mode.
    pub mode: Mode,
    /// It counts in decimal.
    pub bcd: bool,
    /// How the counter is accessed.
    pub access: Access,
    /// The gate input.
    pub gate: bool,
    /// The count register: what was written last, if anything since the control word.
    pub written: Option<u16>,
    /// The first byte of a count of which the second is still to come.
    pub first_byte: Option<u8>,
    /// The next read of the running counter gives its high byte.
    pub read_high: bool,
    /// The latched count.
    pub latch: Option<Latch>,
    /// The latched status.
    pub status: Option<u8>,
    /// What was last loaded into the counter; it counts clocks, so it is at least 1.
    pub count: u64,
    /// The counter.
    pub element: Element,
    /// The count register waits to be loaded.
    pub load: Option<Load>,
    /// The counter was loaded from the count register since that was written.
    pub loaded: bool,
}

impl Channel {
    /// A channel at power-on with its gate high or low; it does not count yet.
    pub fn new(gate: bool) -> Self {
        Channel {
            mode: Mode::SquareWave,
            bcd: false,
            access: Access::Both,
            gate,
            written: None,
            first_byte: None,
            read_high: false,
            latch: None,
            status: None,
            count: 1,
            element: Element::Held(0),
            load: None,
            loaded: false,
        }
    }

    fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    /// The number of clocks that a count register value stands for. Zero is the largest; digits
    /// above 9 of a decimal count carry over.
    fn clocks(&self, written: u16) -> u64 {
        let value = if self.bcd {
            (0..4).rev().fold(0, |sum, digit| sum * 10 + u64::from(written >> (4 * digit) & 0xf))
        } else {
            written.into()
        };
        match value % self.modulus() {
            0 => self.modulus(),
            clocks => clocks,
        }
    }

    /// Loads the counter if that is due at `clock`. Everything below expects this to have been done.
    pub fn settle(&mut self, clock: u64) {
        if let Some(Load { at, low_half }) = self.load.filter(|load| load.at <= clock) {
            self.load_counter(at, low_half);
        }
    }

    /// Loads the counter, which counts from clock `at` on.
    fn load_counter(&mut self, at: u64, low_half: bool) {
        self.load = None;
        let Some(written) = self.written else { return };
        self.loaded = true;
        self.count = self.clocks(written);
        let skipped = if low_half { high_half(self.count) } else { 0 };
        let stopped = !self.gate && !self.mode.is_triggered();
        self.element = if stopped { Element::Paused(skipped) } else { Element::Running(at.wrapping_sub(skipped)) };
    }

    /// Loads the counter at the next clock. It shows its new value and output at once: on a PC, the
    /// next access to a port comes later than the next clock, and programs rely on that.
    fn load_next(&mut self, clock: u64) {
        self.load_counter(clock + 1, false);
    }

    fn elapsed(&self, clock: u64) -> Option<u64> {
        match self.element {
            Element::Held(_) => None,
            Element::Running(start) => Some(clocks_since(start, clock)),
            Element::Paused(elapsed) => Some(elapsed),
        }
    }

    /// The output at `clock`. A low gate holds the output of periodic modes high.
    pub fn output(&self, clock: u64) -> bool {
        match self.elapsed(clock) {
            None => self.mode.initial_output(),
            Some(_) if self.mode.is_periodic() && !self.gate => true,
            Some(elapsed) => self.mode.output(self.count, elapsed),
        }
    }

    /// The clock of the next change of the output, as far as it follows from what is loaded.
    pub fn next_change(&self, clock: u64) -> Option<u64> {
        let Element::Running(start) = self.element else { return None };
        let change = self.mode.next_change(self.count, clocks_since(start, clock))?;
        Some(start.wrapping_add(change))
    }

    /// The counter as software reads it.
    fn counter(&self, clock: u64) -> u16 {
        let Some(elapsed) = self.elapsed(clock) else {
            let Element::Held(value) = self.element else { return 0 };
            return value;
        };
        let value = self.mode.counter(self.count, elapsed, self.modulus());
        if !self.bcd {
            return value as u16;
        }
        (0..4).map(|digit| (value / 10_u64.pow(digit) % 10) << (4 * digit)).sum::<u64>() as u16
    }

    /// A control word for this channel: `access`, mode and BCD as in its low six bits.
    pub fn write_control(&mut self, word: u8, access: Access, clock: u64) {
        let value = self.counter(clock);
        *self = Channel {
            mode: Mode::from_bits(word >> 1),
            bcd: word & 1 != 0,
            access,
            element: Element::Held(value),
            count: self.count,
            ..Channel::new(self.gate)
        };
    }

    /// Latches the counter, unless a latched one is still to be read.
    pub fn latch_count(&mut self, clock: u64) {
        let value = self.counter(clock);
        self.latch.get_or_insert(Latch { value, low_done: false });
    }

    /// Latches the status, unless a latched one is still to be read.
    pub fn latch_status(&mut self, clock: u64) {
        let (output, null) = (u8::from(self.output(clock)), u8::from(!self.loaded));
        let status = output << 7 | null << 6 | (self.access as u8) << 4 | (self.mode as u8) << 1 | u8::from(self.bcd);
        self.status.get_or_insert(status);
    }

    /// Reads the channel's port: latched status, latched count, or the running counter.
    pub fn read(&mut self, clock: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let (value, high) = match self.latch {
            Some(Latch { value, low_done }) => (value, low_done),
            None => (self.counter(clock), self.read_high),
        };
        let [low_byte, high_byte] = value.to_le_bytes();
        let first_of_two = self.access == Access::Both && !high;
        match &mut self.latch {
            Some(latch) if first_of_two => latch.low_done = true,
            Some(_) => self.latch = None,
            None => self.read_high = first_of_two,
        }
        if self.access == Access::High || self.access == Access::Both && high { high_byte } else { low_byte }
    }

    /// Writes the channel's port: a count, in one byte or two.
    pub fn write(&mut self, byte: u8, clock: u64) {
        if self.mode == Mode::TerminalCount {
            // Any write stops this mode and takes its output low.
            self.element = Element::Held(self.counter(clock));
            self.load = None;
        }
        match (self.access, self.first_byte.take()) {
            (Access::Low, _) => self.write_count(byte.into(), clock),
            (Access::High, _) => self.write_count(u16::from(byte) << 8, clock),
            (Access::Both, None) => self.first_byte = Some(byte),
            (Access::Both, Some(low)) => self.write_count(u16::from_le_bytes([low, byte]), clock),
        }
    }

    /// A new count: loaded at the next clock; in a periodic mode that runs, at the end of the
    /// cycle; in a triggered mode, at the next trigger.
    fn write_count(&mut self, value: u16, clock: u64) {
        self.written = Some(value);
        self.loaded = false;
        if self.mode.is_triggered() {
            return;
        }
        match self.element {
            Element::Running(start) if self.mode.is_periodic() => {
                let end = self.mode.cycle_end(self.count, clocks_since(start, clock));
                let low_half = self.mode == Mode::SquareWave && !end.is_multiple_of(self.count);
                self.load = Some(Load { at: start.wrapping_add(end), low_half });
            }
            _ => self.load_next(clock),
        }
    }

    /// Drives the gate. Its rise starts the count again in periodic and triggered modes; while it is
    /// low, all modes but the triggered ones stand still.
    pub fn set_gate(&mut self, gate: bool, clock: u64) {
        let (rises, falls) = (gate && !self.gate, !gate && self.gate);
        self.gate = gate;
        let restarts = self.mode.is_triggered() || self.mode.is_periodic();
        match self.element {
            _ if rises && restarts => self.load_next(clock),
            Element::Paused(elapsed) if rises => self.element = Element::Running(clock.wrapping_sub(elapsed)),
            Element::Running(start) if falls && !self.mode.is_triggered() => {
                self.element = Element::Paused(clocks_since(start, clock));
                self.load = None;
            }
            _ => {}
        }
    }
}

/// The clocks from `start` to `clock`; none before it. A start long ago may lie before power-on.
fn clocks_since(start: u64, clock: u64) -> u64 {
    (clock.wrapping_sub(start) as i64).max(0) as u64
}
