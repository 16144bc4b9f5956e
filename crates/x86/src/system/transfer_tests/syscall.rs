//! SYSCALL, SYSRET, SYSENTER, SYSEXIT.

use super::*;
use crate::flags;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
const SYSRETQ: [u8; 3] = [0x48, 0x0f, 0x07];
const SYSRETD: [u8; 2] = [0x0f, 0x07];
const SYSENTER: [u8; 2] = [0x0f, 0x34];
const SYSEXITQ: [u8; 3] = [0x48, 0x0f, 0x35];
const SYSEXITD: [u8; 2] = [0x0f, 0x35];

fn prepared() -> Pc {
    let mut pc = Pc::long();
    pc.cpu.msrs.star = 0x0023_0010 << 32;
    pc.cpu.msrs.lstar = 0xffff_ffff_8100_0000;
    pc.cpu.msrs.fmask = flags::IF | flags::TF;
    pc.cpu.msrs.sysenter_cs = 0x10;
    pc.cpu.msrs.sysenter_esp = 0xffff_8000_0000_1000;
    pc.cpu.msrs.sysenter_eip = 0xffff_8000_0000_2000;
    pc
}

#[test]
fn syscall_and_back() {
    let mut pc = prepared();
    pc.set_level64(3);
    pc.cpu.set_rflags(flags::IF | flags::CF);
    pc.run(&SYSCALL).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[1], pc.cpu.gpr[11]), (0xffff_ffff_8100_0000, CODE + 2, 0x203));
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.seg[seg::SS].selector, pc.cpu.mode.cpl), (0x10, 0x18, 0));
    assert_eq!((pc.cpu.rflags(), pc.cpu.gpr[4]), (3, STACK3));
    pc.run(&SYSRETQ).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.rflags(), pc.cpu.mode.cpl), (CODE + 2, 0x203, 3));
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.seg[seg::SS].selector), (0x33, 0x2b));
    assert!(pc.cpu.is_64bit());
    assert_eq!(pc.run(&SYSRETQ), Err(gp(0u32)));
}

#[test]
fn sysret_to_compatibility_mode_and_beyond_the_canonical_addresses() {
    let mut pc = prepared();
    pc.cpu.gpr[1] = 1 << 47;
    assert_eq!(pc.run(&SYSRETQ), Err(gp(0u32)));
    assert_eq!(pc.cpu.mode.cpl, 0);
    pc.cpu.gpr[11] = u64::MAX;
    pc.run(&SYSRETD).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.mode.code, pc.cpu.mode.cpl), (0, CodeSize::B32, 3));
    assert_eq!(pc.cpu.seg[seg::CS].selector, 0x23);
    assert_eq!(pc.cpu.rflags(), 0x3c_7fd7);
    // In compatibility mode these are #UD.
    assert_eq!(pc.run(&SYSCALL).unwrap_err().vector, 6);
    assert_eq!(pc.run(&SYSRETD).unwrap_err().vector, 6);
}

#[test]
fn sysenter_and_sysexit_in_long_mode() {
    let mut pc = prepared();
    pc.set_level(3);
    pc.cpu.set_rflags(flags::IF);
    pc.run(&SYSENTER).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (0xffff_8000_0000_2000, 0xffff_8000_0000_1000));
    assert_eq!((pc.cpu.mode.cpl, pc.cpu.rflags(), pc.cpu.is_64bit()), (0, 2, true));
    pc.cpu.gpr[1] = 0x1_2345_6789;
    pc.cpu.gpr[2] = 0x1_0000_4000;
    pc.run(&SYSEXITD).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4], pc.cpu.mode.code), (0x4000, 0x2345_6789, CodeSize::B32));
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.seg[seg::SS].selector), (0x23, 0x2b));
    let mut pc = prepared();
    pc.cpu.gpr[1] = 1 << 47;
    assert_eq!(pc.run(&SYSEXITQ), Err(gp(0u32)));
    pc.cpu.gpr[1] = 0x1_2345_6789;
    pc.run(&SYSEXITQ).unwrap();
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.gpr[4]), (0x33, 0x1_2345_6789));
    assert_eq!(pc.run(&SYSEXITQ), Err(gp(0u32)));
}

#[test]
fn sysenter_needs_protected_mode_and_a_selector() {
    let mut pc = Pc::real();
    pc.cpu.msrs.sysenter_cs = 8;
    assert_eq!(pc.run(&SYSENTER), Err(gp(0u32)));
    let mut pc = Pc::protected();
    pc.cpu.msrs.sysenter_cs = 3;
    assert_eq!(pc.run(&SYSENTER), Err(gp(0u32)));
    pc.cpu.msrs.sysenter_cs = 8;
    pc.run(&SYSENTER).unwrap();
    assert_eq!(pc.cpu.mode.code, CodeSize::B32);
}
