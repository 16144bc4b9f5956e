//! What a kernel executes all the time: CLI, STI, STAC, CLAC, PUSHFQ, SWAPGS, reading of system registers; and CLD, STD and
//! RDTSC.

use super::emitter::Emitter;
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, R15, RAX, RCX, RDX};
use crate::layout::{self, Context, GUEST_RSP, SYSTEM_FLAGS_OFFSET};
use iced_x86::{Code, Mnemonic, OpKind, Register};
use std::mem::offset_of;
use x86::GuestPhysAddr;
use x86::Vcpu;
use x86::flags;
use x86::memory::tlb::view;

impl Emitter<'_> {
    /// CLI, STI, PUSHFQ.
    pub fn interrupt_flag(&mut self) -> Emitted {
        match self.item.insn.mnemonic() {
            Mnemonic::Pushfq => self.push_flags(),
            // A view of ring 0: translated code never runs in rings 1 and 2.
            _ if self.at.view >= view::USER => Err(Untranslated),
            Mnemonic::Cli => {
                self.system_flag(layout::IF_MASK, false);
                Ok(())
            }
            _ => self.enable_interrupts(),
        }
    }

    /// STI. No interrupt is taken before the next instruction is done; where that belongs to the block and no
    /// interrupt waits, nothing happens in between that could show the shadow. (One that comes to wait in the
    /// meantime does so because the board was accessed, which ends the run of translated code.)
    fn enable_interrupts(&mut self) -> Emitted {
        if self.idx + 1 >= self.len {
            return Err(Untranslated);
        }
        self.slow_unless_clear(offset_of!(Context, interrupt));
        self.system_flag(layout::IF_MASK, true);
        Ok(())
    }

    /// Hands the instruction over unless the word of the context at `offset` is zero.
    fn slow_unless_clear(&mut self, offset: usize) {
        let site = self.site();
        self.asm.load(R11, layout::CONTEXT);
        self.asm.load(RCX, Mem::base(R11, offset as i32));
        self.slow_unless_zero(site);
    }

    /// Sets or clears the flag that the mask lacks, among those that are not the host's.
    fn system_flag(&mut self, mask: Mem, set: bool) {
        self.asm.load(R11, layout::CPU);
        self.asm.load(R10, Mem::base(R11, SYSTEM_FLAGS_OFFSET));
        if set {
            self.asm.not(R10);
        }
        self.asm.pext(R10, R10, mask);
        self.asm.pdep(R10, R10, mask);
        if set {
            self.asm.not(R10);
        }
        self.asm.store(Mem::base(R11, SYSTEM_FLAGS_OFFSET), R10);
    }

    /// The same for a flag that has no mask in the frame.
    fn rare_flag(&mut self, flag: u64, set: bool) {
        self.asm.constant(R10, !flag);
        self.asm.store(layout::KEPT, R10);
        self.system_flag(layout::KEPT, set);
    }

    /// CLD, STD.
    pub fn direction_flag(&mut self) -> Emitted {
        self.rare_flag(flags::DF, self.item.insn.mnemonic() == Mnemonic::Std);
        Ok(())
    }

    /// STAC, CLAC. Where they change the view, the block ends: what follows is another view's.
    pub fn access_flag(&mut self) -> Emitted {
        let set = self.item.insn.mnemonic() == Mnemonic::Stac;
        let next = usize::from(self.item.op.off) + usize::from(self.item.op.len);
        let to = match (self.at.view, set) {
            (view::SUPERVISOR, true) => Some(view::SUPERVISOR_AC),
            (view::SUPERVISOR_AC, false) => Some(view::SUPERVISOR),
            (view::SUPERVISOR, false) | (view::SUPERVISOR_AC, true) => None,
            _ => return Err(Untranslated),
        };
        if to.is_some() && next >= 4096 {
            return Err(Untranslated);
        }
        if to == Some(view::SUPERVISOR_AC) {
            // Without CR4.SMAP the view stays.
            self.slow_unless_clear(offset_of!(Context, no_smap));
        }
        self.rare_flag(flags::AC, set);
        if let Some(to) = to {
            self.asm.constant(RCX, to.into());
            self.asm.op_mem(false, &[0x88], RCX, Mem::base(R11, layout::VIEW_OFFSET));
            self.give_back(i32::from(self.len - self.idx - 1));
            self.jump_by_link(GuestPhysAddr(self.at.at.0 & !0xfff | next as u64), false);
        }
        Ok(())
    }

    /// True for MOV from a control register or a segment register.
    pub fn moves_from_system(&self) -> bool {
        let insn = &self.item.insn;
        insn.op1_kind() == OpKind::Register
            && (insn.op1_register().is_cr() || insn.op1_register().is_segment_register())
    }

    /// Such a MOV.
    pub fn move_from_system(&mut self) -> Emitted {
        let insn = self.item.insn;
        let to = insn.op0_register();
        if insn.op1_register().is_cr() {
            let offset = match insn.op1_register() {
                Register::CR0 => offset_of!(Vcpu, cr0),
                Register::CR2 => offset_of!(Vcpu, cr2),
                Register::CR3 => offset_of!(Vcpu, cr3),
                Register::CR4 => offset_of!(Vcpu, cr4),
                _ => return Err(Untranslated),
            };
            if self.at.view >= view::USER || insn.code() != Code::Mov_r64_cr {
                return Err(Untranslated);
            }
            self.asm.load(R11, layout::CPU);
            self.load_gpr(to.number() as u8, Mem::base(R11, offset as i32), R10);
            return Ok(());
        }
        let selector = layout::selector_offset(self.item.op.r1);
        if insn.op0_kind() == OpKind::Memory {
            let operand = self.operand(2, Access::Write, false)?;
            self.asm.lea(R10, operand);
            self.asm.load(R11, layout::CPU);
            self.asm.op_mem(false, &[0x0f, 0xb7], RCX, Mem::base(R11, selector));
            self.asm.byte(0x66);
            self.asm.op_mem(false, &[0x89], RCX, Mem::base(R10, 0));
            return Ok(());
        }
        if to.size() == 2 {
            return Err(Untranslated);
        }
        self.asm.load(R11, layout::CPU);
        self.asm.op_mem(false, &[0x0f, 0xb7], R10, Mem::base(R11, selector));
        self.set_gpr(to.number() as u8, R10);
        Ok(())
    }

    /// RDTSC: the counter follows from the budget that is left, if the context says so.
    pub fn time_stamp(&mut self) -> Emitted {
        let site = self.site();
        self.asm.load(R11, layout::CONTEXT);
        self.asm.load(RCX, Mem::base(R11, offset_of!(Context, tsc) as i32));
        let unknown = self.asm.jrcxz();
        // The counter is RCX, less the budget without what is charged ahead; NOT gives the negative less one.
        let ahead = i32::from(self.len - self.idx);
        self.asm.mov(R10, R15);
        self.asm.not(R10);
        self.asm.lea(RCX, Mem { disp: 1 - ahead, ..Mem::sum(RCX, R10) });
        self.asm.op_reg(false, &[0x8b], RAX, RCX);
        self.asm.rorx(RDX, RCX, 32);
        self.asm.op_reg(false, &[0x8b], RDX, RDX);
        let done = self.asm.skip();
        self.asm.land(unknown);
        self.slow(site);
        self.asm.land(done);
        Ok(())
    }

    /// SWAPGS: two words of the vCPU change places.
    pub fn swap_gs(&mut self) -> Emitted {
        if self.at.view >= view::USER {
            return Err(Untranslated);
        }
        let bases = [layout::segment_base_offset(x86::segment::seg::GS as u8), layout::KERNEL_GS_BASE_OFFSET];
        self.asm.load(R11, layout::CPU);
        let [gs, kernel] = bases.map(|offset| Mem::base(R11, offset));
        self.asm.load(R10, gs);
        self.asm.load(RCX, kernel);
        self.asm.store(kernel, R10);
        self.asm.store(gs, RCX);
        Ok(())
    }

    /// PUSHFQ: the arithmetic flags from the host, the others from the vCPU. RF and VM are clear in
    /// translated code.
    fn push_flags(&mut self) -> Emitted {
        let to = self.stack_operand(GUEST_RSP, -8, Access::Write)?;
        self.asm.lea(R11, to);
        self.asm.mov(RCX, RAX);
        // LAHF; SETO AL; MOVZX R10D, AL; RORX to bit 11; MOVZX EAX, AH.
        self.asm.raw(&[0x9f, 0x0f, 0x90, 0xc0]);
        self.asm.op_reg(false, &[0x0f, 0xb6], R10, RAX);
        self.asm.rorx(R10, R10, 64 - 11);
        self.asm.raw(&[0x0f, 0xb6, 0xc4]);
        self.asm.lea(R10, Mem::sum(R10, RAX));
        self.asm.mov(RAX, RCX);
        self.asm.load(RCX, layout::CPU);
        self.asm.load(RCX, Mem::base(RCX, SYSTEM_FLAGS_OFFSET));
        // No bit is in both; LAHF gave the one that is always set.
        self.asm.lea(R10, Mem::sum(R10, RCX));
        self.asm.store(Mem::base(R11, 0), R10);
        self.asm.lea(GUEST_RSP, Mem::base(GUEST_RSP, -8));
        Ok(())
    }
}
