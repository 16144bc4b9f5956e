//! IRET in every mode (SDM Vol. 2, IRET; Vol. 3A, 6.14.3 and 7.4; Vol. 3B, 21.2.3).

use super::descriptor::{is_null, kind, rpl};
use super::interrupt::jumped;
use super::stack_cursor::StackCursor;
use super::task::Switch;
use crate::fault::{Flow, Trap, vector};
use crate::flags;
use crate::op::{Env, Exec, Op};
use crate::segment::{Segment, seg};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

/// The flags that every IRET loads.
const LOADED16: u64 = flags::ARITHMETIC | flags::TF | flags::DF | flags::NT;
/// Those that a 32- or 64-bit one loads besides.
const LOADED32: u64 = LOADED16 | flags::RF | flags::AC | flags::ID;

/// The code of IRET; `None` if `insn` is something else.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.osize = match insn.code() {
        Code::Iretw => 2,
        Code::Iretd => 4,
        Code::Iretq => 8,
        _ => return None,
    };
    Some(iret)
}

fn iret(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    // NMIs are unblocked even if the IRET faults (Vol. 3A, 6.7.1).
    cpu.nmi_blocked = false;
    let size = op.osize;
    if cpu.mode.real {
        return cpu.iret_real(env, size, flags::IF | flags::IOPL);
    }
    if cpu.mode.v86 {
        return cpu.iret_v86(env, size);
    }
    if cpu.rflags_system & flags::NT != 0 {
        if cpu.long_mode() {
            return Err(cpu.gp0());
        }
        return cpu.iret_task(env, op);
    }
    cpu.iret_protected(env, size)
}

/// What IRET takes from the stack first.
struct Frame {
    rip: u64,
    cs: u16,
    flags: u64,
}

impl Vcpu {
    fn pop_frame(&mut self, env: &mut Env<'_>, stack: &mut StackCursor, size: u8) -> Result<Frame, Trap> {
        let rip = stack.pop(self, env, size)?;
        let cs = stack.pop(self, env, size)? as u16;
        Ok(Frame { rip, cs, flags: stack.pop(self, env, size)? })
    }

    /// Loads the flags in `mask` from `image`; the caller recomputes the mode.
    fn replace_flags(&mut self, image: u64, mask: u64) {
        self.lazy.replace(mask & flags::ARITHMETIC, image);
        let mask = mask & !flags::ARITHMETIC;
        self.rflags_system = self.rflags_system & !mask | image & mask;
    }

    fn iret_real(&mut self, env: &mut Env<'_>, size: u8, also: u64) -> Result<Flow, Trap> {
        let mut stack = StackCursor::current(self);
        let frame = self.pop_frame(env, &mut stack, size)?;
        let code = self.seg[seg::CS];
        self.check_target(&code, frame.rip)?;
        self.commit_stack(&stack);
        self.replace_flags(frame.flags, if size == 2 { LOADED16 } else { LOADED32 } | also);
        self.load_code_real(frame.cs, frame.rip);
        Ok(jumped(env))
    }

    fn iret_v86(&mut self, env: &mut Env<'_>, size: u8) -> Result<Flow, Trap> {
        if self.iopl() == 3 {
            return self.iret_real(env, size, flags::IF);
        }
        if self.cr4 & cr::CR4_VME == 0 || size != 2 {
            return Err(self.gp0());
        }
        // With the virtual-mode extensions IF of the image is VIF.
        let mut stack = StackCursor::current(self);
        let frame = self.pop_frame(env, &mut stack, 2)?;
        let enables = frame.flags & flags::IF != 0;
        let pending = self.rflags_system & flags::VIP != 0;
        if frame.flags & flags::TF != 0 || (enables && pending) {
            return Err(self.gp0());
        }
        let code = self.seg[seg::CS];
        self.check_target(&code, frame.rip)?;
        self.commit_stack(&stack);
        let image = frame.flags & 0xffff | if enables { flags::VIF } else { 0 };
        self.replace_flags(image, LOADED16 | flags::VIF);
        self.load_code_real(frame.cs, frame.rip);
        Ok(jumped(env))
    }

