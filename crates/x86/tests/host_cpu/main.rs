//! The campaign that holds the interpreter against the host's own CPU: random instances of every
//! instruction form that the CPU model offers run on both, and everything they leave behind
//! must be equal.
//!
//! Cases are numbered; a seed and a number reproduce one: `CHRONOVISOR_CASE=seed:index` runs it
//! alone, in each of the tests asked for. `CHRONOVISOR_LONG=1` runs a hundred times as many, `CHRONOVISOR_CASES=n` runs n;
//! `CHRONOVISOR_SEED` gives another seed, `CHRONOVISOR_FORM=text` only forms with that in their name,
//! and `CHRONOVISOR_COUNTS=1` prints the count of every form.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a test talks to the world
#![allow(unsafe_code, missing_docs)]

mod campaign;
mod case;
mod compare;
mod forms;
mod generate;
mod guest;
mod host;
mod layout;
mod native;
mod operands;
mod regressions;
mod rng;
mod state;
mod undefined;
mod values;

use campaign::Campaign;
use case::Case;
use iced_x86::Code;
use layout::{CS_32, CS_64};
use rng::Rng;
use x86::CpuModel;

const SEED: u64 = 1;
const MODEL: CpuModel = CpuModel::V3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Which cases to run.
fn plan(short: u64) -> (u64, std::ops::Range<u64>) {
    if let Ok(case) = std::env::var("CHRONOVISOR_CASE") {
        let parts = case.split_once(':').and_then(|(s, i)| Some((s.parse().ok()?, i.parse().ok()?)));
        let (seed, index): (u64, u64) =
            parts.unwrap_or_else(|| panic!("CHRONOVISOR_CASE must be seed:index, not {case:?}"));
        return (seed, index..index + 1);
    }
    let factor = if std::env::var_os("CHRONOVISOR_LONG").is_some() { 100 } else { 1 };
    (number("CHRONOVISOR_SEED").unwrap_or(SEED), 0..number("CHRONOVISOR_CASES").unwrap_or(short * factor))
}

/// Runs the cases that `draw` makes.
fn run(name: &str, short: u64, selected: &[Code], draw: impl Fn(u64, &mut Rng) -> Option<Case>) {
    if let Some(reason) = host::unsuitable() {
        println!("SKIPPED: {name}: {reason}");
        return;
    }
    let (seed, indices) = plan(short);
    let single = indices.end - indices.start == 1;
    let mut campaign = Campaign::new();
    let mut skipped = 0;
    for index in indices {
        let label = format!("{seed}:{index} ({name})");
        match draw(index, &mut Rng::new(seed, index)) {
            Some(case) => campaign.run(&case, &label),
            None => skipped += 1,
        }
    }
    campaign.finish(name, if single { &[] } else { selected }, skipped);
}

/// The forms to draw from: all that the model offers, or those asked for.
fn forms(bitness: u32) -> Vec<Code> {
    let mut forms = forms::selected(MODEL, bitness);
    let offered = forms.len();
    forms.retain(|code| code.cpuid_features().iter().all(|&feature| host::has(feature)));
    if forms.len() < offered {
        println!("SKIPPED: {} forms that this host does not have", offered - forms.len());
    }
    if let Ok(text) = std::env::var("CHRONOVISOR_FORM") {
        forms.retain(|code| format!("{code:?}").contains(&text));
        assert!(!forms.is_empty(), "no form has {text:?} in its name");
    }
    forms
}

/// Cases of every form in a code segment of `bitness` bits.
fn every_form(name: &str, short: u64, bitness: u32, cs: u16) {
    let forms = forms(bitness);
    run(name, short, &forms, |index, rng| {
        let code = forms[index as usize % forms.len()];
        (0..50).find_map(|_| generate::of_form(code, cs, rng))
    });
}

/// Cases of bytes near those of a form.
fn any_bytes(name: &str, short: u64, bitness: u32, cs: u16) {
    let forms = forms(bitness);
    run(name, short, &[], |_, rng| {
        let case = generate::of_bytes(&forms, cs, rng)?;
        (!generate::on_one_side_only(&case.insn, MODEL)).then_some(case)
    });
}

#[test]
fn every_form_of_64_bit_code() {
    every_form("64-bit forms", 200_000, 64, CS_64);
}

#[test]
fn bytes_that_may_be_no_64_bit_instruction() {
    any_bytes("64-bit bytes", 100_000, 64, CS_64);
}

#[test]
fn every_form_of_32_bit_code() {
    every_form("32-bit forms", 100_000, 32, CS_32);
}

#[test]
fn bytes_that_may_be_no_32_bit_instruction() {
    any_bytes("32-bit bytes", 50_000, 32, CS_32);
}
