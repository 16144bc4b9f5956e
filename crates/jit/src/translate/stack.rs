//! PUSH, POP and LEAVE of 64 bits.

use super::emitter::Emitter;
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, RBP, RCX};
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
                let site = self.site();
                self.check_push(site);
                let held = self.gpr(guest, RCX);
                self.push_from(held);
            }
            (_, Code::Push_rm64) => self.push_memory()?,
            (_, Code::Pushq_imm8 | Code::Pushq_imm32) => {
                let site = self.site();
                self.check_push(site);
                self.asm.op_mem(true, &[0xc7], 0, Mem::sum(R10, R11));
                self.asm.raw(&(self.item.op.imm as u32).to_le_bytes());
                self.asm.mov(GUEST_RSP, R10);
            }
            (_, Code::Pop_r64 | Code::Pop_rm64) if register => self.pop(guest),
            (_, Code::Leaveq) => {
                let site = self.site();
                self.check(RBP, 8, Access::Read, site);
                self.asm.lea(GUEST_RSP, Mem::base(RBP, 8));
                self.asm.load(RBP, Mem::sum(RBP, R11));
            }
            _ => return Err(Untranslated),
        }
        Ok(())
    }

    /// Checks the eight bytes below the stack: R10 is then their address, and R11 the way to the host's.
    pub fn check_push(&mut self, site: u32) {
        self.asm.lea(R10, Mem::base(GUEST_RSP, -8));
        self.check(R10, 8, Access::Write, site);
    }

    /// Pushes a host register, the check done.
    pub fn push_from(&mut self, held: u8) {
        self.asm.store(Mem::sum(R10, R11), held);
        self.asm.mov(GUEST_RSP, R10);
    }

    fn push_memory(&mut self) -> Emitted {
        let site = self.site();
        let address = self.address()?;
        self.check(address, 8, Access::Read, site);
        self.asm.load(R10, Mem::sum(address, R11));
        self.asm.store(layout::KEPT, R10);
        self.check_push(site);
        self.asm.load(RCX, layout::KEPT);
        self.push_from(RCX);
        Ok(())
    }

    fn pop(&mut self, guest: u8) {
        let site = self.site();
        self.check(GUEST_RSP, 8, Access::Read, site);
        if guest == RSP_NUMBER {
            self.asm.load(GUEST_RSP, Mem::sum(GUEST_RSP, R11));
            return;
        }
        self.load_gpr(guest, Mem::sum(GUEST_RSP, R11), R10);
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8));
    }
}
