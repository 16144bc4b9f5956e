//! BT, BTS, BTR, BTC; BSF, BSR, TZCNT, LZCNT, POPCNT; CRC32.
//!
//! BSF and BSR of zero leave the destination as it was, as all x86-64 processors do; their
//! flags other than ZF are defined here as clear.

use super::by_size_from_word;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_memory, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::{self, LazyFlags};
use crate::op::{AddressMode, Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// What a bit test does to the bit, in [`Op::r3`].
mod change {
    pub const NONE: u8 = 0;
    pub const SET: u8 = 1;
    pub const RESET: u8 = 2;
}

fn changed(how: u8, value: u64, mask: u64) -> u64 {
    match how {
        change::NONE => value,
        change::SET => value | mask,
        change::RESET => value & !mask,
        _ => value ^ mask,
    }
}

/// Bit tests on a register; the bit number is `imm` or register `r2`.
fn test_reg<T: Reg, const BY_REG: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let bit = if BY_REG { T::get(cpu, op.r2).to_u64() } else { op.imm };
    let mask = 1u64 << (bit % u64::from(T::BITS));
    let value = T::get(cpu, op.r1).to_u64();
    if op.r3 != change::NONE {
        T::set(cpu, op.r1, T::from_u64(changed(op.r3, value, mask)));
    }
    cpu.lazy.set_cf(value & mask != 0);
    Ok(Flow::Next)
}

/// Bit tests on memory: a bit number in a register reaches beyond the operand.
fn test_mem<T: Reg, const BY_REG: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let mut address = cpu.effective_address(op);
    let bit = if BY_REG {
        let bit = T::get(cpu, op.r2).to_u64();
        let signed = (bit << (64 - T::BITS)) as i64 >> (64 - T::BITS);
        let words = signed >> T::BITS.trailing_zeros();
        address = address.wrapping_add((words as u64).wrapping_mul(T::BYTES as u64));
        bit
    } else {
        op.imm
    };
    let masked = match op.amode {
        AddressMode::Flat64 | AddressMode::Based64 => address,
        AddressMode::Truncated64 | AddressMode::Segment32 => address & 0xffff_ffff,
        AddressMode::Segment16 => address & 0xffff,
    };
    let writes = op.r3 != change::NONE;
    let linear = cpu.linear(usize::from(op.seg), masked, T::BYTES as u64, writes)?;
    let mask = 1u64 << (bit % u64::from(T::BITS));
    let value = if writes {
        let value = cpu.load_for_write::<T>(env, op, linear)?.to_u64();
        cpu.store(env, op, linear, T::from_u64(changed(op.r3, value, mask)))?;
        value
    } else {
        cpu.load::<T>(env, op, linear)?.to_u64()
    };
    cpu.lazy.set_cf(value & mask != 0);
    Ok(Flow::Next)
}

fn bit_test(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    let by_reg = insn.op1_kind() == OpKind::Register;
    if by_reg {
        op.r2 = gpr(insn.op1_register());
    }
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    macro_rules! sizes {
        ($f:ident, $by_reg:literal) => {
            match bytes {
                2 => Some($f::<u16, $by_reg> as Exec),
                4 => Some($f::<u32, $by_reg> as Exec),
                _ => Some($f::<u64, $by_reg> as Exec),
            }
        };
    }
    match (is_register(insn, 0), by_reg) {
        (true, true) => sizes!(test_reg, true),
        (true, false) => sizes!(test_reg, false),
        (false, true) => sizes!(test_mem, true),
        (false, false) => sizes!(test_mem, false),
    }
}

/// A counting instruction: from the source to the new destination, or `None` to keep it.
trait Count {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64>;
}

struct Bsf;
impl Count for Bsf {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64> {
        *flags = LazyFlags::from_bits(if value == 0 { flags::ZF } else { 0 });
        (value != 0).then(|| u64::from(value.trailing_zeros()))
    }
}

struct Bsr;
impl Count for Bsr {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64> {
        *flags = LazyFlags::from_bits(if value == 0 { flags::ZF } else { 0 });
        (value != 0).then(|| u64::from(63 - value.leading_zeros()))
    }
}

