//! Gathers: loads of elements at addresses from a vector of indices.
//!
//! A gather that faults keeps the elements that it has, with their mask elements cleared, so that it
//! goes on behind them when it is executed again (SDM Vol. 2C, VPGATHERDD).

use super::masked::{element, load_element, piece, set_element};
use super::operand::without_alignment;
use super::unit::{self, VEX};
use crate::fault::{Flow, Trap};
use crate::flags::sign_extend;
use crate::op::{Env, Exec, Op};
use crate::vcpu::{GPR_ZERO, Vcpu};
use iced_x86::{Instruction, Mnemonic};

/// The code of a gather: `op.r1` is the destination, `op.r2` the mask, `op.r3` the index register;
/// `op.extra` is the number of elements.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Mnemonic::*;
    let (index_bytes, bytes, exec): (usize, usize, Exec) = match insn.mnemonic() {
        Vgatherdps | Vpgatherdd => (4, 4, gather::<4, 4>),
        Vgatherdpd | Vpgatherdq => (4, 8, gather::<4, 8>),
        Vgatherqps | Vpgatherqd => (8, 4, gather::<8, 4>),
        Vgatherqpd | Vpgatherqq => (8, 8, gather::<8, 8>),
        _ => return None,
    };
    let (target, mask, index) = (insn.op0_register(), insn.op2_register(), insn.memory_index());
    op.r1 = target.number() as u8;
    op.r2 = mask.number() as u8;
    op.r3 = index.number() as u8;
    op.index = GPR_ZERO as u8;
    if op.r1 == op.r2 || op.r1 == op.r3 || op.r2 == op.r3 {
        return Some(|cpu, _, _| Err(cpu.ud()));
    }
    let room = |register: iced_x86::Register| register.size();
    op.extra = (room(index) / index_bytes).min(room(target) / bytes) as u32;
    Some(exec)
}

fn gather<const INDEX: usize, const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<VEX>(cpu)?;
    let count = op.extra as usize;
    let (target, mask) = (usize::from(op.r1 & 15), usize::from(op.r2 & 15));
    // Whether or not every element of the mask has an index: processors spread all of them.
    spread_signs::<BYTES>(&mut cpu.vector.ymm[mask], count * INDEX.max(BYTES) / BYTES);
    let indices = cpu.vector.ymm[usize::from(op.r3 & 15)];
    for i in 0..count {
        if element::<BYTES>(&cpu.vector.ymm[mask], i) == 0 {
            continue;
        }
        let raw = element::<INDEX>(&indices, i);
        let index = if INDEX == 4 { sign_extend::<32>(raw) } else { raw };
        let linear = piece(cpu, op, index << (op.scale & 3), BYTES, false)?;
        let value = without_alignment(cpu, |cpu| load_element::<BYTES>(cpu, env, op, linear))?;
        set_element::<BYTES>(&mut cpu.vector.ymm[target], i, value);
        set_element::<BYTES>(&mut cpu.vector.ymm[mask], i, 0);
        clear_behind::<BYTES>(&mut cpu.vector.ymm[target], count);
    }
    clear_behind::<BYTES>(&mut cpu.vector.ymm[target], count);
    cpu.vector.ymm[mask] = [0; 4];
    Ok(Flow::Next)
}

/// Clears what lies behind the elements: processors do so with the first element that they load.
fn clear_behind<const BYTES: usize>(vector: &mut [u64; 4], count: usize) {
    for i in count..32 / BYTES {
        set_element::<BYTES>(vector, i, 0);
    }
}

/// Makes mask elements all ones or zero by their signs; what lies behind them becomes zero.
fn spread_signs<const BYTES: usize>(mask: &mut [u64; 4], count: usize) {
    for i in 0..32 / BYTES {
        let negative = i < count && element::<BYTES>(mask, i) >> (8 * BYTES - 1) != 0;
        set_element::<BYTES>(mask, i, if negative { u64::MAX } else { 0 });
    }
}
