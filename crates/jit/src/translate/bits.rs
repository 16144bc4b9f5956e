//! Bit tests and bit scans.

use super::emitter::Emitter;
use super::memory::Access;
use super::names::register;
use super::plain::{Use, any_live, bare, set_memory};
use super::{Emitted, Untranslated, liveness};
use crate::asm::{Mem, R10, R11, RAX, RCX};
use crate::layout::{PLACES, Place};
use iced_x86::{Code, Mnemonic, OpKind, RflagsBits};
use x86::op::AddressMode;

impl Emitter<'_> {
    /// BT, BTS, BTR, BTC; BSF, BSR.
    pub fn bits(&mut self) -> Emitted {
        let insn = self.item.insn;
        if matches!(insn.mnemonic(), Mnemonic::Bsf | Mnemonic::Bsr) {
            return self.scan();
        }
        // A bit number in a register reaches beyond the operand in memory.
        let far = insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register;
        let open = RflagsBits::OF | RflagsBits::SF | RflagsBits::AF | RflagsBits::PF;
        if any_live(self.live, open) && !self.at.host.bit_tests_keep_flags {
            return Err(Untranslated);
        }
        if far {
            return self.far_bit();
        }
        let how = if insn.mnemonic() == Mnemonic::Bt { Use::Read } else { Use::Change };
        self.renamed(&insn, [how, Use::Read])
    }

    /// The bit of a string of bits in memory: the operand that has it, and then its number in that.
    fn far_bit(&mut self) -> Emitted {
        let insn = self.item.insn;
        let bytes = insn.op1_register().size();
        if bytes < 4 || self.item.op.amode == AddressMode::Truncated64 {
            return Err(Untranslated);
        }
        let (wide, guest) = (bytes == 8, insn.op1_register().number() as u8);
        let site = self.site();
        let address = self.address()?;
        let mut number = self.gpr_read(guest, RCX);
        if !wide {
            // MOVSXD: the number is signed.
            self.asm.op_reg(true, &[0x63], RCX, number);
            number = RCX;
        } else if number == R11 {
            self.asm.mov(RCX, number);
            number = RCX;
        }
        self.asm.constant(R11, if wide { 6 } else { 5 });
        self.asm.sarx(R11, number, R11);
        self.asm.lea(R10, Mem { index: Some((R11, bytes.trailing_zeros() as u8)), ..Mem::base(address, 0) });
        let (opcode, access) = match insn.mnemonic() {
            Mnemonic::Bt => (0xa3, Access::Read),
            Mnemonic::Bts => (0xab, Access::Write),
            Mnemonic::Btr => (0xb3, Access::Write),
            _ => (0xbb, Access::Write),
        };
        self.check(R10, bytes, access, site);
        self.asm.lea(R10, Mem::sum(R10, R11));
        self.asm.op_mem(wide, &[0x8b], R11, Mem::base(R10, 0));
        let number = self.gpr_read(guest, RCX);
        self.asm.op_reg(wide, &[0x0f, opcode], number, R11);
        if access == Access::Write {
            self.asm.op_mem(wide, &[0x89], R11, Mem::base(R10, 0));
        }
        Ok(())
    }

    /// A source of zero leaves the destination alone, all of it; ZF tells, and the other flags are clear.
    fn scan(&mut self) -> Emitted {
        let insn = self.item.insn;
        let target = insn.op0_register();
        let bytes = target.size();
        if bytes < 4 || !self.at.host.logic_clears_af {
            return Err(Untranslated);
        }
        self.load_source(bytes)?;
        let guest = target.number() as u8;
        let to = match PLACES[usize::from(guest)] {
            Place::Reg(host) => host,
            Place::Slot(_) => R10,
        };
        let is_zero = self.asm.jrcxz();
        let opcode = if insn.mnemonic() == Mnemonic::Bsf { 0xbc } else { 0xbd };
        self.asm.op_reg(bytes == 8, &[0x0f, opcode], to, RCX);
        self.set_gpr(guest, to);
        let flags = any_live(self.live, liveness::ALL);
        if flags {
            // 1 is not zero, not negative, and has an odd number of ones.
            self.asm.constant(RCX, 1);
            self.asm.op_reg(false, &[0x85], RCX, RCX);
        }
        let done = self.asm.skip();
        self.asm.land(is_zero);
        if flags {
            // ZF alone: MOV EAX, 4000h; ADD AL, 7Fh, which does not overflow; SAHF.
            self.asm.mov(RCX, RAX);
            self.asm.raw(&[0xb8, 0x00, 0x40, 0x00, 0x00, 0x04, 0x7f, 0x9e]);
            self.asm.mov(RAX, RCX);
        }
        self.asm.land(done);
        Ok(())
    }

    /// Loads the second operand into RCX, zero-extended.
    fn load_source(&mut self, bytes: usize) -> Emitted {
        let insn = self.item.insn;
        if insn.op1_kind() == OpKind::Register {
            let held = self.gpr(insn.op1_register().number() as u8, RCX);
            self.asm.op_reg(bytes == 8, &[0x8b], RCX, held);
            return Ok(());
        }
        let operand = self.operand(bytes, Access::Read, false)?;
        let mut host = bare(&insn);
        host.set_code(if bytes == 8 { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 });
        host.set_op0_register(register(RCX, bytes));
        set_memory(&mut host, operand);
        self.encode(&host)
    }
}
