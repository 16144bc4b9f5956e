//! BMI1 and BMI2 (the counting ones are in [`super::bits`]). Undefined flags: AF and PF stay
//! clear, as do all flags that an instruction leaves open.

use super::reg::Reg;
use crate::decode::operands::{gpr, is_memory, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::{self, LazyFlags};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The operation, in [`Op::extra`]; data rather than code, since these are rare.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Andn,
    Bextr,
    Blsi,
    Blsmsk,
    Blsr,
    Bzhi,
    Mulx,
    Pdep,
    Pext,
    Rorx,
    Sarx,
    Shlx,
    Shrx,
}

const KINDS: [(Mnemonic, Kind); 13] = [
    (Mnemonic::Andn, Kind::Andn),
    (Mnemonic::Bextr, Kind::Bextr),
    (Mnemonic::Blsi, Kind::Blsi),
    (Mnemonic::Blsmsk, Kind::Blsmsk),
    (Mnemonic::Blsr, Kind::Blsr),
    (Mnemonic::Bzhi, Kind::Bzhi),
    (Mnemonic::Mulx, Kind::Mulx),
    (Mnemonic::Pdep, Kind::Pdep),
    (Mnemonic::Pext, Kind::Pext),
    (Mnemonic::Rorx, Kind::Rorx),
    (Mnemonic::Sarx, Kind::Sarx),
    (Mnemonic::Shlx, Kind::Shlx),
    (Mnemonic::Shrx, Kind::Shrx),
];

/// SF and ZF of a result, and CF; OF clear.
fn result_flags<T: Reg>(r: T, cf: bool) -> LazyFlags {
    let sf = if r.msb() { flags::SF } else { 0 };
    let zf = if r.to_u64() == 0 { flags::ZF } else { 0 };
    LazyFlags::from_bits(sf | zf | if cf { flags::CF } else { 0 })
}

/// Where the operands come from: `a` is the first source, `b` the second.
fn execute<T: Reg>(cpu: &mut Vcpu, kind: Kind, r1: u8, r2: u8, a: T, b: T) {
    let (x, y) = (a.to_u64(), b.to_u64());
    let bits = u64::from(T::BITS);
    let shift = y & (bits - 1);
    let mut lazy = cpu.lazy;
    let r = match kind {
        Kind::Andn => {
            let r = T::from_u64(!x & y);
            lazy = result_flags(r, false);
            r.to_u64()
        }
        Kind::Bextr => {
            let (start, len) = (y & 0xff, y >> 8 & 0xff);
            let shifted = if start < bits { x >> start } else { 0 };
            let r = if len < 64 { shifted & ((1 << len) - 1) } else { shifted };
            lazy = LazyFlags::from_bits(if r == 0 { flags::ZF } else { 0 });
            r
        }
        Kind::Blsi => {
            let r = T::from_u64(x & x.wrapping_neg());
            lazy = result_flags(r, x != 0);
            r.to_u64()
        }
        Kind::Blsmsk => {
            let r = T::from_u64(x ^ x.wrapping_sub(1));
            lazy = result_flags(r, x == 0);
            r.to_u64()
        }
        Kind::Blsr => {
            let r = T::from_u64(x & x.wrapping_sub(1));
            lazy = result_flags(r, x == 0);
            r.to_u64()
        }
        Kind::Bzhi => {
            let n = y & 0xff;
            let r = T::from_u64(if n < bits { x & ((1 << n) - 1) } else { x });
            lazy = result_flags(r, n >= bits);
            r.to_u64()
        }
        Kind::Mulx => {
            let product = u128::from(x) * u128::from(T::get(cpu, 2).to_u64());
            T::set(cpu, r2, T::from_u64(product as u64));
            (product >> T::BITS) as u64
        }
        Kind::Pdep => deposit(x, y),
        Kind::Pext => extract(x, y),
        Kind::Rorx if shift == 0 => x,
        Kind::Rorx => x >> shift | x << (bits - shift),
        Kind::Sarx => ((x << (64 - bits)) as i64 >> (64 - bits) >> shift) as u64,
        Kind::Shlx => x << shift,
        Kind::Shrx => x >> shift,
    };
    cpu.lazy = lazy;
    T::set(cpu, r1, T::from_u64(r));
}

/// PDEP: the low bits of `value` go to the places set in `mask`.
fn deposit(value: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    let mut bit = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if value >> bit & 1 != 0 {
            result |= lowest;
        }
        mask ^= lowest;
        bit += 1;
    }
    result
}

/// PEXT: the bits of `value` at the places set in `mask`, put together.
fn extract(value: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    let mut bit = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if value & lowest != 0 {
            result |= 1 << bit;
        }
        mask ^= lowest;
        bit += 1;
    }
    result
}

/// True for the kinds whose ModRM operand is the first source rather than the second.
fn rm_is_first(kind: Kind) -> bool {
    !matches!(kind, Kind::Andn | Kind::Pdep | Kind::Pext)
}

/// `r3` is the ModRM operand when it is a register, `r2` the other source (MULX: the low result).
fn run<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let kind = KINDS[op.extra as usize].1;
    let rm = if MEM {
        let linear = cpu.operand_address(op, T::BYTES, false)?;
        cpu.load(env, op, linear)?
    } else {
        T::get(cpu, op.r3)
    };
    let other = if matches!(kind, Kind::Rorx) { T::from_u64(op.imm) } else { T::get(cpu, op.r2) };
    let (a, b) = if rm_is_first(kind) { (rm, other) } else { (other, rm) };
    execute(cpu, kind, op.r1, op.r2, a, b);
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let index = KINDS.iter().position(|&(mnemonic, _)| mnemonic == insn.mnemonic())?;
    let kind = KINDS[index].1;
    op.extra = index as u32;
    let (destination, rm, other) = match kind {
        // BLSI, BLSMSK and BLSR name the destination first, in VEX.vvvv, as the others do.
        Kind::Mulx | Kind::Andn | Kind::Pdep | Kind::Pext => (0, 2, 1),
        _ => (0, 1, 2),
    };
    op.r1 = gpr(insn.op_register(destination));
    if other < insn.op_count() && insn.op_kind(other) == OpKind::Register {
        op.r2 = gpr(insn.op_register(other));
    }
    let memory = is_memory(insn, rm);
    if !memory {
        op.r3 = gpr(insn.op_register(rm));
    }
    Some(match (operand_bytes(insn, 0), memory) {
        (4, false) => run::<u32, false>,
        (4, true) => run::<u32, true>,
        (_, false) => run::<u64, false>,
        (_, true) => run::<u64, true>,
    })
}
