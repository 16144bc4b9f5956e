//! Every encoding of every vector instruction, found by decoding all opcodes.

use super::super::shape;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use std::collections::BTreeMap;

/// Bytes of one instance for each code and form, register (`true`) or memory: in 64-bit mode, with
/// small register numbers and `[r14]` as the memory operand.
pub fn instances() -> BTreeMap<(Code, bool), Vec<u8>> {
    let mut found = BTreeMap::new();
    for head in heads() {
        // 0F 38 and 0F 3A lead to other maps.
        let escapes = head.last() == Some(&0x0f);
        for opcode in (0..=255u8).filter(|&opcode| !(escapes && matches!(opcode, 0x38 | 0x3a))) {
            for modrm in modrms() {
                let mut bytes = head.clone();
                bytes.extend([opcode, modrm]);
                // Enough for a SIB byte (index XMM1 with base r14) and an immediate.
                bytes.extend(if modrm & 0xc7 == 0x04 { [0x0e, 0x41, 0, 0, 0, 0] } else { [0x41, 0, 0, 0, 0, 0] });
                add(&mut found, &bytes);
            }
        }
    }
    // The fences exist with every register in the third field.
    for modrm in 0xe8..=0xff {
        add(&mut found, &[0x0f, 0xae, modrm]);
    }
    found
}

fn add(found: &mut BTreeMap<(Code, bool), Vec<u8>>, bytes: &[u8]) {
    let insn = decode(bytes);
    if !insn.is_invalid() && shape::is_vector(&insn) {
        let register = (0..insn.op_count()).all(|i| insn.op_kind(i) != iced_x86::OpKind::Memory);
        found.entry((insn.code(), register)).or_insert_with(|| bytes[..insn.len()].to_vec());
    }
}

/// Decodes 64-bit code.
pub fn decode(bytes: &[u8]) -> Instruction {
    Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode()
}

/// ModRM bytes: reg 0 to 7 with a register, with [r14] (through REX.B) and with a VSIB index.
fn modrms() -> impl Iterator<Item = u8> {
    (0..8u8).flat_map(|reg| [0xc2 | reg << 3, 0x06 | reg << 3, 0x04 | reg << 3])
}

/// Everything before the opcode: legacy prefixes, REX and escape, or VEX.
fn heads() -> Vec<Vec<u8>> {
    let mut heads = Vec::new();
    for prefix in [None, Some(0x66), Some(0xf2), Some(0xf3)] {
        for rex in [0x41, 0x49] {
            for escape in [&[0x0f][..], &[0x0f, 0x38], &[0x0f, 0x3a]] {
                heads.push(prefix.into_iter().chain([rex]).chain(escape.iter().copied()).collect());
            }
        }
    }
    for map in 1..=3u8 {
        for low in 0..8u8 {
            for w in [0, 0x80] {
                // No vvvv operand, and vvvv = 5.
                for vvvv in [0x78, 0x50] {
                    heads.push(vec![0xc4, 0xc0 | map, w | vvvv | low]);
                }
            }
        }
    }
    heads
}
