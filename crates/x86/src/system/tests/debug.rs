//! Debug registers: moves, and what the breakpoints notice.

use super::*;
use crate::system::debug::{DR6_BD, DR7_GD};

#[test]
fn fixed_bits_stay() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.mov_dr(6, 0xffff_ffff).unwrap();
    assert_eq!(rig.cpu.debug.dr6, 0xffff_eff0 | 0xf);
    rig.mov_dr(6, 0).unwrap();
    assert_eq!(rig.cpu.debug.dr6, 0xffff_0ff0);
    rig.mov_dr(7, 0xffff_dfff).unwrap();
    assert_eq!(rig.cpu.debug.dr7, 0xffff_07ff);
    assert!(is_gp0(rig.mov_dr(7, 1 << 32)));
    assert!(is_gp0(rig.mov_dr(6, 1 << 63)));
    rig.mov_dr(0, 1 << 63).unwrap();
    assert_eq!(rig.cpu.debug.address[0], 1 << 63);
}

#[test]
fn dr4_is_dr6_unless_de() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.mov_dr(4, 1).unwrap();
    assert_eq!(rig.cpu.debug.dr6, 0xffff_0ff1);
    rig.cpu.cr4 |= cr::CR4_DE;
    assert_eq!(rig.mov_dr(5, 0).unwrap_err().vector, vector::UD);
    let mut user = Rig::new(Code::Long64, 3);
    assert!(is_gp0(user.mov_dr(7, 0)));
}

#[test]
fn general_detect_faults() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.mov_dr(7, DR7_GD).unwrap();
    let fault = rig.run(&[0x0f, 0x21, 0xc0]).unwrap_err();
    assert_eq!((fault.vector, fault.dr6), (vector::DB, DR6_BD));
}

#[test]
fn watchpoints_by_kind_and_length() {
    let mut rig = Rig::new(Code::Long64, 0);
    // 0: write of 4 at 1004h (unaligned address); 1: any access of 8 at 2000h; 3: disabled.
    rig.mov_dr(0, 0x1006).unwrap();
    rig.mov_dr(1, 0x2000).unwrap();
    rig.mov_dr(3, 0x1004).unwrap();
    rig.mov_dr(7, 1 | 8 | 0xd << 16 | 0xb << 20 | 0xd << 28).unwrap();
    assert!(rig.cpu.watches_page(0x1fff) && !rig.cpu.watches_page(0x3000));
    let mut hits = |linear, bytes, write| {
        rig.cpu.watch(linear, bytes, write);
        std::mem::take(&mut rig.cpu.debug_pending)
    };
    assert_eq!(hits(0x1004, 1, true), 1);
    assert_eq!(hits(0x1007, 2, true), 1);
    assert_eq!(hits(0x1000, 8, true), 1);
    assert_eq!(hits(0x1000, 4, true), 0);
    assert_eq!(hits(0x1008, 4, true), 0);
    assert_eq!(hits(0x1004, 4, false), 0);
    assert_eq!(hits(0x2007, 1, false), 2);
    assert_eq!(hits(0x1fff, 1, false), 0);
    assert!(!rig.cpu.has_instruction_breakpoints());
}

#[test]
fn instruction_breakpoints() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.mov_dr(2, 0x4000).unwrap();
    rig.mov_dr(3, 0x4000).unwrap();
    rig.mov_dr(7, 0xa0).unwrap();
    assert!(rig.cpu.has_instruction_breakpoints());
    assert_eq!(rig.cpu.instruction_breakpoint(0x4000), Some(0xc));
    assert_eq!(rig.cpu.instruction_breakpoint(0x4001), None);
}

#[test]
fn a_store_to_a_watched_page_is_seen_although_the_page_was_fast() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[3] = 0x8000;
    rig.run(&[0x0f, 0x01, 0x03]).unwrap();
    rig.run(&[0x0f, 0x01, 0x03]).unwrap();
    rig.mov_dr(0, 0x8009).unwrap();
    rig.mov_dr(7, 1 | 1 << 16).unwrap();
    rig.run(&[0x0f, 0x01, 0x03]).unwrap();
    assert_eq!(rig.cpu.debug_pending, 1);
}
