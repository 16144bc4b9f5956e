//! Multiplications and divisions.
//!
//! After a multiplication SF, ZF and PF follow the low half of the product here; a division leaves all flags
//! alone. Hosts do what they like, so that this is put right where it can be seen.

use super::emitter::Emitter;
use super::memory::Access;
use super::names::register;
use super::plain::{Use, any_live, bare, set_memory};
use super::{Emitted, Untranslated};
use crate::asm::{R10, RAX, RCX, RDX};
use crate::layout::{PLACES, Place};
use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};

/// What a multiplication leaves open.
const OPEN: u32 = RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::PF;

impl Emitter<'_> {
    /// MUL and IMUL.
    pub fn multiply(&mut self) -> Emitted {
        let insn = self.item.insn;
        let open = any_live(self.live, OPEN);
        if open && !self.at.host.logic_clears_af {
            return Err(Untranslated);
        }
        if insn.op_count() == 1 {
            let bytes = operand_bytes(&insn);
            if bytes < 4 {
                return Err(Untranslated);
            }
            self.renamed(&insn, [Use::Read, Use::Read])?;
            if open {
                self.flags_of_product(RAX, bytes);
            }
            return Ok(());
        }
        let target = insn.op0_register();
        let guest = target.number() as u8;
        let bytes = target.size();
        let how = if insn.op_count() == 3 { Use::Write } else { Use::Change };
        self.renamed(&insn, [how, Use::Read])?;
        if open {
            let held = match PLACES[usize::from(guest)] {
                Place::Reg(host) => host,
                Place::Slot(_) => self.gpr(guest, R10),
            };
            self.flags_of_product(held, bytes);
        }
        Ok(())
    }

    /// Sets SF, ZF and PF by the product's low half in `low`, AF to 0, and leaves CF and OF, which are equal.
    fn flags_of_product(&mut self, low: u8, bytes: usize) {
        self.asm.raw(&[0x0f, 0x90, 0xc1]);
        self.asm.op_reg(false, &[0x0f, 0xb6], RCX, RCX);
        if bytes == 2 {
            self.asm.byte(0x66);
        }
        self.asm.op_reg(bytes == 8, &[0x85], low, low);
        let fits = self.asm.jrcxz();
        self.asm.mov(RCX, RAX);
        // LAHF; OR AH, 1; MOV AL, 1; ADD AL, 7Fh, which overflows; SAHF.
        self.asm.raw(&[0x9f, 0x80, 0xcc, 0x01, 0xb0, 0x01, 0x04, 0x7f, 0x9e]);
        self.asm.mov(RAX, RCX);
        self.asm.land(fits);
    }

    /// DIV and IDIV of 32 and 64 bits whose quotient is sure to fit; others are handed over.
    pub fn divide(&mut self) -> Emitted {
        let insn = self.item.insn;
        let bytes = operand_bytes(&insn);
        if bytes < 4 {
            return Err(Untranslated);
        }
        let site = self.site();
        self.load_divisor(&insn, bytes)?;
        self.asm.byte(0x9c);
        let wide = bytes == 8;
        let mut bad = Vec::new();
        if insn.mnemonic() == Mnemonic::Div {
            // The quotient fits if the upper half is below the divisor, and then that is not zero.
            self.asm.op_reg(wide, &[0x3b], RDX, RCX);
            bad.push(self.asm.skip_if(3));
        } else {
            // The upper half must be the lower one's sign, and the divisor neither 0 nor -1.
            self.asm.op_reg(wide, &[0x8b], R10, RAX);
            self.asm.op_reg(wide, &[0xc1], 7, R10);
            self.asm.byte(8 * bytes as u8 - 1);
            self.asm.op_reg(wide, &[0x3b], R10, RDX);
            bad.push(self.asm.skip_if(5));
            self.asm.op_mem(wide, &[0x8d], R10, crate::asm::Mem::base(RCX, 1));
            self.asm.op_reg(wide, &[0x83], 7, R10);
            self.asm.byte(1);
            bad.push(self.asm.skip_if(6));
        }
        let extension = if insn.mnemonic() == Mnemonic::Div { 6 } else { 7 };
        self.asm.op_reg(wide, &[0xf7], extension, RCX);
        self.asm.byte(0x9d);
        let done = self.asm.skip();
        for jump in bad {
            self.asm.land(jump);
        }
        self.asm.byte(0x9d);
        self.slow(site);
        self.asm.land(done);
        Ok(())
    }

    /// Loads the divisor into RCX.
    fn load_divisor(&mut self, insn: &Instruction, bytes: usize) -> Emitted {
        if insn.op0_kind() == OpKind::Register {
            let held = self.gpr(insn.op0_register().number() as u8, RCX);
            self.asm.mov(RCX, held);
            return Ok(());
        }
        let operand = self.operand(bytes, Access::Read, false)?;
        let code = if bytes == 8 { iced_x86::Code::Mov_r64_rm64 } else { iced_x86::Code::Mov_r32_rm32 };
        let mut host = bare(insn);
        host.set_code(code);
        host.set_op0_kind(OpKind::Register);
        host.set_op0_register(register(RCX, bytes));
        host.set_op1_kind(OpKind::Memory);
        set_memory(&mut host, operand);
        self.encode(&host)
    }
}

/// Size of the only operand.
fn operand_bytes(insn: &Instruction) -> usize {
    match insn.op0_kind() {
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    }
}
