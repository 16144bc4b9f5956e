//! The messages that APICs send each other: from the I/O APIC, from an MSI, between processors.
//!
//! Source: Intel SDM volume 3A, sections 11.6 (IPIs) and 11.11 (message-signalled interrupts).

/// What a message does at its destination (the delivery mode field, three bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Its vector, at all destinations.
    Fixed,
    /// Its vector, at the one destination that is doing the least important work.
    LowestPriority,
    /// A system management interrupt; this machine has no SMM and ignores it.
    Smi,
    /// A non-maskable interrupt.
    Nmi,
    /// Processor reset to the wait-for-SIPI state.
    Init,
    /// Start-up at page `vector`.
    StartUp,
    /// An interrupt whose vector the 8259 gives.
    ExtInt,
}

impl DeliveryMode {
    /// Decodes the three bits; `None` for the reserved mode 3, which does nothing.
    pub const fn from_bits(bits: u32) -> Option<DeliveryMode> {
        Some(match bits & 7 {
            0 => DeliveryMode::Fixed,
            1 => DeliveryMode::LowestPriority,
            2 => DeliveryMode::Smi,
            4 => DeliveryMode::Nmi,
            5 => DeliveryMode::Init,
            6 => DeliveryMode::StartUp,
            7 => DeliveryMode::ExtInt,
            _ => return None,
        })
    }

    /// Whether the message carries an interrupt vector of its own.
    pub const fn has_vector(self) -> bool {
        matches!(self, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Everyone: all ones in the sender's destination field.
    All,
    /// The APIC with this ID.
    Physical(u32),
    /// The APICs whose logical ID matches, each by its own mode (flat, cluster, x2APIC).
    Logical(u32),
}

impl Destination {
    /// From the eight-bit field of an I/O APIC entry, an MSI or an xAPIC's ICR.
    pub const fn from_bits8(field: u8, logical: bool) -> Destination {
        match (field, logical) {
            (0xff, _) => Destination::All,
            (id, false) => Destination::Physical(id as u32),
            (id, true) => Destination::Logical(id as u32),
        }
    }

    /// From the 32-bit field of an x2APIC's ICR.
    pub const fn from_bits32(field: u32, logical: bool) -> Destination {
        match (field, logical) {
            (u32::MAX, _) => Destination::All,
            (id, false) => Destination::Physical(id),
            (id, true) => Destination::Logical(id),
        }
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicMessage {
    /// What it does.
    pub mode: DeliveryMode,
    /// The vector; for [`DeliveryMode::StartUp`] the page number. Without meaning in the other modes.
    pub vector: u8,
    /// Whom it is for.
    pub destination: Destination,
    /// Level-triggered: its end of interrupt is broadcast to the I/O APIC.
    pub level_triggered: bool,
}

impl ApicMessage {
    /// What a device's memory write to `address` (FEExxxxxh) of `data` asks for.
    ///
    /// `None` for a reserved delivery mode and for the de-assertion of a level, which
    /// message-signalled interrupts do not need.
    pub fn from_msi(address: u64, data: u32) -> Option<ApicMessage> {
        let level_triggered = data & 1 << 15 != 0;
        if level_triggered && data & 1 << 14 == 0 {
            return None;
        }
        Some(ApicMessage {
            mode: DeliveryMode::from_bits(data >> 8)?,
            vector: data as u8,
            destination: Destination::from_bits8((address >> 12) as u8, address & 1 << 2 != 0),
            level_triggered,
        })
    }
}
