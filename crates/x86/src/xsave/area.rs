//! The layout of an XSAVE area, of which FXSAVE's image is the beginning (SDM Vol. 1, 13.4
//! and table 10-2), and an area under construction with the list of its bytes in play.

use super::MXCSR_MASK;
use crate::fault::Trap;
use crate::flags;
use crate::memory::paging::Intent;
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;
use crate::x87::state::X87State;
use std::ops::Range;

/// x87 control, status, tags and pointers.
pub const X87: Range<usize> = 0..24;
/// MXCSR and MXCSR_MASK.
pub const MXCSR: Range<usize> = 24..32;
/// ST(0) to ST(7).
pub const STACK: Range<usize> = 32..160;
/// XSTATE_BV and XCOMP_BV.
pub const BITMAPS: Range<usize> = 512..528;
/// The whole header.
pub const HEADER: Range<usize> = 512..576;
const XMM: usize = 160;
const YMM: usize = 576;
const AREA: usize = 832;
/// Bytes of a vector register in each of its two places.
const REGISTER: usize = 16;

/// The place of the XMM registers that exist in this mode.
pub fn xmm(cpu: &Vcpu) -> Range<usize> {
    XMM..XMM + REGISTER * super::vector_registers(cpu)
}

/// The place of the upper halves of the YMM registers that exist in this mode.
pub fn ymm(cpu: &Vcpu) -> Range<usize> {
    YMM..YMM + REGISTER * super::vector_registers(cpu)
}

/// The bytes of an area, of which those in `used` have been filled.
pub struct Area {
    bytes: [u8; AREA],
    used: [Range<usize>; 6],
    count: usize,
}

impl Area {
    /// Nothing filled.
    pub fn new() -> Self {
        Area { bytes: [0; AREA], used: [const { 0..0 }; 6], count: 0 }
    }

    /// Notes that `range` is to be filled or stored, and gives its bytes.
    pub fn add(&mut self, range: Range<usize>) -> &mut [u8] {
        self.used[self.count] = range.clone();
        self.count += 1;
        &mut self.bytes[range]
    }

    /// Bytes that were filled.
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// A field of the area.
    pub fn quad(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// A field of the area.
    pub fn long(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// Stores every range that was added at `linear`, after checking them all.
    ///
    /// # Errors
    /// Those of the memory access; nothing is stored then.
    pub fn store(&self, cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<(), Trap> {
        let mut used = self.used.clone();
        let used = &mut used[..self.count];
        // The lowest address that faults is the one that is reported.
        used.sort_unstable_by_key(|range| range.start);
        for range in used.iter() {
            cpu.probe(env, op, linear.wrapping_add(range.start as u64), range.len(), Intent::Write)?;
        }
        for range in used.iter() {
            cpu.store_bytes(env, op, linear.wrapping_add(range.start as u64), &self.bytes[range.clone()])?;
        }
        Ok(())
    }

    /// Loads a range from an area at `linear`.
    ///
    /// # Errors
    /// Those of the memory access.
    pub fn load(
        &mut self,
        cpu: &mut Vcpu,
        env: &mut Env<'_>,
        op: &Op,
        linear: u64,
        range: Range<usize>,
    ) -> Result<(), Trap> {
        let at = linear.wrapping_add(range.start as u64);
        cpu.load_bytes(env, op, at, &mut self.bytes[range])
    }

    /// Fills the x87 component; `wide` pointers have 64 bits and no selectors.
    pub fn put_x87(&mut self, fpu: &X87State, wide: bool) {
        let bytes = self.add(X87);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &fpu.control.to_le_bytes());
        put(2, &fpu.status.to_le_bytes());
        put(4, &[fpu.valid, 0]);
        put(6, &fpu.opcode.to_le_bytes());
        if wide {
            put(8, &fpu.ip.to_le_bytes());
            put(16, &fpu.dp.to_le_bytes());
        } else {
            put(8, &(fpu.ip & 0xffff_ffff | u64::from(fpu.cs) << 32).to_le_bytes());
            put(16, &(fpu.dp & 0xffff_ffff | u64::from(fpu.ds) << 32).to_le_bytes());
        }
        let stack = self.add(STACK);
        for (i, place) in stack.chunks_exact_mut(REGISTER).enumerate() {
            place.copy_from_slice(&fpu.st(i).to_le_bytes());
        }
    }

    /// Fills MXCSR and its mask.
    pub fn put_mxcsr(&mut self, mxcsr: u32) {
        let bytes = self.add(MXCSR);
        bytes[..4].copy_from_slice(&mxcsr.to_le_bytes());
        bytes[4..].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    }

    /// Fills XMM registers (`half` 0) or the upper halves of YMM registers (`half` 1).
    pub fn put_vectors(&mut self, cpu: &Vcpu, range: Range<usize>, half: usize) {
        for (place, register) in self.add(range).chunks_exact_mut(REGISTER).zip(&cpu.vector.ymm) {
            place[..8].copy_from_slice(&register[2 * half].to_le_bytes());
            place[8..].copy_from_slice(&register[2 * half + 1].to_le_bytes());
        }
    }

    /// The x87 state of the loaded image. ES and B follow from the flags and masks.
    pub fn x87(&self, wide: bool) -> X87State {
        let word = |at: usize| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        let mut fpu = X87State { status: word(2), valid: self.bytes[4], opcode: word(6) & 0x7ff, ..X87State::INITIAL };
        fpu.set_control(word(0));
        let (ip, dp) = (self.quad(8), self.quad(16));
        if wide {
            // FIP is made canonical; FDP is kept as it is.
            (fpu.ip, fpu.dp) = (flags::sign_extend::<48>(ip), dp);
        } else {
            (fpu.ip, fpu.dp) = (ip & 0xffff_ffff, dp & 0xffff_ffff);
            (fpu.cs, fpu.ds) = ((ip >> 32) as u16, (dp >> 32) as u16);
        }
        for i in 0..8 {
            let at = STACK.start + REGISTER * i;
            let slot = fpu.slot(i);
            fpu.regs[slot] = u128::from(self.quad(at)) | u128::from(word(at + 8)) << 64;
        }
        fpu
    }

    /// Takes XMM registers or the upper halves of YMM registers from the loaded image.
    pub fn take_vectors(&self, cpu: &mut Vcpu, range: Range<usize>, half: usize) {
        for (at, register) in range.step_by(REGISTER).zip(&mut cpu.vector.ymm) {
            register[2 * half] = self.quad(at);
            register[2 * half + 1] = self.quad(at + 8);
        }
    }
}
