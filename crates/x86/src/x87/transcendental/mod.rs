//! F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS in software: the processors of
//! different vendors and generations differ in the last bits, and a recording must not.
//!
//! `functions` computes with 128-bit significands (`wide`), of which about 120 bits are right,
//! and the result is rounded once to 64 bits as the rounding control says. So results are
//! within 0.51 units in the last place with rounding to nearest, and within 1.01 otherwise;
//! C1 tells whether the magnitude was rounded up. Angles are reduced with the 66-bit π of
//! Intel's processors (SDM Vol. 1, 8.3.8), on which the sine of a large angle depends.
//!
//! As on Intel's processors: the precision exception is signalled for every result that is not
//! zero or special; F2XM1 of more than one in magnitude, and FYL2XP1 of -1 or less, which
//! the manual leaves open, give ST(0) itself; FYL2XP1 is right for all of its other operands.

mod functions;
mod tables;
mod wide;

use super::host::{self, Outcome, Words, operation};
use super::number::{self, Class, INDEFINITE, INFINITY, ONE, SIGN};
use super::operand::{check, note};
use super::state::{X87State, exception, status};
use crate::fault::{Flow, Trap};
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;
use wide::Wide;

const INVALID: Outcome = Outcome { value: INDEFINITE, status: exception::INVALID };

fn exact(value: u128) -> Outcome {
    Outcome { value, status: 0 }
}

fn sign_of(value: u128) -> u128 {
    value & SIGN
}

/// The result of two operands of which one is a NaN or unsupported, by the rules that all
/// arithmetic shares (SDM Vol. 1, table 4-7).
fn not_a_number(control: u16, a: u128, b: u128) -> Option<Outcome> {
    let odd = |x| matches!(number::class(x), Class::Unsupported | Class::Quiet | Class::Signalling);
    // The host's addition may leave anything in C2, which here tells of reduction.
    let sum = || host::arithmetic(operation::ADD, Words { control, status: 0 }, a, b);
    (odd(a) || odd(b)).then(sum).map(|sum| Outcome { status: sum.status & !status::C2, ..sum })
}

/// Adds the denormal exception if an operand calls for it; unmasked, it is all there is.
fn with_denormal(control: u16, operands: &[u128], outcome: impl FnOnce() -> Outcome) -> Outcome {
    let denormal = operands.iter().any(|&x| number::class(x) == Class::Denormal);
    if !denormal {
        return outcome();
    }
    if control & exception::DENORMAL == 0 {
        return Outcome { value: operands[0], status: exception::DENORMAL };
    }
    let outcome = outcome();
    Outcome { status: outcome.status | exception::DENORMAL, ..outcome }
}

fn is_zero(value: u128) -> bool {
    number::class(value) == Class::Zero
}

fn is_infinite(value: u128) -> bool {
    number::class(value) == Class::Infinity
}

