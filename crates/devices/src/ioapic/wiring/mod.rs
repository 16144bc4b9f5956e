//! The I/O APIC's memory-mapped window: an index register at 00h, the data of the register that it
//! selects at 10h, and the EOI register at 40h.

use super::chip::{Chip, Deliver, INPUTS};
use crate::{RestoreError, Saved, Width};

const INDEX: u64 = 0x00;
const DATA: u64 = 0x10;
const EOI: u64 = 0x40;

const REG_ID: u8 = 0x00;
const REG_VERSION: u8 = 0x01;
const REG_ARBITRATION: u8 = 0x02;
const REG_ENTRIES: u8 = 0x10;
const REG_ENTRIES_END: u8 = REG_ENTRIES + 2 * INPUTS;

/// Version 20h (it has an EOI register), and the number of the last entry.
const VERSION: u32 = 0x20 | (INPUTS as u32 - 1) << 16;

/// The I/O APIC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoApic {
    chip: Chip,
    /// The four-bit ID.
    id: u8,
    /// The register that the data window shows.
    index: u8,
}

impl IoApic {
    /// Where the window is in guest-physical memory.
    pub const BASE: u64 = 0xfec0_0000;
    /// The length of the window in bytes.
    pub const LEN_BYTES: u64 = 0x1000;

    /// An I/O APIC at power-on: everything masked.
    pub fn new() -> Self {
        IoApic::default()
    }

    /// Asserts or de-asserts input `input` (less than [`INPUTS`]).
    pub fn set_line(&mut self, input: u8, level: bool, deliver: Deliver<'_>) {
        assert!(input < INPUTS, "an I/O APIC input");
        self.chip.set_line(input, level, deliver);
    }

    /// An end-of-interrupt message from a local APIC.
    pub fn end_of_interrupt(&mut self, vector: u8, deliver: Deliver<'_>) {
        self.chip.end_of_interrupt(vector, deliver);
    }

    /// Sends level-triggered interrupts again that nobody accepted before.
    pub fn retry(&mut self, deliver: Deliver<'_>) {
        self.chip.retry(deliver);
    }

    /// Whether an unmasked entry sends NMIs or INITs, which no processor can hold off.
    pub fn sends_unmaskable(&self) -> bool {
        self.chip.sends_unmaskable()
    }

    /// Reads the window. Only the exact register addresses answer; all else reads as zero.
    pub fn mmio_read(&self, offset: u64, width: Width) -> u64 {
        let value = match offset {
            INDEX => self.index.into(),
            DATA => self.read_register(),
            _ => 0,
        };
        u64::from(value) & width.mask()
    }

    /// Writes the window. A narrow write is taken as a whole one with zeros above.
    pub fn mmio_write(&mut self, offset: u64, value: u64, deliver: Deliver<'_>) {
        match offset {
            INDEX => self.index = value as u8,
            DATA => self.write_register(value as u32, deliver),
            EOI => self.chip.end_of_interrupt(value as u8, deliver),
            _ => {}
        }
    }

    fn read_register(&self) -> u32 {
        match self.index {
            REG_ID | REG_ARBITRATION => u32::from(self.id) << 24,
            REG_VERSION => VERSION,
            REG_ENTRIES..REG_ENTRIES_END => {
                let entry = self.chip.entries[usize::from((self.index - REG_ENTRIES) / 2)];
                (entry >> (32 * (self.index & 1))) as u32
            }
            _ => 0,
        }
    }

    fn write_register(&mut self, value: u32, deliver: Deliver<'_>) {
        match self.index {
            REG_ID => self.id = (value >> 24) as u8 & 0x0f,
            REG_ENTRIES..REG_ENTRIES_END => {
                let input = (self.index - REG_ENTRIES) / 2;
                self.chip.write_entry(input, self.index & 1 != 0, value, deliver);
            }
            _ => {}
        }
    }
}

/// Saved state of the I/O APIC.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IoApicState {
    /// The level of each input, one bit each.
    #[prost(uint32, tag = "1")]
    pub lines: u32,
    /// The redirection entries.
    #[prost(fixed64, repeated, tag = "2")]
    pub entries: Vec<u64>,
    /// The four-bit ID.
    #[prost(uint32, tag = "3")]
    pub id: u32,
    /// The index register.
    #[prost(uint32, tag = "4")]
    pub index: u32,
}

impl Saved for IoApic {
    type State = IoApicState;

    fn save(&self) -> IoApicState {
        let Self { chip: Chip { lines, entries }, id, index } = self;
        IoApicState { lines: *lines, entries: entries.to_vec(), id: (*id).into(), index: (*index).into() }
    }

    fn restore(&mut self, state: IoApicState) -> Result<(), RestoreError> {
        let IoApicState { lines, entries, id, index } = state;
        let invalid = |field, value| RestoreError::Invalid { device: "ioapic", field, value };
        if lines >> INPUTS != 0 {
            return Err(invalid("lines", lines.into()));
        }
        if let Some(&entry) = entries.iter().find(|&&entry| !Chip::is_possible(entry)) {
            return Err(invalid("entries", entry));
        }
        let count = entries.len() as u64;
        let entries = entries.try_into().map_err(|_| invalid("entries (count)", count))?;
        let id = u8::try_from(id).ok().filter(|&id| id < 16).ok_or(invalid("id", id.into()))?;
        let index = u8::try_from(index).map_err(|_| invalid("index", index.into()))?;
        *self = IoApic { chip: Chip { lines, entries }, id, index };
        Ok(())
    }
}
