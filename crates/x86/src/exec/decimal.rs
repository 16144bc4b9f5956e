//! DAA, DAS, AAA, AAS, AAM, AAD, SALC: not in 64-bit mode.
//!
//! What the manual leaves undefined: OF is clear after all of them; after AAA and AAS the
//! flags SF, ZF and PF follow AL, and after AAM and AAD, CF and AF are clear.

use super::reg::Reg;
use crate::fault::{Flow, Trap, vector};
use crate::flags::{self, LazyFlags};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic};

const AL: u8 = 0;
const AX: u8 = 0;

/// SF, ZF and PF of AL, with CF and AF as given.
fn set_flags(cpu: &mut Vcpu, cf: bool, af: bool) {
    let al = cpu.gpr[0] & 0xff;
    let computed = LazyFlags::logical::<8>(al).to_bits();
    let carries = if cf { flags::CF } else { 0 } | if af { flags::AF } else { 0 };
    cpu.lazy = LazyFlags::from_bits(computed | carries);
}

/// DAA and DAS (SDM Vol. 2A).
fn adjust_packed<const SUBTRACT: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let old = u8::get(cpu, AL);
    let (old_cf, old_af) = (cpu.lazy.cf(), cpu.lazy.af());
    let mut al = old;
    let mut cf = false;
    let af = old & 15 > 9 || old_af;
    if af {
        let (adjusted, carry) = if SUBTRACT { al.overflowing_sub(6) } else { al.overflowing_add(6) };
        al = adjusted;
        cf = old_cf || carry;
    }
    if old > 0x99 || old_cf {
        al = if SUBTRACT { al.wrapping_sub(0x60) } else { al.wrapping_add(0x60) };
        cf = true;
    }
    u8::set(cpu, AL, al);
    set_flags(cpu, cf, af);
    Ok(Flow::Next)
}

/// AAA and AAS.
fn adjust_unpacked<const SUBTRACT: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let ax = u16::get(cpu, AX);
    let carry = ax & 15 > 9 || cpu.lazy.af();
    let adjusted = match (carry, SUBTRACT) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(0x106),
    };
    u16::set(cpu, AX, adjusted & 0xff0f);
    set_flags(cpu, carry, carry);
    Ok(Flow::Next)
}

fn aam(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let base = op.imm as u8;
    if base == 0 {
        return Err(cpu.raise(vector::DE));
    }
    let al = u8::get(cpu, AL);
    u16::set(cpu, AX, u16::from(al / base) << 8 | u16::from(al % base));
    set_flags(cpu, false, false);
    Ok(Flow::Next)
}

fn aad(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let ax = u16::get(cpu, AX);
    let al = (ax as u8).wrapping_add(((ax >> 8) as u8).wrapping_mul(op.imm as u8));
    u16::set(cpu, AX, u16::from(al));
    set_flags(cpu, false, false);
    Ok(Flow::Next)
}

/// SALC: AL is all ones if CF is set, else zero.
fn salc(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let value = if cpu.lazy.cf() { 0xff } else { 0 };
    u8::set(cpu, AL, value);
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    Some(match insn.mnemonic() {
        Mnemonic::Daa => adjust_packed::<false>,
        Mnemonic::Das => adjust_packed::<true>,
        Mnemonic::Aaa => adjust_unpacked::<false>,
        Mnemonic::Aas => adjust_unpacked::<true>,
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        Mnemonic::Salc => salc,
        _ => return None,
    })
}
