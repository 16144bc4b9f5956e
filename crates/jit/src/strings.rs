//! Shared code for REP MOVS and REP STOS with 64-bit addresses.
//!
//! Where source and target each lie within one page that the TLB's fast tags name, DF is clear and the budget suffices for
//! all iterations, they are done here, by the rules of the interpreter: element by element in ascending order, one
//! step each. Whatever else comes is its own affair: the instruction is handed over as it stands.

use crate::asm::{Asm, Mem, R8, R10, R11, R15, RAX, RCX, RDI, RSI, RSP};
use crate::layout::{self, SYSTEM_FLAGS_OFFSET};
use x86::memory::tlb::DATA_VIEWS;

/// The instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Movs,
    Stos,
}

/// log2 of the sizes of elements.
const SHIFTS: usize = 4;
/// Bytes up to which a loop is faster than the host's own instruction, which takes its time to begin.
const LOOP_BYTES: u32 = 128;
/// Iterations likewise.
const LOOP_ITERATIONS: u32 = 16;
/// Bytes that are pushed, and the return address.
const PUSHED: i32 = 32;

/// Conditions of jumps.
const BELOW_OR_EQUAL: u8 = 6;
const ABOVE: u8 = 7;
const ZERO: u8 = 4;
const NOT_ZERO: u8 = 5;

/// Offsets of the code.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringThunks([[[u32; SHIFTS]; DATA_VIEWS]; 2]);

impl StringThunks {
    /// The code for elements of 1 << `shift` bytes in a data view. It is called with the site in ECX and iterations left.
    pub fn of(&self, kind: Kind, view: u8, shift: u32) -> u32 {
        self.0[kind as usize][usize::from(view)][shift as usize]
    }
}

/// Emits all of it; `slow` executes the site in ECX.
pub fn emit(asm: &mut Asm, slow: u32) -> StringThunks {
    let mut thunks = StringThunks::default();
    for kind in [Kind::Movs, Kind::Stos] {
        for view in 0..DATA_VIEWS as u8 {
            for shift in 0..SHIFTS as u32 {
                thunks.0[kind as usize][usize::from(view)][shift as usize] = asm.here();
                repeated(asm, kind, view, shift, slow);
            }
        }
    }
    thunks
}

fn framed(slot: Mem) -> Mem {
    Mem { disp: slot.disp + PUSHED, ..slot }
}

fn repeated(asm: &mut Asm, kind: Kind, view: u8, shift: u32, slow: u32) {
    // RAX, the flags as LAHF and SETO have them, the site.
    asm.raw(&[0x50, 0x9f, 0x0f, 0x90, 0xc0, 0x50, 0x51]);
    let mut not_here = Vec::new();
    asm.load(R11, framed(layout::CPU));
    asm.op_mem(false, &[0xf7], 0, Mem::base(R11, SYSTEM_FLAGS_OFFSET));
    asm.raw(&(x86::flags::DF as u32).to_le_bytes());
    not_here.push(asm.jcc_later(NOT_ZERO));
    compare(asm, R8, 4096 >> shift);
    not_here.push(asm.jcc_later(ABOVE));
    // One step is charged for.
    asm.lea(RCX, Mem::base(R15, 1));
    subtract(asm, RCX, R8);
    shift_right(asm, RCX, 32);
    not_here.push(asm.jcc_later(ZERO));
    // The distance to the last byte.
    asm.lea(RAX, Mem { base: None, index: Some((R8, shift as u8)), disp: -1, gs: false });
    if kind == Kind::Movs {
        not_here.push(check(asm, RSI, R10, layout::tag_offset(view, false), view));
    }
    not_here.push(check(asm, RDI, R11, layout::tag_offset(view, true), view));
    asm.lea(R15, Mem::base(R15, 1));
    subtract(asm, R15, R8);
    match kind {
        Kind::Movs => copy(asm, shift),
        Kind::Stos => fill(asm, shift),
    }
    asm.lea(RSP, Mem::base(RSP, 8));
    restore(asm);
    asm.byte(0xc3);
    for place in not_here {
        asm.land_long(place);
    }
    asm.byte(0x59);
    restore(asm);
    asm.lea(RSP, Mem::base(RSP, 8));
    asm.jmp(slow);
}

/// Pops the flags and RAX.
fn restore(asm: &mut Asm) {
    // POP RAX; ADD AL, 7Fh; SAHF; POP RAX
    asm.raw(&[0x58, 0x04, 0x7f, 0x9e, 0x58]);
}

