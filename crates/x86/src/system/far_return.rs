//! Far returns (SDM Vol. 2, RET), and what they share with IRET: the checks of the code and
//! stack segments that a return leads to.

use super::descriptor::{is_null, rpl};
use super::interrupt::jumped;
use super::segment_load::BY_INSTRUCTION;
use super::stack_cursor::{StackCursor, stack_mask};
use crate::fault::{Flow, Trap, vector};
use crate::op::{Env, Exec, Op};
use crate::segment::{ATTR_L, Segment, seg};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction};

/// The code of a far return; `None` if `insn` is none.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    let (size, released) = match insn.code() {
        Retfw => (2, 0),
        Retfd => (4, 0),
        Retfq => (8, 0),
        Retfw_imm16 => (2, insn.immediate16()),
        Retfd_imm16 => (4, insn.immediate16()),
        Retfq_imm16 => (8, insn.immediate16()),
        _ => return None,
    };
    op.osize = size;
    op.extra = u32::from(released);
    Some(retf)
}

fn retf(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let size = op.osize;
    let released = i64::from(op.extra);
    let mut stack = StackCursor::current(cpu);
    let rip = stack.pop(cpu, env, size)?;
    let selector = stack.pop(cpu, env, size)? as u16;
    if cpu.mode.real || cpu.mode.v86 {
        let code = cpu.seg[seg::CS];
        cpu.check_target(&code, rip)?;
        stack.skip(released);
        cpu.commit_stack(&stack);
        cpu.load_code_real(selector, rip);
        return Ok(jumped(env));
    }
    let code = cpu.check_return_code(env, selector)?;
    stack.skip(released);
    let outer = rpl(selector) > cpu.mode.cpl;
    if outer {
        let rsp = stack.pop(cpu, env, size)?;
        let ss = stack.pop(cpu, env, size)? as u16;
        let ss = cpu.check_return_stack(env, ss, &code)?;
        cpu.check_target(&code, rip)?;
        cpu.commit_return_stack(&code, ss, rsp, released);
    } else {
        cpu.check_target(&code, rip)?;
        cpu.commit_stack(&stack);
    }
    cpu.commit_cs(code, rip);
    if outer {
        cpu.null_inner_segments();
    }
    Ok(jumped(env))
}

impl Vcpu {
    /// The code segment that a return to `selector` leads to, at the level of its RPL.
    ///
    /// # Errors
    /// #GP, #NP or #PF.
    pub(crate) fn check_return_code(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Err(self.gp0());
        }
        let descriptor = self.read_descriptor(env, selector, vector::GP)?;
        let level = rpl(selector);
        let wrong_level =
            if descriptor.is_conforming_code() { descriptor.dpl() > level } else { descriptor.dpl() != level };
        if !descriptor.is_code() || level < self.mode.cpl || wrong_level || self.is_bad_long_code(&descriptor) {
            return Err(self.gp_selector(selector));
        }
        self.code_segment(env, &descriptor, level)
    }

    /// The stack segment that a return to `code` loads.
    ///
    /// # Errors
    /// #GP, #SS or #PF.
    pub(crate) fn check_return_stack(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        code: &Segment,
    ) -> Result<Segment, Trap> {
        let cpl = rpl(code.selector);
        if is_null(selector) {
            if self.long_mode() && code.has(ATTR_L) && cpl != 3 && rpl(selector) == cpl {
                return Ok(Segment::null_stack(selector, cpl));
            }
            return Err(self.gp0());
        }
        self.check_usable_stack(env, selector, cpl, BY_INSTRUCTION)
    }

    /// Loads SS, and RSP in the width that it has under `code`: bits beyond a 16-bit stack
    /// pointer keep their old value, as on processors.
    pub(crate) fn commit_return_stack(&mut self, code: &Segment, ss: Segment, rsp: u64, released: i64) {
        let mask = if self.long_mode() && code.has(ATTR_L) { u64::MAX } else { stack_mask(&ss) };
        let kept = if mask == 0xffff { self.gpr[4] & 0xffff_0000 } else { 0 };
        self.seg[seg::SS] = ss;
        self.gpr[4] = kept | rsp.wrapping_add(released as u64) & mask;
    }
}
