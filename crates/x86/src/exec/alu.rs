//! ADD, OR, ADC, SBB, AND, SUB, XOR, CMP and TEST in all their forms.

use super::by_size;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_memory, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::LazyFlags;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic};

/// A two-operand operation.
pub trait Binary {
    /// Whether the result goes to the first operand.
    const WRITES: bool = true;
    /// Computes the result and sets the flags.
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, b: T) -> T;
}

/// The flags of a size known only by type.
#[inline(always)]
pub fn flags_of<T: Reg>(result: u64, carries: u64) -> LazyFlags {
    match T::BITS {
        8 => LazyFlags::from_carries::<8>(result, carries),
        16 => LazyFlags::from_carries::<16>(result, carries),
        32 => LazyFlags::from_carries::<32>(result, carries),
        _ => LazyFlags::from_carries::<64>(result, carries),
    }
}

/// The flags of a logical result of a size known only by type.
#[inline(always)]
pub fn logical_flags<T: Reg>(result: u64) -> LazyFlags {
    flags_of::<T>(result, 0)
}

#[inline(always)]
fn add<T: Reg>(flags: &mut LazyFlags, a: T, b: T, carry: u64) -> T {
    let (a, b) = (a.to_u64(), b.to_u64());
    let r = a.wrapping_add(b).wrapping_add(carry);
    *flags = flags_of::<T>(r, (a & b) | ((a | b) & !r));
    T::from_u64(r)
}

#[inline(always)]
fn sub<T: Reg>(flags: &mut LazyFlags, a: T, b: T, borrow: u64) -> T {
    let (a, b) = (a.to_u64(), b.to_u64());
    let r = a.wrapping_sub(b).wrapping_sub(borrow);
    *flags = flags_of::<T>(r, (!a & b) | ((!a | b) & r));
    T::from_u64(r)
}

#[inline(always)]
fn logical<T: Reg>(flags: &mut LazyFlags, r: u64) -> T {
    *flags = logical_flags::<T>(r);
    T::from_u64(r)
}

macro_rules! binary {
    ($name:ident, $writes:expr, |$flags:ident, $a:ident, $b:ident| $body:expr) => {
        /// The operation of the same name.
        pub struct $name;
        impl Binary for $name {
            const WRITES: bool = $writes;
            #[inline(always)]
            fn apply<T: Reg>($flags: &mut LazyFlags, $a: T, $b: T) -> T {
                $body
            }
        }
    };
}

binary!(Add, true, |f, a, b| add(f, a, b, 0));
binary!(Adc, true, |f, a, b| {
    let carry = u64::from(f.cf());
    add(f, a, b, carry)
});
binary!(Sub, true, |f, a, b| sub(f, a, b, 0));
binary!(Sbb, true, |f, a, b| {
    let borrow = u64::from(f.cf());
    sub(f, a, b, borrow)
});
binary!(Cmp, false, |f, a, b| sub(f, a, b, 0));
binary!(And, true, |f, a, b| logical(f, a.to_u64() & b.to_u64()));
binary!(Or, true, |f, a, b| logical(f, a.to_u64() | b.to_u64()));
binary!(Xor, true, |f, a, b| logical(f, a.to_u64() ^ b.to_u64()));
binary!(Test, false, |f, a, b| logical(f, a.to_u64() & b.to_u64()));

fn reg_reg<O: Binary, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (a, b) = (T::get(cpu, op.r1), T::get(cpu, op.r2));
    let r = O::apply(&mut cpu.lazy, a, b);
    if O::WRITES {
        T::set(cpu, op.r1, r);
    }
    Ok(Flow::Next)
}

fn reg_imm<O: Binary, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let a = T::get(cpu, op.r1);
    let r = O::apply(&mut cpu.lazy, a, T::from_u64(op.imm));
    if O::WRITES {
        T::set(cpu, op.r1, r);
    }
    Ok(Flow::Next)
}

fn reg_mem<O: Binary, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let b: T = cpu.load(env, op, linear)?;
    let a = T::get(cpu, op.r1);
    let r = O::apply(&mut cpu.lazy, a, b);
    if O::WRITES {
        T::set(cpu, op.r1, r);
    }
    Ok(Flow::Next)
}

/// The common part of the forms whose first operand is memory.
#[inline(always)]
fn to_memory<O: Binary, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, b: T) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, O::WRITES)?;
    let mut flags = cpu.lazy;
    if O::WRITES {
        let a: T = cpu.load_for_write(env, op, linear)?;
        let r = O::apply(&mut flags, a, b);
        cpu.store(env, op, linear, r)?;
    } else {
        let a: T = cpu.load(env, op, linear)?;
        O::apply(&mut flags, a, b);
    }
    cpu.lazy = flags;
    Ok(Flow::Next)
}

fn mem_reg<O: Binary, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let b = T::get(cpu, op.r2);
    to_memory::<O, T>(cpu, env, op, b)
}

fn mem_imm<O: Binary, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    to_memory::<O, T>(cpu, env, op, T::from_u64(op.imm))
}

fn form<O: Binary>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    if is_register(insn, 1) {
        op.r2 = gpr(insn.op1_register());
    }
    match (is_register(insn, 0), is_register(insn, 1)) {
        (true, true) => by_size!(bytes, reg_reg::<O>),
        (true, false) if is_memory(insn, 1) => by_size!(bytes, reg_mem::<O>),
        (true, false) => by_size!(bytes, reg_imm::<O>),
        (false, true) => by_size!(bytes, mem_reg::<O>),
        (false, false) => by_size!(bytes, mem_imm::<O>),
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    match insn.mnemonic() {
        Mnemonic::Add => form::<Add>(insn, op),
        Mnemonic::Or => form::<Or>(insn, op),
        Mnemonic::Adc => form::<Adc>(insn, op),
        Mnemonic::Sbb => form::<Sbb>(insn, op),
        Mnemonic::And => form::<And>(insn, op),
        Mnemonic::Sub => form::<Sub>(insn, op),
        Mnemonic::Xor => form::<Xor>(insn, op),
        Mnemonic::Cmp => form::<Cmp>(insn, op),
        Mnemonic::Test => form::<Test>(insn, op),
        _ => None,
    }
}
