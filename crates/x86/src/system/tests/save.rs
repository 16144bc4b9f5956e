//! Saving and restoring a vCPU.

use super::*;
use crate::flags;
use crate::save::{CpuState, InvalidState};
use prost::Message;

/// A vCPU with something in every field, its TLB included.
fn busy() -> Rig {
    let mut rig = Rig::new(Code::Long64, 0);
    rig.cpu.gpr[3] = 0x8000;
    rig.mov_cr(4, rig.cpu.cr4 | cr::CR4_PCIDE).unwrap();
    for pcid in [1, 2] {
        rig.mov_cr(3, rig.cpu.cr3 & !0xfff | pcid).unwrap();
        rig.run(&[0x0f, 0x01, 0x03]).unwrap();
    }
    let cpu = &mut rig.cpu;
    for (i, register) in cpu.gpr[..16].iter_mut().enumerate() {
        *register = 0x0101_0101_0101_0101 * i as u64;
    }
    cpu.set_rflags(flags::IF | flags::OF | flags::PF);
    cpu.count = InsnCount(123_456_789_012);
    cpu.vector.ymm[15] = [1, 2, 3, u64::MAX];
    cpu.x87.regs[7] = (1 << 80) - 1;
    cpu.shadow = crate::vcpu::Shadow::Sti;
    cpu.nmi_blocked = true;
    cpu.debug_pending = 1;
    cpu.monitor = Some(0);
    cpu.msrs.lstar = 0xffff_ffff_8100_0000;
    cpu.msrs.mtrrs.set_as_firmware(0xc000_0000);
    cpu.tlb.fetch.tag = 0x5001;
    rig
}

#[test]
fn a_restored_vcpu_saves_the_same() {
    let rig = busy();
    let state = rig.cpu.save();
    let bytes = state.encode_to_vec();
    let mut other = Vcpu::new(CpuModel::V3, 0, 2);
    other.restore(&CpuState::decode(&bytes[..]).unwrap()).unwrap();
    assert_eq!(other.save().encode_to_vec(), bytes);
    assert_eq!(other.mode, rig.cpu.mode);
    assert_eq!(state.tlb.entries.len(), 2);
    assert_eq!(other.tlb.model, rig.cpu.tlb.model);
    assert_eq!(state.tlb.contexts.len(), 1);
    other.tlb.flush_page(0x9000);
    assert!(other.save().tlb.entries.is_empty(), "another part of the same large page");
}

#[test]
fn lazy_flags_do_not_show() {
    let mut a = Vcpu::new(CpuModel::V2, 0, 1);
    let mut b = a.clone();
    a.lazy = crate::flags::LazyFlags::logical::<64>(5);
    b.lazy = crate::flags::LazyFlags::logical::<64>(6);
    assert_eq!(a.save(), b.save());
}

#[test]
fn a_hostile_state_is_refused_and_changes_nothing() {
    let good = busy().cpu.save();
    type Case = (&'static str, fn(&mut CpuState));
    let cases: [Case; 25] = [
        ("gpr", |s| s.gpr.truncate(15)),
        ("count", |s| s.count = u64::MAX),
        ("count", |s| s.count = u64::MAX / 8),
        ("cr0", |s| s.cr0 &= !1),
        ("cr3", |s| s.cr3 = 1 << 45),
        ("cr4", |s| s.cr4 = 0),
        ("efer", |s| s.efer = cr::EFER_LME),
        ("xcr0", |s| s.xcr0 = 4),
        ("rflags", |s| s.rflags |= flags::VM),
        ("pdpte", |s| s.pdpte.push(0)),
        ("segments", |s| s.segments.truncate(7)),
        ("segment base", |s| s.segments[4].base = 1 << 50),
        ("mxcsr", |s| s.vector.mxcsr = 1 << 16),
        ("x87 state", |s| s.x87.exponents[0] = 1 << 16),
        ("activity", |s| s.activity = 4),
        ("shadow", |s| s.activity = 1),
        ("debug_pending", |s| s.debug_pending = 1 << 20),
        ("model-specific registers", |s| s.msrs.pat = 2),
        ("TLB", |s| s.tlb.entries.extend_from_within(..)),
        ("TLB", |s| s.tlb.entries[1] = 1 << 50),
        ("TLB", |s| s.tlb.contexts[0].pcid = 0x1000),
        ("TLB", |s| s.tlb.contexts.extend_from_within(..)),
        ("TLB", |s| s.tlb.contexts[0].entries.clear()),
        ("TLB", |s| s.tlb.contexts[0].entries.extend_from_within(..)),
        ("TLB", |s| s.tlb.contexts[0].entries[0] |= 1 << 9),
    ];
    for (what, spoil) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        let mut cpu = busy().cpu;
        assert_eq!(cpu.restore(&bad), Err(InvalidState(what)));
        assert_eq!(cpu.save(), good);
    }
    assert!(Vcpu::new(CpuModel::V2, 0, 2).restore(&good).is_err(), "AVX state in a CPU without it");
}
