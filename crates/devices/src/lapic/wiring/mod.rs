//! How software reaches a local APIC: the memory window (xAPIC), the MSRs (x2APIC,
//! IA32_APIC_BASE, IA32_TSC_DEADLINE) and CR8; and its saved state.

mod state;

use x86::VirtualTime;
use x86::memory::paging::PHYS_MASK;

use super::chip::{Chip, bit};
use super::command::{self, Effect};
use super::delivery::error;
use super::registers::{DIVIDE_WRITABLE, LVT_WRITABLE, SVR_WRITABLE, reg};
use crate::Width;

pub use state::LocalApicState;

/// An access to an MSR that does not exist, cannot be accessed so, or not with this value: #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpFault;

/// IA32_APIC_BASE.
const MSR_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// The first MSR of the x2APIC registers; the last is 8FFh.
const MSR_X2APIC: u32 = 0x800;

/// Bits of IA32_APIC_BASE that are not reserved.
const BASE_VALID: u64 = (PHYS_MASK & !0xfff) | bit::BASE_BSP | bit::BASE_X2APIC | bit::BASE_ENABLED;

/// Bits of a local vector that are read-only, so that writing them is no fault in x2APIC mode.
const LVT_READ_ONLY: u32 = 1 << 12 | bit::LVT_REMOTE_IRR;
/// Reserved bits in the low half of the command register of x2APIC mode.
const ICR_RESERVED: u64 = 0xfff3_2000;

/// A local APIC with its ways of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApic {
    /// The APIC itself.
    pub chip: Chip,
}

impl LocalApic {
    /// Where the memory window is after reset.
    pub const DEFAULT_BASE: u64 = 0xfee0_0000;
    /// The length of the window in bytes.
    pub const LEN_BYTES: u64 = 0x1000;

    /// The local APIC of processor `id` (also its APIC ID) at power-on.
    pub fn new(id: u8) -> Self {
        LocalApic { chip: Chip::new(id) }
    }

    /// Where the processor finds the memory window; `None` if it has none in the present mode.
    pub fn mmio_base(&self) -> Option<u64> {
        let visible = self.chip.is_enabled() && !self.chip.is_x2apic();
        visible.then_some(self.chip.base & PHYS_MASK & !0xfff)
    }

