//! The real-time clock and CMOS memory: ports 70h to 73h, IRQ 8.
//!
//! The clock starts at a configured time and runs on virtual time alone. Firmware's part (memory
//! sizes, equipment, checksum) is filled in at power-on.

mod calendar;
mod chip;
#[cfg(test)]
mod tests;

use x86::VirtualTime;

use crate::bus::{IrqLine, PortDevice, Timed, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved, within};
use chip::{BANK_LEN, Chip};

/// First of the ports: index and data of each bank.
pub const PORT_BASE: u16 = 0x70;
/// Number of ports.
pub const PORT_COUNT: u16 = 4;
/// The clock's interrupt line.
pub const IRQ: IrqLine = IrqLine(8);
/// FADT `CENTURY`: the CMOS byte that holds the century.
pub const CENTURY_INDEX: u8 = chip::reg::CENTURY as u8;
/// 1 January 2026, 00:00 UTC: what the clock shows at power-on unless told otherwise.
pub const DEFAULT_START_UNIX_SECONDS: u64 = 1_767_225_600;

/// What the clock and the CMOS memory hold at power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcConfig {
    /// The time at virtual time 0, in seconds since 1970 UTC.
    pub start_unix_seconds: u64,
    /// Where RAM below 4 GiB ends, in bytes.
    pub low_memory_bytes: u64,
    /// RAM above 4 GiB, in bytes.
    pub high_memory_bytes: u64,
}

impl Default for RtcConfig {
    fn default() -> Self {
        RtcConfig { start_unix_seconds: DEFAULT_START_UNIX_SECONDS, low_memory_bytes: 0, high_memory_bytes: 0 }
    }
}

/// The clock, its memory and its interrupt line. `offset` of port accesses counts from [`PORT_BASE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtc {
    chip: Chip,
    index: u8,
    extended_index: u8,
    nmi_masked: bool,
    irq_level: bool,
    /// The chip's deadline, kept because working it out takes a search.
    deadline: VirtualTime,
}

impl Rtc {
    /// The clock at power-on.
    pub fn new(config: RtcConfig) -> Self {
        // Up to the year 9999, which is what the bytes can hold.
        let mut chip = Chip::new(config.start_unix_seconds.min(253_402_300_799) as i64);
        fill_memory(&mut chip.memory, &config);
        Rtc { chip, index: 0, extended_index: 0, nmi_masked: false, irq_level: false, deadline: VirtualTime::NEVER }
    }

    /// Whether bit 7 of port 70h keeps NMIs from the CPU.
    pub fn nmi_masked(&self) -> bool {
        self.nmi_masked
    }

    /// The shutdown byte 0Fh: what firmware looks at after a reset.
    pub fn shutdown_byte(&self) -> u8 {
        self.chip.memory[0x0f]
    }

    /// The machine is reset. The battery keeps time and memory; interrupts are switched off.
    pub fn reset(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        self.chip.reset();
        self.nmi_masked = false;
        self.settle(wires);
    }

    fn read_port(&mut self, port: u16) -> u8 {
        match port {
            1 => self.chip.read(self.index),
            3 => self.chip.read(self.extended_index + BANK_LEN as u8),
            _ => 0xff, // the index registers are write-only
        }
    }

    fn write_port(&mut self, port: u16, value: u8, now: VirtualTime) {
        match port {
            0 => {
                self.index = value & 0x7f;
                self.nmi_masked = value & 0x80 != 0;
            }
            1 => self.chip.write(self.index, value, now),
            2 => self.extended_index = value & 0x7f,
            3 => self.chip.write(self.extended_index + BANK_LEN as u8, value, now),
            _ => {}
        }
    }

    fn settle(&mut self, wires: &mut dyn Wires) {
        self.deadline = self.chip.deadline();
        let level = self.chip.interrupt();
        if level != self.irq_level {
            self.irq_level = level;
            wires.set_irq(IRQ, level);
        }
    }
}

