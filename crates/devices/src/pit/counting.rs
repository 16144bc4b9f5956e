//! The six modes as functions of the clocks since the counter was loaded.

/// What a channel does (the mode field of its control word; 6 and 7 are 2 and 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Low until the count ends, then high.
    TerminalCount = 0,
    /// Low for the count after each rise of the gate.
    OneShot = 1,
    /// Low for the last clock of each count.
    Rate = 2,
    /// High for one half of each count, low for the other.
    SquareWave = 3,
    /// Low for one clock at the end of the count.
    SoftwareStrobe = 4,
    /// The same, counted from each rise of the gate.
    HardwareStrobe = 5,
}

impl Mode {
    /// From the three bits of the control word.
    pub fn from_bits(bits: u8) -> Mode {
        match bits & 7 {
            0 => Mode::TerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::Rate,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }

    /// Counts again and again.
    pub fn is_periodic(self) -> bool {
        matches!(self, Mode::Rate | Mode::SquareWave)
    }

    /// A rise of the gate starts the count; its level does not matter.
    pub fn is_triggered(self) -> bool {
        matches!(self, Mode::OneShot | Mode::HardwareStrobe)
    }

    /// The output before the counter is loaded.
    pub fn initial_output(self) -> bool {
        self != Mode::TerminalCount
    }

    /// The output `elapsed` clocks after the counter was loaded with `count`.
    pub fn output(self, count: u64, elapsed: u64) -> bool {
        match self {
            Mode::TerminalCount | Mode::OneShot => elapsed >= count,
            Mode::Rate => elapsed % count != count - 1,
            Mode::SquareWave => elapsed % count < high_half(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != count,
        }
    }

    /// The counter `elapsed` clocks after it was loaded with `count`, of a counter that wraps at `modulus`.
    pub fn counter(self, count: u64, elapsed: u64, modulus: u64) -> u64 {
        let value = match self {
            Mode::Rate => count - elapsed % count,
            Mode::SquareWave => {
                // It counts by twos, from an even number, once in each half.
                let within = elapsed % count;
                let half = high_half(count);
                (count & !1) - 2 * if within < half { within } else { within - half }
            }
            _ => (modulus + count % modulus) - elapsed % modulus,
        };
        value % modulus
    }

    /// The next number of elapsed clocks after `elapsed` at which the output changes.
    pub fn next_change(self, count: u64, elapsed: u64) -> Option<u64> {
        let within = elapsed % count;
        let period = elapsed - within;
        match self {
            Mode::TerminalCount | Mode::OneShot => (elapsed < count).then_some(count),
            Mode::Rate | Mode::SquareWave if count < 2 => None,
            Mode::Rate if within < count - 1 => Some(period.wrapping_add(count - 1)),
            Mode::SquareWave if within < high_half(count) => Some(period.wrapping_add(high_half(count))),
            Mode::Rate | Mode::SquareWave => Some(period.wrapping_add(count)),
            Mode::SoftwareStrobe | Mode::HardwareStrobe if elapsed < count => Some(count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => (elapsed == count).then_some(count + 1),
        }
    }

    /// The end of the part of the cycle in which a new count waits: a period, or half of a square wave.
    pub fn cycle_end(self, count: u64, elapsed: u64) -> u64 {
        let within = elapsed % count;
        let half = high_half(count);
        let end = if self == Mode::SquareWave && within < half { half } else { count };
        (elapsed - within).wrapping_add(end)
    }
}

/// The clocks of the high half of a square wave.
pub fn high_half(count: u64) -> u64 {
    count.div_ceil(2)
}
