//! Interrupt tables of every mode, double and triple faults.

use super::*;
use crate::flags;
use crate::system::events::Shutdown;
use crate::vcpu::Activity;

const INTERRUPT_GATE: u8 = 0x8e;
const USER_GATE: u8 = 0xee;
const TRAP_GATE: u8 = 0x8f;

#[test]
fn real_mode_goes_through_the_vector_table() {
    let mut pc = Pc::real();
    pc.put(4 * 0x21, 0x1234_5678u32);
    pc.cpu.set_rflags(flags::IF | flags::TF | flags::CF);
    pc.run(&[0xcd, 0x21]).unwrap();
    assert_eq!((pc.cpu.seg[seg::CS].selector, pc.cpu.seg[seg::CS].base, pc.cpu.rip), (0x1234, 0x12340, 0x5678));
    assert_eq!(pc.cpu.gpr[4], 0x7000 - 6);
    assert_eq!(pc.get64(0x6ffa) & 0xffff_ffff_ffff, 0x0303_0000_8002);
    assert_eq!(pc.cpu.rflags(), 3);
}

#[test]
fn real_mode_with_an_empty_table_is_a_triple_fault() {
    let mut pc = Pc::real();
    pc.cpu.idtr.limit = 0;
    assert_eq!(pc.run(&[0xcc]), Err(gp(0u32)));
    assert_eq!(pc.with(|cpu, env| cpu.deliver_fault(env)), Err(Shutdown));
    assert_eq!(pc.cpu.activity, Activity::Shutdown);
}

#[test]
fn same_level_pushes_three_slots_and_an_error_code() {
    let mut pc = Pc::protected();
    pc.set_gate(13, CODE0, INTERRUPT_GATE);
    pc.cpu.set_rflags(flags::IF | flags::NT | flags::TF);
    pc.fault(13, Some(0x54));
    assert_eq!(pc.stack32(), [0x54, CODE as u32, u32::from(CODE0), 0x1_4302]);
    assert_eq!((pc.cpu.rip, pc.cpu.rflags()), (HANDLER, 2));
}

#[test]
fn a_trap_gate_leaves_interrupts_on() {
    let mut pc = Pc::protected();
    pc.set_gate(0x40, CODE0, TRAP_GATE);
    pc.cpu.set_rflags(flags::IF);
    pc.interrupt(0x40);
    assert_eq!(pc.stack32(), [CODE as u32, u32::from(CODE0), 0x202]);
    assert_eq!(pc.cpu.rflags(), 0x202);
}

#[test]
fn an_inner_level_gets_its_stack_from_the_tss() {
    let mut pc = Pc::protected();
    pc.set_level(3);
    pc.set_gate(14, CODE0, INTERRUPT_GATE);
    pc.cpu.fault = Exception { fault_address: 0x1234, ..error(14, 6) };
    pc.with(|cpu, env| cpu.deliver_fault(env)).unwrap();
    assert_eq!(pc.stack32(), [6, CODE as u32, u32::from(CODE3), 0x1_0002, STACK3 as u32, u32::from(DATA3)]);
    assert_eq!(pc.cpu.gpr[4], STACK0 - 24);
    assert_eq!((pc.cpu.mode.cpl, pc.cpu.seg[seg::SS].selector, pc.cpu.cr2), (0, DATA0, 0x1234));
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut pc = Pc::protected();
    pc.set_gate(0x40, CODE0, 0x86);
    pc.interrupt(0x40);
    assert_eq!(pc.cpu.gpr[4], STACK0 - 6);
    assert_eq!(pc.get64(STACK0 - 6) & 0xffff_ffff_ffff, 0x0002_0008_8000);
}

#[test]
fn software_interrupts_obey_the_gate_and_name_it() {
    let mut pc = Pc::protected();
    pc.set_level(3);
    pc.set_gate(0x80, CODE0, INTERRUPT_GATE);
    assert_eq!(pc.run(&[0xcd, 0x80]), Err(gp(0x402u32)));
    pc.set_gate(0x80, CODE0, USER_GATE & 0x7f);
    assert_eq!(pc.run(&[0xcd, 0x80]), Err(error(11, 0x402)));
    pc.set_gate(0x80, CODE0, 0xec);
    assert_eq!(pc.run(&[0xcd, 0x80]), Err(gp(0x402u32)));
    pc.set_gate(0x80, CODE0, USER_GATE);
    pc.run(&[0xcd, 0x80]).unwrap();
    assert_eq!(pc.stack32::<2>(), [CODE as u32 + 2, u32::from(CODE3)]);
    // INT1 does not ask for the DPL; DR6 stays.
    pc.set_level(3);
    pc.set_gate(1, CODE0, INTERRUPT_GATE);
    let dr6 = pc.cpu.debug.dr6;
    pc.run(&[0xf1]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.debug.dr6, pc.stack32()), (HANDLER, dr6, [CODE as u32 + 1]));
}

