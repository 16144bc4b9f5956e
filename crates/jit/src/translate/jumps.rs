//! Near jumps, calls and returns.
//!
//! Within the page a jump goes to the target's block, or to a piece of code that asks for it and is jumped
//! over from then on. To another page, or to an address that is only known when it happens, the target is
//! looked up as an instruction fetch (see `x86::memory::tlb`), and then in the jump cache, by its physical
//! address. The budget of the target's block is the target's affair.

use super::emitter::{Emitter, SideExit};
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, R15, RCX};
use crate::cache::Link;
use crate::far;
use crate::layout::{self, GUEST_RSP, leave};
use iced_x86::{Code, OpKind};
use x86::GuestPhysAddr;

impl Emitter<'_> {
    /// JMP, CALL, RET.
    pub fn jump(&mut self) -> Emitted {
        use Code::*;
        let insn = self.item.insn;
        match insn.code() {
            Jmp_rel8_64 | Jmp_rel32_64 => self.jump_direct(),
            Call_rel32_64 => self.call_direct(),
            Jmp_rm64 => {
                self.load_target()?;
                self.check_fetch();
                self.go();
                Ok(())
            }
            Call_rm64 => {
                self.load_target()?;
                self.call_r10()
            }
            Retnq | Retnq_imm16 => {
                let from = self.stack_operand(GUEST_RSP, 0, Access::Read)?;
                self.asm.load(R10, from);
                self.check_fetch();
                let released = (self.item.op.imm & 0xffff) as i32;
                self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8 + released));
                self.go();
                Ok(())
            }
            _ => Err(Untranslated),
        }
    }

    /// The target of the relative jump, as an offset from the page.
    fn displacement(&self) -> Result<i32, Untranslated> {
        if self.item.insn.op0_kind() != OpKind::NearBranch64 {
            return Err(Untranslated);
        }
        i32::try_from(self.item.op.imm as i64).map_err(|_| Untranslated)
    }

    fn jump_direct(&mut self) -> Emitted {
        let target = self.displacement()?;
        if within_page(target) {
            self.jump_to_page(target);
        } else {
            let site = self.site();
            self.jump_far(target, site);
        }
        Ok(())
    }

    fn call_direct(&mut self) -> Emitted {
        let target = self.displacement()?;
        if within_page(target) {
            self.push_return()?;
            self.jump_to_page(target);
            return Ok(());
        }
        self.load_page_plus(target);
        self.call_r10()
    }

    /// Calls the linear address in R10.
    fn call_r10(&mut self) -> Emitted {
        self.check_fetch();
        self.asm.store(layout::RIP, R10);
        self.asm.store(layout::KEPT, R11);
        self.push_return()?;
        self.asm.load(R10, layout::RIP);
        self.asm.load(R11, layout::KEPT);
        self.asm.jmp(self.at.thunks.go[usize::from(self.at.view)]);
        Ok(())
    }

    /// Pushes the address behind the instruction.
    fn push_return(&mut self) -> Emitted {
        let op = self.item.op;
        let to = self.stack_operand(GUEST_RSP, -8, Access::Write)?;
        self.asm.load(RCX, layout::PAGE_RIP);
        self.asm.lea(RCX, Mem::base(RCX, i32::from(op.off) + i32::from(op.len)));
        self.asm.store(to, RCX);
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
        Ok(())
    }

    /// Loads the target of an indirect jump or call into R10.
    fn load_target(&mut self) -> Emitted {
        let insn = self.item.insn;
        if insn.op0_kind() == OpKind::Register {
            let held = self.gpr(insn.op0_register().number() as u8, R10);
            self.asm.mov(R10, held);
            return Ok(());
        }
        let from = self.operand(8, Access::Read, false)?;
        self.asm.load(R10, from);
        Ok(())
    }

    /// Jcc: the jump is finished behind the block.
    pub fn conditional_jump(&mut self) -> Emitted {
        let target = self.displacement()?;
        // The lowest bit inverts a condition.
        let condition = (self.item.insn.condition_code() as u8 - 1) ^ u8::from(self.item.again);
        let last = self.idx + 1 == self.len;
        if last && !self.at.careful && target as u64 == self.at.at.0 & 0xfff {
            self.asm.jcc(condition, self.entry);
            return Ok(());
        }
        let place = self.asm.jcc_later(condition);
        self.side_exits.push(SideExit { place, item: self.item, idx: self.idx });
        Ok(())
    }

    /// Finishes the conditional jumps.
    pub fn side_exits(&mut self) {
        for exit in std::mem::take(&mut self.side_exits) {
            self.asm.land_long(exit.place);
            self.begin(&exit.item, exit.idx, super::liveness::ALL);
            let Ok(mut target) = self.displacement() else { unreachable!("it was looked at before") };
            if exit.item.again {
                target = i32::from(exit.item.op.off) + i32::from(exit.item.op.len);
            }
            let unused = i32::from(self.len - self.idx - 1);
            self.give_back(unused);
            if within_page(target) {
                self.jump_to_page(target);
            } else {
                let site = self.site_with(1);
                self.jump_far(target, site);
            }
        }
    }

    /// Finishes the checks that failed: the budget is as it was before the instruction, and the careful
    /// translation of what is left goes on.
    pub fn failures(&mut self) {
        for failure in std::mem::take(&mut self.failures) {
            self.asm.land_long(failure.place);
            self.give_back(i32::from(self.len - failure.idx));
            self.jump_by_link(GuestPhysAddr(self.at.at.0 & !0xfff | u64::from(failure.off)), true);
        }
    }

    fn give_back(&mut self, unused: i32) {
        if unused > 0 {
            self.asm.lea(R15, Mem::base(R15, unused));
        }
    }

    /// Goes on behind the block's last instruction, at offset `end` of the page.
    pub fn fall_out(&mut self, end: usize) {
        // What the interpreter must do there (an instruction that crosses pages) it is asked to by the
        // same way as what is not translated yet.
        if end < 4096 {
            self.jump_to_page(end as i32);
        } else {
            self.load_page_plus(end as i32);
            let hit = far::compare(&mut self.asm, self.at.view);
            self.asm.store(layout::RIP, R10);
            self.leave(leave::LOOKUP);
            self.asm.land(hit);
            far::physical(&mut self.asm, self.at.view);
            self.asm.jmp(self.at.thunks.go[usize::from(self.at.view)]);
        }
    }

    /// Jumps to an offset of the same page.
    fn jump_to_page(&mut self, target: i32) {
        let at = GuestPhysAddr(self.at.at.0 & !0xfff | target as u64);
        if at == self.at.at && !self.at.careful {
            return self.asm.jmp(self.entry);
        }
        self.jump_by_link(at, false);
    }

    fn jump_by_link(&mut self, at: GuestPhysAddr, careful: bool) {
        let place = self.asm.jmp_later();
        let link = self.links.len() as u64;
        self.links.push(Link { place, target: at, careful });
        self.leave(link << leave::BITS | leave::LINK);
    }

    /// The linear address at `offset` from the page, in R10.
    fn load_page_plus(&mut self, offset: i32) {
        self.asm.load(R10, layout::PAGE_RIP);
        self.asm.lea(R10, Mem::base(R10, offset));
    }

    /// Jumps to the linear address at `offset` from the page, in another page.
    fn jump_far(&mut self, offset: i32, site: u32) {
        self.load_page_plus(offset);
        self.asm.constant(RCX, site.into());
        self.asm.jmp(self.at.thunks.far[usize::from(self.at.view)]);
    }

    /// Makes sure that the target in R10 can be fetched from, or hands the instruction over. R11 is then its
    /// physical address.
    fn check_fetch(&mut self) {
        let site = self.site();
        let hit = far::compare(&mut self.asm, self.at.view);
        self.slow(site);
        self.asm.land(hit);
        far::physical(&mut self.asm, self.at.view);
    }

    /// Jumps to linear address R10, whose physical address is R11, by a jump of its own, which the host
    /// learns to foresee.
    fn go(&mut self) {
        far::go(&mut self.asm, self.at.view, self.at.thunks.exit);
    }
}

const fn within_page(target: i32) -> bool {
    target >= 0 && target < 4096
}
