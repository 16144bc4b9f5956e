//! Loads, stores, and what moves values between registers without arithmetic.

use super::host::{self, conversion};
use super::number::{self, Class, INDEFINITE, SIGN};
use super::operand::{check, load_ten, note, note_memory, store_ten};
use super::state::{X87State, exception, status};
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;

/// Formats of [`load`] in `Op::r2`.
pub mod source {
    #![allow(missing_docs)]
    pub const BINARY32: u8 = 0;
    pub const BINARY64: u8 = 1;
    pub const EXTENDED: u8 = 2;
    pub const INT16: u8 = 3;
    pub const INT32: u8 = 4;
    pub const INT64: u8 = 5;
    pub const BCD: u8 = 6;
}

/// Pushes a loaded value, or signals why not.
fn push_loaded(fpu: &mut X87State, value: u128, flags: u16) {
    if !fpu.is_empty(7) {
        if fpu.stack_fault(true) {
            fpu.push(INDEFINITE);
        }
        return;
    }
    fpu.set_codes(status::C1, 0);
    fpu.signal(flags);
    // A denormal is loaded even where its exception is not masked.
    if fpu.masks(flags & exception::INVALID) {
        fpu.push(value);
    }
}

/// FLD, FILD and FBLD from memory.
pub fn load(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let (value, flags) = match op.r2 {
        source::EXTENDED => (load_ten(cpu, env, op)?, 0),
        source::BCD => (number::from_bcd(load_ten(cpu, env, op)?), 0),
        source::BINARY32 => {
            let linear = cpu.operand_address(op, 4, false)?;
            number::from_binary32(cpu.load(env, op, linear)?)
        }
        source::INT32 => {
            let linear = cpu.operand_address(op, 4, false)?;
            (number::from_i64(i64::from(cpu.load::<u32>(env, op, linear)? as i32)), 0)
        }
        source::INT16 => {
            let linear = cpu.operand_address(op, 2, false)?;
            (number::from_i64(i64::from(cpu.load::<u16>(env, op, linear)? as i16)), 0)
        }
        source::BINARY64 => {
            let linear = cpu.operand_address(op, 8, false)?;
            number::from_binary64(cpu.load(env, op, linear)?)
        }
        _ => {
            let linear = cpu.operand_address(op, 8, false)?;
            (number::from_i64(cpu.load::<u64>(env, op, linear)? as i64), 0)
        }
    };
    push_loaded(&mut cpu.x87, value, flags);
    note_memory(cpu, op);
    Ok(Flow::Next)
}

