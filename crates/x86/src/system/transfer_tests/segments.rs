//! Loading segment registers and asking about descriptors.

use super::*;
use crate::flags;
use crate::segment::ATTR_ACCESSED;
use crate::vcpu::Shadow;

/// MOV sreg, AX, in encoding order of the registers.
fn load(pc: &mut Pc, index: usize, selector: u16) -> Result<Flow, Exception> {
    pc.cpu.gpr[0] = u64::from(selector);
    pc.run(&[0x8e, 0xc0 | (index as u8) << 3])
}

#[test]
fn data_segments_are_checked() {
    let mut pc = Pc::protected();
    assert_eq!(load(&mut pc, seg::DS, 0x1f8), Err(gp(0x1f8u32)));
    assert_eq!(load(&mut pc, seg::DS, TSS_SELECTOR), Err(gp(TSS_SELECTOR)));
    assert_eq!(load(&mut pc, seg::DS, ABSENT), Err(error(11, u32::from(ABSENT))));
    assert_eq!(load(&mut pc, seg::DS, DATA0 | 1), Err(gp(DATA0)));
    // Code that may be read; execute-only code may not.
    assert_eq!(load(&mut pc, seg::ES, CODE0), Ok(Flow::Next));
    pc.set_descriptor(CODE0, descriptor(0, 0xf_ffff, 0x99, 0xc));
    assert_eq!(load(&mut pc, seg::ES, CODE0), Err(gp(CODE0)));
    // A null selector loads, and clears the base.
    assert_eq!(load(&mut pc, seg::FS, 3), Ok(Flow::Next));
    assert!(!pc.cpu.seg[seg::FS].usable());
    pc.set_level(3);
    assert_eq!(load(&mut pc, seg::GS, DATA0), Err(gp(DATA0)));
    assert_eq!(load(&mut pc, seg::GS, CONFORMING), Ok(Flow::Next));
}

#[test]
fn loading_marks_the_descriptor_accessed() {
    let mut pc = Pc::protected();
    pc.set_descriptor(DATA0, descriptor(0x1234_5678, 0x12345, 0x92, 0x4));
    assert_eq!(load(&mut pc, seg::DS, DATA0), Ok(Flow::Next));
    let ds = pc.cpu.seg[seg::DS];
    assert_eq!((ds.base, ds.limit), (0x1234_5678, 0x12345));
    assert!(ds.has(ATTR_ACCESSED));
    assert_eq!(pc.get64(GDT + 0x10) >> 40 & 0xff, 0x93);
}

#[test]
fn stack_segments_are_checked_and_shadow_the_next_instruction() {
    let mut pc = Pc::protected();
    assert_eq!(load(&mut pc, seg::SS, 0), Err(gp(0u32)));
    assert_eq!(load(&mut pc, seg::SS, CODE0), Err(gp(CODE0)));
    assert_eq!(load(&mut pc, seg::SS, DATA3), Err(gp(DATA3 & !3)));
    assert_eq!(load(&mut pc, seg::SS, ABSENT), Err(error(12, u32::from(ABSENT))));
    assert_eq!(load(&mut pc, seg::SS, DATA0), Ok(Flow::Leave));
    assert_eq!(pc.cpu.shadow, Shadow::MovSs);
    let mut pc = Pc::long();
    assert_eq!(load(&mut pc, seg::SS, 0), Ok(Flow::Leave));
    assert_eq!(load(&mut pc, seg::SS, 3), Err(gp(0u32)));
    pc.set_level64(3);
    assert_eq!(load(&mut pc, seg::SS, 3), Err(gp(0u32)));
}

#[test]
fn real_mode_keeps_the_limit() {
    let mut pc = Pc::protected();
    pc.cpu.cr0 &= !cr::CR0_PE;
    pc.cpu.seg[seg::CS] = Segment::real(0);
    pc.cpu.seg[seg::GS] = Segment::null(0);
    pc.cpu.update_mode();
    load(&mut pc, seg::DS, 0x1000).unwrap();
    assert_eq!((pc.cpu.seg[seg::DS].base, pc.cpu.seg[seg::DS].limit), (0x1_0000, u32::MAX));
    load(&mut pc, seg::GS, 0x1000).unwrap();
    assert_eq!(pc.cpu.seg[seg::GS], Segment::real(0x1000));
}