#[test]
fn into_traps_only_on_overflow() {
    let mut pc = Pc::protected();
    pc.set_gate(4, CODE0, USER_GATE);
    assert_eq!(pc.run(&[0xce]), Ok(Flow::Next));
    pc.cpu.set_rflags(flags::OF);
    assert_eq!(pc.run(&[0xce]), Ok(Flow::Jump));
    assert_eq!(pc.stack32(), [CODE as u32 + 2]);
}

#[test]
fn bad_gates_become_faults_with_ext() {
    let mut pc = Pc::protected();
    for vector in [8, 10, 11, 12, 13] {
        pc.set_gate(vector, CODE0, INTERRUPT_GATE);
    }
    // A missing gate: #GP(vector * 8 + IDT + EXT).
    pc.interrupt(0x40);
    assert_eq!(pc.stack32::<2>(), [0x40 * 8 + 3, CODE as u32]);
    // A gate to data: #GP(selector + EXT).
    pc.set_gate(0x40, DATA0, INTERRUPT_GATE);
    pc.interrupt(0x40);
    assert_eq!(pc.stack32(), [u32::from(DATA0) + 1]);
    // A gate without a selector.
    pc.set_gate(0x40, 0, INTERRUPT_GATE);
    pc.interrupt(0x40);
    assert_eq!(pc.stack32(), [1]);
    // Outside the table.
    pc.cpu.idtr.limit = 0x1ff;
    pc.interrupt(0x40);
    assert_eq!(pc.stack32(), [0x203]);
}

#[test]
fn a_bad_inner_stack_is_an_invalid_tss() {
    let mut pc = Pc::protected();
    pc.set_gate(0x40, CODE0, USER_GATE);
    pc.set_level(3);
    for (ss, expected) in [
        (0u32, error(10, 0)),
        (0x23, error(10, 0x20)),
        (0x08, error(10, 8)),
        (0x30, error(12, 0x30)),
        (0x1f8, error(10, 0x1f8)),
    ] {
        pc.put(TSS + 8, ss);
        assert_eq!(pc.run(&[0xcd, 0x40]), Err(expected), "{ss:x}");
    }
    pc.cpu.seg[seg::TR].limit = 8;
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(error(10, 0x80)));
}

#[test]
fn contributory_faults_double_and_triple() {
    let mut pc = Pc::protected();
    pc.set_gate(8, CODE0, INTERRUPT_GATE);
    // #GP without a gate, then #GP again: #DF(0).
    pc.fault(13, Some(0));
    assert_eq!(pc.stack32(), [0, CODE as u32]);
    // #UD without a gate is benign: its #GP has no gate either, which makes #DF.
    pc.set_level(0);
    pc.fault(6, None);
    assert_eq!(pc.stack32(), [0, CODE as u32]);
    // A double fault that cannot be delivered.
    pc.set_gate(8, CODE0, 0x0e);
    pc.cpu.fault = error(13, 0);
    assert_eq!(pc.with(|cpu, env| cpu.deliver_fault(env)), Err(Shutdown));
}

#[test]
fn debug_exceptions_leave_their_reason_and_disarm_general_detect() {
    let mut pc = Pc::protected();
    pc.set_gate(1, CODE0, INTERRUPT_GATE);
    pc.cpu.debug.dr6 |= 3;
    pc.cpu.debug.dr7 |= 1 << 13;
    pc.cpu.fault = Exception { vector: 1, dr6: 1 << 14, ..Exception::default() };
    pc.with(|cpu, env| cpu.deliver_fault(env)).unwrap();
    assert_eq!((pc.cpu.debug.dr6, pc.cpu.debug.dr7), (0xffff_4ff0, 0x400));
    // A trap: RF is not set in the image.
    assert_eq!(pc.stack32::<3>()[2], 2);
}

