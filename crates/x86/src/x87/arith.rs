//! Arithmetic and comparisons: operands in registers and memory, stack faults, and what of
//! the host's outcome becomes guest state.

use super::host::{self, Outcome, Words, format, operation};
use super::number::{self, Class, INDEFINITE, INFINITY, QUIET_BIT, SIGN};
use super::operand::{check, note, note_memory};
use super::state::{X87State, exception, status};
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;

/// Bit of `Op::r3`: the result goes to ST(i), whose old value is the first operand.
pub const TO_STI: u8 = 4;
/// Bits of `Op::r3`: how many times to pop.
pub const POPS: u8 = 3;

impl X87State {
    /// Takes the exceptions of an outcome and its condition codes in `mask`. Returns true if
    /// the instruction completes, false if an unmasked exception stops it.
    #[inline(always)]
    pub fn accept(&mut self, outcome: &Outcome, mask: u16) -> bool {
        self.set_codes(mask, outcome.status);
        let flags = outcome.status & exception::ALL;
        self.signal(flags);
        self.masks(flags & exception::BEFORE)
    }

    fn pop_times(&mut self, times: u8) {
        for _ in 0..times {
            self.pop();
        }
    }

    /// Puts a result into ST(`i`) and pops.
    #[inline(always)]
    fn deliver(&mut self, i: usize, value: u128, pops: u8) {
        self.set_st(i, value);
        self.pop_times(pops);
    }
}

