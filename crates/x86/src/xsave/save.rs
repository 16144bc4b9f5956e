//! FXSAVE, XSAVE, XSAVEOPT and XSAVEC.

use super::area::{self, Area, BITMAPS};
use super::{INITIAL_MXCSR, fxsave_address, xinuse, xsave_request};
use crate::fault::{Flow, Trap};
use crate::model::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::op::{Env, Op};
use crate::vcpu::{Vcpu, cr};

/// XCOMP_BV: the area is in compacted format.
pub const COMPACTED: u64 = 1 << 63;

/// FXSAVE and FXSAVE64. Pending exceptions are saved, not raised.
pub fn fxsave(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = fxsave_address(cpu, env, op, true)?;
    let mut image = Area::new();
    image.put_x87(&cpu.x87, op.r1 != 0);
    if cpu.cr4 & cr::CR4_OSFXSR != 0 {
        image.put_mxcsr(cpu.vector.mxcsr);
        image.put_vectors(cpu, area::xmm(cpu), 0);
    }
    image.store(cpu, env, op, linear)?;
    Ok(Flow::Next)
}

/// The components that save with anything but zeros: those in use, and SSE too if MXCSR is
/// not in its initial state (SDM Vol. 1, 13.7).
fn worth_saving(cpu: &Vcpu) -> u64 {
    let mxcsr = if cpu.vector.mxcsr == INITIAL_MXCSR { 0 } else { XCR0_SSE };
    xinuse(cpu) | mxcsr
}

/// Fills the components in `saved`.
fn fill(cpu: &Vcpu, op: &Op, image: &mut Area, saved: u64) {
    if saved & XCR0_X87 != 0 {
        image.put_x87(&cpu.x87, op.r1 != 0);
    }
    if saved & XCR0_SSE != 0 {
        image.put_vectors(cpu, area::xmm(cpu), 0);
    }
    if saved & XCR0_AVX != 0 {
        image.put_vectors(cpu, area::ymm(cpu), 1);
    }
}

/// XSAVE: every requested component, in use or not.
pub fn xsave(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    save_standard(cpu, env, op, u64::MAX)
}

/// XSAVEOPT: the requested components that are in use.
pub fn xsaveopt(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let worth = worth_saving(cpu);
    save_standard(cpu, env, op, worth)
}

/// The standard format: XSTATE_BV keeps its bits for what was not requested, and MXCSR is
/// stored with either of SSE and AVX.
fn save_standard(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, saved: u64) -> Result<Flow, Trap> {
    let (linear, rfbm) = xsave_request(cpu, op, true)?;
    let mut image = Area::new();
    fill(cpu, op, &mut image, rfbm & saved);
    if rfbm & (XCR0_SSE | XCR0_AVX) != 0 {
        image.put_mxcsr(cpu.vector.mxcsr);
    }
    let old: u64 = cpu.load_for_write(env, op, linear.wrapping_add(BITMAPS.start as u64))?;
    let present = old & !rfbm | worth_saving(cpu) & rfbm;
    image.add(BITMAPS.start..BITMAPS.start + 8).copy_from_slice(&present.to_le_bytes());
    image.store(cpu, env, op, linear)?;
    Ok(Flow::Next)
}

/// XSAVEC: the requested components that are in use, compacted, and nothing of the old header
/// kept. MXCSR is part of SSE.
pub fn xsavec(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (linear, rfbm) = xsave_request(cpu, op, true)?;
    let saved = rfbm & worth_saving(cpu);
    let mut image = Area::new();
    fill(cpu, op, &mut image, saved);
    if saved & XCR0_SSE != 0 {
        image.put_mxcsr(cpu.vector.mxcsr);
    }
    let bitmaps = image.add(BITMAPS);
    bitmaps[..8].copy_from_slice(&saved.to_le_bytes());
    bitmaps[8..].copy_from_slice(&(rfbm | COMPACTED).to_le_bytes());
    image.store(cpu, env, op, linear)?;
    Ok(Flow::Next)
}