#[test]
fn nmis_block_each_other_until_iret() {
    let mut pc = Pc::protected();
    pc.set_gate(2, CODE0, INTERRUPT_GATE);
    pc.cpu.activity = Activity::Halted;
    pc.with(|cpu, env| cpu.deliver_nmi(env)).unwrap();
    assert!(pc.cpu.nmi_blocked);
    assert_eq!(pc.cpu.activity, Activity::Running);
    pc.run(&[0xcf]).unwrap();
    assert!(!pc.cpu.nmi_blocked);
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4]), (CODE, STACK0));
}

#[test]
fn long_mode_aligns_the_stack_and_pushes_five_slots() {
    let mut pc = Pc::long();
    pc.set_gate(13, CODE64, INTERRUPT_GATE);
    pc.cpu.gpr[4] = STACK0 - 4;
    pc.fault(13, Some(7));
    let rsp = STACK0 - 16 - 48;
    assert_eq!(pc.cpu.gpr[4], rsp);
    assert_eq!(pc.stack64(), [7, CODE, u64::from(CODE64), 0x1_0002, STACK0 - 4, u64::from(DATA0)]);
}

#[test]
fn long_mode_switches_to_a_null_stack_segment() {
    let mut pc = Pc::long();
    pc.set_gate(0x40, CODE64, INTERRUPT_GATE);
    pc.set_level64(3);
    pc.interrupt(0x40);
    assert_eq!(pc.stack64(), [CODE, u64::from(USER64), 2, STACK3, u64::from(DATA3)]);
    assert_eq!(pc.cpu.gpr[4], STACK0 - 40);
    assert_eq!((pc.cpu.seg[seg::SS].selector, pc.cpu.mode.cpl), (0, 0));
    assert!(!pc.cpu.seg[seg::SS].usable());
    // And back.
    pc.run(&[0x48, 0xcf]).unwrap();
    assert_eq!((pc.cpu.rip, pc.cpu.gpr[4], pc.cpu.mode.cpl), (CODE, STACK3, 3));
    assert_eq!(pc.cpu.seg[seg::SS].selector, DATA3);
}

#[test]
fn interrupt_stacks_and_their_faults() {
    let mut pc = Pc::long();
    pc.put(IDT + 16 * 0x40, gate(CODE64, HANDLER, USER_GATE, 2));
    pc.put(TSS + 36 + 8, 0x6008u64);
    pc.interrupt(0x40);
    assert_eq!(pc.cpu.gpr[4], 0x6000 - 40);
    assert_eq!(pc.cpu.seg[seg::SS].selector, DATA0);
    pc.set_level64(3);
    pc.put(TSS + 36 + 8, 0x8000_0000_0000_0000u64);
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(error(12, 0)));
    pc.cpu.seg[seg::TR].limit = 0x2b;
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(error(10, 0x80)));
    // Handlers must be 64-bit code.
    pc.set_gate(0x40, CODE0, USER_GATE);
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(gp(CODE0)));
    // 16-bit and task gates do not exist.
    pc.set_gate(0x40, CODE64, 0xe6);
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(gp(0x202u32)));
    // A handler outside the canonical addresses.
    pc.cpu.seg[seg::TR].limit = 0x67;
    pc.put(IDT + 16 * 0x40, gate(CODE64, HANDLER, USER_GATE, 0));
    pc.put(IDT + 16 * 0x40 + 8, 0x8000u64);
    assert_eq!(pc.run(&[0xcd, 0x40]), Err(gp(0u32)));
}

#[test]
fn held_back_breakpoints_merge_with_int1_and_follow_int3() {
    let mut pc = Pc::protected();
    pc.set_gate(1, CODE0, INTERRUPT_GATE);
    pc.set_gate(3, CODE0, INTERRUPT_GATE);
    pc.cpu.debug_pending = 2 | 1 << 14;
    pc.run(&[0xf1]).unwrap();
    assert_eq!((pc.cpu.debug_pending, pc.cpu.debug.dr6), (0, 0xffff_0ff2));
    pc.cpu.debug_pending = 2 | 1 << 14;
    pc.run(&[0xcc]).unwrap();
    assert_eq!(pc.cpu.debug_pending, 2);
}
