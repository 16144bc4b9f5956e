//! Cases: of a given form, or of bytes that are an instruction only by chance.

use crate::case::{ALIGNMENT_CHECK, Case, decode, state};
use crate::forms;
use crate::host;
use crate::layout::*;
use crate::operands::Builder;
use crate::rng::Rng;
use crate::state::State;
use crate::undefined::IN_PIECES;
use crate::values;
use iced_x86::{Code, Encoder, Instruction, Mnemonic, Register};
use x86::CpuModel;

/// MXCSR.UM.
const UNDERFLOW_MASK: u32 = 1 << 11;
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

/// A case of the form `code`, or `None` if this draw cannot be encoded.
pub fn of_form(code: Code, cs: u16, rng: &mut Rng) -> Option<Case> {
    let mut state = state(rng);
    let bitness = if cs == CS_64 { 64 } else { 32 };
    suit_stack(&mut state, bitness, rng);
    let mut insn = Builder { rng, state: &mut state, bitness }.build(code)?;
    suit(&insn, &mut state, rng);
    prefixes(&mut insn, rng);
    let mut encoder = Encoder::new(bitness);
    encoder.encode(&insn, state.rip).ok()?;
    let bytes = encoder.take_buffer();
    if bitness == 32 {
        narrow(&mut state);
    }
    let mut case = Case::new(code, bytes, state, cs, rng);
    if case.insn.code() != code || !safe(&case) {
        return None;
    }
    patch_stack(&mut case, rng);
    leave_corners(&mut case);
    Some(case)
}

/// A case of bytes near an instruction or of no sense at all.
pub fn of_bytes(all: &[Code], cs: u16, rng: &mut Rng) -> Option<Case> {
    let code = rng.pick(all);
    let mut case = of_form(code, cs, rng)?;
    match rng.below(8) {
        0 => case.bytes = (0..15).map(|_| rng.bits() as u8).collect(),
        1 => case.bytes[0] = rng.bits() as u8,
        2 | 3 => insert_prefix(&mut case.bytes, rng),
        4 => {
            insert_prefix(&mut case.bytes, rng);
            insert_prefix(&mut case.bytes, rng);
        }
        _ => {
            let at = rng.below(case.bytes.len() as u64) as usize;
            case.bytes[at] ^= 1 << rng.below(8);
        }
    }
    // What lies behind the bytes completes them, and decides how long they are.
    let mut padded = case.bytes.clone();
    padded.resize(15, FILL);
    case.insn = decode(&padded, case.state.rip, cs);
    let len = if case.insn.is_invalid() { case.bytes.len() } else { case.insn.len() };
    case.bytes.resize(len.max(case.bytes.len()).min(15), FILL);
    case.bytes.truncate(len.max(1));
    case.code = case.insn.code();
    leave_corners(&mut case);
    safe(&case).then_some(case)
}

fn insert_prefix(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let prefix = match rng.below(3) {
        0 => 0x40 | rng.bits() as u8 & 15,
        _ => rng.pick(&[0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x3e, 0x26, 0x36, 0x64, 0x65, 0x66]),
    };
    let at = rng.below(3).min(bytes.len() as u64) as usize;
    bytes.insert(at, prefix);
}

/// No alignment checks where they come in an order of the processor's own, and what is known to differ.
fn leave_corners(case: &mut Case) {
    if IN_PIECES.contains(&case.insn.mnemonic()) {
        case.state.rflags &= !ALIGNMENT_CHECK;
    }
    if case.insn.mnemonic() == Mnemonic::Vcvtps2ph {
        // Exact tiny results raise no unmasked underflow here: see the limits in vector/float.rs.
        case.state.mxcsr |= UNDERFLOW_MASK;
    }
}

/// False for what must not run on the host, or says nothing when it does.
fn safe(case: &Case) -> bool {
    let insn = &case.insn;
    if insn.is_invalid() {
        // Behind the end of the code a fetch faults, and only the host knows how far it fetches.
        // VMCALL and its like belong to hypervisors below, whatever prefix makes iced refuse them.
        let hypercall = case.bytes.windows(3).any(|w| w[..2] == [0x0f, 0x01] && w[2] >= 0xc0);
        return !hypercall && case.state.rip + 15 <= CODE + CODE_PAGES * PAGE;
    }
    if forms::exception(insn.code()).is_some() {
        return false;
    }
    // A target within the instruction, or just behind it as it happens, would run other bytes.
    let inside = |target: u64| target.wrapping_sub(case.state.rip) < case.bytes.len() as u64;
    let target = insn.near_branch_target();
    let relative = insn.is_jmp_short_or_near() || insn.is_jcc_short_or_near() || insn.is_call_near() || is_loop(insn);
    !(relative && inside(target))
}

fn is_loop(insn: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(insn.mnemonic(), Loop | Loope | Loopne | Jcxz | Jecxz | Jrcxz)
}

/// True if only one of the two CPUs has the instruction.
pub fn on_one_side_only(insn: &Instruction, model: CpuModel) -> bool {
    let here = insn.cpuid_features().iter().all(|&feature| host::has(feature));
    let both = here && forms::offered(insn.code(), model);
    !insn.is_invalid() && !both
}

