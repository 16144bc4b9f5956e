//! The register file: one number for each register, which is its offset in the memory window
//! divided by 16 and its MSR number less 800h.

use x86::VirtualTime;

use super::chip::{Chip, LOCALS, Local, bit};
use super::command::{self, Effect};

/// Register numbers (SDM table 11-6).
#[allow(missing_docs)]
pub mod reg {
    pub const ID: u8 = 0x02;
    pub const VERSION: u8 = 0x03;
    pub const TPR: u8 = 0x08;
    pub const APR: u8 = 0x09;
    pub const PPR: u8 = 0x0a;
    pub const EOI: u8 = 0x0b;
    pub const REMOTE_READ: u8 = 0x0c;
    pub const LDR: u8 = 0x0d;
    pub const DFR: u8 = 0x0e;
    pub const SVR: u8 = 0x0f;
    pub const ISR: u8 = 0x10;
    pub const ISR_END: u8 = 0x17;
    pub const TMR: u8 = 0x18;
    pub const TMR_END: u8 = 0x1f;
    pub const IRR: u8 = 0x20;
    pub const IRR_END: u8 = 0x27;
    pub const ESR: u8 = 0x28;
    pub const ICR_LOW: u8 = 0x30;
    pub const ICR_HIGH: u8 = 0x31;
    pub const LVT_TIMER: u8 = 0x32;
    pub const LVT_ERROR: u8 = 0x37;
    pub const INITIAL_COUNT: u8 = 0x38;
    pub const CURRENT_COUNT: u8 = 0x39;
    pub const DIVIDE: u8 = 0x3e;
    pub const SELF_IPI: u8 = 0x3f;
}

/// Version 14h, the number of the last local vector, no suppression of EOI broadcasts.
const VERSION: u32 = 0x14 | (LOCALS as u32 - 1) << 16;

/// Bits of the spurious vector register that software writes. Bit 9 (focus checking) has no effect.
pub(super) const SVR_WRITABLE: u32 = 0x3ff;
/// Bits of the divide configuration register.
pub(super) const DIVIDE_WRITABLE: u32 = 0b1011;

/// Bits of each local vector that software writes: vector, delivery mode, polarity, trigger
/// mode, mask, timer mode.
pub(super) const LVT_WRITABLE: [u32; LOCALS] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

impl Chip {
    /// Reads a register; `None` if there is none with this number. Write-only ones read as zero.
    pub(super) fn read_register(&self, number: u8, now: VirtualTime) -> Option<u32> {
        let word = |first: u8| usize::from(number - first);
        Some(match number {
            reg::ID if self.is_x2apic() => self.initial_id,
            reg::ID => u32::from(self.id) << 24,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::APR => self.arbitration_priority().into(),
            reg::PPR => self.processor_priority().into(),
            reg::EOI | reg::REMOTE_READ => 0,
            reg::LDR if self.is_x2apic() => self.x2apic_logical_id(),
            reg::LDR => u32::from(self.logical_id) << 24,
            reg::DFR => u32::from(self.model) << 28 | 0x0fff_ffff,
            reg::SVR => self.spurious,
            reg::ISR..=reg::ISR_END => self.in_service.0[word(reg::ISR)],
            reg::TMR..=reg::TMR_END => self.level_triggered.0[word(reg::TMR)],
            reg::IRR..=reg::IRR_END => self.requests.0[word(reg::IRR)],
            reg::ESR => self.error_status.into(),
            reg::ICR_LOW => self.command as u32,
            reg::ICR_HIGH => (self.command >> 32) as u32,
            reg::LVT_TIMER..=reg::LVT_ERROR => self.locals[word(reg::LVT_TIMER)],
            reg::INITIAL_COUNT => self.timer.initial,
            reg::CURRENT_COUNT => self.timer.current(self.timer_mode(), now),
            reg::DIVIDE => self.timer.divide_config.into(),
            _ => return None,
        })
    }

    /// Writes a register of the memory window; `None` if there is none with this number. Reserved
    /// bits and read-only registers stay as they are.
    pub(super) fn write_register(&mut self, number: u8, value: u32, now: VirtualTime) -> Option<Effect> {
        match number {
            reg::ID => self.id = (value >> 24) as u8,
            reg::TPR => self.tpr = value as u8,
            reg::EOI => return Some(self.end_of_interrupt()),
            reg::LDR => self.logical_id = (value >> 24) as u8,
            reg::DFR => self.model = (value >> 28) as u8,
            reg::SVR => return Some(self.write_spurious(value)),
            reg::ESR => {
                self.error_status = self.errors;
                self.errors = 0;
            }
            reg::ICR_LOW => {
                self.command = self.command & !0xffff_ffff | u64::from(value & command::WRITABLE);
                return Some(self.send_command());
            }
            reg::ICR_HIGH => self.command = self.command & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32,
            reg::LVT_TIMER..=reg::LVT_ERROR => self.write_local(usize::from(number - reg::LVT_TIMER), value),
            reg::INITIAL_COUNT => self.timer.write_initial(value, self.timer_mode(), now),
            reg::DIVIDE => self.timer.write_divide(value, self.timer_mode(), now),
            reg::VERSION | reg::APR | reg::PPR | reg::REMOTE_READ | reg::CURRENT_COUNT => {}
            reg::ISR..=reg::IRR_END => {}
            _ => return None,
        }
        Some(Effect::None)
    }

    /// Disabling by software masks all local vectors.
    fn write_spurious(&mut self, value: u32) -> Effect {
        let was_listening = self.is_listening();
        self.spurious = value & SVR_WRITABLE;
        if !self.is_listening() {
            for entry in &mut self.locals {
                *entry |= bit::LVT_MASKED;
            }
        }
        if self.is_listening() && !was_listening { Effect::Listening } else { Effect::None }
    }

    /// While the APIC is disabled by software, local vectors stay masked.
    fn write_local(&mut self, index: usize, value: u32) {
        let old = self.locals[index];
        let forced = if self.is_listening() { 0 } else { bit::LVT_MASKED };
        let mut new = value & LVT_WRITABLE[index] | forced | old & bit::LVT_REMOTE_IRR;
        if new & bit::LVT_LEVEL == 0 {
            new &= !bit::LVT_REMOTE_IRR;
        }
        let old_mode = self.timer_mode();
        self.locals[index] = new;
        if index == Local::Timer as usize {
            self.timer.change_mode(old_mode, self.timer_mode());
        } else if index == Local::Lint0 as usize {
            self.service_lint0();
        }
    }
}