/// CF for a zero source, ZF for a zero result; the others are defined here as clear.
fn count_flags(flags: &mut LazyFlags, source: u64, result: u64) {
    let cf = if source == 0 { flags::CF } else { 0 };
    let zf = if result == 0 { flags::ZF } else { 0 };
    *flags = LazyFlags::from_bits(cf | zf);
}

struct Tzcnt;
impl Count for Tzcnt {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64> {
        let r = u64::from(value.trailing_zeros().min(T::BITS));
        count_flags(flags, value, r);
        Some(r)
    }
}

struct Lzcnt;
impl Count for Lzcnt {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64> {
        let r = u64::from(value.leading_zeros() - (64 - T::BITS));
        count_flags(flags, value, r);
        Some(r)
    }
}

struct Popcnt;
impl Count for Popcnt {
    fn apply<T: Reg>(flags: &mut LazyFlags, value: u64) -> Option<u64> {
        *flags = LazyFlags::from_bits(if value == 0 { flags::ZF } else { 0 });
        Some(u64::from(value.count_ones()))
    }
}

fn count_reg<O: Count, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = T::get(cpu, op.r2).to_u64();
    if let Some(r) = O::apply::<T>(&mut cpu.lazy, value) {
        T::set(cpu, op.r1, T::from_u64(r));
    }
    Ok(Flow::Next)
}

fn count_mem<O: Count, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let value: T = cpu.load(env, op, linear)?;
    if let Some(r) = O::apply::<T>(&mut cpu.lazy, value.to_u64()) {
        T::set(cpu, op.r1, T::from_u64(r));
    }
    Ok(Flow::Next)
}

fn count<O: Count>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    op.r1 = gpr(insn.op0_register());
    if is_memory(insn, 1) {
        return by_size_from_word!(bytes, count_mem::<O>);
    }
    op.r2 = gpr(insn.op1_register());
    by_size_from_word!(bytes, count_reg::<O>)
}

/// CRC-32C of `bits` bits of data, bit by bit: polynomial 11EDC6F41h reflected (SDM Vol. 2A, CRC32).
fn crc32c(crc: u32, data: u64, bits: u32) -> u32 {
    (0..bits).fold(crc, |crc, i| {
        let bit = (crc ^ (data >> i) as u32) & 1;
        (crc >> 1) ^ (0x82f6_3b78 * bit)
    })
}

fn crc_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let data = T::get(cpu, op.r2).to_u64();
    let r = &mut cpu.gpr[usize::from(op.r1 & 15)];
    *r = u64::from(crc32c(*r as u32, data, T::BITS));
    Ok(Flow::Next)
}

fn crc_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let data: T = cpu.load(env, op, linear)?;
    let r = &mut cpu.gpr[usize::from(op.r1 & 15)];
    *r = u64::from(crc32c(*r as u32, data.to_u64(), T::BITS));
    Ok(Flow::Next)
}

fn crc(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.r1 = gpr(insn.op0_register());
    let bytes = operand_bytes(insn, 1);
    if is_memory(insn, 1) {
        return super::by_size!(bytes, crc_mem);
    }
    op.r2 = gpr(insn.op1_register());
    super::by_size!(bytes, crc_reg)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.r3 = match insn.mnemonic() {
        Mnemonic::Bts => change::SET,
        Mnemonic::Btr => change::RESET,
        Mnemonic::Btc => 3,
        _ => op.r3,
    };
    match insn.mnemonic() {
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc => bit_test(insn, op),
        Mnemonic::Bsf => count::<Bsf>(insn, op),
        Mnemonic::Bsr => count::<Bsr>(insn, op),
        Mnemonic::Tzcnt => count::<Tzcnt>(insn, op),
        Mnemonic::Lzcnt => count::<Lzcnt>(insn, op),
        Mnemonic::Popcnt => count::<Popcnt>(insn, op),
        Mnemonic::Crc32 => crc(insn, op),
        _ => None,
    }
}
