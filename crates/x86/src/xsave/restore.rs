//! FXRSTOR and XRSTOR: everything is loaded and checked before anything changes.

use super::area::{self, Area, BITMAPS, HEADER, MXCSR, STACK, X87};
use super::save::COMPACTED;
use super::{INITIAL_MXCSR, MXCSR_MASK, fxsave_address, xsave_request};
use crate::fault::{Flow, Trap};
use crate::model::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::op::{Env, Op};
use crate::vcpu::{Vcpu, cr};
use crate::x87::state::X87State;

/// FXRSTOR and FXRSTOR64.
pub fn fxrstor(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = fxsave_address(cpu, env, op, false)?;
    let mut image = Area::new();
    image.load(cpu, env, op, linear, X87)?;
    image.load(cpu, env, op, linear, STACK)?;
    let vectors = cpu.cr4 & cr::CR4_OSFXSR != 0;
    if vectors {
        image.load(cpu, env, op, linear, MXCSR)?;
        image.load(cpu, env, op, linear, area::xmm(cpu))?;
        cpu.vector.mxcsr = checked_mxcsr(cpu, &image)?;
        image.take_vectors(cpu, area::xmm(cpu), 0);
    }
    cpu.x87 = image.x87(op.r1 != 0);
    Ok(Flow::Next)
}

/// MXCSR of the image.
///
/// # Errors
/// #GP(0) for reserved bits.
fn checked_mxcsr(cpu: &mut Vcpu, image: &Area) -> Result<u32, Trap> {
    let mxcsr = image.long(MXCSR.start);
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(cpu.gp0());
    }
    Ok(mxcsr)
}

/// XRSTOR, in the format that XCOMP_BV tells.
pub fn xrstor(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (linear, rfbm) = xsave_request(cpu, op, false)?;
    let mut image = Area::new();
    image.load(cpu, env, op, linear, HEADER)?;
    if !header_is_good(cpu, &image) {
        return Err(cpu.gp0());
    }
    let present = image.quad(BITMAPS.start) & rfbm;
    let compacted = image.quad(BITMAPS.start + 8) & COMPACTED != 0;
    // The standard format has MXCSR whatever XSTATE_BV says; the compacted one counts it as
    // part of SSE.
    let has_mxcsr = if compacted { present & XCR0_SSE } else { rfbm & (XCR0_SSE | XCR0_AVX) } != 0;
    if present & XCR0_X87 != 0 {
        image.load(cpu, env, op, linear, X87)?;
        image.load(cpu, env, op, linear, STACK)?;
    }
    if present & XCR0_SSE != 0 {
        image.load(cpu, env, op, linear, area::xmm(cpu))?;
    }
    if present & XCR0_AVX != 0 {
        image.load(cpu, env, op, linear, area::ymm(cpu))?;
    }
    if has_mxcsr {
        image.load(cpu, env, op, linear, MXCSR)?;
        cpu.vector.mxcsr = checked_mxcsr(cpu, &image)?;
    } else if rfbm & XCR0_SSE != 0 {
        cpu.vector.mxcsr = INITIAL_MXCSR;
    }
    take(cpu, op, &image, rfbm, present);
    Ok(Flow::Next)
}

/// The rules for the header (SDM Vol. 1, 13.8.1 and 13.8.2).
fn header_is_good(cpu: &Vcpu, image: &Area) -> bool {
    let (present, format) = (image.quad(BITMAPS.start), image.quad(BITMAPS.start + 8));
    let zero = |from: usize, to: usize| image.get(HEADER.start + from..HEADER.start + to).iter().all(|&byte| byte == 0);
    if format & COMPACTED == 0 {
        present & !cpu.xcr0 == 0 && zero(8, 24)
    } else {
        format & !COMPACTED & !cpu.xcr0 == 0 && present & !(format & !COMPACTED) == 0 && zero(16, 64)
    }
}

/// Takes the components in `present`, and initialises the others in `rfbm`. The image of a
/// component that was not loaded is zeros, which is what vector registers start with.
fn take(cpu: &mut Vcpu, op: &Op, image: &Area, rfbm: u64, present: u64) {
    if rfbm & XCR0_X87 != 0 {
        cpu.x87 = if present & XCR0_X87 != 0 { image.x87(op.r1 != 0) } else { X87State::INITIAL };
    }
    if rfbm & XCR0_SSE != 0 {
        image.take_vectors(cpu, area::xmm(cpu), 0);
    }
    if rfbm & XCR0_AVX != 0 {
        image.take_vectors(cpu, area::ymm(cpu), 1);
    }
}