/// FLD ST(i).
pub fn load_register(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    if fpu.is_empty(i) {
        if fpu.stack_fault(false) {
            fpu.push(INDEFINITE);
        }
    } else {
        let value = fpu.st(i);
        push_loaded(fpu, value, 0);
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FLD1, FLDL2T and so on.
pub fn load_constant(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let value = host::constant(op.r2, cpu.x87.words());
    push_loaded(&mut cpu.x87, value, 0);
    note(cpu, op);
    Ok(Flow::Next)
}

/// What memory gets for an empty register.
fn indefinite(kind: u8) -> u128 {
    match kind {
        conversion::BINARY32 => 0xffc0_0000,
        conversion::BINARY64 => 0xfff8_0000_0000_0000,
        conversion::INT16 | conversion::TRUNCATED16 => 0x8000,
        conversion::INT32 | conversion::TRUNCATED32 => 0x8000_0000,
        conversion::INT64 | conversion::TRUNCATED64 => 0x8000_0000_0000_0000,
        // Packed decimal and, by chance, extended precision share their indefinite.
        _ => INDEFINITE,
    }
}

/// `Op::r2` of FSTP m80, beside the conversions of the host.
pub const EXTENDED: u8 = 9;

/// FST, FSTP, FIST, FISTP, FISTTP and FBSTP to memory.
pub fn store(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &cpu.x87;
    let (value, outcome) = if fpu.is_empty(0) {
        (indefinite(op.r2), exception::INVALID | status::STACK_FAULT)
    } else if op.r2 == EXTENDED {
        (fpu.st(0), 0)
    } else {
        let outcome = host::store(op.r2, fpu.words(), fpu.st(0));
        (outcome.value, outcome.status)
    };
    // Of the exceptions only precision lets the store happen unmasked.
    let done = fpu.masks(outcome & !exception::PRECISION);
    let bytes = match op.r2 {
        conversion::INT16 | conversion::TRUNCATED16 => 2,
        conversion::BINARY32 | conversion::INT32 | conversion::TRUNCATED32 => 4,
        conversion::BINARY64 | conversion::INT64 | conversion::TRUNCATED64 => 8,
        _ => 10,
    };
    let linear = cpu.operand_address(op, bytes, true)?;
    if done {
        match bytes {
            2 => cpu.store(env, op, linear, value as u16)?,
            4 => cpu.store(env, op, linear, value as u32)?,
            8 => cpu.store(env, op, linear, value as u64)?,
            _ => store_ten(cpu, env, op, value)?,
        }
    }
    let fpu = &mut cpu.x87;
    fpu.set_codes(status::C1, outcome);
    fpu.signal(outcome & (exception::ALL | status::STACK_FAULT));
    if done && op.r3 != 0 {
        fpu.pop();
    }
    note_memory(cpu, op);
    Ok(Flow::Next)
}

/// FST ST(i) and FSTP ST(i).
pub fn store_register(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    let (value, done) = if fpu.is_empty(0) {
        (INDEFINITE, fpu.stack_fault(false))
    } else {
        fpu.set_codes(status::C1, 0);
        (fpu.st(0), true)
    };
    if done {
        fpu.set_st(i, value);
        if op.r3 != 0 {
            fpu.pop();
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FSTPNCE, an undocumented FSTP ST(i) that takes an empty register for nothing to do but pop.
pub fn store_register_unchecked(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    fpu.set_codes(status::C1, 0);
    if !fpu.is_empty(0) {
        let value = fpu.st(0);
        fpu.set_st(usize::from(op.r1), value);
    }
    fpu.pop();
    note(cpu, op);
    Ok(Flow::Next)
}

/// FXCH: an empty register counts as an indefinite value.
pub fn exchange(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    let value = |fpu: &X87State, i| if fpu.is_empty(i) { INDEFINITE } else { fpu.st(i) };
    let (a, b) = (value(fpu, 0), value(fpu, i));
    let done = if fpu.is_empty(0) || fpu.is_empty(i) {
        fpu.stack_fault(false)
    } else {
        fpu.set_codes(status::C1, 0);
        true
    };
    if done {
        fpu.set_st(0, b);
        fpu.set_st(i, a);
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FCMOVcc: `Op::r2` holds the flags (CF, PF, ZF) of which one must be set, `Op::r3` is one
/// for the negated conditions. Empty registers fault whether or not the condition holds.
pub fn conditional_move(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let holds = cpu.lazy.to_bits() & u64::from(op.r2) & flags::ARITHMETIC != 0;
    let fpu = &mut cpu.x87;
    if fpu.is_empty(0) || fpu.is_empty(i) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else if holds != (op.r3 != 0) {
        let value = fpu.st(i);
        fpu.set_st(0, value);
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FCHS (`Op::r2` is 1) and FABS.
pub fn change_sign(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    if fpu.is_empty(0) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else {
        fpu.set_codes(status::C1, 0);
        let value = fpu.st(0);
        fpu.set_st(0, if op.r2 == 1 { value ^ SIGN } else { value & !SIGN });
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FXAM: the class of ST(0) in C3, C2 and C0, its sign in C1.
pub fn examine(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    use status::{C0, C1, C2, C3};
    check(cpu)?;
    let fpu = &mut cpu.x87;
    let value = fpu.st(0);
    let class = match number::class(value) {
        _ if fpu.is_empty(0) => C3 | C0,
        Class::Unsupported => 0,
        Class::Quiet | Class::Signalling => C0,
        Class::Normal => C2,
        Class::Infinity => C2 | C0,
        Class::Zero => C3,
        Class::Denormal => C3 | C2,
    };
    let sign = if number::is_negative(value) { C1 } else { 0 };
    fpu.set_codes(status::CODES, class | sign);
    note(cpu, op);
    Ok(Flow::Next)
}
