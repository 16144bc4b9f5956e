//! Rotates and shifts by one, by CL and by a constant.
//!
//! The overflow flag is defined for a count of one only; this machine computes it for every
//! count by the rule for one (ROL, RCL, SHL: sign of the result against CF; ROR, RCR, SHR: the
//! two highest bits of the result against each other; SAR: clear). AF after a shift is clear.

use super::by_size;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::{self, LazyFlags};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic, OpKind};

trait Shift {
    /// `count` is masked to 5 or 6 bits and not zero.
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T;
}

/// Sets the flags of a shift.
#[inline(always)]
pub fn shift_flags<T: Reg>(flags: &mut LazyFlags, r: T, cf: bool, of: bool) {
    let r = r.to_u64();
    *flags = match T::BITS {
        8 => LazyFlags::with_cf_of::<8>(r, cf, of),
        16 => LazyFlags::with_cf_of::<16>(r, cf, of),
        32 => LazyFlags::with_cf_of::<32>(r, cf, of),
        _ => LazyFlags::with_cf_of::<64>(r, cf, of),
    };
}

/// Sets CF and OF only, as rotates do.
fn rotate_flags(flags: &mut LazyFlags, cf: bool, of: bool) {
    let bits = if cf { flags::CF } else { 0 } | if of { flags::OF } else { 0 };
    flags.replace(flags::CF | flags::OF, bits);
}

/// The two highest bits differ.
fn top_bits_differ<T: Reg>(r: T) -> bool {
    let r = r.to_u64();
    (r >> (T::BITS - 1) ^ r >> (T::BITS - 2)) & 1 != 0
}

struct Shl;
impl Shift for Shl {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let wide = u128::from(a.to_u64()) << count;
        let r = T::from_u64(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        shift_flags(flags, r, cf, r.msb() != cf);
        r
    }
}

struct Shr;
impl Shift for Shr {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let cf = a.to_u64() >> (count - 1) & 1 != 0;
        let r = T::from_u64(a.to_u64() >> count);
        shift_flags(flags, r, cf, top_bits_differ(r));
        r
    }
}

struct Sar;
impl Shift for Sar {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let signed = (a.to_u64() << (64 - T::BITS)) as i64 >> (64 - T::BITS);
        let cf = signed >> (count - 1) & 1 != 0;
        let r = T::from_u64((signed >> count) as u64);
        shift_flags(flags, r, cf, false);
        r
    }
}

struct Rol;
impl Shift for Rol {
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let n = count % T::BITS;
        let v = a.to_u64();
        let r = if n == 0 { a } else { T::from_u64(v << n | v >> (T::BITS - n)) };
        let cf = r.to_u64() & 1 != 0;
        rotate_flags(flags, cf, r.msb() != cf);
        r
    }
}

struct Ror;
impl Shift for Ror {
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let n = count % T::BITS;
        let v = a.to_u64();
        let r = if n == 0 { a } else { T::from_u64(v >> n | v << (T::BITS - n)) };
        rotate_flags(flags, r.msb(), top_bits_differ(r));
        r
    }
}

/// Rotates the value with CF above its top bit, left by `n` of `T::BITS + 1` places.
fn rotate_through_carry<T: Reg>(a: T, cf: bool, n: u32) -> (T, bool) {
    let bits = T::BITS + 1;
    let wide = u128::from(cf) << T::BITS | u128::from(a.to_u64());
    let turned = if n == 0 { wide } else { wide << n | wide >> (bits - n) };
    (T::from_u64(turned as u64), turned >> T::BITS & 1 != 0)
}

struct Rcl;
impl Shift for Rcl {
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let n = count % (T::BITS + 1);
        let (r, cf) = rotate_through_carry(a, flags.cf(), n);
        rotate_flags(flags, cf, r.msb() != cf);
        r
    }
}

struct Rcr;
impl Shift for Rcr {
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T, count: u32) -> T {
        let bits = T::BITS + 1;
        let n = (bits - count % bits) % bits;
        let (r, cf) = rotate_through_carry(a, flags.cf(), n);
        rotate_flags(flags, cf, top_bits_differ(r));
        r
    }
}

fn masked<T: Reg>(count: u64) -> u32 {
    (count & if T::BITS == 64 { 63 } else { 31 }) as u32
}

#[inline(always)]
fn on_reg<O: Shift, T: Reg>(cpu: &mut Vcpu, op: &Op, count: u32) -> Result<Flow, Trap> {
    if count != 0 {
        let a = T::get(cpu, op.r1);
        let r = O::apply(&mut cpu.lazy, a, count);
        T::set(cpu, op.r1, r);
    } else if T::BITS == 32 {
        // A 32-bit destination is written even then: the upper half is cleared.
        let a = T::get(cpu, op.r1);
        T::set(cpu, op.r1, a);
    }
    Ok(Flow::Next)
}

#[inline(always)]
fn on_mem<O: Shift, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, count: u32) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let a: T = cpu.load_for_write(env, op, linear)?;
    if count != 0 {
        let mut lazy = cpu.lazy;
        let r = O::apply(&mut lazy, a, count);
        cpu.store(env, op, linear, r)?;
        cpu.lazy = lazy;
    }
    Ok(Flow::Next)
}

fn reg_imm<O: Shift, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    on_reg::<O, T>(cpu, op, masked::<T>(op.imm))
}

fn reg_cl<O: Shift, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let count = masked::<T>(cpu.gpr[1]);
    on_reg::<O, T>(cpu, op, count)
}

fn mem_imm<O: Shift, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    on_mem::<O, T>(cpu, env, op, masked::<T>(op.imm))
}

fn mem_cl<O: Shift, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let count = masked::<T>(cpu.gpr[1]);
    on_mem::<O, T>(cpu, env, op, count)
}

fn form<O: Shift>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    let by_cl = insn.op1_kind() == OpKind::Register;
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    match (is_register(insn, 0), by_cl) {
        (true, true) => by_size!(bytes, reg_cl::<O>),
        (true, false) => by_size!(bytes, reg_imm::<O>),
        (false, true) => by_size!(bytes, mem_cl::<O>),
        (false, false) => by_size!(bytes, mem_imm::<O>),
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    match insn.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => form::<Shl>(insn, op),
        Mnemonic::Shr => form::<Shr>(insn, op),
        Mnemonic::Sar => form::<Sar>(insn, op),
        Mnemonic::Rol => form::<Rol>(insn, op),
        Mnemonic::Ror => form::<Ror>(insn, op),
        Mnemonic::Rcl => form::<Rcl>(insn, op),
        Mnemonic::Rcr => form::<Rcr>(insn, op),
        _ => None,
    }
}
