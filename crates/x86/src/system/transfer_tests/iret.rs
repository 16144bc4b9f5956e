//! IRET: flags by privilege, outer levels, 64-bit frames.

use super::*;
use crate::flags;

const IRET: [u8; 1] = [0xcf];
const IRETQ: [u8; 2] = [0x48, 0xcf];

#[test]
fn real_mode_loads_the_flags() {
    let mut pc = Pc::real();
    pc.cpu.gpr[4] = 0x6ffa;
    pc.put(0x6ffa, 0x7ed5_1234_5678u64);
    pc.run(&IRET).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.seg[seg::CS].base, pc.cpu.gpr[4]), (0x5678, 0x1_2340, 0x7000));
    assert_eq!(pc.cpu.rflags(), 0x7ed7);
}

#[test]
fn outer_levels_change_if_and_iopl_only_as_they_may() {
    let mut pc = Pc::protected();
    pc.cpu.seg[seg::FS] = pc.segment(CONFORMING);
    pc.push32(&[0x100, u32::from(CODE3), 0x3202, STACK3 as u32, u32::from(DATA3)]);
    pc.run(&IRET).unwrap();
    assert_eq!((pc.cpu.mode.cpl, pc.cpu.gpr[4], pc.cpu.rflags()), (3, STACK3, 0x3202));
    // The data segments of level 0 are gone, conforming code stays.
    assert!(!pc.cpu.seg[seg::DS].usable() && pc.cpu.seg[seg::FS].usable());
    // From level 3 IOPL stays; with IOPL 3 IF goes.
    pc.push32(&[0x100, u32::from(CODE3), 2]);
    pc.run(&IRET).unwrap();
    assert_eq!(pc.cpu.rflags(), 0x3002);
    pc.cpu.set_rflags(flags::IF);
    pc.push32(&[0x100, u32::from(CODE3), 0x1_3000]);
    pc.run(&IRET).unwrap();
    assert_eq!(pc.cpu.rflags(), 0x1_0202);
}

#[test]
fn a_16_bit_stack_keeps_the_upper_half_of_esp() {
    let mut pc = Pc::protected();
    pc.set_descriptor(0x40, descriptor(0, 0xffff, 0xf3, 0));
    pc.push32(&[0x100, u32::from(CODE3), 2, 0x1234_5678, 0x43]);
    let upper = pc.cpu.gpr[4] & 0xffff_0000;
    pc.run(&IRET).unwrap();
    assert_eq!(pc.cpu.gpr[4], upper | 0x5678);
}

#[test]
fn long_mode_pops_the_stack_always() {
    let mut pc = Pc::long();
    pc.push64(&[0x1234, u64::from(CODE64), flags::IF | flags::VM, 0x6000, u64::from(DATA0)]);
    pc.run(&IRETQ).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4], pc.cpu.rflags()), (0x1234, 0x6000, 0x202));
    // A null SS is good at level 0 only.
    pc.push64(&[0x1234, u64::from(CODE64), 2, 0x6000, 0]);
    pc.run(&IRETQ).unwrap();
    pc.push64(&[0x1234, u64::from(USER64), 2, 0x6000, 3]);
    assert_eq!(pc.run(&IRETQ), Err(gp(0u32)));
    pc.push64(&[0x1234, u64::from(CODE0), 2, 0x6000, 0]);
    assert_eq!(pc.run(&IRETQ), Err(gp(0u32)));
    // Not canonical, and a nested task.
    pc.push64(&[1 << 47, u64::from(CODE64), 2, 0x6000, 0]);
    assert_eq!(pc.run(&IRETQ), Err(gp(0u32)));
    pc.cpu.set_rflags(flags::NT);
    assert_eq!(pc.run(&IRETQ), Err(gp(0u32)));
}

#[test]
fn long_mode_returns_to_compatibility_mode() {
    let mut pc = Pc::long();
    pc.push64(&[0x1234, u64::from(CODE3), 0x202, 0xffff_0000_8000, u64::from(DATA3)]);
    pc.run(&IRETQ).unwrap();
    assert_eq!((pc.cpu.mode.code, pc.cpu.mode.cpl, pc.cpu.gpr[4]), (CodeSize::B32, 3, 0x8000));
}

#[test]
fn nmis_unblock_even_if_iret_faults() {
    let mut pc = Pc::protected();
    pc.cpu.nmi_blocked = true;
    pc.push32(&[0, 0, 2]);
    assert_eq!(pc.run(&IRET), Err(gp(0u32)));
    assert!(!pc.cpu.nmi_blocked);
}
