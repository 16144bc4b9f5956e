//! The stack: pushes and pops in the current stack size.

use crate::fault::{Trap, vector};
use crate::memory::access::Value;
use crate::op::{Env, Op};
use crate::segment::seg;
use crate::vcpu::Vcpu;

const RSP: usize = 4;

impl Vcpu {
    /// The stack pointer, in the width of the stack.
    #[inline(always)]
    pub fn stack_pointer(&self) -> u64 {
        self.gpr[RSP] & self.mode.sp_mask
    }

    /// Sets the stack pointer. A 16-bit stack leaves the rest of the register as it is; a 32-bit one
    /// clears the upper half, as every 32-bit write does, so that 64-bit code finds it clear.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.mode.sp_mask;
        let kept = if mask == 0xffff { self.gpr[RSP] & !mask } else { 0 };
        self.gpr[RSP] = kept | (value & mask);
    }

    /// The linear address of `bytes` bytes of stack at `sp`.
    ///
    /// # Errors
    /// #SS(0).
    #[inline(always)]
    pub fn stack_linear(&mut self, sp: u64, bytes: u64, write: bool) -> Result<u64, Trap> {
        if self.is_64bit() { Ok(sp) } else { self.linear(seg::SS, sp, bytes, write) }
    }

    /// Pushes a value. RSP changes only if the store succeeds.
    ///
    /// # Errors
    /// #SS(0), #PF, #AC.
    #[inline(always)]
    pub fn push<T: Value>(&mut self, env: &mut Env<'_>, op: &Op, value: T) -> Result<(), Trap> {
        let sp = self.stack_pointer().wrapping_sub(T::BYTES as u64) & self.mode.sp_mask;
        let linear = self.stack_linear(sp, T::BYTES as u64, true)?;
        self.store(env, op, linear, value).map_err(|trap| self.of_stack(trap))?;
        self.set_stack_pointer(sp);
        Ok(())
    }

    /// Pops a value.
    ///
    /// # Errors
    /// #SS(0), #PF, #AC; RSP is unchanged then.
    #[inline(always)]
    pub fn pop<T: Value>(&mut self, env: &mut Env<'_>, op: &Op) -> Result<T, Trap> {
        let sp = self.stack_pointer();
        let linear = self.stack_linear(sp, T::BYTES as u64, false)?;
        let value = self.load(env, op, linear).map_err(|trap| self.of_stack(trap))?;
        self.set_stack_pointer(sp.wrapping_add(T::BYTES as u64));
        Ok(value)
    }

    /// A stack address that is not canonical is #SS(0), whatever the segment of `op`'s operand.
    #[cold]
    fn of_stack(&mut self, trap: Trap) -> Trap {
        if self.fault.vector == vector::GP { self.raise_with(vector::SS, 0) } else { trap }
    }
}