/// FADD, FSUB, FMUL, FDIV and their reversed and popping forms on registers.
pub fn registers(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    let (target, other) = if op.r3 & TO_STI != 0 { (i, 0) } else { (0, i) };
    let pops = op.r3 & POPS;
    if fpu.is_empty(0) || fpu.is_empty(i) {
        if fpu.stack_fault(false) {
            fpu.deliver(target, INDEFINITE, pops);
        }
    } else {
        let outcome = host::arithmetic(op.r2, fpu.words(), fpu.st(target), fpu.st(other));
        if fpu.accept(&outcome, status::C1) {
            fpu.deliver(target, outcome.value, pops);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// Loads the operand of the form D8, DA, DC or DE (`Op::r1` is its format).
fn memory_operand(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<u64, Trap> {
    match op.r1 {
        format::BINARY32 | format::INT32 => {
            let linear = cpu.operand_address(op, 4, false)?;
            cpu.load::<u32>(env, op, linear).map(u64::from)
        }
        format::BINARY64 => {
            let linear = cpu.operand_address(op, 8, false)?;
            cpu.load(env, op, linear)
        }
        _ => {
            let linear = cpu.operand_address(op, 2, false)?;
            cpu.load::<u16>(env, op, linear).map(u64::from)
        }
    }
}

/// FADD, FIADD and so on with a memory operand.
pub fn memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let operand = memory_operand(cpu, env, op)?;
    let fpu = &mut cpu.x87;
    if fpu.is_empty(0) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else {
        let outcome = host::with_memory(op.r2, op.r1, fpu.words(), fpu.st(0), operand);
        if fpu.accept(&outcome, status::C1) {
            fpu.set_st(0, outcome.value);
        }
    }
    note_memory(cpu, op);
    Ok(Flow::Next)
}

/// What a comparison of an empty register gives: unordered.
const UNORDERED: u16 = status::C0 | status::C2 | status::C3;

/// FCOM, FUCOM, FTST and their popping forms.
pub fn compare(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    let done = if fpu.is_empty(0) || fpu.is_empty(i) {
        fpu.set_codes(UNORDERED, UNORDERED);
        fpu.stack_fault(false)
    } else {
        let outcome = host::arithmetic(op.r2, fpu.words(), fpu.st(0), fpu.st(i));
        fpu.accept(&outcome, status::CODES)
    };
    if done {
        fpu.pop_times(op.r3 & POPS);
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FCOM and FICOM with a memory operand.
pub fn compare_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let operand = memory_operand(cpu, env, op)?;
    let fpu = &mut cpu.x87;
    let done = if fpu.is_empty(0) {
        fpu.set_codes(UNORDERED, UNORDERED);
        fpu.stack_fault(false)
    } else {
        let outcome = host::with_memory(operation::COMPARE, op.r1, fpu.words(), fpu.st(0), operand);
        fpu.accept(&outcome, status::CODES)
    };
    if done {
        fpu.pop_times(op.r3 & POPS);
    }
    note_memory(cpu, op);
    Ok(Flow::Next)
}

/// FCOMI, FUCOMI and their popping forms: ZF, PF and CF get C3, C2 and C0, and the other
/// arithmetic flags are cleared, also where an unmasked exception keeps the stack from popping.
pub fn compare_to_flags(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let i = usize::from(op.r1);
    let fpu = &mut cpu.x87;
    let (codes, done) = if fpu.is_empty(0) || fpu.is_empty(i) {
        (UNORDERED, fpu.stack_fault(false))
    } else {
        let outcome = host::arithmetic(op.r2, fpu.words(), fpu.st(0), fpu.st(i));
        (outcome.status, fpu.accept(&outcome, 0))
    };
    if done {
        fpu.pop_times(op.r3 & POPS);
    }
    let flag = |code: u16, flag: u64| if codes & code != 0 { flag } else { 0 };
    let bits = flag(status::C3, flags::ZF) | flag(status::C2, flags::PF) | flag(status::C0, flags::CF);
    cpu.lazy = flags::LazyFlags::from_bits(bits);
    note(cpu, op);
    Ok(Flow::Next)
}

/// FSQRT, FRNDINT, and with ST(1) as second operand FSCALE, FPREM, FPREM1.
pub fn in_place(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    let remainder = matches!(op.r2, operation::REMAINDER | operation::REMAINDER_NEAREST);
    let binary = remainder || op.r2 == operation::SCALE;
    if remainder {
        fpu.set_codes(status::C2, 0);
    }
    if fpu.is_empty(0) || binary && fpu.is_empty(1) {
        if fpu.stack_fault(false) {
            fpu.set_st(0, INDEFINITE);
        }
    } else {
        let (a, b) = (fpu.st(0), fpu.st(1));
        let (outcome, codes) = if remainder {
            partial_remainder(op.r2, fpu.control, a, b)
        } else {
            (host::arithmetic(op.r2, fpu.words(), a, b), status::C1)
        };
        if fpu.accept(&outcome, codes) {
            fpu.set_st(0, outcome.value);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// FPREM and FPREM1. Where the exponents differ by 64 or more, how far one execution reduces
/// is left to the processor (SDM Vol. 2A, FPREM); Intel's reduce by 32 plus the difference
/// modulo 32 bits of quotient, truncated. That step is the whole remainder by the divisor
/// scaled up to that distance.
///
/// Returns which condition codes change, too: C0 and C3 belong to quotients.
fn partial_remainder(code: u8, control: u16, a: u128, b: u128) -> (Outcome, u16) {
    let number = |x| !matches!(number::class(x), Class::Unsupported | Class::Quiet | Class::Signalling);
    let finite = |x| matches!(number::class(x), Class::Normal | Class::Denormal);
    let distance = if finite(a) && finite(b) { number::normalised(a).0 - number::normalised(b).0 } else { 0 };
    let mut outcome = if distance < 64 {
        host::arithmetic(code, Words { control, status: 0 }, a, b)
    } else {
        first_remainder(control, a, b, distance)
    };
    let stopped = exception::BEFORE & !(control & exception::DENORMAL);
    if number(a) && number(b) && outcome.status & stopped == 0 {
        return (outcome, status::CODES);
    }
    outcome.status &= exception::ALL;
    (outcome, status::C1 | status::C2)
}

/// The partial step of [`partial_remainder`].
fn first_remainder(control: u16, a: u128, b: u128, distance: i32) -> Outcome {
    let denormal = number::class(b) == Class::Denormal;
    if denormal && control & exception::DENORMAL == 0 {
        return Outcome { value: a, status: exception::DENORMAL };
    }
    let ((a_exponent, _), (_, significand)) = (number::normalised(a), number::normalised(b));
    let scaled = a_exponent - (32 + distance % 32);
    let divisor = if scaled >= 1 {
        number::pack(false, scaled as u16, significand)
    } else {
        // The divisor was a smaller denormal, so no bit is lost.
        number::pack(false, 0, significand >> (1 - scaled))
    };
    let mut outcome = host::arithmetic(operation::REMAINDER, Words { control, status: 0 }, a, divisor);
    let flags = if denormal { exception::DENORMAL } else { 0 };
    outcome.status = (outcome.status & exception::ALL) | flags | status::C2;
    outcome
}

/// FXTRACT: ST(0) becomes the exponent, and the significand is pushed.
pub fn extract(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    let underflow = fpu.is_empty(0);
    if underflow || !fpu.is_empty(7) {
        if fpu.stack_fault(!underflow) {
            fpu.set_st(0, INDEFINITE);
            fpu.push(INDEFINITE);
        }
    } else {
        let (exponent, significand, status) = exponent_and_significand(fpu.st(0));
        let outcome = Outcome { value: significand, status };
        if fpu.accept(&outcome, status::C1) {
            fpu.set_st(0, exponent);
            fpu.push(significand);
        }
    }
    note(cpu, op);
    Ok(Flow::Next)
}

/// The two results of FXTRACT and its exceptions.
fn exponent_and_significand(value: u128) -> (u128, u128, u16) {
    let sign = value & SIGN;
    match number::class(value) {
        Class::Unsupported => (INDEFINITE, INDEFINITE, exception::INVALID),
        Class::Signalling => {
            let quiet = value | u128::from(QUIET_BIT);
            (quiet, quiet, exception::INVALID)
        }
        Class::Quiet => (value, value, 0),
        Class::Infinity => (INFINITY, value, 0),
        Class::Zero => (INFINITY | SIGN, value, exception::ZERO_DIVIDE),
        class @ (Class::Normal | Class::Denormal) => {
            let (exponent, significand) = number::normalised(value);
            let flags = if class == Class::Denormal { exception::DENORMAL } else { 0 };
            (number::from_i64(i64::from(exponent - 0x3fff)), sign | number::pack(false, 0x3fff, significand), flags)
        }
    }
}