#[test]
fn push_writes_two_bytes_and_pop_restores() {
    let mut pc = Pc::protected();
    pc.put(STACK0 - 4, u32::MAX);
    pc.run(&[0x1e]).unwrap();
    assert_eq!(pc.stack32(), [0xffff_0000 | u32::from(DATA0)]);
    pc.run(&[0x07]).unwrap();
    assert_eq!((pc.cpu.gpr[4], pc.cpu.seg[seg::ES].selector), (STACK0, DATA0));
    // A pop that faults leaves RSP.
    pc.push32(&[u32::from(TSS_SELECTOR)]);
    assert_eq!(pc.run(&[0x1f]), Err(gp(TSS_SELECTOR)));
    assert_eq!(pc.cpu.gpr[4], STACK0 - 4);
}

#[test]
fn far_pointers_load_both_or_neither() {
    let mut pc = Pc::protected();
    pc.put(0x6000, 0x1122_3344u32);
    pc.put(0x6004, DATA3);
    // LSS ESP, [6000h]
    assert_eq!(pc.run(&[0x0f, 0xb2, 0x25, 0, 0x60, 0, 0]), Err(gp(DATA3 & !3)));
    assert_eq!(pc.cpu.gpr[4], STACK0);
    pc.put(0x6004, DATA0);
    assert_eq!(pc.run(&[0x0f, 0xb2, 0x25, 0, 0x60, 0, 0]), Ok(Flow::Leave));
    assert_eq!(pc.cpu.gpr[4], 0x1122_3344);
}

#[test]
fn lldt_and_ltr() {
    let mut pc = Pc::protected();
    pc.cpu.gpr[0] = u64::from(LDT_SELECTOR);
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd8]), Err(gp(LDT_SELECTOR)), "LTR of an LDT");
    pc.run(&[0x0f, 0x00, 0xd0]).unwrap();
    assert_eq!(pc.cpu.seg[seg::LDTR].base, LDT);
    pc.put(LDT + 8, descriptor(0x777, 0xff, 0x93, 0));
    load(&mut pc, seg::DS, 0xc).unwrap();
    assert_eq!(pc.cpu.seg[seg::DS].base, 0x777);
    pc.cpu.gpr[0] = u64::from(TSS2_SELECTOR);
    pc.run(&[0x0f, 0x00, 0xd8]).unwrap();
    assert_eq!(pc.cpu.seg[seg::TR].base, TSS2);
    assert_eq!(pc.get64(GDT + 0x90) >> 40 & 0xff, 0x8b);
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd8]), Err(gp(TSS2_SELECTOR)), "busy");
    pc.cpu.gpr[0] = 0;
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd8]), Err(gp(0u32)));
    pc.run(&[0x0f, 0x00, 0xd0]).unwrap();
    assert_eq!(load(&mut pc, seg::DS, 0xc), Err(gp(0xcu32)));
    pc.set_level(3);
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd0]), Err(gp(0u32)));
    // STR works at level 3 unless UMIP forbids it.
    pc.run(&[0x0f, 0x00, 0xc8]).unwrap();
    assert_eq!(pc.cpu.gpr[0], u64::from(TSS2_SELECTOR));
    pc.cpu.cr4 |= cr::CR4_UMIP;
    assert_eq!(pc.run(&[0x0f, 0x00, 0xc8]), Err(gp(0u32)));
}

#[test]
fn long_mode_system_descriptors_have_64_bit_bases() {
    let mut pc = Pc::long();
    pc.put(GDT + 0x98, 0xffff_8000u64);
    pc.cpu.gpr[0] = u64::from(TSS2_SELECTOR);
    pc.run(&[0x0f, 0x00, 0xd8]).unwrap();
    assert_eq!(pc.cpu.seg[seg::TR].base, 0xffff_8000_0000_4000);
    pc.set_descriptor(TSS2_SELECTOR, descriptor(TSS2, 0x67, 0x89, 0));
    pc.put(GDT + 0x98, 0x8000u64);
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd8]), Err(gp(TSS2_SELECTOR)), "not canonical");
    pc.put(GDT + 0x98, 1u64 << 40);
    assert_eq!(pc.run(&[0x0f, 0x00, 0xd8]), Err(gp(TSS2_SELECTOR)), "upper type");
}

