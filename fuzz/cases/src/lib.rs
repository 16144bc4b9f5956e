//! What the fuzzers run: one function a target, from bytes to a check that panics if the machine
//! misbehaves.
//!
//! The bytes are read as decisions ([`script`]), so that a fuzzer's mutations, seeded random
//! bytes and committed files all drive the same code: `fuzz_targets/` calls it from
//! libFuzzer, `tests/smoke.rs` with a plain `cargo test`.

pub mod boot;
pub mod decoder;
pub mod devices;
pub mod interpreter;
pub mod lockstep;
pub mod machine;
pub mod recording;
pub mod restore;
pub mod script;
pub mod store;

/// A target: its name, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, under the name of its file in `fuzz_targets/` and of its directories of inputs.
pub const TARGETS: [Target; 9] = [
    ("boot", boot::run),
    ("decoder", decoder::run),
    ("devices", devices::run),
    ("interpreter", interpreter::run),
    ("machine", machine::run),
    ("recording", recording::run),
    ("restore", restore::run),
    ("store", store::run),
    ("translator", interpreter::translator),
];
