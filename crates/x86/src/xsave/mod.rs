//! FXSAVE, FXRSTOR and the XSAVE family: x87, SSE and AVX state as one image in memory
//! (SDM Vol. 1, chapters 10.5 and 13).
//!
//! `area` is the layout of an image and moves state in and out of it; `save` and `restore`
//! decide what is moved, and touch only those bytes of memory that the instruction has to.
//!
//! Two freedoms of the architecture are used up so that an image is a function of the state
//! alone. A component is in use exactly when it differs from its initial configuration
//! ([`xinuse`]). And XSAVEOPT leaves out what is not in use, never what merely has not
//! changed since the last XRSTOR. The supervisor forms XSAVES and XRSTORS are not offered.
//! With CR4.OSFXSR clear FXSAVE and FXRSTOR leave MXCSR and the XMM registers alone.

mod area;
mod restore;
mod save;

#[cfg(test)]
mod tests;

use crate::fault::{Trap, vector};
use crate::memory::paging::Intent;
use crate::model::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::op::{Env, Exec, Op};
use crate::vcpu::{Vcpu, cr};
use crate::x87::state::X87State;
use iced_x86::{Code, Instruction};

/// Bytes of the legacy region and the header of an XSAVE area.
pub const AREA_BYTES: u32 = 576;
/// Bytes of the AVX component, which follows the header in both formats.
pub const AVX_BYTES: u32 = 256;

/// MXCSR after reset.
const INITIAL_MXCSR: u32 = 0x1f80;
/// MXCSR_MASK: the bits of MXCSR that may be set.
const MXCSR_MASK: u32 = 0xffff;

/// The code of an instruction of this family, with the fields of `op` filled in; `None` if
/// `insn` is not one. `Op::r1` is 1 for the forms with REX.W, whose pointers have 64 bits.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let (exec, wide): (Exec, u8) = match insn.code() {
        Code::Fxsave_m512byte => (save::fxsave, 0),
        Code::Fxsave64_m512byte => (save::fxsave, 1),
        Code::Fxrstor_m512byte => (restore::fxrstor, 0),
        Code::Fxrstor64_m512byte => (restore::fxrstor, 1),
        Code::Xsave_mem => (save::xsave, 0),
        Code::Xsave64_mem => (save::xsave, 1),
        Code::Xsaveopt_mem => (save::xsaveopt, 0),
        Code::Xsaveopt64_mem => (save::xsaveopt, 1),
        Code::Xsavec_mem => (save::xsavec, 0),
        Code::Xsavec64_mem => (save::xsavec, 1),
        Code::Xrstor_mem => (restore::xrstor, 0),
        Code::Xrstor64_mem => (restore::xrstor, 1),
        _ => return None,
    };
    op.r1 = wide;
    Some(exec)
}

/// How many vector registers exist in this mode.
fn vector_registers(cpu: &Vcpu) -> usize {
    if cpu.is_64bit() { 16 } else { 8 }
}

/// XINUSE: the state components that are not in their initial configuration, whether or not
/// XCR0 enables them. MXCSR belongs to none of them (SDM Vol. 1, 13.6).
pub fn xinuse(cpu: &Vcpu) -> u64 {
    let registers = &cpu.vector.ymm[..vector_registers(cpu)];
    let mut used = 0;
    if cpu.x87 != X87State::INITIAL {
        used |= XCR0_X87;
    }
    if registers.iter().any(|r| r[0] | r[1] != 0) {
        used |= XCR0_SSE;
    }
    if registers.iter().any(|r| r[2] | r[3] != 0) {
        used |= XCR0_AVX;
    }
    used
}

/// Checks of FXSAVE and FXRSTOR, and the linear address of their image.
///
/// # Errors
/// #NM, #GP(0) for alignment, #SS(0).
fn fxsave_address(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, write: bool) -> Result<u64, Trap> {
    if cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) != 0 {
        return Err(cpu.raise(vector::NM));
    }
    let linear = cpu.operand_address(op, 512, write)?;
    cpu.check_canonical(linear, usize::from(op.seg))?;
    if !linear.is_multiple_of(16) {
        return Err(cpu.gp0());
    }
    // Of the whole area, also the part that stays as it is.
    cpu.probe(env, op, linear, 512, if write { Intent::Write } else { Intent::Read })?;
    Ok(linear)
}

/// Checks of the XSAVE family: the linear address of the area and the requested-feature bitmap.
///
/// # Errors
/// #UD, #NM, #GP(0) for alignment, #SS(0).
fn xsave_request(cpu: &mut Vcpu, op: &Op, write: bool) -> Result<(u64, u64), Trap> {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return Err(cpu.ud());
    }
    if cpu.cr0 & cr::CR0_TS != 0 {
        return Err(cpu.raise(vector::NM));
    }
    let asked = cpu.gpr[0] & 0xffff_ffff | cpu.gpr[2] << 32;
    let rfbm = cpu.xcr0 & asked;
    let bytes = AREA_BYTES + if rfbm & XCR0_AVX != 0 { AVX_BYTES } else { 0 };
    let linear = cpu.operand_address(op, bytes as usize, write)?;
    cpu.check_canonical(linear, usize::from(op.seg))?;
    if !linear.is_multiple_of(64) {
        return Err(cpu.gp0());
    }
    Ok((linear, rfbm))
}