fn suit_stack(state: &mut State, bitness: u32, rng: &mut Rng) {
    for gpr in [RSP, RBP] {
        let stay = gpr == RBP && rng.one_in(2);
        if !stay && !rng.one_in(32) {
            let address = values::data_address(rng);
            let address = if rng.one_in(8) { address } else { address & !7 };
            state.gpr[gpr] = if bitness == 32 { address & 0x3fff | DATA & !0x3fff } else { address };
        }
    }
}

/// Registers that an instruction uses without naming them.
fn suit(insn: &Instruction, state: &mut State, rng: &mut Rng) {
    use Mnemonic::*;
    match insn.mnemonic() {
        Div | Idiv if !rng.one_in(4) => {
            let high = match rng.below(4) {
                0 => 0,
                1 => (state.gpr[RAX] as i64 >> 63) as u64,
                2 => (i64::from(state.gpr[RAX] as i32) >> 63) as u64,
                _ => rng.below(256),
            };
            state.gpr[RDX] = high;
            if rng.one_in(2) {
                state.gpr[RAX] &= 0xffff >> rng.below(9);
            }
        }
        Loop | Loope | Loopne | Jcxz | Jecxz | Jrcxz if rng.one_in(2) => {
            state.gpr[RCX] = rng.pick(&[0, 1, 1 << 16, 1 << 32, (1 << 32) + 1, u64::MAX]);
        }
        Jmp | Call if insn.op_count() == 1 && insn.op_kind(0) == iced_x86::OpKind::Register && !rng.one_in(4) => {
            let target = code_target(state.rip, rng);
            state.gpr[insn.op0_register().number()] = target;
        }
        Cmpxchg | Cmpxchg8b | Cmpxchg16b if rng.one_in(2) => {
            (state.gpr[RAX], state.gpr[RDX]) = (0, 0);
        }
        _ => {}
    }
    if insn.is_string_instruction() {
        state.gpr[RCX] = match rng.below(8) {
            0 => 0,
            1 => 1,
            2..=5 => rng.below(20),
            6 => rng.below(200),
            _ => rng.below(3000),
        };
        // Equal contents under both pointers, now and then.
        if rng.one_in(4) && !insn.has_segment_prefix() {
            state.gpr[RSI] = state.gpr[RDI].wrapping_add(rng.below(4)).wrapping_sub(rng.below(4));
        }
        // The host's fast copies see an overlap only if it has one linear address: leave the other out.
        if state.gpr[RSI] & 0xffff_0000 != state.gpr[RDI] & 0xffff_0000 {
            let offset = state.gpr[RSI].wrapping_sub(if state.gpr[RSI] >= DATA_HIGH { DATA_HIGH } else { DATA });
            let same = if state.gpr[RDI] >= DATA_HIGH { DATA_HIGH } else { DATA };
            if offset < DATA_PAGES * PAGE {
                state.gpr[RSI] = same + offset;
            }
        }
    }
}

/// An address in the code pages that is not in the instruction at `rip`: there is an INT3.
fn code_target(rip: u64, rng: &mut Rng) -> u64 {
    let target = CODE + rng.below(CODE_PAGES * PAGE - 64);
    if target.wrapping_sub(rip) < 16 { target + 16 } else { target }
}

/// LOCK and REP where they mean something, and now and then where they do not.
fn prefixes(insn: &mut Instruction, rng: &mut Rng) {
    let info = insn.code().op_code();
    if info.can_use_lock_prefix() && insn.op_kind(0) == iced_x86::OpKind::Memory && rng.one_in(3) {
        insn.set_has_lock_prefix(true);
    }
    if info.can_use_rep_prefix() && insn.is_string_instruction() && rng.one_in(2) {
        insn.set_has_rep_prefix(true);
    } else if info.can_use_repne_prefix() && insn.is_string_instruction() && rng.one_in(2) {
        insn.set_has_repne_prefix(true);
    }
}

/// Outside 64-bit mode only eight registers of 32 bits exist.
fn narrow(state: &mut State) {
    for gpr in &mut state.gpr[..8] {
        *gpr &= 0xffff_ffff;
    }
    state.gpr[8..].fill(0);
    state.ymm[8..].fill([0; 4]);
    (state.fs_base, state.gs_base) = (0, 0);
}

/// Puts an address of code where a return will find it.
fn patch_stack(case: &mut Case, rng: &mut Rng) {
    use Mnemonic::*;
    let pointer = match case.insn.mnemonic() {
        Ret | Retf => case.state.gpr[RSP],
        Leave => case.state.gpr[RBP],
        Jmp | Call if case.insn.memory_base() != Register::None => {
            let state = &case.state;
            case.insn
                .virtual_address(0, 0, |register, _, _| {
                    Some(match register {
                        Register::FS => state.fs_base,
                        Register::GS => state.gs_base,
                        r if r.is_segment_register() => 0,
                        r if r.is_gpr64() => state.gpr[r.number()],
                        r if r.is_gpr32() => state.gpr[r.number()] & 0xffff_ffff,
                        _ => return None,
                    })
                })
                .unwrap_or(0)
        }
        _ => return,
    };
    if rng.one_in(4) {
        return;
    }
    let offset = pointer.wrapping_sub(if pointer >= DATA_HIGH { DATA_HIGH } else { DATA });
    if offset <= WRITABLE_BYTES as u64 - 8 {
        let target = code_target(case.state.rip, rng);
        case.patches.push((offset as usize, target.to_le_bytes().to_vec()));
    }
}