#[test]
fn queries_answer_with_zf() {
    let mut pc = Pc::protected();
    let zf = |pc: &Pc| pc.cpu.rflags() & flags::ZF != 0;
    pc.cpu.gpr[0] = u64::from(DATA0);
    // LAR ECX, EAX; LSL ECX, EAX
    pc.run(&[0x0f, 0x02, 0xc8]).unwrap();
    assert_eq!((pc.cpu.gpr[1], zf(&pc)), (0x00cf_9300, true));
    pc.run(&[0x0f, 0x03, 0xc8]).unwrap();
    assert_eq!((pc.cpu.gpr[1], zf(&pc)), (0xffff_ffff, true));
    // VERW EAX; VERR of a code segment that may not be read.
    pc.run(&[0x0f, 0x00, 0xe8]).unwrap();
    assert!(zf(&pc));
    pc.set_descriptor(CODE0, descriptor(0, 0xf_ffff, 0x99, 0xc));
    pc.cpu.gpr[0] = u64::from(CODE0);
    pc.run(&[0x0f, 0x00, 0xe0]).unwrap();
    assert!(!zf(&pc));
    // Out of sight from level 3.
    pc.set_level(3);
    pc.cpu.gpr[0] = u64::from(DATA0);
    pc.run(&[0x0f, 0x02, 0xc8]).unwrap();
    assert_eq!((pc.cpu.gpr[1], zf(&pc)), (0xffff_ffff, false));
    // ARPL CX, AX
    pc.cpu.gpr[0] = 3;
    pc.cpu.gpr[1] = 0x10;
    pc.run(&[0x63, 0xc1]).unwrap();
    assert_eq!((pc.cpu.gpr[1], zf(&pc)), (0x13, true));
    let mut pc = Pc::real();
    assert_eq!(pc.run(&[0x0f, 0x02, 0xc8]).unwrap_err().vector, 6);
}

#[test]
fn bases_and_swapgs() {
    let mut pc = Pc::long();
    pc.cpu.gpr[0] = 0x1234_5678_9abc;
    assert_eq!(pc.run(&[0xf3, 0x48, 0x0f, 0xae, 0xd8]).unwrap_err().vector, 6);
    pc.cpu.cr4 |= cr::CR4_FSGSBASE;
    pc.run(&[0xf3, 0x48, 0x0f, 0xae, 0xd8]).unwrap();
    pc.cpu.msrs.kernel_gs_base = 77;
    pc.run(&[0x0f, 0x01, 0xf8]).unwrap();
    assert_eq!((pc.cpu.seg[seg::GS].base, pc.cpu.msrs.kernel_gs_base), (77, 0x1234_5678_9abc));
    pc.cpu.gpr[0] = 1 << 47;
    assert_eq!(pc.run(&[0xf3, 0x48, 0x0f, 0xae, 0xd0]), Err(gp(0u32)));
    pc.set_level64(3);
    assert_eq!(pc.run(&[0x0f, 0x01, 0xf8]), Err(gp(0u32)));
}

/// The frame pointer is 32 bits of ESP although only SP counts for the stack.
#[test]
fn enter_on_a_16_bit_stack_keeps_all_of_esp() {
    let mut pc = Pc::protected();
    pc.cpu.seg[seg::SS].attr &= !crate::segment::ATTR_DB;
    pc.cpu.update_mode();
    (pc.cpu.gpr[4], pc.cpu.gpr[5]) = (0x3_8000, 0x4_7777);
    assert_eq!(pc.run(&[0xc8, 0x10, 0, 1]), Ok(Flow::Next));
    assert_eq!((pc.cpu.gpr[4], pc.cpu.gpr[5]), (0x3_7fe8, 0x3_7ffc));
    assert_eq!((pc.get32(0x7ffc), pc.get32(0x7ff8)), (0x4_7777, 0x3_7ffc));
}
