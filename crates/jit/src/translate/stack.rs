//! PUSH, POP and LEAVE of 64 bits.

use super::emitter::Emitter;
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, RBP, RCX};
use crate::layout::{self, GUEST_RSP};
use iced_x86::{Code, Mnemonic, OpKind};

const RSP_NUMBER: u8 = 4;

impl Emitter<'_> {
    /// PUSH, POP, LEAVE.
    pub fn stack(&mut self) -> Emitted {
        let insn = self.item.insn;
        let register = insn.op0_kind() == OpKind::Register && insn.op_count() == 1;
        let guest = insn.op0_register().number() as u8;
        match (insn.mnemonic(), insn.code()) {
            (Mnemonic::Push, Code::Push_r64 | Code::Push_rm64) if register => {
                let to = self.stack_operand(GUEST_RSP, -8, Access::Write)?;
                let held = self.gpr_read(guest, RCX);
                self.asm.store(to, held);
                self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
            }
            (_, Code::Push_rm64) => self.push_memory()?,
            (_, Code::Pushq_imm8 | Code::Pushq_imm32) => {
                let to = self.stack_operand(GUEST_RSP, -8, Access::Write)?;
                self.asm.op_mem(true, &[0xc7], 0, to);
                self.asm.raw(&(self.item.op.imm as u32).to_le_bytes());
                self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
            }
            (_, Code::Pop_r64 | Code::Pop_rm64) if register => self.pop(guest)?,
            (_, Code::Leaveq) => {
                let from = self.stack_operand(RBP, 0, Access::Read)?;
                self.asm.lea(GUEST_RSP, Mem::base(RBP, 8));
                self.asm.load(RBP, from);
            }
            _ => return Err(Untranslated),
        }
        Ok(())
    }

    /// Pushes what the frame keeps at `from`.
    pub fn push_kept(&mut self, from: Mem) -> Emitted {
        let to = self.stack_operand(GUEST_RSP, -8, Access::Write)?;
        self.asm.load(RCX, from);
        self.asm.store(to, RCX);
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
        Ok(())
    }

    fn push_memory(&mut self) -> Emitted {
        let from = self.operand(8, Access::Read, false)?;
        self.asm.load(R10, from);
        self.asm.store(layout::KEPT, R10);
        self.push_kept(layout::KEPT)
    }

    fn pop(&mut self, guest: u8) -> Emitted {
        let from = self.stack_operand(GUEST_RSP, 0, Access::Read)?;
        if guest == RSP_NUMBER {
            self.asm.load(GUEST_RSP, from);
            return Ok(());
        }
        self.load_gpr(guest, from, RCX);
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8));
        Ok(())
    }
}
