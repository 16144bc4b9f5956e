//! The decoder: any bytes become an instruction or are too short, and the same bytes cut
//! elsewhere (at the end of a page, say) never become another one.

use x86::CpuModel;
use x86::decode::{Decoded, MAX_LEN, decode};
use x86::op::Op;
use x86::vcpu::CodeSize;

use crate::script::Script;

/// Decodes the script's bytes one instruction after the other.
///
/// # Panics
/// If an instruction has an impossible length or depends on bytes behind it.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let code = script.pick(&[CodeSize::B16, CodeSize::B32, CodeSize::B64]);
    let model = script.pick(&[CpuModel::V2, CpuModel::V3]);
    let mut rest = script.rest();
    while !rest.is_empty() {
        let len = check(rest, code, model);
        rest = &rest[len.min(rest.len())..];
    }
}

/// Checks the instruction at the start of `bytes`; returns its length.
fn check(bytes: &[u8], code: CodeSize, model: CpuModel) -> usize {
    let Some(whole) = decoded(bytes, code, model) else {
        assert!(bytes.len() < MAX_LEN, "15 bytes are enough for any instruction: {bytes:x?}");
        return bytes.len();
    };
    let len = usize::from(whole.len);
    assert!((1..=MAX_LEN.min(bytes.len())).contains(&len), "length {len} of {bytes:x?}");
    let alone = decoded(&bytes[..len], code, model);
    let alone = alone.unwrap_or_else(|| panic!("its own bytes are too short: {:x?}", &bytes[..len]));
    assert_eq!(facts(&alone), facts(&whole), "cut behind itself: {bytes:x?}");
    for shorter in 1..len {
        if let Some(op) = decoded(&bytes[..shorter], code, model) {
            assert!(usize::from(op.len) <= shorter, "longer than its {shorter} bytes: {bytes:x?}");
        }
    }
    len
}

fn decoded(bytes: &[u8], code: CodeSize, model: CpuModel) -> Option<Op> {
    match decode(bytes, 0, code, model) {
        Decoded::Op { op, .. } => Some(op),
        Decoded::Truncated => None,
    }
}

/// An instruction in comparable form.
fn facts(op: &Op) -> String {
    format!("{op:?}")
}