/// Checks that the byte at `address` and the one RAX behind it lie in one page that has the tag at `tags`: a jump to where
/// not. `to` is then the way to host addresses.
fn check(asm: &mut Asm, address: u8, to: u8, tags: i32, view: u8) -> u32 {
    asm.pext(to, address, framed(layout::INDEX_MASK));
    asm.load(RCX, Mem::table(to, tags));
    asm.lea(RCX, Mem::sum(RCX, address));
    asm.lea(RCX, Mem::sum(RCX, RAX));
    shift_right(asm, RCX, 12);
    let place = asm.jcc_later(NOT_ZERO);
    asm.load(to, Mem::table(to, layout::addend_offset(view)));
    place
}

/// Copies R8 elements, R10 and R11 being the ways to host addresses and RAX the distance to the last byte.
fn copy(asm: &mut Asm, shift: u32) {
    compare(asm, R8, loop_iterations(shift));
    let bulk = asm.jcc_later(ABOVE);
    let top = asm.here();
    let (from, to) = (Mem::sum(RSI, R10), Mem::sum(RDI, R11));
    match shift {
        0 => asm.op_mem(false, &[0x0f, 0xb6], RAX, from),
        1 => asm.op_mem(false, &[0x0f, 0xb7], RAX, from),
        _ => asm.op_mem(shift == 3, &[0x8b], RAX, from),
    }
    store_element(asm, to, shift);
    asm.lea(RSI, Mem::base(RSI, 1 << shift));
    next(asm, shift, top);
    let done = asm.jmp_later();
    asm.land_long(bulk);
    // A target that begins within the source sees what was just written, element by element.
    asm.lea(RCX, Mem::sum(RDI, R11));
    subtract(asm, RCX, RSI);
    subtract(asm, RCX, R10);
    asm.op_reg(true, &[0x3b], RCX, RAX);
    asm.jcc(BELOW_OR_EQUAL, top);
    asm.lea(RSI, Mem::sum(RSI, R10));
    asm.lea(RDI, Mem::sum(RDI, R11));
    asm.lea(RCX, Mem::base(RAX, 1));
    // REP MOVSB, whatever the size: hosts know that one best.
    asm.raw(&[0xf3, 0xa4]);
    subtract(asm, RSI, R10);
    subtract(asm, RDI, R11);
    asm.op_reg(false, &[0x33], R8, R8);
    asm.land_long(done);
}

/// Fills R8 elements with the guest's RAX.
fn fill(asm: &mut Asm, shift: u32) {
    asm.load(RAX, Mem::base(RSP, 16));
    compare(asm, R8, loop_iterations(shift));
    let bulk = asm.jcc_later(ABOVE);
    let top = asm.here();
    store_element(asm, Mem::sum(RDI, R11), shift);
    next(asm, shift, top);
    let done = asm.jmp_later();
    asm.land_long(bulk);
    asm.lea(RDI, Mem::sum(RDI, R11));
    asm.mov(RCX, R8);
    match shift {
        0 => asm.raw(&[0xf3, 0xaa]),
        1 => asm.raw(&[0x66, 0xf3, 0xab]),
        2 => asm.raw(&[0xf3, 0xab]),
        _ => asm.raw(&[0xf3, 0x48, 0xab]),
    }
    subtract(asm, RDI, R11);
    asm.op_reg(false, &[0x33], R8, R8);
    asm.land_long(done);
}

const fn loop_iterations(shift: u32) -> u32 {
    let by_bytes = LOOP_BYTES >> shift;
    if by_bytes < LOOP_ITERATIONS { by_bytes } else { LOOP_ITERATIONS }
}

/// Stores the low bytes of RAX.
fn store_element(asm: &mut Asm, to: Mem, shift: u32) {
    if shift == 1 {
        asm.byte(0x66);
    }
    asm.op_mem(shift == 3, &[if shift == 0 { 0x88 } else { 0x89 }], RAX, to);
}

/// Ends an iteration of a loop that begins at `top`.
fn next(asm: &mut Asm, shift: u32, top: u32) {
    asm.lea(RDI, Mem::base(RDI, 1 << shift));
    // DEC R8
    asm.op_reg(true, &[0xff], 1, R8);
    asm.jcc(NOT_ZERO, top);
}

fn compare(asm: &mut Asm, register: u8, value: u32) {
    asm.op_reg(true, &[0x81], 7, register);
    asm.raw(&value.to_le_bytes());
}

fn subtract(asm: &mut Asm, from: u8, what: u8) {
    asm.op_reg(true, &[0x2b], from, what);
}

fn shift_right(asm: &mut Asm, register: u8, by: u8) {
    asm.op_reg(true, &[0xc1], 5, register);
    asm.byte(by);
}
