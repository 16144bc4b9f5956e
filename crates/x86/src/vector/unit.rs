//! Whether the vector unit is available, and what MMX instructions do to the x87 state.

use crate::fault::{Trap, vector};
use crate::vcpu::{Vcpu, cr};
use crate::x87::operand::report_pending;

/// Legacy SSE: needs CR4.OSFXSR, honours CR0.EM and CR0.TS.
pub(super) const SSE: u8 = 0;
/// AVX (VEX encodings): needs CR4.OSXSAVE and both states in XCR0, honours CR0.TS.
pub(super) const VEX: u8 = 1;
/// MMX registers only: honours CR0.EM, CR0.TS and pending x87 exceptions.
pub(super) const MMX: u8 = 2;
/// An MMX and an XMM register: both sets of conditions.
pub(super) const MMX_SSE: u8 = 3;

/// XCR0: SSE and AVX state.
const XCR0_AVX: u64 = 6;
/// FSW.ES: an unmasked x87 exception is pending.
const ERROR_SUMMARY: u16 = 1 << 7;
/// FSW.TOP.
const TOP: u16 = 7 << 11;

/// Raises what an instruction of `UNIT` raises before it looks at its operands
/// (SDM Vol. 2A, 2.4, and Vol. 3A, 12.1 and 13.1).
///
/// # Errors
/// #UD, #NM, #MF.
#[inline(always)]
pub(super) fn check<const UNIT: u8>(cpu: &mut Vcpu) -> Result<(), Trap> {
    let blocked = match UNIT {
        VEX => cpu.cr0 & cr::CR0_TS | !cpu.cr4 & cr::CR4_OSXSAVE | !cpu.xcr0 & XCR0_AVX | u64::from(cpu.mode.v86),
        MMX => cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) | u64::from(cpu.x87.status & ERROR_SUMMARY),
        SSE => cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) | !cpu.cr4 & cr::CR4_OSFXSR,
        _ => {
            cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) | !cpu.cr4 & cr::CR4_OSFXSR | u64::from(cpu.x87.status & ERROR_SUMMARY)
        }
    };
    if blocked != 0 || (UNIT == VEX && cpu.mode.real) {
        return unavailable::<UNIT>(cpu);
    }
    Ok(())
}

#[cold]
fn unavailable<const UNIT: u8>(cpu: &mut Vcpu) -> Result<(), Trap> {
    let undefined = match UNIT {
        VEX => {
            let off = cpu.cr4 & cr::CR4_OSXSAVE == 0 || cpu.xcr0 & XCR0_AVX != XCR0_AVX;
            off || cpu.mode.real || cpu.mode.v86
        }
        MMX => cpu.cr0 & cr::CR0_EM != 0,
        _ => cpu.cr0 & cr::CR0_EM != 0 || cpu.cr4 & cr::CR4_OSFXSR == 0,
    };
    match () {
        () if undefined => Err(cpu.ud()),
        () if cpu.cr0 & cr::CR0_TS != 0 => Err(cpu.raise(vector::NM)),
        () => report_pending(cpu),
    }
}

/// What every MMX instruction except EMMS does: TOP becomes 0 and all tags valid
/// (SDM Vol. 3A, table 12-1).
#[inline(always)]
pub(super) fn enter_mmx(cpu: &mut Vcpu) {
    cpu.x87.status &= !TOP;
    cpu.x87.valid = 0xff;
}

/// Sets sign and exponent of a written MMX register to ones.
#[inline(always)]
pub(super) fn mark_mmx(cpu: &mut Vcpu, register: u8) {
    cpu.x87.regs[usize::from(register & 7)] |= 0xffff << 64;
}

/// EMMS: all tags empty, TOP 0.
pub(super) fn leave_mmx(cpu: &mut Vcpu) {
    cpu.x87.status &= !TOP;
    cpu.x87.valid = 0;
}
