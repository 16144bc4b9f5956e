//! SHLD and SHRD.
//!
//! A count beyond a 16-bit operand gives an undefined result; here the pair of operands is
//! taken as a ring, as processors do. OF follows the rule for a count of one: the sign changed.

use super::reg::Reg;
use super::shift::shift_flags;
use crate::decode::operands::{gpr, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::LazyFlags;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic, OpKind};

fn shld<T: Reg>(flags: &mut LazyFlags, a: T, b: T, count: u32) -> T {
    let (x, y) = (u128::from(a.to_u64()), u128::from(b.to_u64()));
    // The operand, the bits that come in, and for counts above 16 the operand again.
    let (r, cf) = if count <= T::BITS {
        let wide = (x << T::BITS | y) << count >> T::BITS;
        (wide as u64, x >> (T::BITS - count) & 1 != 0)
    } else {
        let ring = x << 32 | y << 16 | x;
        let wide = ring << count;
        ((wide >> 32) as u64, wide >> 48 & 1 != 0)
    };
    let r = T::from_u64(r);
    shift_flags(flags, r, cf, r.msb() != a.msb());
    r
}

fn shrd<T: Reg>(flags: &mut LazyFlags, a: T, b: T, count: u32) -> T {
    let (x, y) = (u128::from(a.to_u64()), u128::from(b.to_u64()));
    let ring = if count <= T::BITS { y << T::BITS | x } else { x << 32 | y << 16 | x };
    let r = T::from_u64((ring >> count) as u64);
    let cf = ring >> (count - 1) & 1 != 0;
    shift_flags(flags, r, cf, r.msb() != a.msb());
    r
}

/// Shifts the destination; `LEFT` says which way, `BY_CL` where the count comes from.
fn on_reg<T: Reg, const LEFT: bool, const BY_CL: bool>(
    cpu: &mut Vcpu,
    _env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    let count = count::<T, BY_CL>(cpu, op);
    let (a, b) = (T::get(cpu, op.r1), T::get(cpu, op.r2));
    let r = if count == 0 { a } else { apply::<T, LEFT>(&mut cpu.lazy, a, b, count) };
    if count != 0 || T::BITS == 32 {
        T::set(cpu, op.r1, r);
    }
    Ok(Flow::Next)
}

fn on_mem<T: Reg, const LEFT: bool, const BY_CL: bool>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    let count = count::<T, BY_CL>(cpu, op);
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let a: T = cpu.load_for_write(env, op, linear)?;
    if count != 0 {
        let mut lazy = cpu.lazy;
        let r = apply::<T, LEFT>(&mut lazy, a, T::get(cpu, op.r2), count);
        cpu.store(env, op, linear, r)?;
        cpu.lazy = lazy;
    }
    Ok(Flow::Next)
}

fn count<T: Reg, const BY_CL: bool>(cpu: &Vcpu, op: &Op) -> u32 {
    let count = if BY_CL { cpu.gpr[1] } else { op.imm };
    (count & if T::BITS == 64 { 63 } else { 31 }) as u32
}

fn apply<T: Reg, const LEFT: bool>(flags: &mut LazyFlags, a: T, b: T, count: u32) -> T {
    if LEFT { shld(flags, a, b, count) } else { shrd(flags, a, b, count) }
}

fn form<const LEFT: bool>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    op.r2 = gpr(insn.op1_register());
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    macro_rules! sizes {
        ($f:ident, $by_cl:literal) => {
            match bytes {
                2 => Some($f::<u16, LEFT, $by_cl> as Exec),
                4 => Some($f::<u32, LEFT, $by_cl> as Exec),
                _ => Some($f::<u64, LEFT, $by_cl> as Exec),
            }
        };
    }
    match (is_register(insn, 0), insn.op2_kind() == OpKind::Register) {
        (true, true) => sizes!(on_reg, true),
        (true, false) => sizes!(on_reg, false),
        (false, true) => sizes!(on_mem, true),
        (false, false) => sizes!(on_mem, false),
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    match insn.mnemonic() {
        Mnemonic::Shld => form::<true>(insn, op),
        Mnemonic::Shrd => form::<false>(insn, op),
        _ => None,
    }
}
