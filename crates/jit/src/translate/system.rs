//! CLI, STI, PUSHFQ and SWAPGS of a kernel, which executes them all the time, and RDTSC.

use super::emitter::Emitter;
use super::memory::Access;
use super::{Emitted, Untranslated};
use crate::asm::{Mem, R10, R11, R15, RAX, RCX, RDX};
use crate::layout::{self, Context, GUEST_RSP, SYSTEM_FLAGS_OFFSET};
use iced_x86::Mnemonic;
use std::mem::offset_of;
use x86::memory::tlb::view;

impl Emitter<'_> {
    /// CLI, STI, PUSHFQ.
    pub fn interrupt_flag(&mut self) -> Emitted {
        match self.item.insn.mnemonic() {
            Mnemonic::Pushfq => self.push_flags(),
            // A view of ring 0: translated code never runs in rings 1 and 2.
            _ if self.at.view >= view::USER => Err(Untranslated),
            Mnemonic::Cli => {
                self.asm.load(R11, layout::CPU);
                self.asm.load(R10, Mem::base(R11, SYSTEM_FLAGS_OFFSET));
                self.asm.pext(R10, R10, layout::IF_MASK);
                self.asm.pdep(R10, R10, layout::IF_MASK);
                self.asm.store(Mem::base(R11, SYSTEM_FLAGS_OFFSET), R10);
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
        let site = self.site();
        self.asm.load(R11, layout::CONTEXT);
        self.asm.load(RCX, Mem::base(R11, offset_of!(Context, interrupt) as i32));
        let none = self.asm.jrcxz();
        self.slow(site);
        self.asm.land(none);
        self.asm.load(R11, layout::CPU);
        self.asm.load(R10, Mem::base(R11, SYSTEM_FLAGS_OFFSET));
        self.asm.not(R10);
        self.asm.pext(R10, R10, layout::IF_MASK);
        self.asm.pdep(R10, R10, layout::IF_MASK);
        self.asm.not(R10);
        self.asm.store(Mem::base(R11, SYSTEM_FLAGS_OFFSET), R10);
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
