//! IN, OUT, INS, OUTS.

use super::*;
use crate::flags;

#[test]
fn in_fills_what_its_size_says() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[0] = u64::MAX;
    rig.cpu.gpr[2] = 0x3f8;
    rig.run(&[0xec]).unwrap();
    assert_eq!(rig.cpu.gpr[0], !0xff | 0xf8);
    rig.run(&[0x66, 0xed]).unwrap();
    assert_eq!(rig.cpu.gpr[0], !0xffff | 0x3f8);
    rig.run(&[0xed]).unwrap();
    assert_eq!(rig.cpu.gpr[0], 0xdead_03f8);
    rig.run(&[0xe4, 0xf8]).unwrap();
    assert_eq!(rig.cpu.gpr[0], 0xdead_03f8);
}

#[test]
fn out_sends_what_its_size_says() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[0] = 0x1234_5678;
    rig.run(&[0xe6, 0x80]).unwrap();
    rig.cpu.gpr[2] = 0xcf8;
    rig.run(&[0xef]).unwrap();
    assert_eq!(rig.board.written, [(0x80, 1, 0x78), (0xcf8, 4, 0x1234_5678)]);
}

#[test]
fn ports_need_privilege() {
    let mut rig = Rig::new(Code::Long64, 3);
    rig.cpu.seg[seg::TR].limit = 0x67;
    assert!(is_gp0(rig.run(&[0xec])), "there is no I/O map");
    rig.cpu.set_rflags(flags::IOPL);
    rig.run(&[0xec]).unwrap();
}

#[test]
fn rep_outs_does_one_iteration_a_step() {
    let mut rig = Rig::new(Code::Real, 0);
    rig.poke(0x8000, b"ab");
    rig.cpu.gpr[1] = 0xffff_0002;
    rig.cpu.gpr[6] = 0x8000;
    rig.cpu.gpr[2] = 0xe9;
    assert_eq!(rig.run(&[0xf3, 0x6e]), Ok(Flow::Repeat));
    assert_eq!(rig.run(&[0xf3, 0x6e]), Ok(Flow::Next));
    assert_eq!(rig.run(&[0xf3, 0x6e]), Ok(Flow::Next));
    assert_eq!(rig.board.written, [(0xe9, 1, 0x61), (0xe9, 1, 0x62)]);
    assert_eq!((rig.cpu.gpr[1], rig.cpu.gpr[6]), (0xffff_0000, 0x8002));
}

#[test]
fn ins_stores_downwards_with_df() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.set_rflags(flags::DF);
    rig.cpu.gpr[7] = 0x8002;
    rig.cpu.gpr[2] = 0x1f0;
    rig.run(&[0x66, 0x6d]).unwrap();
    assert_eq!(rig.peek(0x8002), [0xf0, 0x01]);
    assert_eq!(rig.cpu.gpr[7], 0x8000);
    rig.cpu.gpr[7] = 1 << 46;
    assert_eq!(rig.fault(&[0x6d]), vector::PF);
}

#[test]
fn io_breakpoints_need_de() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.mov_dr(0, 0x60).unwrap();
    rig.mov_dr(7, 2 | 0b0110 << 16).unwrap();
    rig.run(&[0xe4, 0x61]).unwrap();
    assert_eq!(rig.cpu.debug_pending, 0);
    rig.cpu.cr4 |= cr::CR4_DE;
    rig.run(&[0xe4, 0x61]).unwrap();
    assert_eq!(rig.cpu.debug_pending, 1);
}