/// Fills in what firmware would have left.
fn fill_memory(memory: &mut [u8], config: &RtcConfig) {
    let mut word = |index: usize, value: u64| {
        let bytes = (value.min(0xffff) as u16).to_le_bytes();
        memory[index..index + 2].copy_from_slice(&bytes);
    };
    let extended_kib = (config.low_memory_bytes >> 10).saturating_sub(1 << 10);
    word(0x15, 640);
    word(0x17, extended_kib);
    word(0x30, extended_kib);
    word(0x34, config.low_memory_bytes.saturating_sub(16 << 20) >> 16);
    memory[0x5b..0x5e].copy_from_slice(&(config.high_memory_bytes >> 16).to_le_bytes()[..3]);
    memory[0x14] = 0x06; // equipment: an FPU and a PS/2 mouse
    let sum: u16 = memory[0x10..0x2e].iter().map(|&byte| u16::from(byte)).sum();
    memory[0x2e..0x30].copy_from_slice(&sum.to_be_bytes());
}

impl PortDevice for Rtc {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.chip.advance(now);
        let value = read_bytewise(width, offset, |port| self.read_port(port));
        self.settle(wires);
        value
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        write_bytewise(width, offset, value, |port, byte| self.write_port(port, byte, now));
        self.settle(wires);
    }
}

impl Timed for Rtc {
    fn deadline(&self) -> VirtualTime {
        self.deadline
    }

    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires) {
        self.chip.advance(now);
        self.settle(wires);
    }
}

/// Saved state of an [`Rtc`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RtcState {
    #[prost(bytes = "vec", tag = "1")]
    memory: Vec<u8>,
    #[prost(uint64, tag = "2")]
    chain_base: u64,
    #[prost(uint64, tag = "3")]
    chain_start: u64,
    #[prost(uint64, tag = "4")]
    ticks_seen: u64,
    #[prost(uint32, tag = "5")]
    index: u32,
    #[prost(uint32, tag = "6")]
    extended_index: u32,
    #[prost(bool, tag = "7")]
    nmi_masked: bool,
    #[prost(bool, tag = "8")]
    irq_level: bool,
}

impl Saved for Rtc {
    type State = RtcState;

    fn save(&self) -> RtcState {
        // The deadline follows from the rest.
        let Self { chip, index, extended_index, nmi_masked, irq_level, deadline: _ } = self;
        let Chip { memory, chain_base, chain_start, ticks_seen } = chip;
        RtcState {
            memory: memory.to_vec(),
            chain_base: chain_base.units(),
            chain_start: *chain_start,
            ticks_seen: *ticks_seen,
            index: u32::from(*index),
            extended_index: u32::from(*extended_index),
            nmi_masked: *nmi_masked,
            irq_level: *irq_level,
        }
    }

    fn restore(&mut self, state: RtcState) -> Result<(), RestoreError> {
        let invalid = |field, value| RestoreError::Invalid { device: "rtc", field, value };
        let length = state.memory.len() as u64;
        let memory = state.memory.try_into().map_err(|_| invalid("memory", length))?;
        if state.chain_start > chip::CRYSTAL_HZ {
            return Err(invalid("chain_start", state.chain_start));
        }
        // More ticks than virtual time has room for would overflow the arithmetic on them.
        if state.ticks_seen < state.chain_start || state.ticks_seen > u64::MAX >> 20 {
            return Err(invalid("ticks_seen", state.ticks_seen));
        }
        let chip = Chip {
            memory,
            chain_base: VirtualTime::from_units(state.chain_base),
            chain_start: state.chain_start,
            ticks_seen: state.ticks_seen,
        };
        *self = Rtc {
            index: within("rtc", "index", state.index, 0x7f)? as u8,
            extended_index: within("rtc", "extended_index", state.extended_index, 0x7f)? as u8,
            nmi_masked: state.nmi_masked,
            irq_level: state.irq_level,
            deadline: chip.deadline(),
            chip,
        };
        Ok(())
    }
}
