//! Far jumps, calls and returns.

use super::*;
use crate::segment::ATTR_L;

/// JMP or CALL ptr16:32.
fn direct(opcode: u8, selector: u16, offset: u32) -> [u8; 7] {
    let (o, s) = (offset.to_le_bytes(), selector.to_le_bytes());
    [opcode, o[0], o[1], o[2], o[3], s[0], s[1]]
}

const JMP: u8 = 0xea;
const CALL: u8 = 0x9a;

#[test]
fn real_mode_calls_and_returns() {
    let mut pc = Pc::real();
    // CALL 1234h:0010h
    pc.run(&[0x9a, 0x10, 0, 0x34, 0x12]).unwrap();
    assert_eq!((pc.cpu.seg[seg::CS].base, pc.cpu.rip, pc.cpu.gpr[4]), (0x1_2340, 0x10, 0x6ffc));
    assert_eq!(pc.get32(0x6ffc), 0x8005);
    // RETF 6
    pc.run(&[0xca, 6, 0]).unwrap();
    assert_eq!((pc.cpu.seg[seg::CS].base, pc.cpu.rip, pc.cpu.gpr[4]), (0, 0x8005, 0x7006));
    // JMP with a 32-bit offset beyond the limit.
    assert_eq!(pc.run(&[0x66, 0xea, 0, 0, 1, 0, 0, 0]), Err(gp(0u32)));
}

#[test]
fn direct_jumps_are_checked() {
    let mut pc = Pc::protected();
    assert_eq!(pc.run(&direct(JMP, 0, 0)), Err(gp(0u32)));
    assert_eq!(pc.run(&direct(JMP, DATA0, 0)), Err(gp(DATA0)));
    assert_eq!(pc.run(&direct(JMP, CODE3, 0)), Err(gp(CODE3 & !3)));
    assert_eq!(pc.run(&direct(JMP, CODE0 | 1, 0)), Err(gp(CODE0)));
    assert_eq!(pc.run(&direct(JMP, 0x1f8, 0)), Err(gp(0x1f8u32)));
    pc.set_descriptor(0x40, descriptor(0, 0xf_ffff, 0x1b, 0xc));
    assert_eq!(pc.run(&direct(JMP, 0x40, 0)), Err(error(11, 0x40)));
    pc.set_descriptor(0x40, descriptor(0, 0xfff, 0x9b, 0x4));
    assert_eq!(pc.run(&direct(JMP, 0x40, 0x1000)), Err(gp(0u32)));
    assert_eq!(pc.run(&direct(JMP, 0x40, 0xfff)), Ok(Flow::Jump));
    assert_eq!((pc.cpu.rip, pc.cpu.seg[seg::CS].selector), (0xfff, 0x40));
    // Conforming code runs at the caller's level.
    pc.set_level(3);
    pc.run(&direct(JMP, CONFORMING, 0x100)).unwrap();
    assert_eq!((pc.cpu.mode.cpl, pc.cpu.seg[seg::CS].selector), (3, CONFORMING | 3));
    pc.set_level(3);
    assert_eq!(pc.run(&direct(JMP, CODE0, 0)), Err(gp(CODE0)));
}

#[test]
fn direct_call_and_return() {
    let mut pc = Pc::protected();
    pc.run(&direct(CALL, CODE0, 0x100)).unwrap();
    assert_eq!(pc.stack32(), [CODE as u32 + 7, u32::from(CODE0)]);
    pc.run(&[0xcb]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (CODE + 7, STACK0));
    // No room on the stack.
    pc.cpu.seg[seg::SS].limit = 0xff;
    assert_eq!(pc.run(&direct(CALL, CODE0, 0x100)), Err(error(12, 0)));
}

#[test]
fn call_gates_switch_stacks_and_copy_parameters() {
    let mut pc = Pc::protected();
    pc.set_descriptor(GATE, gate(CODE0, HANDLER, 0xec, 2));
    pc.set_level(3);
    pc.push32(&[0x11, 0x22, 0x33]);
    pc.run(&direct(CALL, GATE | 3, 0)).unwrap();
    assert_eq!(pc.stack32(), [CODE as u32 + 7, u32::from(CODE3), 0x11, 0x22, STACK3 as u32 - 12, u32::from(DATA3)]);
    assert_eq!((pc.cpu.rip, pc.cpu.mode.cpl, pc.cpu.gpr[4]), (HANDLER, 0, STACK0 - 24));
    // RETF 8: back out, parameters released on both stacks, inner data segments emptied.
    pc.cpu.seg[seg::ES] = pc.segment(DATA0);
    pc.run(&[0xca, 8, 0]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.mode.cpl, pc.cpu.gpr[4]), (CODE + 7, 3, STACK3 - 4));
    assert!(!pc.cpu.seg[seg::ES].usable() && pc.cpu.seg[seg::DS].usable());
}