/// F2XM1.
pub fn power(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    if fpu.is_empty(0) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else {
        let outcome = power_of(fpu.control, fpu.st(0));
        if fpu.accept(&outcome, status::C1) {
            fpu.set_st(0, outcome.value);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

fn power_of(control: u16, x: u128) -> Outcome {
    const MINUS_HALF: u128 = SIGN | (ONE - (1 << 64));
    if let Some(outcome) = not_a_number(control, x, x) {
        return outcome;
    }
    if is_zero(x) || x == INFINITY {
        return exact(x);
    }
    if is_infinite(x) {
        return exact(ONE | SIGN);
    }
    let inexact = |value| Outcome { value, status: exception::PRECISION };
    if number::exponent(x) >= 0x3fff {
        return inexact(if x == ONE | SIGN { MINUS_HALF } else { x });
    }
    with_denormal(control, &[x], || functions::power_minus_one(Wide::from_number(x)).round(control, false))
}

/// FYL2X and, with `Op::r2` set, FYL2XP1.
pub fn logarithm(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let function = if op.r2 == 0 { scaled_log2 } else { scaled_log2_plus_one };
    to_st1(cpu, env, op, function)
}

/// FPATAN.
pub fn arc_tangent(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    to_st1(cpu, env, op, angle_of)
}

/// An instruction whose result, of ST(0) and ST(1), replaces ST(1), and which pops.
fn to_st1(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op, function: fn(u16, u128, u128) -> Outcome) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    if fpu.is_empty(0) || fpu.is_empty(1) {
        if fpu.stack_fault(false) {
            fpu.set_st(1, INDEFINITE);
            fpu.pop();
        }
    } else {
        let outcome = function(fpu.control, fpu.st(0), fpu.st(1));
        if fpu.accept(&outcome, status::C1) {
            fpu.set_st(1, outcome.value);
            fpu.pop();
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// y log2(x) (SDM Vol. 2A, FYL2X).
fn scaled_log2(control: u16, x: u128, y: u128) -> Outcome {
    if let Some(outcome) = not_a_number(control, x, y) {
        return outcome;
    }
    if is_zero(x) {
        let value = INFINITY | sign_of(y) ^ SIGN;
        return match number::class(y) {
            Class::Zero => INVALID,
            Class::Infinity => exact(value),
            _ => Outcome { value, status: exception::ZERO_DIVIDE },
        };
    }
    if number::is_negative(x) {
        return INVALID;
    }
    let below_one = number::exponent(x) < 0x3fff;
    let sign = sign_of(y) ^ if below_one { SIGN } else { 0 };
    if is_infinite(x) || is_infinite(y) {
        let undefined = is_infinite(x) && is_zero(y) || x == ONE;
        return if undefined { INVALID } else { with_denormal(control, &[x, y], || exact(sign | INFINITY)) };
    }
    with_denormal(control, &[x, y], || {
        if x == ONE || is_zero(y) {
            return exact(sign);
        }
        let x = Wide::from_number(x);
        let power_of_two = x.significand << 1 == 0;
        functions::log2(x).mul(Wide::from_number(y)).round(control, power_of_two)
    })
}

/// y log2(x + 1) (SDM Vol. 2A, FYL2XP1).
fn scaled_log2_plus_one(control: u16, x: u128, y: u128) -> Outcome {
    if let Some(outcome) = not_a_number(control, x, y) {
        return outcome;
    }
    let sign = sign_of(x) ^ sign_of(y);
    if is_infinite(x) || is_infinite(y) {
        let undefined = is_zero(x) || is_zero(y) || x == INFINITY | SIGN;
        return if undefined { INVALID } else { with_denormal(control, &[x, y], || exact(sign | INFINITY)) };
    }
    with_denormal(control, &[x, y], || {
        if is_zero(x) || is_zero(y) {
            return exact(sign);
        }
        if number::is_negative(x) && number::exponent(x) >= 0x3fff {
            return Outcome { value: x, status: exception::PRECISION };
        }
        let (logarithm, exact) = functions::log2_plus_one(Wide::from_number(x));
        logarithm.mul(Wide::from_number(y)).round(control, exact)
    })
}

/// The angle of (x, y) (SDM Vol. 2A, FPATAN).
fn angle_of(control: u16, x: u128, y: u128) -> Outcome {
    if let Some(outcome) = not_a_number(control, x, y) {
        return outcome;
    }
    let constant = |angle: Wide| angle.negate_if(number::is_negative(y)).round(control, false);
    let left = number::is_negative(x);
    with_denormal(control, &[x, y], || match (is_infinite(y), is_infinite(x)) {
        (true, true) => constant(if left { tables::THREE_QUARTERS_PI } else { tables::QUARTER_PI }),
        (true, false) => constant(tables::HALF_PI),
        (false, true) if left => constant(tables::PI),
        (false, true) => exact(sign_of(y)),
        _ if is_zero(y) && left => constant(tables::PI),
        _ if is_zero(y) => exact(y),
        _ if is_zero(x) => constant(tables::HALF_PI),
        _ => functions::arc_tangent(Wide::from_number(y), Wide::from_number(x)).round(control, false),
    })
}

/// What the trigonometric instructions do with their operand.
enum Angle {
    /// The operand alone decides: a NaN, an infinity.
    Special(Outcome),
    /// Zero, whose sign may matter.
    Zero(u128),
    /// An angle to compute with, and whether it is denormal.
    Reduced(functions::Angle, u128),
    /// 2^63 or more: C2 is set and nothing else happens.
    TooLarge,
}

fn classify(control: u16, x: u128) -> Angle {
    if let Some(outcome) = not_a_number(control, x, x) {
        return Angle::Special(outcome);
    }
    match number::class(x) {
        Class::Infinity => Angle::Special(INVALID),
        Class::Zero => Angle::Zero(x),
        _ if number::exponent(x) >= 0x3fff + 63 => Angle::TooLarge,
        _ => Angle::Reduced(functions::reduce(Wide::from_number(x)), x),
    }
}

impl functions::Angle {
    fn sine(&self) -> Wide {
        let magnitude = if self.quadrant & 1 == 0 { functions::sine(self.rest) } else { functions::cosine(self.rest) };
        magnitude.negate_if(self.quadrant & 2 != 0)
    }

    fn cosine(&self) -> Wide {
        let magnitude = if self.quadrant & 1 == 0 { functions::cosine(self.rest) } else { functions::sine(self.rest) };
        magnitude.negate_if(self.quadrant == 1 || self.quadrant == 2)
    }
}

/// FSIN and, with `Op::r2` set, FCOS.
pub fn sine_or_cosine(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    fpu.set_codes(status::C2, 0);
    if fpu.is_empty(0) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else {
        let control = fpu.control;
        let outcome = match classify(control, fpu.st(0)) {
            Angle::Special(outcome) => outcome,
            Angle::Zero(x) => exact(if op.r2 == 0 { x } else { ONE }),
            Angle::TooLarge => Outcome { value: fpu.st(0), status: status::C2 },
            Angle::Reduced(angle, x) => with_denormal(control, &[x], || {
                let result = if op.r2 == 0 { angle.sine() } else { angle.cosine() };
                result.round(control, false)
            }),
        };
        if fpu.accept(&outcome, status::C1 | status::C2) {
            fpu.set_st(0, outcome.value);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FSINCOS: the sine replaces ST(0), and the cosine is pushed.
pub fn sine_and_cosine(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    two_results(cpu, op, |control, angle| {
        let (sine, cosine) = (angle.sine().round(control, false), angle.cosine().round(control, false));
        (sine.value, Outcome { status: cosine.status | sine.status & exception::ALL, ..cosine })
    })
}

/// FPTAN: the tangent replaces ST(0), and one is pushed.
pub fn tangent(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    two_results(cpu, op, |control, angle| {
        let tangent = angle.sine().div(angle.cosine()).round(control, false);
        (tangent.value, Outcome { value: ONE, ..tangent })
    })
}

/// `function` gives what replaces ST(0), and what is pushed with the exceptions of both.
fn two_results(
    cpu: &mut Vcpu,
    op: &Op,
    function: impl Fn(u16, &functions::Angle) -> (u128, Outcome),
) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    fpu.set_codes(status::C2, 0);
    let underflow = fpu.is_empty(0);
    if underflow || !fpu.is_empty(7) {
        if fpu.stack_fault(!underflow) {
            fpu.set_st(0, INDEFINITE);
            fpu.push(INDEFINITE);
        }
        note(cpu, op);
        return Ok(Flow::Next);
    }
    let control = fpu.control;
    match classify(control, fpu.st(0)) {
        Angle::Special(outcome) => push_pair(fpu, outcome.value, &outcome),
        Angle::Zero(x) => push_pair(fpu, x, &exact(ONE)),
        Angle::TooLarge => fpu.set_codes(status::C1 | status::C2, status::C2),
        Angle::Reduced(angle, x) => {
            let mut first = x;
            let outcome = with_denormal(control, &[x], || {
                let (replaced, pushed) = function(control, &angle);
                first = replaced;
                pushed
            });
            push_pair(fpu, first, &outcome);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

fn push_pair(fpu: &mut X87State, first: u128, second: &Outcome) {
    if fpu.accept(second, status::C1) {
        fpu.set_st(0, first);
        fpu.push(second.value);
    }
}
