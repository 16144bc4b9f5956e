//! RDMSR, WRMSR, RDTSC, CPUID and HLT.

use super::*;
use crate::vcpu::Activity;

fn wrmsr(rig: &mut Rig, index: u32, value: u64) -> Result<Flow, Exception> {
    rig.cpu.gpr[1] = index.into();
    rig.cpu.gpr[0] = value & 0xffff_ffff;
    rig.cpu.gpr[2] = value >> 32;
    rig.run(&[0x0f, 0x30])
}

fn rdmsr(rig: &mut Rig, index: u32) -> Result<u64, Exception> {
    rig.cpu.gpr[1] = index.into();
    rig.run(&[0x0f, 0x32]).map(|_| rig.cpu.gpr[2] << 32 | rig.cpu.gpr[0])
}

#[test]
fn what_can_be_written_is_read_back() {
    let mut rig = Rig::new(Code::Long64, 0);
    let address = 0x1234_5678_9abc;
    for (index, value) in [
        (0x174, 0x1234),
        (0x175, address),
        (0x176, address),
        (0x1a0, 0x4_00c5_1889),
        (0x277, 0x0707_0707),
        (0xc000_0081, u64::MAX),
        (0xc000_0082, address),
        (0xc000_0083, address),
        (0xc000_0084, 0xffff_ffff),
        (0xc000_0100, address),
        (0xc000_0101, address),
        (0xc000_0102, address),
        (0xc000_0103, 7),
        (0x40e, u64::MAX),
    ] {
        wrmsr(&mut rig, index, value).unwrap();
        assert_eq!(rdmsr(&mut rig, index), Ok(value), "{index:#x}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut rig = Rig::new(Code::Long64, 0);
    for (index, value) in [
        (0x175, 1 << 47),
        (0xc000_0082, 0xaaaa_aaaa_aaaa_aaaa),
        (0xc000_0100, 0xaaaa_aaaa_aaaa_aaaa),
        (0xc000_0084, 1 << 32),
        (0xc000_0103, 1 << 32),
        (0xc000_0080, 1 << 12),
        (0xc000_0080, 0),
        (0x3a, 1),
        (0x10a, 0),
        (0x48, 0),
        (0x49, 1),
        (0x12345, 0),
        (0x1b0, 0),
    ] {
        assert!(is_gp0(wrmsr(&mut rig, index, value)), "{index:#x}");
    }
    assert!(is_gp0(rdmsr(&mut rig, 0x48)));
    let mut user = Rig::new(Code::Long64, 3);
    assert!(is_gp0(rdmsr(&mut user, 0x10)));
}

#[test]
fn efer_keeps_lma() {
    let mut rig = Rig::new(Code::Long64, 0);
    wrmsr(&mut rig, 0xc000_0080, cr::EFER_LME | cr::EFER_NXE | cr::EFER_SCE).unwrap();
    assert_eq!(rig.cpu.efer, cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE | cr::EFER_SCE);
}

#[test]
fn tsc_and_tsc_adjust_move_together() {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.count = InsnCount(1000);
    wrmsr(&mut rig, 0x10, 5000).unwrap();
    assert_eq!(rdmsr(&mut rig, 0x3b), Ok(4000));
    assert_eq!(rig.board.offset, 4000);
    wrmsr(&mut rig, 0x3b, u64::MAX).unwrap();
    rig.run(&[0x0f, 0x31]).unwrap();
    assert_eq!(rig.cpu.gpr[0], 999);
    rig.cpu.msrs.tsc_aux = 3;
    rig.run(&[0x0f, 0x01, 0xf9]).unwrap();
    assert_eq!(rig.cpu.gpr[1], 3);
}

#[test]
fn users_read_the_tsc_unless_forbidden() {
    let mut rig = Rig::new(Code::Long64, 3);
    rig.run(&[0x0f, 0x31]).unwrap();
    rig.cpu.cr4 |= cr::CR4_TSD;
    assert!(is_gp0(rig.run(&[0x0f, 0x31])));
    assert!(is_gp0(rig.run(&[0x0f, 0x01, 0xf9])));
    assert!(is_gp0(rig.run(&[0x0f, 0x33])));
    assert!(is_gp0(rig.run(&[0xf4])));
}

#[test]
fn cpuid_shows_whether_the_apic_is_on() {
    let mut rig = Rig::new(Code::Long64, 0);
    for (base, bit) in [(0xfee0_0900, 1), (0xfee0_0100, 0)] {
        wrmsr(&mut rig, 0x1b, base).unwrap();
        rig.cpu.gpr[0] = 1;
        rig.run(&[0x0f, 0xa2]).unwrap();
        assert_eq!(rig.cpu.gpr[2] >> 9 & 1, bit);
    }
}

#[test]
fn hlt_stops() {
    let mut rig = Rig::new(Code::Real, 0);
    assert_eq!(rig.run(&[0xf4]), Ok(Flow::Stop));
    assert_eq!(rig.cpu.activity, Activity::Halted);
}
