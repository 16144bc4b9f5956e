//! Control registers, descriptor-table registers, INVPCID, XSETBV, MONITOR.

use super::*;
use crate::flags;

#[test]
fn the_way_into_long_mode_and_back() {
    let mut rig = Rig::new(Code::Protected32, 0);
    rig.cpu.efer = cr::EFER_LME;
    let on = rig.cpu.cr0 | cr::CR0_PG;
    assert!(is_gp0(rig.mov_cr(0, on)), "paging without PAE");
    rig.mov_cr(4, cr::CR4_PAE).unwrap();
    rig.cpu.seg[seg::CS].attr |= ATTR_L;
    assert!(is_gp0(rig.mov_cr(0, on)), "CS.L is set");
    rig.cpu.seg[seg::CS].attr &= !ATTR_L;
    rig.cpu.seg[seg::TR].attr = rig.cpu.seg[seg::TR].attr & !15 | 3;
    assert!(is_gp0(rig.mov_cr(0, on)), "a 16-bit TSS");
    rig.cpu.seg[seg::TR].attr |= 11;
    rig.mov_cr(0, on).unwrap();
    assert!(rig.cpu.long_mode() && !rig.cpu.is_64bit());
    assert!(is_gp0(rig.mov_cr(4, 0)), "PAE stays in long mode");
    rig.mov_cr(0, on & !cr::CR0_PG).unwrap();
    assert_eq!(rig.cpu.efer, cr::EFER_LME);
}

#[test]
fn cr0_refuses_impossible_values() {
    let mut rig = Rig::new(Code::Long64, 0);
    let now = rig.cpu.cr0;
    assert!(is_gp0(rig.mov_cr(0, now & !cr::CR0_PG)), "paging cannot go off in 64-bit mode");
    assert!(is_gp0(rig.mov_cr(0, now & !cr::CR0_PE)));
    assert!(is_gp0(rig.mov_cr(0, now | cr::CR0_NW)));
    assert!(is_gp0(rig.mov_cr(0, now | 1 << 32)));
    rig.mov_cr(0, now & !cr::CR0_ET | 1 << 6).unwrap();
    assert_eq!(rig.cpu.cr0, now, "ET is fixed, reserved bits are ignored");
    rig.cpu.cr4 |= cr::CR4_PCIDE;
    rig.cpu.seg[seg::CS].attr &= !ATTR_L;
    rig.cpu.update_mode();
    assert!(is_gp0(rig.mov_cr(0, now & !cr::CR0_PG)), "PCIDE forbids it too");
}

#[test]
fn pcid_rules() {
    let mut rig = Rig::new(Code::Long64, 0);
    let base = rig.cpu.cr3;
    assert!(is_gp0(rig.mov_cr(3, base | 1 << 63)), "no-flush without PCIDE");
    rig.mov_cr(3, base | 0x18).unwrap();
    assert!(is_gp0(rig.mov_cr(4, cr::CR4_PAE | cr::CR4_PCIDE)), "CR3 has a PCID");
    rig.mov_cr(3, base).unwrap();
    rig.mov_cr(4, cr::CR4_PAE | cr::CR4_PCIDE).unwrap();
    rig.mov_cr(3, base | 5 | 1 << 63).unwrap();
    assert_eq!(rig.cpu.cr3, base | 5);
    assert!(is_gp0(rig.mov_cr(3, base | 1 << 40)));
    assert!(is_gp0(rig.mov_cr(4, rig.cpu.cr4 | 1 << 12)), "LA57 does not exist");
    let mut legacy = Rig::new(Code::Protected32, 0);
    assert!(is_gp0(legacy.mov_cr(4, cr::CR4_PCIDE)));
}

#[test]
fn invpcid_checks_type_and_descriptor() {
    let mut rig = Rig::new(Code::Long64, 0);
    // INVPCID RAX, [RBX]
    let insn = [0x66, 0x0f, 0x38, 0x82, 0x03];
    rig.cpu.gpr[3] = 0x8000;
    for (kind, tag, linear, ok) in [
        (0u64, 0u64, 0x1000u64, true),
        (0, 0, 1 << 60, false),
        (1, 0, 1 << 60, true),
        (0, 1, 0, false),
        (2, 1, 0, true),
        (2, 0x1000, 0, false),
        (4, 0, 0, false),
        (1 << 32, 0, 0, false),
    ] {
        rig.poke(0x8000, &tag.to_le_bytes());
        rig.poke(0x8008, &linear.to_le_bytes());
        rig.cpu.gpr[0] = kind;
        let result = rig.run(&insn);
        assert_eq!(result.is_ok(), ok, "type {kind} tag {tag:#x} linear {linear:#x}");
        assert!(ok || is_gp0(result));
    }
}

#[test]
fn lmsw_sets_pe_and_never_clears_it() {
    let mut rig = Rig::new(Code::Real, 0);
    rig.cpu.gpr[0] = 0xfff1;
    assert_eq!(rig.run(&[0x0f, 0x01, 0xf0]), Ok(Flow::Leave));
    assert_eq!(rig.cpu.cr0, cr::CR0_ET | cr::CR0_PE);
    rig.cpu.gpr[0] = 8;
    rig.run(&[0x0f, 0x01, 0xf0]).unwrap();
    assert_eq!(rig.cpu.cr0, cr::CR0_ET | cr::CR0_PE | cr::CR0_TS);
    rig.run(&[0x0f, 0x06]).unwrap();
    assert_eq!(rig.cpu.cr0, cr::CR0_ET | cr::CR0_PE);
}

