//! The code that every translation shares: the way in, the way out, and the call of an instruction's
//! own code from the middle of a block.

use crate::asm::*;
use crate::far::{self, Otherwise};
use crate::known::RETURNS;
use crate::layout::{self, Context, PLACES, Place, gpr_offset, leave};
use crate::site;
use crate::strings::{self, StringThunks};
use std::mem::offset_of;
use x86::memory::tlb::DATA_VIEWS;

/// Offsets of the shared code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thunks {
    /// `extern "sysv64" fn(*mut Context, code: *const u8) -> u64`: runs translated code.
    pub enter: u32,
    /// Executes the site in ECX by its own code and goes on behind it, or where the guest does, or leaves.
    pub slow: u32,
    /// Leaves with the word in ECX; RIP is in the frame if the word says so.
    pub exit: u32,
    /// Loads the guest's vector registers and returns, or leaves before the block whose word is in R10D.
    pub vectors: u32,
    /// For each data view, see [`far::renew_link`]: executes the site in ECX where nothing is known of the target.
    pub renew_link: [u32; DATA_VIEWS],
    /// The same; leaves where nothing is known.
    pub renew_fall: [u32; DATA_VIEWS],
    /// For each data view, see [`far::renew_return`].
    pub renew_return: [u32; DATA_VIEWS],
    /// REP MOVS and STOS.
    pub strings: StringThunks,
}

const CALLEE_SAVED: [u8; 6] = [RBX, RBP, R12, R13, R14, R15];

const fn context(offset: usize) -> Mem {
    Mem::base(R11, offset as i32)
}

/// Emits the shared code.
pub fn emit(asm: &mut Asm) -> Thunks {
    let enter = asm.here();
    emit_enter(asm);
    let restore = asm.here();
    emit_restore(asm);
    let slow = asm.here();
    emit_save(asm);
    // The arguments, on a stack aligned as a call needs it; RBX survives the call.
    asm.mov(RDI, R11);
    asm.op_reg(false, &[0x8b], RSI, RCX);
    asm.mov(RBX, RSP);
    asm.op_reg(true, &[0x83], 4, RSP);
    asm.byte(0xf0);
    let execute: unsafe extern "sysv64" fn(*mut Context, u64) -> u64 = site::execute;
    asm.constant(RAX, execute as usize as u64);
    asm.op_reg(false, &[0xff], 2, RAX);
    asm.mov(RSP, RBX);
    asm.store(layout::RESUME, RAX);
    asm.op_reg(true, &[0x85], RAX, RAX);
    let done = asm.skip_if(4);
    asm.load(R11, layout::CONTEXT);
    asm.load(RAX, context(offset_of!(Context, vectors_wanted)));
    asm.store(layout::VECTORS, RAX);
    asm.jmp(restore);
    asm.land(done);
    asm.constant(RAX, leave::RAN);
    let leave_place = asm.jmp_later();
    let exit = asm.here();
    emit_save(asm);
    asm.load(RAX, layout::RIP);
    asm.store(context(offset_of!(Context, rip)), RAX);
    asm.op_reg(false, &[0x8b], RAX, RCX);
    asm.land_long(leave_place);
    emit_leave(asm);
    let vectors = asm.here();
    emit_vectors(asm, exit);
    let mut thunks = Thunks { enter, slow, exit, vectors, ..Thunks::default() };
    for view in 0..DATA_VIEWS {
        thunks.renew_link[view] = asm.here();
        far::renew_link(asm, view as u8, Otherwise::Site(slow));
        thunks.renew_fall[view] = asm.here();
        far::renew_link(asm, view as u8, Otherwise::Leave(exit));
        thunks.renew_return[view] = asm.here();
        far::renew_return(asm, view as u8, slow);
    }
    thunks.strings = strings::emit(asm, slow);
    thunks
}

/// Makes the frame, from the context in RDI and the code's address in RSI; falls into the restoring.
fn emit_enter(asm: &mut Asm) {
    for register in CALLEE_SAVED {
        if register >= 8 {
            asm.byte(0x41);
        }
        asm.byte(0x50 | register & 7);
    }
    asm.mov(RAX, RSP);
    asm.op_reg(true, &[0x83], 4, RSP);
    asm.byte(0xc0);
    asm.lea(RSP, Mem::base(RSP, layout::FRAME_BIAS - layout::FRAME_BYTES));
    asm.store(layout::HOST_RSP, RAX);
    asm.store(layout::CONTEXT, RDI);
    asm.store(layout::RESUME, RSI);
    for (slot, mask) in [
        (layout::INDEX_MASK, (x86::memory::tlb::ENTRIES as u64 - 1) << 12),
        (layout::ALIGN16_MASK, !0xfffu64 | 15),
        (layout::COUNT31_MASK, 31),
        (layout::COUNT63_MASK, 63),
        (layout::IF_MASK, !x86::flags::IF),
        (layout::RETURN_MASK, 2 * (RETURNS as u64 - 1)),
    ] {
        asm.constant(RAX, mask);
        asm.store(slot, RAX);
    }
    asm.constant(RAX, 0);
    asm.store(layout::VECTORS, RAX);
    asm.op_mem(false, &[0x0f, 0xae], 3, layout::HOST_MXCSR);
    asm.load(RAX, Mem::base(RDI, offset_of!(Context, cpu) as i32));
    asm.store(layout::CPU, RAX);
}

