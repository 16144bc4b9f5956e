//! NOP and its kin, PAUSE, and the ways to be no instruction at all.

use crate::fault::{Flow, Trap, vector};
use crate::flags::sign_extend;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction, Mnemonic};

/// #UD: an opcode that this CPU does not have.
pub fn undefined(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Err(cpu.ud())
}

/// #GP(0): an instruction longer than 15 bytes.
pub fn too_long(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Err(cpu.raise_with(vector::GP, 0))
}

fn nop(_cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Ok(Flow::Next)
}

/// PAUSE: on a machine with several vCPUs, the others get their turn.
fn pause(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Ok(if cpu.vcpus > 1 { Flow::Stop } else { Flow::Next })
}

/// BOUND: #BR if the index is outside the two bounds in memory.
fn bound<const BITS: u32>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let bytes = u64::from(BITS / 8);
    let linear = cpu.operand_address(op, 2 * bytes as usize, false)?;
    let index = sign_extend::<BITS>(cpu.gpr[usize::from(op.r1)]) as i64;
    let mut limit = |cpu: &mut Vcpu, linear: u64| {
        let raw = if BITS == 16 {
            u64::from(cpu.load::<u16>(env, op, linear)?)
        } else {
            u64::from(cpu.load::<u32>(env, op, linear)?)
        };
        Ok(sign_extend::<BITS>(raw) as i64)
    };
    // Below the lower limit the upper one is not read.
    let second = linear.wrapping_add(bytes) & 0xffff_ffff;
    if index < limit(cpu, linear)? || index > limit(cpu, second)? {
        return Err(cpu.raise(vector::BR));
    }
    Ok(Flow::Next)
}

/// Forms in the NOP space that a CPU without the extension executes as NOPs, whatever
/// iced-x86 calls them: CET's ENDBR and RDSSP, CLDEMOTE, prefetches to come.
pub fn select_hint(insn: &Instruction) -> Option<Exec> {
    match insn.mnemonic() {
        Mnemonic::Endbr32
        | Mnemonic::Endbr64
        | Mnemonic::Rdsspd
        | Mnemonic::Rdsspq
        | Mnemonic::Cldemote
        | Mnemonic::Nop
        | Mnemonic::Reservednop
        | Mnemonic::Prefetchit0
        | Mnemonic::Prefetchit1 => Some(nop),
        Mnemonic::Pause => Some(pause),
        _ => None,
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    match insn.code() {
        Code::Bound_r16_m1616 => {
            op.r1 = insn.op0_register().number() as u8;
            Some(bound::<16>)
        }
        Code::Bound_r32_m3232 => {
            op.r1 = insn.op0_register().number() as u8;
            Some(bound::<32>)
        }
        _ => None,
    }
}
