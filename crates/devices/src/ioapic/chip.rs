//! The redirection entries: which message an input sends, and when.
//!
//! An input is asserted or not; which voltage that is does not exist here, so the polarity
//! bit is kept and has no effect. Messages arrive at once, so the delivery status is always idle.

use crate::fabric::{ApicMessage, DeliveryMode, Destination};

/// The number of inputs.
pub const INPUTS: u8 = 24;

/// The bits of an entry that software writes: all but delivery status and remote IRR.
const WRITABLE: u64 = 0xff00_0000_0001_afff;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL_TRIGGERED: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;

/// Where messages go; says whether somebody accepted.
pub type Deliver<'a> = &'a mut dyn FnMut(ApicMessage) -> bool;

/// The inputs and their entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// The level of each input, one bit each.
    pub lines: u32,
    /// The entries as software reads them.
    pub entries: [u64; INPUTS as usize],
}

impl Default for Chip {
    fn default() -> Self {
        Chip { lines: 0, entries: [MASKED; INPUTS as usize] }
    }
}

/// What an unmasked entry asks for; `None` for the reserved mode and for modes that only IPIs have.
fn message(entry: u64) -> Option<ApicMessage> {
    let mode = DeliveryMode::from_bits((entry >> 8) as u32)?;
    if mode == DeliveryMode::StartUp {
        return None;
    }
    Some(ApicMessage {
        mode,
        vector: entry as u8,
        destination: Destination::from_bits8((entry >> 56) as u8, entry & 1 << 11 != 0),
        level_triggered: is_level(entry),
    })
}

/// SMI, NMI, INIT and ExtINT are edges even if the entry says level (ICH9, section 13.5.6).
fn is_level(entry: u64) -> bool {
    let with_vector = DeliveryMode::from_bits((entry >> 8) as u32).is_some_and(DeliveryMode::has_vector);
    entry & LEVEL_TRIGGERED != 0 && with_vector
}

impl Chip {
    /// Asserts or de-asserts `input`, which is less than [`INPUTS`].
    ///
    /// An edge on a masked input is lost, as the data sheet says.
    pub fn set_line(&mut self, input: u8, level: bool, deliver: Deliver<'_>) {
        let bit = 1 << input;
        let rises = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        let entry = self.entries[usize::from(input)];
        if is_level(entry) {
            self.service_level(input, deliver);
        } else if rises && entry & MASKED == 0 {
            let _accepted_or_lost = message(entry).is_some_and(deliver);
        }
    }

    /// Sends the message of a level-triggered input that is asserted and not yet in service.
    fn service_level(&mut self, input: u8, deliver: Deliver<'_>) {
        let entry = &mut self.entries[usize::from(input)];
        let wants = is_level(*entry) && *entry & (MASKED | REMOTE_IRR) == 0 && self.lines & 1 << input != 0;
        if wants && message(*entry).is_some_and(deliver) {
            *entry |= REMOTE_IRR;
        }
    }

    /// Writes the low (`high` = false) or high half of an entry.
    ///
    /// Making an entry edge-triggered clears its remote IRR; Linux ends a stuck interrupt so.
    pub fn write_entry(&mut self, input: u8, high: bool, value: u32, deliver: Deliver<'_>) {
        let (shift, half) = if high { (32, 0xffff_ffff_0000_0000) } else { (0, 0xffff_ffff) };
        let changed = WRITABLE & half;
        let entry = &mut self.entries[usize::from(input)];
        *entry = *entry & !changed | u64::from(value) << shift & changed;
        if *entry & LEVEL_TRIGGERED == 0 {
            *entry &= !REMOTE_IRR;
        }
        self.service_level(input, deliver);
    }

    /// An end of interrupt for `vector`: its level-triggered inputs may ask again.
    pub fn end_of_interrupt(&mut self, vector: u8, deliver: Deliver<'_>) {
        for input in 0..INPUTS {
            let entry = &mut self.entries[usize::from(input)];
            if *entry as u8 == vector && *entry & REMOTE_IRR != 0 {
                *entry &= !REMOTE_IRR;
                self.service_level(input, deliver);
            }
        }
    }

    /// Sends again what nobody accepted: called when a local APIC begins to listen.
    pub fn retry(&mut self, deliver: Deliver<'_>) {
        for input in 0..INPUTS {
            self.service_level(input, deliver);
        }
    }

    /// Whether an unmasked entry sends NMIs or INITs, which no processor can hold off.
    pub fn sends_unmaskable(&self) -> bool {
        let unmaskable = |entry: u64| {
            let mode = DeliveryMode::from_bits((entry >> 8) as u32);
            entry & MASKED == 0 && matches!(mode, Some(DeliveryMode::Nmi | DeliveryMode::Init))
        };
        self.entries.iter().any(|&entry| unmaskable(entry))
    }

    /// Whether `entries` could be a chip's: only bits that exist.
    pub fn is_possible(entry: u64) -> bool {
        entry & !(WRITABLE | REMOTE_IRR) == 0
    }
}
