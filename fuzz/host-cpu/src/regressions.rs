//! Differences that the campaign has found, one test each, run on both CPUs.

use crate::NewEngine;
use crate::campaign::Campaign;
use crate::case::Case;
use crate::host;
use crate::layout::*;
use crate::rng::Rng;
use crate::state::State;
use iced_x86::Code;

const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;
const ALIGNMENT_CHECK: u64 = 1 << 18;
/// Not canonical.
const NOWHERE: u64 = 0x1234_5678_9abc_def0;

/// A difference that was found: its name, and what looks for it.
pub type Regression = (&'static str, fn(NewEngine));

/// All of them.
pub const ALL: &[Regression] = &[
    ("shld_of_64_bits_lost_its_carry", shld_of_64_bits_lost_its_carry),
    (
        "a_fault_in_repeated_scas_and_cmps_kept_the_flags_of_the_last_iteration",
        a_fault_in_repeated_scas_and_cmps_kept_the_flags_of_the_last_iteration,
    ),
    ("cmps_read_its_operands_in_the_wrong_order", cmps_read_its_operands_in_the_wrong_order),
    ("ins_and_outs_with_a_count_of_zero_asked_no_permission", ins_and_outs_with_a_count_of_zero_asked_no_permission),
    (
        "a_segment_prefix_of_64_bit_code_changed_ss_faults_to_gp_and_back",
        a_segment_prefix_of_64_bit_code_changed_ss_faults_to_gp_and_back,
    ),
    ("stos_to_nowhere_raised_ss", stos_to_nowhere_raised_ss),
    ("a_push_from_memory_to_nowhere_raised_gp", a_push_from_memory_to_nowhere_raised_gp),
    ("a_call_to_nowhere_did_not_write_the_return_address", a_call_to_nowhere_did_not_write_the_return_address),
    ("unaligned_vectors_raised_alignment_checks", unaligned_vectors_raised_alignment_checks),
    (
        "an_access_across_the_border_of_canonical_addresses_is_misaligned_first",
        an_access_across_the_border_of_canonical_addresses_is_misaligned_first,
    ),
    (
        "fxsave_at_a_bad_stack_address_raised_gp_for_its_alignment",
        fxsave_at_a_bad_stack_address_raised_gp_for_its_alignment,
    ),
    ("a_gather_that_faults_leaves_the_whole_mask_spread", a_gather_that_faults_leaves_the_whole_mask_spread),
    ("a_locked_instruction_of_sixteen_bytes_was_undefined", a_locked_instruction_of_sixteen_bytes_was_undefined),
    (
        "fxsave_wrote_its_image_although_the_end_of_the_area_is_read_only",
        fxsave_wrote_its_image_although_the_end_of_the_area_is_read_only,
    ),
    ("sines_of_unsupported_encodings_left_c2_to_chance", sines_of_unsupported_encodings_left_c2_to_chance),
    ("arpl_wanted_to_write_what_it_does_not_change", arpl_wanted_to_write_what_it_does_not_change),
    ("an_access_across_the_end_of_a_flat_segment_raised_gp", an_access_across_the_end_of_a_flat_segment_raised_gp),
    (
        "bound_read_its_upper_limit_although_the_lower_one_decides",
        bound_read_its_upper_limit_although_the_lower_one_decides,
    ),
];

/// Runs `bytes` from a state that `prepare` completes; the outcomes must be equal.
fn agree(new: NewEngine, bytes: &[u8], prepare: impl Fn(&mut State)) {
    agree_in(new, CS_64, bytes, prepare);
}

/// The same in the code segment `cs`.
fn agree_in(new: NewEngine, cs: u16, bytes: &[u8], prepare: impl Fn(&mut State)) {
    if let Some(reason) = host::unsuitable() {
        println!("SKIPPED: {reason}");
        return;
    }
    let mut state = State { rip: CODE + 64, ..State::default() };
    state.gpr[RSP] = DATA + 0x800;
    prepare(&mut state);
    let case = Case::new(Code::INVALID, bytes.to_vec(), state, cs, &mut Rng::new(0, 0));
    if let Some(report) = Campaign::new(new).compare(&case, "by name") {
        panic!("{report}");
    }
}

fn shld_of_64_bits_lost_its_carry(new: NewEngine) {
    // shld rdx, rbx, cl
    agree(new, &[0x48, 0x0f, 0xa5, 0xda], |s| (s.gpr[RDX], s.gpr[RCX]) = (0x8000_0000_0000_0001, 1));
    agree(new, &[0x48, 0x0f, 0xa5, 0xda], |s| (s.gpr[RDX], s.gpr[RBX], s.gpr[RCX]) = (1 << 24, u64::MAX, 40));
}

fn a_fault_in_repeated_scas_and_cmps_kept_the_flags_of_the_last_iteration(new: NewEngine) {
    let end = DATA + DATA_PAGES * PAGE;
    for flags in [0x202, 0xad7] {
        // repne scasq; repe cmpsb
        agree(new, &[0xf2, 0x48, 0xaf], |s| {
            (s.gpr[RDI], s.gpr[RCX], s.gpr[0], s.rflags) = (end - 24, 9, 0x7777, flags)
        });
        agree(new, &[0xf3, 0xa6], |s| (s.gpr[RDI], s.gpr[RSI], s.gpr[RCX], s.rflags) = (end - 3, end - 3, 9, flags));
    }
}

fn cmps_read_its_operands_in_the_wrong_order(new: NewEngine) {
    agree(new, &[0xa6], |s| (s.gpr[RDI], s.gpr[RSI]) = (0x7000, 0x8000));
}

fn ins_and_outs_with_a_count_of_zero_asked_no_permission(new: NewEngine) {
    agree(new, &[0xf3, 0x6d], |s| (s.gpr[RCX], s.gpr[RDI]) = (0, DATA));
    agree(new, &[0xf3, 0x6f], |s| (s.gpr[RCX], s.gpr[RSI]) = (0, DATA));
}

fn a_segment_prefix_of_64_bit_code_changed_ss_faults_to_gp_and_back(new: NewEngine) {
    agree(new, &[0x36, 0x8b, 0x02], |s| s.gpr[RDX] = NOWHERE); // mov eax, ss:[rdx]
    agree(new, &[0x3e, 0x8b, 0x45, 0x00], |s| s.gpr[RBP] = NOWHERE); // mov eax, ds:[rbp]
}

fn stos_to_nowhere_raised_ss(new: NewEngine) {
    agree(new, &[0xaa], |s| s.gpr[RDI] = NOWHERE);
    agree(new, &[0xf3, 0x48, 0xab], |s| (s.gpr[RDI], s.gpr[RCX]) = (NOWHERE, 3));
}

fn a_push_from_memory_to_nowhere_raised_gp(new: NewEngine) {
    agree(new, &[0xff, 0x32], |s| (s.gpr[RDX], s.gpr[RSP]) = (DATA, NOWHERE)); // push [rdx]
    agree(new, &[0x8f, 0x02], |s| (s.gpr[RDX], s.gpr[RSP]) = (DATA, NOWHERE)); // pop [rdx]
}

fn a_call_to_nowhere_did_not_write_the_return_address(new: NewEngine) {
    agree(new, &[0xff, 0xd2], |s| s.gpr[RDX] = NOWHERE); // call rdx
    agree(new, &[0xff, 0xd2], |s| (s.gpr[RDX], s.gpr[RSP]) = (NOWHERE, 0x8000));
}

fn unaligned_vectors_raised_alignment_checks(new: NewEngine) {
    let checked = |s: &mut State| (s.rflags, s.gpr[RDX]) = (s.rflags | ALIGNMENT_CHECK, DATA + 0x101);
    agree(new, &[0x0f, 0x10, 0x0a], checked); // movups xmm1, [rdx]
    agree(new, &[0xc5, 0xfc, 0x11, 0x0a], checked); // vmovups [rdx], ymm1
    let masked = |s: &mut State| {
        checked(s);
        s.ymm[2] = [u64::MAX; 4];
        s.ymm[3] = [0, 1, 2, 3];
    };
    agree(new, &[0xc4, 0xe2, 0x6d, 0x2c, 0x0a], masked); // vmaskmovps ymm1, ymm2, [rdx]
    agree(new, &[0xc4, 0xe2, 0x6d, 0x90, 0x0c, 0x1a], masked); // vpgatherdd ymm1, [rdx + ymm3], ymm2
}

fn an_access_across_the_border_of_canonical_addresses_is_misaligned_first(new: NewEngine) {
    agree(new, &[0x8b, 0x02], |s| (s.rflags, s.gpr[RDX]) = (s.rflags | ALIGNMENT_CHECK, 0x7fff_ffff_fffe)); // mov eax, [rdx]
}

fn fxsave_at_a_bad_stack_address_raised_gp_for_its_alignment(new: NewEngine) {
    agree(new, &[0x0f, 0xae, 0x45, 0x01], |s| s.gpr[RBP] = NOWHERE); // fxsave [rbp + 1]
}

fn a_gather_that_faults_leaves_the_whole_mask_spread(new: NewEngine) {
    // vpgatherqd xmm1, [rdx + xmm3], xmm2: the second element lies nowhere.
    agree(new, &[0xc4, 0xe2, 0x69, 0x91, 0x0c, 0x1a], |s| {
        s.gpr[RDX] = DATA;
        s.ymm[2] = [0x8000_0000_8000_0000, 0xf000_0000_0000_0001, 0, 0];
        s.ymm[3] = [0, NOWHERE, 0, 0];
    });
}

fn a_locked_instruction_of_sixteen_bytes_was_undefined(new: NewEngine) {
    let bytes = [0x26, 0x65, 0x4e, 0xf0, 0x42, 0x81, 0x9c, 0x58, 0x74, 0xd3, 0xce, 0xd4, 0x39, 0x39, 0x39];
    agree(new, &bytes, |_| ());
}

fn fxsave_wrote_its_image_although_the_end_of_the_area_is_read_only(new: NewEngine) {
    agree(new, &[0x0f, 0xae, 0x02], |s| s.gpr[RDX] = DATA + WRITABLE_PAGES * PAGE - 480); // fxsave [rdx]
    for used in [416, 464, 496, 512] {
        agree(new, &[0x0f, 0xae, 0x0a], |s| s.gpr[RDX] = DATA + DATA_PAGES * PAGE - used); // fxrstor [rdx]
    }
}

fn sines_of_unsupported_encodings_left_c2_to_chance(new: NewEngine) {
    for bytes in [[0xd9, 0xfe], [0xd9, 0xff]] {
        agree(new, &bytes, |s| (s.x87.st[0], s.x87.valid) = (0xbff8 << 64, 0xff));
    }
}

fn arpl_wanted_to_write_what_it_does_not_change(new: NewEngine) {
    agree_in(new, CS_32, &[0x63, 0x02], |s| s.gpr[RDX] = DATA + WRITABLE_PAGES * PAGE); // arpl [edx], ax
}

fn an_access_across_the_end_of_a_flat_segment_raised_gp(new: NewEngine) {
    agree_in(new, CS_32, &[0x8b, 0x02], |s| s.gpr[RDX] = 0xffff_fffe); // mov eax, [edx]
    agree_in(new, CS_32, &[0x50], |s| s.gpr[RSP] = 2); // push eax
    agree_in(new, CS_32, &[0x0f, 0x10, 0x0a], |s| s.gpr[RDX] = 0xffff_fff8); // movups xmm1, [edx]
}

fn bound_read_its_upper_limit_although_the_lower_one_decides(new: NewEngine) {
    // bound eax, [edx] and bound ax, [edx]
    let last =
        |bytes: u64| move |s: &mut State| (s.gpr[RDX], s.gpr[0]) = (DATA + DATA_PAGES * PAGE - bytes, 0x8000_8000);
    agree_in(new, CS_32, &[0x62, 0x02], last(4));
    agree_in(new, CS_32, &[0x66, 0x62, 0x02], last(2));
}
