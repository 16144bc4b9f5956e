//! Virtual-8086 mode: in and out, IOPL, and the virtual-mode extensions.

use super::*;
use crate::flags;

/// In v8086 mode at 800:0, with the given IOPL.
fn v86(iopl: u64) -> Pc {
    let mut pc = Pc::protected();
    let frame = [0, 0x800, 0x2_0202 | (iopl as u32) << 12, 0x7000, 0x100, 0x200, 0x300, 0x400, 0x500];
    pc.push32(&frame);
    pc.run(&[0xcf]).unwrap();
    assert!(pc.cpu.mode.v86);
    assert_eq!(pc.cpu.seg[seg::SS], Segment::v86(0x100));
    assert_eq!(pc.cpu.seg[seg::GS].base, 0x5000);
    pc
}

#[test]
fn interrupts_leave_to_level_0_and_iret_returns() {
    let mut pc = v86(3);
    pc.set_gate(0x21, CODE0, 0xee);
    pc.run(&[0xcd, 0x21]).unwrap();
    assert_eq!(pc.stack32(), [2, 0x800, 0x2_3202, 0x7000, 0x100, 0x200, 0x300, 0x400, 0x500]);
    assert_eq!((pc.cpu.mode.v86, pc.cpu.mode.cpl, pc.cpu.rflags()), (false, 0, 0x3002));
    assert!(!pc.cpu.seg[seg::DS].usable());
    pc.run(&[0xcf]).unwrap();
    assert_eq!((pc.cpu.mode.v86, pc.cpu.rip, pc.cpu.gpr[4]), (true, 2, 0x7000));
}

#[test]
fn int_n_and_iret_need_iopl_3() {
    let mut pc = v86(0);
    pc.set_gate(0x21, CODE0, 0xee);
    pc.set_gate(3, CODE0, 0xee);
    assert_eq!(pc.run(&[0xcd, 0x21]), Err(gp(0u32)));
    assert_eq!(pc.run(&[0xcf]), Err(gp(0u32)));
    assert_eq!(pc.run(&[0xcc]), Ok(Flow::Jump));
}

#[test]
fn handlers_must_be_of_level_0() {
    let mut pc = v86(3);
    pc.set_gate(0x21, CODE3, 0xee);
    assert_eq!(pc.run(&[0xcd, 0x21]), Err(gp(CODE3 & !3)));
    pc.set_gate(0x21, CONFORMING, 0xee);
    assert_eq!(pc.run(&[0xcd, 0x21]), Err(gp(CONFORMING)));
}

#[test]
fn the_redirection_bitmap_keeps_interrupts_in_the_task() {
    let mut pc = v86(0);
    pc.cpu.cr4 |= cr::CR4_VME;
    pc.put(TSS + 0x66, 0x88u16);
    pc.put(4 * 0x21, 0x0900_0040u32);
    pc.cpu.set_rflags(pc.cpu.rflags() | flags::VIF);
    pc.run(&[0xcd, 0x21]).unwrap();
    assert!(pc.cpu.mode.v86);
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.rip), (0x900, 0x40));
    // IF of the image is VIF, IOPL shows as 3, VIF is cleared.
    assert_eq!(pc.get64(0x1000 + 0x6ffa) & 0xffff_ffff_ffff, 0x3202_0800_0002);
    assert_eq!(pc.cpu.rflags() & (flags::VIF | flags::IF), flags::IF);
    // IRET loads VIF from it.
    pc.run(&[0xcf]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (2, 0x7000));
    assert_eq!(pc.cpu.rflags() & (flags::VIF | flags::IF | flags::IOPL), flags::VIF | flags::IF);
    // A set bit goes to the monitor.
    pc.put(TSS + 0x68 + 0x21 / 8, 2u8);
    assert_eq!(pc.run(&[0xcd, 0x21]), Err(gp(0u32)));
}

#[test]
fn iret_of_the_extensions_faults_on_a_pending_interrupt() {
    let mut pc = v86(0);
    pc.cpu.cr4 |= cr::CR4_VME;
    pc.cpu.set_rflags(pc.cpu.rflags() | flags::VIP);
    pc.put(0x1000 + 0x7000, 0x0202_0800_0010u64);
    assert_eq!(pc.run(&[0xcf]), Err(gp(0u32)));
    pc.put(0x1000 + 0x7000, 0x0002_0800_0010u64);
    pc.run(&[0xcf]).unwrap();
    assert_eq!(pc.cpu.rip, 0x10);
    assert_eq!(pc.run(&[0x66, 0xcf]), Err(gp(0u32)));
}