#[test]
fn call_gates_are_checked() {
    let mut pc = Pc::protected();
    pc.set_descriptor(GATE, gate(CODE0, HANDLER, 0x8c, 0));
    pc.set_level(3);
    assert_eq!(pc.run(&direct(CALL, GATE, 0)), Err(gp(GATE)));
    pc.set_descriptor(GATE, gate(CODE0, HANDLER, 0x6c, 0));
    assert_eq!(pc.run(&direct(CALL, GATE, 0)), Err(error(11, u32::from(GATE))));
    pc.set_descriptor(GATE, gate(0, HANDLER, 0xec, 0));
    assert_eq!(pc.run(&direct(CALL, GATE, 0)), Err(gp(0u32)));
    pc.set_descriptor(GATE, gate(DATA0, HANDLER, 0xec, 0));
    assert_eq!(pc.run(&direct(CALL, GATE, 0)), Err(gp(DATA0)));
    // A jump cannot change the level.
    pc.set_descriptor(GATE, gate(CODE0, HANDLER, 0xec, 0));
    assert_eq!(pc.run(&direct(JMP, GATE, 0)), Err(gp(CODE0)));
    pc.put(TSS + 8, 0u32);
    assert_eq!(pc.run(&direct(CALL, GATE, 0)), Err(error(10, 0)));
    // To the same level a jump goes, and pushes nothing.
    pc.set_level(0);
    pc.run(&direct(JMP, GATE, 0)).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (HANDLER, STACK0));
}

#[test]
fn long_call_gates_have_sixteen_bytes() {
    let mut pc = Pc::long();
    pc.set_descriptor(GATE, gate(CODE64, HANDLER, 0xec, 3));
    pc.put(GDT + 0x50, 0u64);
    pc.put(0x6000, 0u32);
    pc.put(0x6004, GATE);
    pc.cpu.gpr[3] = 0x6000;
    pc.set_level64(3);
    // CALL FAR [RBX]
    pc.run(&[0xff, 0x1b]).unwrap();
    assert_eq!(pc.stack64(), [CODE + 2, u64::from(USER64), STACK3, u64::from(DATA3)]);
    assert_eq!((pc.cpu.mode.cpl, pc.cpu.seg[seg::SS].selector), (0, 0));
    // RETFQ
    pc.run(&[0x48, 0xcb]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4], pc.cpu.mode.cpl), (CODE + 2, STACK3, 3));
    pc.put(GDT + 0x50, 1u64 << 40);
    assert_eq!(pc.run(&[0xff, 0x1b]), Err(gp(GATE)));
    pc.put(GDT + 0x50, 0u64);
    pc.set_descriptor(GATE, gate(CODE0, HANDLER, 0xec, 0));
    assert_eq!(pc.run(&[0xff, 0x1b]), Err(gp(CODE0)));
}

#[test]
fn long_mode_jumps_to_compatibility_mode_and_back() {
    let mut pc = Pc::long();
    pc.cpu.gpr[3] = 0x6000;
    pc.put(0x6000, 0x500u32);
    pc.put(0x6004, CODE0);
    pc.run(&[0xff, 0x2b]).unwrap();
    assert_eq!((pc.cpu.mode.code, pc.cpu.rip), (CodeSize::B32, 0x500));
    pc.run(&direct(JMP, CODE64, 0x600)).unwrap();
    assert!(pc.cpu.is_64bit() && pc.cpu.seg[seg::CS].has(ATTR_L));
    // L with D is reserved.
    pc.set_descriptor(CODE64, descriptor(0, 0xf_ffff, 0x9b, 0xe));
    pc.put(0x6004, CODE64);
    assert_eq!(pc.run(&[0xff, 0x2b]), Err(gp(CODE64)));
}

#[test]
fn returns_are_checked() {
    let mut pc = Pc::protected();
    pc.set_level(3);
    for (cs, expected) in [(CODE0, gp(CODE0)), (0, gp(0u32)), (DATA3, gp(DATA3 & !3)), (0x1fb, gp(0x1f8u32))] {
        pc.push32(&[0, u32::from(cs)]);
        assert_eq!(pc.run(&[0xcb]), Err(expected), "{cs:x}");
    }
    pc.set_level(0);
    for (ss, expected) in [(0, gp(0u32)), (DATA0, gp(DATA0)), (CODE3, gp(CODE3 & !3)), (ABSENT | 3, gp(ABSENT))] {
        pc.push32(&[0, u32::from(CODE3), 0, u32::from(ss)]);
        assert_eq!(pc.run(&[0xcb]), Err(expected), "{ss:x}");
    }
    pc.set_descriptor(ABSENT, descriptor(0, 0xf_ffff, 0x73, 0xc));
    pc.push32(&[0, u32::from(CODE3), 0, u32::from(ABSENT | 3)]);
    assert_eq!(pc.run(&[0xcb]), Err(error(12, u32::from(ABSENT))));
}