/// Loads the guest's registers and flags and goes on at [`layout::RESUME`].
fn emit_restore(asm: &mut Asm) {
    asm.load(R10, layout::CPU);
    let none = skip_without_vectors(asm);
    move_vectors(asm, true);
    asm.land_long(none);
    asm.load(R11, layout::CONTEXT);
    asm.load(RAX, context(offset_of!(Context, page_rip)));
    asm.store(layout::PAGE_RIP, RAX);
    asm.load(R15, context(offset_of!(Context, budget)));
    asm.load(RAX, context(offset_of!(Context, flags)));
    // 1 + 7Fh overflows, 0 + 7Fh does not.
    asm.raw(&[0x04, 0x7f]);
    asm.byte(0x9e);
    for (register, place) in PLACES.iter().enumerate() {
        let from = Mem::base(R10, gpr_offset(register as u8));
        match *place {
            Place::Reg(host) => asm.load(host, from),
            Place::Slot(slot) => {
                asm.load(RCX, from);
                asm.store(Mem::base(RSP, slot), RCX);
            }
        }
    }
    asm.jmp_mem(layout::RESUME);
}

/// Stores the guest's registers, flags and budget; keeps RCX, and leaves the context in R11.
fn emit_save(asm: &mut Asm) {
    asm.load(R10, layout::CPU);
    for (register, place) in PLACES.iter().enumerate() {
        let to = Mem::base(R10, gpr_offset(register as u8));
        match *place {
            Place::Reg(host) => asm.store(to, host),
            Place::Slot(slot) => {
                asm.load(R11, Mem::base(RSP, slot));
                asm.store(to, R11);
            }
        }
    }
    asm.load(R11, layout::CONTEXT);
    asm.byte(0x9f);
    asm.raw(&[0x0f, 0x90, 0xc0]);
    asm.store(context(offset_of!(Context, flags)), RAX);
    asm.store(context(offset_of!(Context, budget)), R15);
    asm.load(RAX, layout::PAGE_RIP);
    asm.store(context(offset_of!(Context, page_rip)), RAX);
    asm.load(RAX, layout::VECTORS);
    asm.store(context(offset_of!(Context, vectors_loaded)), RAX);
    let none = skip_without_vectors(asm);
    move_vectors(asm, false);
    asm.op_mem(false, &[0x0f, 0xae], 2, layout::HOST_MXCSR);
    asm.land_long(none);
}

/// Jumps over what comes if the vector registers are the host's own. Changes flags.
fn skip_without_vectors(asm: &mut Asm) -> u32 {
    asm.op_mem(true, &[0x83], 7, layout::VECTORS);
    asm.byte(0);
    asm.jcc_later(4)
}

/// Loads or stores all XMM registers and MXCSR, at the vCPU in R10.
fn move_vectors(asm: &mut Asm, load: bool) {
    for register in 0..16 {
        let opcode = if load { 0x10 } else { 0x11 };
        asm.op_mem(false, &[0x0f, opcode], register, Mem::base(R10, layout::xmm_offset(register)));
    }
    asm.op_mem(false, &[0x0f, 0xae], if load { 2 } else { 3 }, Mem::base(R10, layout::MXCSR_OFFSET));
}

/// See [`Thunks::vectors`]. Called, with flags that must stay.
fn emit_vectors(asm: &mut Asm, exit: u32) {
    // The frame is eight bytes further up: there is a return address below it.
    let framed = |slot: Mem| Mem { disp: slot.disp + 8, ..slot };
    asm.load(R11, framed(layout::CONTEXT));
    asm.load(RCX, context(offset_of!(Context, vectors_usable)));
    let unusable = asm.jrcxz();
    let usable = asm.jmp_later();
    asm.land(unusable);
    asm.lea(RSP, Mem::base(RSP, 8));
    asm.mov(RCX, R10);
    asm.jmp(exit);
    asm.land_long(usable);
    asm.load(R10, framed(layout::CPU));
    move_vectors(asm, true);
    asm.constant(RCX, 1);
    asm.store(framed(layout::VECTORS), RCX);
    asm.byte(0xc3);
}

/// Goes back to the caller.
fn emit_leave(asm: &mut Asm) {
    asm.load(RSP, layout::HOST_RSP);
    for register in CALLEE_SAVED.iter().rev() {
        if *register >= 8 {
            asm.byte(0x41);
        }
        asm.byte(0x58 | register & 7);
    }
    asm.byte(0xc3);
}
