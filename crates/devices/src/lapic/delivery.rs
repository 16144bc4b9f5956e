//! How interrupts get into a local APIC: messages, its own inputs, its own errors.

use super::chip::{Chip, Local, bit};
use super::signals::CpuSignal;
use crate::fabric::{ApicMessage, DeliveryMode, Destination};

/// Bits of the error status register (SDM 11.5.3).
pub mod error {
    /// Software asked to send a vector below 16.
    pub const SEND_ILLEGAL_VECTOR: u8 = 1 << 5;
    /// A vector below 16 was received, from a message or a local vector.
    pub const RECEIVE_ILLEGAL_VECTOR: u8 = 1 << 6;
    /// Software accessed a register that does not exist (xAPIC only).
    pub const ILLEGAL_REGISTER: u8 = 1 << 7;
}

impl Chip {
    /// Whether a message to `destination` is for this APIC (SDM 11.6.2).
    pub fn is_addressed(&self, destination: Destination) -> bool {
        self.is_enabled()
            && match destination {
                Destination::All => true,
                Destination::Physical(id) if self.is_x2apic() => id == self.initial_id,
                Destination::Physical(id) => id == u32::from(self.id),
                Destination::Logical(field) => self.is_logically(field),
            }
    }

    fn is_logically(&self, field: u32) -> bool {
        if self.is_x2apic() {
            let id = self.x2apic_logical_id();
            return id >> 16 == field >> 16 && id & field & 0xffff != 0;
        }
        let Ok(field) = u8::try_from(field) else { return false };
        let common = field & self.logical_id;
        match self.model {
            0xf => common != 0,
            0x0 => field >> 4 == self.logical_id >> 4 && common & 0xf != 0,
            _ => false,
        }
    }

    /// The logical ID of x2APIC mode, which follows from the ID (SDM 11.12.10.2).
    pub(super) fn x2apic_logical_id(&self) -> u32 {
        (self.initial_id >> 4) << 16 | 1 << (self.initial_id & 0xf)
    }

    /// Takes a message that is for this APIC; says whether it was accepted.
    ///
    /// An APIC that software disabled still takes NMI, INIT and start-up.
    pub fn receive(&mut self, message: ApicMessage) -> bool {
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                return self.is_listening() && self.accept(message.vector, message.level_triggered);
            }
            DeliveryMode::ExtInt => {
                self.ext_int |= self.is_listening();
                return self.is_listening();
            }
            DeliveryMode::Nmi => self.signals.add(CpuSignal::Nmi),
            DeliveryMode::Init => {
                self.reset();
                self.signals.add(CpuSignal::Init);
            }
            DeliveryMode::StartUp => self.signals.add(CpuSignal::Sipi(message.vector)),
            // There is no system management mode here.
            DeliveryMode::Smi => {}
        }
        true
    }

    /// Makes `vector` wait for the processor. A vector below 16 is an error, and taken so.
    pub(super) fn accept(&mut self, vector: u8, level_triggered: bool) -> bool {
        if vector < 16 {
            self.report(error::RECEIVE_ILLEGAL_VECTOR);
            return true;
        }
        self.requests.insert(vector);
        if level_triggered {
            self.level_triggered.insert(vector);
        } else {
            self.level_triggered.remove(vector);
        }
        true
    }

    /// Notes errors; each new kind interrupts through the error vector.
    pub(super) fn report(&mut self, error: u8) {
        if self.errors & error == 0 {
            self.errors |= error;
            self.raise(Local::Error);
        }
    }

    /// Delivers the interrupt of a local vector table entry, if it is not masked.
    pub(super) fn raise(&mut self, local: Local) {
        let entry = self.local(local);
        if entry & bit::LVT_MASKED != 0 {
            return;
        }
        // Timer and error have no delivery mode field; it reads as zero, fixed.
        match DeliveryMode::from_bits(entry >> 8) {
            Some(DeliveryMode::Fixed) => {
                self.accept(entry as u8, false);
            }
            Some(DeliveryMode::Nmi) => self.signals.add(CpuSignal::Nmi),
            Some(DeliveryMode::Init) => {
                self.reset();
                self.signals.add(CpuSignal::Init);
            }
            // ExtINT is a level, see `wants_ext_int`. The other modes do not exist here.
            _ => {}
        }
    }

    /// Drives LINT0.
    pub fn set_lint0(&mut self, level: bool) {
        let rises = level && !self.lint0;
        self.lint0 = level;
        if self.lint0_is_level() {
            self.service_lint0();
        } else if rises {
            self.raise(Local::Lint0);
        }
    }

    /// Drives LINT1. Without an APIC it is the processor's NMI pin.
    pub fn set_lint1(&mut self, level: bool) {
        let rises = level && !self.lint1;
        self.lint1 = level;
        if rises && !self.is_enabled() {
            self.signals.add(CpuSignal::Nmi);
        } else if rises {
            self.raise(Local::Lint1);
        }
    }

    /// Whether LINT0 is an ordinary level-triggered interrupt; only the fixed mode can be one.
    fn lint0_is_level(&self) -> bool {
        let entry = self.local(Local::Lint0);
        entry & bit::LVT_LEVEL != 0 && DeliveryMode::from_bits(entry >> 8) == Some(DeliveryMode::Fixed)
    }

    /// Accepts a level-triggered LINT0 that is asserted and not yet being served.
    pub(super) fn service_lint0(&mut self) {
        let entry = self.local(Local::Lint0);
        let open = entry & (bit::LVT_MASKED | bit::LVT_REMOTE_IRR) == 0;
        if self.lint0_is_level() && open && self.lint0 && self.is_listening() {
            self.locals[Local::Lint0 as usize] |= bit::LVT_REMOTE_IRR;
            self.accept(entry as u8, true);
        }
    }

    /// Whether the processor has an interrupt whose vector the 8259s give: by message, through LINT0
    /// (virtual wire), or directly from the pin when there is no APIC.
    pub fn wants_ext_int(&self) -> bool {
        if !self.is_enabled() {
            return self.lint0;
        }
        let entry = self.local(Local::Lint0);
        let wire = entry & bit::LVT_MASKED == 0 && DeliveryMode::from_bits(entry >> 8) == Some(DeliveryMode::ExtInt);
        self.ext_int || wire && self.lint0
    }

    /// Whether LINT0 is set up as an NMI.
    pub fn lint0_is_nmi(&self) -> bool {
        let entry = self.local(Local::Lint0);
        let mode = DeliveryMode::from_bits(entry >> 8);
        self.is_enabled() && entry & bit::LVT_MASKED == 0 && mode == Some(DeliveryMode::Nmi)
    }

    /// The processor acknowledged the interrupt of [`Self::wants_ext_int`].
    pub fn acknowledge_ext_int(&mut self) {
        self.ext_int = false;
    }
}
