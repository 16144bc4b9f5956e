//! Near jumps, calls and returns.
//!
//! Within the page a jump goes to the target's block, or to a piece of code that asks for it and is jumped
//! over from then on. Other jumps are in [`crate::far`]. The budget of the target's block is the target's affair.

use super::emitter::{Emitter, SideExit};
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, R15, RCX};
use crate::block::Link;
use crate::far;
use crate::layout::{self, GUEST_RSP, leave};
use iced_x86::{Code, OpKind};
use x86::GuestPhysAddr;
use x86::memory::tlb::DATA_VIEWS;

impl Emitter<'_> {
    /// JMP, CALL, RET.
    pub fn jump(&mut self) -> Emitted {
        if self.item.follows {
            // A loop that is repeated goes on with its next turn.
            return Ok(());
        }
        use Code::*;
        let insn = self.item.insn;
        match insn.code() {
            Jmp_rel8_64 | Jmp_rel32_64 => self.jump_direct(),
            Call_rel32_64 => self.call_direct(),
            Jmp_rm64 => {
                self.load_target()?;
                self.know_target();
                far::follow_return(&mut self.asm);
                Ok(())
            }
            Call_rm64 => self.call_indirect(),
            Retnq | Retnq_imm16 => {
                let from = self.stack_operand(GUEST_RSP, 0, Access::Read)?;
                self.asm.load(R10, from);
                self.know_target();
                let released = (self.item.op.imm & 0xffff) as i32;
                self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, 8 + released));
                far::follow_return(&mut self.asm);
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
        let site = self.site();
        let link = self.know_link(target, site, self.at.thunks.renew_link);
        self.push_return()?;
        self.asm.load(R10, layout::PAGE_RIP);
        far::follow_link(&mut self.asm, target, link);
        Ok(())
    }

    fn call_indirect(&mut self) -> Emitted {
        self.load_target()?;
        self.know_target();
        self.asm.store(layout::RIP, R10);
        self.asm.store(layout::KEPT, R11);
        self.push_return()?;
        self.asm.load(R10, layout::RIP);
        self.asm.load(R11, layout::KEPT);
        far::follow_return(&mut self.asm);
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
        let condition = (self.item.insn.condition_code() as u8 - 1) ^ u8::from(self.item.follows);
        let last = self.idx + 1 == self.len;
        if last && !self.item.follows && !self.at.careful && target as u64 == self.at.at.0 & 0xfff {
            self.asm.jcc(condition, self.turn);
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
            if exit.item.follows {
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

    pub fn give_back(&mut self, unused: i32) {
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
            let link = self.know_link(end as i32, 0, self.at.thunks.renew_fall);
            far::follow_link(&mut self.asm, end as i32, link);
        }
    }

    /// Jumps to an offset of the same page.
    fn jump_to_page(&mut self, target: i32) {
        let at = GuestPhysAddr(self.at.at.0 & !0xfff | target as u64);
        if at == self.at.at && !self.at.careful {
            return self.asm.jmp(self.turn);
        }
        self.jump_by_link(at, false);
    }

    pub fn jump_by_link(&mut self, at: GuestPhysAddr, careful: bool) {
        let place = self.asm.jmp_later();
        let link = self.links.add(Link { place, target: at, careful });
        self.leave(link << leave::BITS | leave::LINK);
    }

    /// Jumps to the linear address at `offset` from the page, in another page.
    fn jump_far(&mut self, offset: i32, site: u32) {
        let link = self.know_link(offset, site, self.at.thunks.renew_link);
        far::follow_link(&mut self.asm, offset, link);
    }

    /// Makes sure that a far link to `offset` from the page holds, by `renew` if it does not; `site` is for that. Returns
    /// where the link lies; R10 is the page then.
    fn know_link(&mut self, offset: i32, site: u32, renew: [u32; DATA_VIEWS]) -> i32 {
        let link = self.links.add_far();
        let holds = far::ask_link(&mut self.asm, self.at.view, link);
        self.asm.lea(R10, Mem::base(R10, offset));
        self.asm.lea_code(R11, link);
        self.asm.constant(RCX, site.into());
        self.asm.call(renew[usize::from(self.at.view)]);
        self.asm.land(holds);
        link
    }

    /// Makes sure that the return cache knows the target in R10, or hands the instruction over. R11 is then its
    /// place there.
    fn know_target(&mut self) {
        let site = self.site();
        let known = far::ask_returns(&mut self.asm, self.at.view);
        self.asm.constant(RCX, site.into());
        self.asm.call(self.at.thunks.renew_return[usize::from(self.at.view)]);
        self.asm.land(known);
    }
}

const fn within_page(target: i32) -> bool {
    target >= 0 && target < 4096
}
