//! The HPET: three timers on a 64-bit counter of 100 MHz, memory-mapped at FED0_0000h.
//!
//! In legacy replacement mode timer 0 takes the PIT's interrupt line and timer 1 the RTC's. The
//! HPET then drives lines 0 and 8, and the board cuts the PIT and the RTC off from them:
//! [`Hpet::legacy_replacement`] says when. There is no FSB (MSI) delivery.

mod chip;
#[cfg(test)]
mod tests;
mod timer;

use x86::VirtualTime;

use crate::bus::{IrqLine, MmioDevice, Timed, Width, Wires};
use crate::state::{RestoreError, Saved, within};
use chip::Chip;
pub use chip::{EVENT_TIMER_BLOCK_ID, PERIOD_FS, TIMER_COUNT};
use timer::Timer;

/// The registers' range in bytes.
pub const MMIO_LEN: u64 = 0x400;

/// The HPET and its interrupt lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hpet {
    chip: Chip,
    /// The lines driven high, a bit each.
    driven: u32,
}

impl Hpet {
    /// The timers as they are after reset: standing still.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether lines 0 and 8 belong to this device instead of the PIT and the RTC.
    pub fn legacy_replacement(&self) -> bool {
        self.chip.legacy_replacement()
    }

    fn drive(&mut self, lines: u32, wires: &mut dyn Wires) {
        let changed = lines ^ self.driven;
        self.driven = lines;
        for line in (0..32).filter(|line| changed & 1 << line != 0) {
            wires.set_irq(IrqLine(line), lines & 1 << line != 0);
        }
    }
}

impl MmioDevice for Hpet {
    fn mmio_read(&mut self, offset: u64, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u64 {
        self.advance(now, wires);
        // An access that crosses a register's end sees zeros there.
        self.chip.read(offset & !7) >> (8 * (offset & 7)) & width.mask()
    }

    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime, wires: &mut dyn Wires) {
        self.advance(now, wires);
        let shift = 8 * (offset & 7);
        self.chip.write(offset & !7, value << shift, width.mask() << shift, now);
        self.drive(self.chip.lines(), wires);
    }
}

impl Timed for Hpet {
    fn deadline(&self) -> VirtualTime {
        self.chip.deadline()
    }

    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        let edges = self.chip.advance(now);
        for timer in (0..TIMER_COUNT).filter(|timer| edges & 1 << timer != 0) {
            // Down and up. It stays up, since an 8259 asks for the line to hold until it is served.
            let line = 1 << self.chip.line(timer);
            self.drive(self.driven & !line, wires);
            self.chip.timers[timer].edge_high = true;
            self.drive(self.driven | line, wires);
        }
        self.drive(self.chip.lines(), wires);
    }
}

/// Saved state of a [`Hpet`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct HpetState {
    #[prost(uint32, tag = "1")]
    config: u32,
    #[prost(uint64, tag = "2")]
    base_count: u64,
    #[prost(uint64, tag = "3")]
    base_time: u64,
    #[prost(uint64, tag = "4")]
    count_seen: u64,
    #[prost(message, repeated, tag = "5")]
    timers: Vec<HpetTimerState>,
    #[prost(uint32, tag = "6")]
    driven: u32,
}

/// Saved state of one timer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HpetTimerState {
    #[prost(uint32, tag = "1")]
    config: u32,
    #[prost(uint64, tag = "2")]
    comparator: u64,
    #[prost(uint64, tag = "3")]
    period: u64,
    #[prost(bool, tag = "4")]
    status: bool,
    #[prost(bool, tag = "5")]
    edge_high: bool,
}

fn save_timer(timer: &Timer) -> HpetTimerState {
    let Timer { config, comparator, period, status, edge_high } = timer;
    HpetTimerState {
        config: *config as u32,
        comparator: *comparator,
        period: *period,
        status: *status,
        edge_high: *edge_high,
    }
}

fn restore_timer(state: &HpetTimerState) -> Result<Timer, RestoreError> {
    Ok(Timer {
        config: u64::from(within("hpet", "timer.config", state.config, timer::CONFIG_MASK)?),
        comparator: state.comparator,
        period: state.period,
        status: state.status,
        edge_high: state.edge_high,
    })
}

impl Saved for Hpet {
    type State = HpetState;

    fn save(&self) -> HpetState {
        let Self { chip, driven } = self;
        let Chip { config, base_count, base_time, count_seen, timers } = chip;
        HpetState {
            config: *config as u32,
            base_count: *base_count,
            base_time: base_time.units(),
            count_seen: *count_seen,
            timers: timers.iter().map(save_timer).collect(),
            driven: *driven,
        }
    }

    fn restore(&mut self, state: HpetState) -> Result<(), RestoreError> {
        let timers = state.timers.iter().map(restore_timer).collect::<Result<Vec<_>, _>>()?;
        let timers = timers.try_into().map_err(|timers: Vec<Timer>| RestoreError::Invalid {
            device: "hpet",
            field: "timers",
            value: timers.len() as u64,
        })?;
        let chip = Chip {
            config: u64::from(within("hpet", "config", state.config, 0x3)?),
            base_count: state.base_count,
            base_time: VirtualTime::from_units(state.base_time),
            count_seen: state.count_seen,
            timers,
        };
        *self = Hpet { chip, driven: state.driven };
        Ok(())
    }
}
