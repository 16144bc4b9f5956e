//! PUSHF, POPF, CLI, STI under the rules of privilege and virtual interrupts.

use super::*;
use crate::flags;
use crate::vcpu::Shadow;

const IOPL_3: u64 = flags::IOPL;

/// POPF with `image` on the stack at 8000h.
fn popf(rig: &mut Rig, insn: &[u8], image: u64) -> Result<u64, Exception> {
    rig.cpu.gpr[4] = 0x8000;
    rig.poke(0x8000, &image.to_le_bytes());
    rig.run(insn).map(|_| rig.cpu.rflags())
}

fn v86(iopl: u64, vme: bool) -> Rig {
    let mut rig = Rig::new(Code::Protected32, 0);
    for segment in &mut rig.cpu.seg[..6] {
        *segment = crate::segment::Segment::real(0);
    }
    rig.cpu.cr4 = if vme { cr::CR4_VME } else { 0 };
    rig.cpu.set_rflags(flags::VM | iopl << 12);
    assert!(rig.cpu.mode.v86 && rig.cpu.mode.cpl == 3);
    rig
}

#[test]
fn popf_changes_what_privilege_allows() {
    let all = flags::ALL;
    let mut rig = Rig::new(Code::Long64, 0);
    let kernel = popf(&mut rig, &[0x9d], all).unwrap();
    assert_eq!(kernel, (all | 2) & !(flags::RF | flags::VM | flags::VIF | flags::VIP));
    let mut rig = Rig::new(Code::Long64, 3);
    let user = popf(&mut rig, &[0x9d], all).unwrap();
    assert_eq!(user, kernel & !(flags::IOPL | flags::IF));
    let mut rig = Rig::new(Code::Long64, 3);
    rig.cpu.set_rflags(IOPL_3);
    assert_eq!(popf(&mut rig, &[0x9d], all).unwrap(), user | IOPL_3 | flags::IF);
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.set_rflags(flags::ID | flags::AC);
    assert_eq!(popf(&mut rig, &[0x66, 0x9d], 0).unwrap(), flags::ID | flags::AC | 2);
}

#[test]
fn pushf_hides_rf_and_vm() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.set_rflags(flags::RF | flags::CF | flags::AC);
    rig.cpu.gpr[4] = 0x8000;
    rig.run(&[0x9c]).unwrap();
    assert_eq!(u64::from_le_bytes(rig.peek(0x7ff8)), flags::CF | flags::AC | 2);
}

#[test]
fn v86_without_vme_faults_below_iopl_3() {
    let mut rig = v86(0, false);
    for insn in [&[0x9c][..], &[0x9d], &[0xfa], &[0xfb], &[0x66, 0x9c]] {
        assert!(is_gp0(rig.run(insn)), "{insn:x?}");
    }
    let mut rig = v86(3, false);
    assert_eq!(popf(&mut rig, &[0x9d], 0).unwrap(), flags::VM | IOPL_3 | 2);
}

#[test]
fn v86_with_vme_uses_the_virtual_flag() {
    let mut rig = v86(0, true);
    rig.run(&[0xfb]).unwrap();
    assert_eq!(rig.cpu.rflags(), flags::VM | flags::VIF | 2);
    rig.cpu.gpr[4] = 0x8000;
    rig.run(&[0x9c]).unwrap();
    assert_eq!(u16::from_le_bytes(rig.peek(0x7ffe)), (IOPL_3 | flags::IF | 2) as u16);
    assert_eq!(popf(&mut rig, &[0x9d], 0).unwrap(), flags::VM | 2);
    assert!(is_gp0(popf(&mut rig, &[0x9d], flags::TF)));
    assert_eq!(rig.cpu.gpr[4], 0x8000, "RSP is unchanged by a fault");
    assert!(is_gp0(popf(&mut rig, &[0x66, 0x9d], 0)), "32-bit POPF has no virtual form");
    rig.cpu.set_rflags(flags::VM | flags::VIP);
    assert!(is_gp0(popf(&mut rig, &[0x9d], flags::IF)), "an interrupt is pending");
    assert!(is_gp0(rig.run(&[0xfb])));
}

#[test]
fn pvi_gives_users_a_virtual_flag() {
    let mut rig = Rig::new(Code::Protected32, 3);
    assert!(is_gp0(rig.run(&[0xfb])));
    rig.cpu.cr4 = cr::CR4_PVI;
    rig.run(&[0xfb]).unwrap();
    assert_eq!(rig.cpu.rflags(), flags::VIF | 2);
    rig.run(&[0xfa]).unwrap();
    assert_eq!((rig.cpu.rflags(), rig.cpu.shadow), (2, Shadow::None));
}

#[test]
fn sti_casts_a_shadow_only_if_interrupts_were_off() {
    let mut rig = Rig::new(Code::Real, 0);
    assert_eq!(rig.run(&[0xfb]), Ok(Flow::Leave));
    assert_eq!(rig.cpu.shadow, Shadow::Sti);
    rig.cpu.shadow = Shadow::None;
    rig.run(&[0xfb]).unwrap();
    assert_eq!(rig.cpu.shadow, Shadow::None);
}

#[test]
fn lahf_and_sahf_move_five_flags() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.set_rflags(flags::OF | flags::ZF);
    rig.cpu.gpr[0] = 0xff00;
    rig.run(&[0x9e]).unwrap();
    assert_eq!(rig.cpu.rflags(), flags::ALL & 0xff | flags::OF | 2);
    rig.run(&[0xf8]).unwrap();
    rig.run(&[0x9f]).unwrap();
    assert_eq!(rig.cpu.gpr[0], 0xd600);
}
