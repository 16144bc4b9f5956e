//! Every instruction of the CPU models' vector extensions is executed by something.

use super::super::{code_buffer, select, shape, thunk};
use super::enumerate::{decode, instances};
use super::fixture::has_avx;
use crate::decode::{self, Decoded};
use crate::model::CpuModel;
use crate::vcpu::CodeSize;
use iced_x86::{Code, EncodingKind, Instruction, OpKind};
use std::collections::BTreeSet;

#[test]
fn every_code_has_an_instance_and_is_selected() {
    let instances = instances();
    let found: BTreeSet<Code> = instances.keys().map(|&(code, _)| code).collect();
    let mut missing = Vec::new();
    for code in Code::values() {
        let mut insn = Instruction::new();
        insn.set_code(code);
        if shape::is_vector(&insn) && !found.contains(&code) {
            missing.push(code);
        }
    }
    assert!(missing.is_empty(), "no encoding was found for {missing:?}");
    if !has_avx() {
        eprintln!("SKIPPED: AVX instructions, which this host does not have");
    }
    let unselected: Vec<_> = instances
        .iter()
        .filter(|((code, _), _)| has_avx() || code.encoding() == EncodingKind::Legacy)
        .filter(|(_, bytes)| {
            let insn = decode(bytes);
            let Decoded::Op { mut op, .. } = decode::decode(bytes, 0, CodeSize::B64, CpuModel::V3) else {
                panic!("{bytes:02x?} is cut off");
            };
            select(&insn, &mut op).is_none()
        })
        .map(|(key, _)| key)
        .collect();
    assert!(unselected.is_empty(), "nothing executes {unselected:?}");
}

#[test]
fn all_thunks_that_can_exist_fit_into_the_buffer() {
    let mut total = 0;
    for bytes in instances().values() {
        let insn = decode(bytes);
        let Some(shape) = shape::Shape::of(&insn) else { continue };
        let Some(core) = thunk::rename(&insn, &shape) else { continue };
        let Some(code) = thunk::assemble(&core, &shape) else { continue };
        let immediates = if (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Immediate8) { 256 } else { 1 };
        // The tests' own thunks take as much again and more.
        total += immediates * code.len().next_multiple_of(64);
    }
    assert!(total < code_buffer::CAPACITY / 2, "{total} bytes of thunks");
}
