//! Task switches, and the I/O permission bitmap.

use super::*;
use crate::flags;

const JMP_TSS2: [u8; 7] = [0xea, 0, 0, 0, 0, 0x90, 0];
const CALL_TSS2: [u8; 7] = [0x9a, 0, 0, 0, 0, 0x90, 0];

/// A machine whose second task is at level 0, with EAX 1234h.
fn two_tasks() -> Pc {
    let mut pc = Pc::protected();
    let data = u32::from(DATA0);
    for (at, value) in [
        (0x20, HANDLER as u32),
        (0x24, 0x202),
        (0x28, 0x1234),
        (0x38, 0x1_4000),
        (0x48, data),
        (0x4c, u32::from(CODE0)),
        (0x50, data),
        (0x54, data),
        (0x58, 0),
        (0x5c, 0),
    ] {
        pc.put(TSS2 + at, value);
    }
    pc
}

fn access(pc: &Pc, selector: u16) -> u64 {
    pc.get64(GDT + u64::from(selector)) >> 40 & 0xff
}

#[test]
fn a_jump_saves_the_old_task_and_loads_the_new() {
    let mut pc = two_tasks();
    pc.cpu.gpr[0] = 0xabcd;
    pc.run(&JMP_TSS2).unwrap();
    assert_eq!((pc.get32(TSS + 0x20), pc.get32(TSS + 0x28)), (CODE as u32 + 7, 0xabcd));
    assert_eq!((pc.get32(TSS + 0x38), pc.get32(TSS + 0x4c)), (STACK0 as u32, u32::from(CODE0)));
    assert_eq!((access(&pc, TSS_SELECTOR), access(&pc, TSS2_SELECTOR)), (0x89, 0x8b));
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[0], pc.cpu.gpr[4]), (HANDLER, 0x1234, 0x1_4000));
    assert_eq!((pc.cpu.rflags(), pc.cpu.seg[seg::TR].selector), (0x202, TSS2_SELECTOR));
    assert!(pc.cpu.cr0 & cr::CR0_TS != 0);
    assert!(!pc.cpu.seg[seg::FS].usable());
}

#[test]
fn a_call_nests_and_iret_returns() {
    let mut pc = two_tasks();
    pc.run(&CALL_TSS2).unwrap();
    assert_eq!((access(&pc, TSS_SELECTOR), access(&pc, TSS2_SELECTOR)), (0x8b, 0x8b));
    assert_eq!((pc.get32(TSS2) & 0xffff, pc.cpu.rflags()), (0x80, 0x202 | flags::NT));
    pc.run(&[0xcf]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.rflags(), pc.cpu.gpr[4]), (CODE + 7, 2, STACK0));
    assert_eq!((access(&pc, TSS_SELECTOR), access(&pc, TSS2_SELECTOR)), (0x8b, 0x89));
    // NT went out of the image, and the next call begins behind the IRET.
    assert_eq!((pc.get32(TSS2 + 0x24), pc.get32(TSS2 + 0x20)), (0x202, HANDLER as u32 + 1));
}

#[test]
fn a_task_gate_pushes_the_error_code_on_the_new_stack() {
    let mut pc = two_tasks();
    pc.put(IDT + 8 * 13, gate(TSS2_SELECTOR, 0, 0x85, 0));
    pc.fault(13, Some(0x18));
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4], pc.stack32()), (HANDLER, 0x1_3ffc, [0x18]));
    assert_eq!(pc.get32(TSS + 0x20), CODE as u32);
    assert_eq!(pc.get32(TSS + 0x24) & flags::RF as u32, flags::RF as u32);
}

#[test]
fn bad_tasks_fault_in_the_old_one() {
    let mut pc = two_tasks();
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x66, 0x89, 0));
    assert_eq!(pc.run(&JMP_TSS2), Err(error(10, 0x90)));
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x8b, 0));
    assert_eq!(pc.run(&JMP_TSS2), Err(gp(0x90u32)), "busy");
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x09, 0));
    assert_eq!(pc.run(&JMP_TSS2), Err(error(11, 0x90)));
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x89, 0));
    pc.set_level(3);
    assert_eq!(pc.run(&JMP_TSS2), Err(gp(0x90u32)), "privilege");
    // IRET to a task that is not busy.
    pc.set_level(0);
    pc.put(TSS, u32::from(TSS2_SELECTOR));
    pc.cpu.set_rflags(flags::NT);
    assert_eq!(pc.run(&[0xcf]), Err(error(10, 0x90)));
}

#[test]
fn bad_segments_fault_in_the_new_task() {
    let mut pc = two_tasks();
    pc.set_gate(10, CODE0, 0x8e);
    pc.put(TSS2 + 0x54, u32::from(TSS_SELECTOR));
    pc.run(&JMP_TSS2).unwrap();
    assert_eq!(pc.cpu.seg[seg::TR].selector, TSS2_SELECTOR);
    assert_eq!(pc.stack32(), [u32::from(TSS_SELECTOR), HANDLER as u32, u32::from(CODE0)]);
}

#[test]
fn the_t_flag_makes_a_debug_trap() {
    let mut pc = two_tasks();
    pc.put(TSS2 + 0x64, 1u16);
    pc.cpu.debug.dr7 |= 0x3ff;
    pc.run(&JMP_TSS2).unwrap();
    assert_eq!((pc.cpu.debug_pending, pc.cpu.debug.dr7), (1 << 15, 0x6aa));
}

#[test]
fn a_task_may_be_of_virtual_8086_mode() {
    let mut pc = two_tasks();
    pc.put(TSS2 + 0x24, 0x2_3202u32);
    pc.put(TSS2 + 0x4c, 0x1000u32);
    pc.run(&JMP_TSS2).unwrap();
    assert!(pc.cpu.mode.v86);
    assert_eq!((pc.cpu.seg[seg::CS].base, pc.cpu.mode.cpl), (0x1_0000, 3));
}

#[test]
fn a_16_bit_task() {
    let mut pc = two_tasks();
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x2b, 0x81, 0));
    for (at, value) in
        [(0xe, 0x7777u16), (0x10, 0x202), (0x12, 5), (0x22, 0), (0x24, CODE0), (0x26, DATA0), (0x28, DATA0), (0x2a, 0)]
    {
        pc.put(TSS2 + at, value);
    }
    pc.run(&CALL_TSS2).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[0], access(&pc, TSS2_SELECTOR)), (0x7777, 0xffff_0005, 0x83));
    pc.run(&[0xcf]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (CODE + 7, STACK0));
}

#[test]
fn ports_by_iopl_and_bitmap() {
    let mut pc = Pc::protected();
    let allowed = |pc: &mut Pc, port, size| pc.with(|cpu, env| cpu.io_allowed(env, port, size)).is_ok();
    assert!(allowed(&mut pc, 0x60, 1));
    pc.set_level(3);
    pc.put(TSS + 0x66, 0x68u16);
    pc.put(TSS + 0x68 + 0x60 / 8, 0b1111_1100_0000_1111u16);
    assert!(!allowed(&mut pc, 0x60, 1));
    assert!(allowed(&mut pc, 0x64, 4));
    assert!(!allowed(&mut pc, 0x68, 4));
    assert!(allowed(&mut pc, 0x68, 2));
    pc.cpu.seg[seg::TR].limit = 0x68 + 0x60 / 8;
    assert!(!allowed(&mut pc, 0x64, 1), "the byte behind counts");
    pc.cpu.set_rflags(flags::IOPL);
    assert!(allowed(&mut pc, 0x60, 1));
}
