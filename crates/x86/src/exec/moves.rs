//! MOV between registers, memory and constants; MOVZX, MOVSX, MOVSXD, LEA, CMOVcc, SETcc,
//! MOVBE, BSWAP, XLAT.

use super::reg::Reg;
use super::{by_condition, by_size, by_size_from_word};
use crate::decode::operands::{gpr, is_immediate, is_memory, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::op::{AddressMode, Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{ConditionCode, Instruction, Mnemonic};

fn reg_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = T::get(cpu, op.r2);
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

fn reg_imm<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    T::set(cpu, op.r1, T::from_u64(op.imm));
    Ok(Flow::Next)
}

fn reg_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let value = cpu.load(env, op, linear)?;
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

fn mem_reg<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let value = T::get(cpu, op.r2);
    cpu.store(env, op, linear, value)?;
    Ok(Flow::Next)
}

fn mem_imm<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    cpu.store(env, op, linear, T::from_u64(op.imm))?;
    Ok(Flow::Next)
}

fn mov(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let general = |i| !is_register(insn, i) || insn.op_register(i).is_gpr();
    if !general(0) || !general(1) {
        // Segment, control and debug registers belong to the system family.
        return None;
    }
    let bytes = operand_bytes(insn, 0);
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    if is_register(insn, 1) {
        op.r2 = gpr(insn.op1_register());
    }
    match (is_register(insn, 0), is_register(insn, 1)) {
        (true, true) => by_size!(bytes, reg_reg),
        (true, false) if is_immediate(insn.op1_kind()) => by_size!(bytes, reg_imm),
        (true, false) => by_size!(bytes, reg_mem),
        (false, true) => by_size!(bytes, mem_reg),
        (false, false) => by_size!(bytes, mem_imm),
    }
}

/// Widens `value` of type `S`, with or without its sign.
#[inline(always)]
fn widen<S: Reg, const SIGNED: bool>(value: S) -> u64 {
    if SIGNED { ((value.to_u64() << (64 - S::BITS)) as i64 >> (64 - S::BITS)) as u64 } else { value.to_u64() }
}

fn extend_reg<S: Reg, T: Reg, const SIGNED: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = widen::<S, SIGNED>(S::get(cpu, op.r2));
    T::set(cpu, op.r1, T::from_u64(value));
    Ok(Flow::Next)
}

fn extend_mem<S: Reg, T: Reg, const SIGNED: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, S::BYTES, false)?;
    let value: S = cpu.load(env, op, linear)?;
    T::set(cpu, op.r1, T::from_u64(widen::<S, SIGNED>(value)));
    Ok(Flow::Next)
}

fn extend<const SIGNED: bool>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.r1 = gpr(insn.op0_register());
    let memory = is_memory(insn, 1);
    if !memory {
        op.r2 = gpr(insn.op1_register());
    }
    macro_rules! forms {
        ($(($s:ty, $sb:literal, $t:ty, $tb:literal)),*) => {
            match (operand_bytes(insn, 1), operand_bytes(insn, 0), memory) {
                $(($sb, $tb, false) => Some(extend_reg::<$s, $t, SIGNED> as Exec),
                  ($sb, $tb, true) => Some(extend_mem::<$s, $t, SIGNED> as Exec),)*
                _ => None,
            }
        };
    }
    forms!(
        (u8, 1, u16, 2),
        (u8, 1, u32, 4),
        (u8, 1, u64, 8),
        (u16, 2, u16, 2),
        (u16, 2, u32, 4),
        (u16, 2, u64, 8),
        (u32, 4, u16, 2),
        (u32, 4, u32, 4),
        (u32, 4, u64, 8)
    )
}

fn lea<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let address = cpu.effective_address(op);
    T::set(cpu, op.r1, T::from_u64(address));
    Ok(Flow::Next)
}

fn cmov_reg<T: Reg, const CC: u8>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let source = if cpu.lazy.condition::<CC>() { op.r2 } else { op.r1 };
    let value = T::get(cpu, source);
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

/// The load happens whatever the condition (SDM Vol. 2A, CMOVcc).
fn cmov_mem<T: Reg, const CC: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let loaded: T = cpu.load(env, op, linear)?;
    let value = if cpu.lazy.condition::<CC>() { loaded } else { T::get(cpu, op.r1) };
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