    /// Reads the memory window. Registers are the first four bytes of each sixteen; the rest reads as zero.
    pub fn mmio_read(&mut self, offset: u64, width: Width, now: VirtualTime) -> u64 {
        self.chip.advance(now);
        let within = offset & 0xf;
        if within >= 4 {
            return 0;
        }
        match self.chip.read_register((offset >> 4) as u8, now) {
            Some(value) => u64::from(value) >> (8 * within) & width.mask(),
            None => {
                self.chip.report(error::ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// Writes the memory window. Only aligned accesses of 32 bits or more are writes, of the low 32 bits.
    pub fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime) -> Effect {
        self.chip.advance(now);
        if offset & 0xf != 0 || width < Width::Dword {
            return Effect::None;
        }
        self.chip.write_register((offset >> 4) as u8, value as u32, now).unwrap_or_else(|| {
            self.chip.report(error::ILLEGAL_REGISTER);
            Effect::None
        })
    }

    /// Whether [`Self::msr_read`] and [`Self::msr_write`] are responsible for `msr`.
    pub fn has_msr(msr: u32) -> bool {
        matches!(msr, MSR_APIC_BASE | MSR_TSC_DEADLINE | MSR_X2APIC..=0x8ff)
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`GpFault`] where the processor raises #GP.
    pub fn msr_read(&mut self, msr: u32, now: VirtualTime) -> Result<u64, GpFault> {
        self.chip.advance(now);
        match msr {
            MSR_APIC_BASE => Ok(self.chip.base),
            MSR_TSC_DEADLINE => Ok(self.chip.timer.tsc_deadline),
            _ => self.x2apic_read(self.x2apic_register(msr)?, now),
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// [`GpFault`] where the processor raises #GP.
    pub fn msr_write(&mut self, msr: u32, value: u64, now: VirtualTime) -> Result<Effect, GpFault> {
        self.chip.advance(now);
        match msr {
            MSR_APIC_BASE => self.write_base(value)?,
            MSR_TSC_DEADLINE => {
                let mode = self.chip.timer_mode();
                self.chip.timer.write_tsc_deadline(value, mode, now);
                self.chip.advance(now);
            }
            _ => return self.x2apic_write(self.x2apic_register(msr)?, value, now),
        }
        Ok(Effect::None)
    }

    /// The register behind an MSR; there are none outside x2APIC mode.
    fn x2apic_register(&self, msr: u32) -> Result<u8, GpFault> {
        let number = msr.wrapping_sub(MSR_X2APIC);
        if self.chip.is_x2apic() { u8::try_from(number).map_err(|_| GpFault) } else { Err(GpFault) }
    }

    fn x2apic_read(&self, number: u8, now: VirtualTime) -> Result<u64, GpFault> {
        match number {
            reg::EOI | reg::APR | reg::REMOTE_READ | reg::DFR | reg::ICR_HIGH => Err(GpFault),
            reg::ICR_LOW => Ok(self.chip.command),
            _ => self.chip.read_register(number, now).map(u64::from).ok_or(GpFault),
        }
    }

    /// Unlike the memory window, this faults on reserved bits and on registers that cannot be written.
    fn x2apic_write(&mut self, number: u8, value: u64, now: VirtualTime) -> Result<Effect, GpFault> {
        if number == reg::ICR_LOW {
            if value & ICR_RESERVED != 0 {
                return Err(GpFault);
            }
            self.chip.command = value & !0xffff_ffff | u64::from(value as u32 & command::WRITABLE);
            return Ok(self.chip.send_command());
        }
        let valid = match number {
            reg::TPR | reg::SELF_IPI => 0xff,
            reg::EOI | reg::ESR => 0,
            reg::SVR => SVR_WRITABLE,
            reg::LVT_TIMER..=reg::LVT_ERROR => LVT_WRITABLE[usize::from(number - reg::LVT_TIMER)] | LVT_READ_ONLY,
            reg::INITIAL_COUNT => u32::MAX,
            reg::DIVIDE => DIVIDE_WRITABLE,
            _ => return Err(GpFault),
        };
        if value & !u64::from(valid) != 0 {
            return Err(GpFault);
        }
        if number == reg::SELF_IPI {
            return Ok(self.chip.send_to_self(value as u8));
        }
        self.chip.write_register(number, value as u32, now).ok_or(GpFault)
    }

    /// IA32_APIC_BASE and its modes (SDM 11.12.5): off, xAPIC, x2APIC. From x2APIC mode the only
    /// way is off, and from off the only way is xAPIC.
    ///
    /// Turning it off loses everything but the task priority, which is still there as CR8.
    fn write_base(&mut self, value: u64) -> Result<(), GpFault> {
        let (enabled, x2apic) = (value & bit::BASE_ENABLED != 0, value & bit::BASE_X2APIC != 0);
        let (was_enabled, was_x2apic) = (self.chip.is_enabled(), self.chip.is_x2apic());
        let possible = match (enabled, x2apic) {
            (false, false) => true,
            (false, true) => false,
            (true, false) => !was_x2apic,
            (true, true) => was_enabled,
        };
        if value & !BASE_VALID != 0 || !possible {
            return Err(GpFault);
        }
        self.chip.base = value;
        if was_enabled && !enabled {
            let tpr = self.chip.tpr;
            self.chip.reset();
            self.chip.tpr = tpr;
            self.chip.id = self.chip.initial_id as u8;
        } else if x2apic && !was_x2apic {
            self.chip.command &= 0xffff_ffff;
        }
        Ok(())
    }

    /// CR8: the upper half of the task priority.
    pub fn cr8(&self) -> u8 {
        self.chip.tpr >> 4
    }

    /// MOV to CR8. `priority` is 0 to 15; the processor has refused anything else.
    pub fn set_cr8(&mut self, priority: u8) {
        self.chip.tpr = priority << 4;
    }

    /// What is added to the machine's 1 GHz time-stamp counter has changed for this processor.
    pub fn set_tsc_offset(&mut self, offset: u64, now: VirtualTime) {
        self.chip.advance(now);
        self.chip.timer.set_tsc_offset(offset, now);
        self.chip.advance(now);
    }
}
