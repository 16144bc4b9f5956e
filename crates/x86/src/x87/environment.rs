//! FLDENV, FNSTENV, FRSTOR and FNSAVE: the environment in its four layouts (SDM Vol. 1,
//! 8.1.10), 16 or 32 bits wide, for protected or for real and virtual-8086 mode.

use super::operand::{behind, check, check_available};
use super::state::{X87State, exception};
use crate::fault::{Flow, Trap};
use crate::memory::paging::Intent;
use crate::op::{Env, Op};
use crate::vcpu::Vcpu;

/// The seven fields of an environment, reserved bits included.
type Fields = [u32; 7];

/// Bytes of a register in the image of FNSAVE.
const REGISTER: u64 = 10;

/// Layout of the pointers: real and virtual-8086 mode hold linear addresses and the opcode.
fn linear_pointers(cpu: &Vcpu) -> bool {
    cpu.mode.real || cpu.mode.v86
}

fn fields(fpu: &X87State, linear: bool, wide: bool) -> Fields {
    let words = [u32::from(fpu.control), u32::from(fpu.status), u32::from(fpu.tag_word())];
    let (ip, dp) = (fpu.ip as u32, fpu.dp as u32);
    let opcode = u32::from(fpu.opcode);
    let pointers = if linear {
        let ip = ip.wrapping_add(u32::from(fpu.cs) << 4);
        let dp = dp.wrapping_add(u32::from(fpu.ds) << 4);
        // The narrow layout has room for 20 bits, which the store cuts off.
        let high = |pointer: u32| pointer >> 16 << 12;
        [0xffff_0000 | ip & 0xffff, high(ip) | opcode, 0xffff_0000 | dp & 0xffff, high(dp)]
    } else {
        let selector = u32::from(fpu.cs) | if wide { opcode << 16 } else { 0 };
        [ip, selector, dp, 0xffff_0000 | u32::from(fpu.ds)]
    };
    let word = |value| 0xffff_0000 | value;
    [word(words[0]), word(words[1]), word(words[2]), pointers[0], pointers[1], pointers[2], pointers[3]]
}

fn set_fields(fpu: &mut X87State, fields: &Fields, linear: bool, wide: bool) {
    let mask = if wide { u32::MAX } else { 0xffff };
    fpu.status = fields[1] as u16;
    fpu.set_tag_word(fields[2] as u16);
    fpu.set_control(fields[0] as u16);
    let [_, _, _, ip, selector, dp, data_selector] = *fields;
    fpu.opcode = match (linear, wide) {
        (true, _) => selector as u16 & 0x7ff,
        (false, true) => (selector >> 16) as u16 & 0x7ff,
        (false, false) => 0,
    };
    if linear {
        let high = |field: u32| (field & mask) >> 12 << 16;
        fpu.ip = u64::from(high(selector) | ip & 0xffff);
        fpu.dp = u64::from(high(data_selector) | dp & 0xffff);
        (fpu.cs, fpu.ds) = (0, 0);
    } else {
        (fpu.ip, fpu.dp) = (u64::from(ip & mask), u64::from(dp & mask));
        (fpu.cs, fpu.ds) = (selector as u16, data_selector as u16);
    }
}

/// `Op::r3` is the width of a field: 2 or 4 bytes.
fn is_wide(op: &Op) -> bool {
    op.r3 != 2
}

fn load_fields(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<Fields, Trap> {
    let mut fields = [0; 7];
    for (i, field) in fields.iter_mut().enumerate() {
        *field = if is_wide(op) {
            cpu.load(env, op, behind(cpu, linear, 4 * i as u64))?
        } else {
            u32::from(cpu.load::<u16>(env, op, behind(cpu, linear, 2 * i as u64))?)
        };
    }
    Ok(fields)
}

/// The whole area must have been probed.
fn store_fields(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, linear: u64) -> Result<(), Trap> {
    let fields = fields(&cpu.x87, linear_pointers(cpu), is_wide(op));
    for (i, field) in fields.into_iter().enumerate() {
        if is_wide(op) {
            cpu.store(env, op, behind(cpu, linear, 4 * i as u64), field)?;
        } else {
            cpu.store(env, op, behind(cpu, linear, 2 * i as u64), field as u16)?;
        }
    }
    Ok(())
}

fn environment_bytes(op: &Op) -> usize {
    if is_wide(op) { 28 } else { 14 }
}

/// FLDENV.
pub fn load_environment(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let linear = cpu.operand_address(op, environment_bytes(op), false)?;
    let fields = load_fields(cpu, env, op, linear)?;
    let pointers = linear_pointers(cpu);
    set_fields(&mut cpu.x87, &fields, pointers, is_wide(op));
    Ok(Flow::Next)
}

/// FNSTENV: masks all exceptions afterwards.
pub fn store_environment(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    let bytes = environment_bytes(op);
    let linear = cpu.operand_address(op, bytes, true)?;
    cpu.probe(env, op, linear, bytes, Intent::Write)?;
    store_fields(cpu, env, op, linear)?;
    let control = cpu.x87.control | exception::ALL;
    cpu.x87.set_control(control);
    Ok(Flow::Next)
}

/// FRSTOR.
pub fn restore(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let header = environment_bytes(op);
    let linear = cpu.operand_address(op, header + 80, false)?;
    let fields = load_fields(cpu, env, op, linear)?;
    let mut registers = [0; 8];
    for (i, register) in registers.iter_mut().enumerate() {
        let at = header as u64 + REGISTER * i as u64;
        let low: u64 = load_pieces(cpu, env, op, behind(cpu, linear, at), 4)?;
        let high: u16 = cpu.load(env, op, behind(cpu, linear, at + 8))?;
        *register = u128::from(low) | u128::from(high) << 64;
    }
    let pointers = linear_pointers(cpu);
    let fpu = &mut cpu.x87;
    set_fields(fpu, &fields, pointers, is_wide(op));
    for (i, register) in registers.into_iter().enumerate() {
        let slot = fpu.slot(i);
        fpu.regs[slot] = register;
    }
    Ok(Flow::Next)
}

/// Loads `words` 16-bit words: registers in this image are aligned to no more.
fn load_pieces(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, linear: u64, words: u64) -> Result<u64, Trap> {
    let mut value = 0;
    for i in 0..words {
        let word: u16 = cpu.load(env, op, behind(cpu, linear, 2 * i))?;
        value |= u64::from(word) << (16 * i);
    }
    Ok(value)
}

/// FNSAVE: stores everything, then initialises.
pub fn save(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    let header = environment_bytes(op);
    let linear = cpu.operand_address(op, header + 80, true)?;
    cpu.probe(env, op, linear, header + 80, Intent::Write)?;
    store_fields(cpu, env, op, linear)?;
    for i in 0..8 {
        let value = cpu.x87.st(i);
        let at = header as u64 + REGISTER * i as u64;
        for word in 0..5 {
            let place = behind(cpu, linear, at + 2 * word);
            cpu.store(env, op, place, (value >> (16 * word)) as u16)?;
        }
    }
    cpu.x87.initialise();
    Ok(Flow::Next)
}