fn cmov(insn: &Instruction, op: &mut Op, cc: u8) -> Option<Exec> {
    op.r1 = gpr(insn.op0_register());
    if is_memory(insn, 1) {
        return Some(match operand_bytes(insn, 0) {
            2 => by_condition!(cc, cmov_mem, u16),
            4 => by_condition!(cc, cmov_mem, u32),
            _ => by_condition!(cc, cmov_mem, u64),
        });
    }
    op.r2 = gpr(insn.op1_register());
    Some(match operand_bytes(insn, 0) {
        2 => by_condition!(cc, cmov_reg, u16),
        4 => by_condition!(cc, cmov_reg, u32),
        _ => by_condition!(cc, cmov_reg, u64),
    })
}

fn set_reg<const CC: u8>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = u8::from(cpu.lazy.condition::<CC>());
    u8::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

fn set_mem<const CC: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, 1, true)?;
    let value = u8::from(cpu.lazy.condition::<CC>());
    cpu.store(env, op, linear, value)?;
    Ok(Flow::Next)
}

/// The four condition bits of a Jcc, SETcc or CMOVcc.
pub fn condition(insn: &Instruction) -> Option<u8> {
    match insn.condition_code() {
        ConditionCode::None => None,
        // iced's order is that of the encodings: o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g.
        cc => Some(cc as u8 - 1),
    }
}

fn movbe_load<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let value: T = cpu.load(env, op, linear)?;
    T::set(cpu, op.r1, swap(value));
    Ok(Flow::Next)
}

fn movbe_store<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let value = swap(T::get(cpu, op.r2));
    cpu.store(env, op, linear, value)?;
    Ok(Flow::Next)
}

fn swap<T: Reg>(value: T) -> T {
    T::from_u64(value.to_u64().swap_bytes() >> (64 - T::BITS))
}

/// BSWAP; of a 16-bit register it is undefined, and here clears it, as processors do.
fn bswap<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = if T::BITS == 16 { T::from_u64(0) } else { swap(T::get(cpu, op.r1)) };
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

/// XLAT: AL from the table at (R/E)BX.
fn xlat(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let address = cpu.gpr[3].wrapping_add(cpu.gpr[0] & 0xff);
    let masked = match op.amode {
        AddressMode::Flat64 | AddressMode::Based64 => address,
        AddressMode::Truncated64 | AddressMode::Segment32 => address & 0xffff_ffff,
        AddressMode::Segment16 => address & 0xffff,
    };
    let linear = cpu.linear(usize::from(op.seg), masked, 1, false)?;
    let value: u8 = cpu.load(env, op, linear)?;
    u8::set(cpu, 0, value);
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    match insn.mnemonic() {
        Mnemonic::Mov => mov(insn, op),
        Mnemonic::Movzx => extend::<false>(insn, op),
        Mnemonic::Movsx | Mnemonic::Movsxd => extend::<true>(insn, op),
        Mnemonic::Lea => {
            op.r1 = gpr(insn.op0_register());
            by_size_from_word!(bytes, lea)
        }
        Mnemonic::Movbe if is_memory(insn, 1) => {
            op.r1 = gpr(insn.op0_register());
            by_size_from_word!(bytes, movbe_load)
        }
        Mnemonic::Movbe => {
            op.r2 = gpr(insn.op1_register());
            by_size_from_word!(bytes, movbe_store)
        }
        Mnemonic::Bswap => {
            op.r1 = gpr(insn.op0_register());
            by_size_from_word!(bytes, bswap)
        }
        Mnemonic::Xlatb => Some(xlat),
        _ => {
            let cc = condition(insn)?;
            match (insn.op_count(), bytes) {
                (1, 1) => set(insn, op, cc),
                (2, _) if is_register(insn, 0) && insn.op0_register().is_gpr() => cmov(insn, op, cc),
                _ => None,
            }
        }
    }
}

fn set(insn: &Instruction, op: &mut Op, cc: u8) -> Option<Exec> {
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
        Some(by_condition!(cc, set_reg))
    } else {
        Some(by_condition!(cc, set_mem))
    }
}