    fn iret_protected(&mut self, env: &mut Env<'_>, size: u8) -> Result<Flow, Trap> {
        let mut stack = StackCursor::current(self);
        let frame = self.pop_frame(env, &mut stack, size)?;
        let cpl = self.mode.cpl;
        if size == 4 && frame.flags & flags::VM != 0 && cpl == 0 && !self.long_mode() {
            return self.iret_to_v86(env, &frame, stack);
        }
        let code = self.check_return_code(env, frame.cs)?;
        let outer = rpl(frame.cs) > cpl;
        // 64-bit mode takes SS:RSP from the frame always.
        if outer || self.is_64bit() {
            let rsp = stack.pop(self, env, size)?;
            let selector = stack.pop(self, env, size)? as u16;
            let ss = self.check_return_stack(env, selector, &code)?;
            self.check_target(&code, frame.rip)?;
            self.commit_return_stack(&code, ss, rsp, 0);
        } else {
            self.check_target(&code, frame.rip)?;
            self.commit_stack(&stack);
        }
        self.replace_flags(frame.flags, loaded_flags(size, cpl, self.iopl()));
        self.commit_cs(code, frame.rip);
        if outer {
            self.null_inner_segments();
        }
        Ok(jumped(env))
    }

    fn iret_to_v86(&mut self, env: &mut Env<'_>, frame: &Frame, mut stack: StackCursor) -> Result<Flow, Trap> {
        let rsp = stack.pop(self, env, 4)?;
        let mut selectors = [0; 5];
        for selector in &mut selectors {
            *selector = stack.pop(self, env, 4)? as u16;
        }
        let code = Segment::v86(frame.cs);
        if frame.rip > u64::from(code.limit) {
            return Err(self.gp0());
        }
        for (index, selector) in [seg::SS, seg::ES, seg::DS, seg::FS, seg::GS].into_iter().zip(selectors) {
            self.seg[index] = Segment::v86(selector);
        }
        self.gpr[4] = rsp;
        self.lazy.replace(flags::ARITHMETIC, frame.flags);
        self.rflags_system = frame.flags & flags::ALL & !flags::ARITHMETIC;
        self.commit_cs(code, frame.rip);
        Ok(jumped(env))
    }

    /// IRET with NT set: back to the task that the link of the current TSS names.
    fn iret_task(&mut self, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
        let link = self.load_system::<u16>(env, self.system_linear(self.seg[seg::TR].base, 0))?;
        if is_null(link) || link & 4 != 0 {
            return Err(self.selector_fault(vector::TS, link));
        }
        let tss = self.read_descriptor(env, link, vector::TS)?;
        if !tss.is_system() || !matches!(tss.segment.kind(), kind::TSS_BUSY | kind::TSS16_BUSY) {
            return Err(self.selector_fault(vector::TS, link));
        }
        if !tss.present() {
            return Err(self.selector_fault(vector::NP, link));
        }
        let return_rip = self.next_rip(op);
        let image = self.rflags() & !flags::RF;
        Ok(match self.switch_task(env, &tss, Switch::Return, return_rip, image)? {
            Ok(()) => jumped(env),
            Err(_) => self.fault_in_new_task(env),
        })
    }
}

/// The flags that an IRET of `size` bytes may change at a privilege level.
fn loaded_flags(size: u8, cpl: u8, iopl: u8) -> u64 {
    let mut mask = if size == 2 { LOADED16 } else { LOADED32 };
    if cpl <= iopl {
        mask |= flags::IF;
    }
    if cpl == 0 {
        mask |= flags::IOPL;
        if size != 2 {
            mask |= flags::VIF | flags::VIP;
        }
    }
    mask
}
