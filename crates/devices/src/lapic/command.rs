//! The interrupt command register: what software sends to other processors; and the end of
//! interrupt, which may concern the I/O APIC.

use super::chip::{Chip, Local, bit};
use super::delivery::error;
use crate::fabric::{ApicMessage, DeliveryMode, Destination};

/// What a register write asks of the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send an interrupt.
    Send(Ipi),
    /// Tell the I/O APIC that the level-triggered interrupt with this vector has ended.
    EndOfInterrupt(u8),
    /// The APIC now accepts interrupts that it refused before.
    Listening,
}

/// An interrupt from one processor to others, or to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// What is sent. Its destination counts only for [`Recipients::Addressed`].
    pub message: ApicMessage,
    /// Who gets it.
    pub recipients: Recipients,
}

/// The destination shorthand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Those that the destination field says.
    Addressed,
    /// The sender.
    Oneself,
    /// Everyone, the sender too.
    Everyone,
    /// Everyone but the sender.
    Others,
}

/// Bits of the command register that software writes; delivery status always reads as idle.
pub(super) const WRITABLE: u32 = 0x000c_cfff;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;

impl Chip {
    /// Does what the low half of the command register says.
    pub(super) fn send_command(&mut self) -> Effect {
        let low = self.command as u32;
        let logical = low & 1 << 11 != 0;
        let destination = if self.is_x2apic() {
            Destination::from_bits32((self.command >> 32) as u32, logical)
        } else {
            Destination::from_bits8((self.command >> 56) as u8, logical)
        };
        let recipients = match low >> 18 & 3 {
            0 => Recipients::Addressed,
            1 => Recipients::Oneself,
            2 => Recipients::Everyone,
            _ => Recipients::Others,
        };
        match DeliveryMode::from_bits(low >> 8) {
            // These are not for software to send.
            None | Some(DeliveryMode::ExtInt) => Effect::None,
            // INIT level de-assert set arbitration IDs on old buses; no processor takes note any more.
            Some(DeliveryMode::Init) if low & LEVEL != 0 && low & ASSERT == 0 => Effect::None,
            Some(mode) => self.send(mode, low as u8, destination, recipients),
        }
    }

    /// The SELF IPI register of x2APIC mode.
    pub(super) fn send_to_self(&mut self, vector: u8) -> Effect {
        self.send(DeliveryMode::Fixed, vector, Destination::All, Recipients::Oneself)
    }

    /// Trigger mode and level of the other modes are without meaning: they are sent as edges.
    fn send(&mut self, mode: DeliveryMode, vector: u8, destination: Destination, recipients: Recipients) -> Effect {
        if mode.has_vector() && vector < 16 {
            self.report(error::SEND_ILLEGAL_VECTOR);
            return Effect::None;
        }
        Effect::Send(Ipi { message: ApicMessage { mode, vector, destination, level_triggered: false }, recipients })
    }

    /// The end of the interrupt that is being served.
    pub(super) fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else { return Effect::None };
        self.in_service.remove(vector);
        let lint0 = &mut self.locals[Local::Lint0 as usize];
        if *lint0 & bit::LVT_REMOTE_IRR != 0 && *lint0 as u8 == vector {
            *lint0 &= !bit::LVT_REMOTE_IRR;
            self.service_lint0();
        }
        if self.level_triggered.contains(vector) { Effect::EndOfInterrupt(vector) } else { Effect::None }
    }
}