#[test]
fn user_code_may_look_unless_umip_forbids() {
    let mut rig = Rig::new(Code::Long64, 3);
    rig.cpu.gpr[3] = 0x8000;
    rig.cpu.gdtr.base = 0xffff_8000_1234_5678;
    rig.cpu.gdtr.limit = 0x7f;
    rig.run(&[0x0f, 0x01, 0x03]).unwrap();
    assert_eq!(rig.peek(0x8000), [0x7f, 0, 0x78, 0x56, 0x34, 0x12, 0, 0x80, 0xff, 0xff]);
    rig.run(&[0x0f, 0x01, 0xe0]).unwrap();
    assert_eq!(rig.cpu.gpr[0], rig.cpu.cr0);
    rig.cpu.cr4 |= cr::CR4_UMIP;
    for insn in [[0x0f, 0x01, 0x03], [0x0f, 0x01, 0x0b], [0x0f, 0x01, 0xe0], [0x0f, 0x01, 0x23]] {
        assert!(is_gp0(rig.run(&insn)));
    }
}

#[test]
fn lidt_wants_a_canonical_base_and_level_0() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[3] = 0x8000;
    rig.poke(0x8000, &[0xff, 0x0f, 0, 0, 0, 0, 0, 0x80, 0, 0]);
    assert!(is_gp0(rig.run(&[0x0f, 0x01, 0x1b])));
    rig.poke(0x8000, &[0xff, 0x0f, 1, 0, 0, 0, 0, 0x70, 0, 0]);
    rig.run(&[0x0f, 0x01, 0x1b]).unwrap();
    assert_eq!((rig.cpu.idtr.base, rig.cpu.idtr.limit), (0x7000_0000_0001, 0xfff));
    let mut real = Rig::new(Code::Real, 0);
    real.poke(0x8000, &[0xff, 0x0f, 1, 2, 3, 4]);
    real.cpu.gpr[3] = 0x8000;
    real.run(&[0x0f, 0x01, 0x1f]).unwrap();
    assert_eq!(real.cpu.idtr.base, 0x03_0201, "24 bits with a 16-bit operand size");
    let mut user = Rig::new(Code::Long64, 3);
    assert!(is_gp0(user.run(&[0x0f, 0x01, 0x1b])));
}

#[test]
fn xsetbv_rules() {
    let mut rig = Rig::new(Code::Long64, 0);
    let xsetbv = [0x0f, 0x01, 0xd1];
    assert_eq!(rig.fault(&xsetbv), vector::UD);
    rig.mov_cr(4, rig.cpu.cr4 | cr::CR4_OSXSAVE).unwrap();
    assert_ne!(rig.cpu.cpuid(1, 0).ecx & 1 << 27, 0);
    for (value, ok) in [(1, true), (3, true), (7, true), (0, false), (5, false), (0x21, false), (1 << 40 | 1, false)] {
        rig.cpu.gpr[0] = value & 0xffff_ffff;
        rig.cpu.gpr[2] = value >> 32;
        assert_eq!(rig.run(&xsetbv).is_ok(), ok, "{value:#x}");
    }
    rig.cpu.gpr[1] = 1;
    assert!(is_gp0(rig.run(&xsetbv)));
    rig.cpu.x87.control = 0x37f;
    rig.cpu.x87.valid = 0;
    rig.cpu.vector.ymm[3][2] = 1;
    rig.run(&[0x0f, 0x01, 0xd0]).unwrap();
    assert_eq!(rig.cpu.gpr[0], 4, "only the upper halves are in use");
}

#[test]
fn stac_and_monitor_are_undefined_for_users() {
    let mut rig = Rig::new(Code::Long64, 3);
    for insn in [[0x0f, 0x01, 0xcb], [0x0f, 0x01, 0xca], [0x0f, 0x01, 0xc8], [0x0f, 0x01, 0xc9]] {
        assert_eq!(rig.fault(&insn), vector::UD);
    }
    let mut rig = Rig::new(Code::Long64, 0);
    rig.run(&[0x0f, 0x01, 0xcb]).unwrap();
    assert_ne!(rig.cpu.rflags() & flags::AC, 0);
    rig.cpu.gpr[1] = 2;
    assert!(is_gp0(rig.run(&[0x0f, 0x01, 0xc9])), "an MWAIT extension that is not offered");
    rig.cpu.gpr[1] = 0;
    rig.cpu.gpr[0] = 1 << 40;
    assert_eq!(rig.fault(&[0x0f, 0x01, 0xc8]), vector::PF);
}

#[test]
fn cr8_is_the_boards() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[0] = 9;
    rig.run(&[0x44, 0x0f, 0x22, 0xc0]).unwrap();
    assert_eq!(rig.board.cr8, 9);
    rig.cpu.gpr[0] = 16;
    assert!(is_gp0(rig.run(&[0x44, 0x0f, 0x22, 0xc0])));
}

#[test]
fn pae_paging_loads_pdptes_when_its_bits_change() {
    let mut rig = Rig::new(Code::Protected32, 0);
    rig.mov_cr(3, 0x3000).unwrap();
    rig.mov_cr(4, cr::CR4_PAE).unwrap();
    rig.poke(0x3000, &0x5001u64.to_le_bytes());
    rig.mov_cr(0, rig.cpu.cr0 | cr::CR0_PG).unwrap();
    assert_eq!(rig.cpu.pdpte[0], 0x5001);
    rig.poke(0x3000, &0x5003u64.to_le_bytes());
    let cr4 = rig.cpu.cr4;
    assert!(is_gp0(rig.mov_cr(4, cr4 | cr::CR4_PGE)), "a reserved bit in a PDPTE");
    assert_eq!(rig.cpu.cr4, cr4);
}
