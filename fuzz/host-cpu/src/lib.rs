//! The campaign that holds an engine against the host's own CPU: random instances of every
//! instruction form that the CPU model offers run on both, and everything they leave behind
//! must be equal.
//!
//! Cases are numbered; a seed and a number reproduce one: `CHRONOVISOR_CASE=seed:index` runs it
//! alone, in each of the tests asked for. `CHRONOVISOR_LONG=1` runs a hundred times as many, `CHRONOVISOR_CASES=n` runs n;
//! `CHRONOVISOR_SEED` gives another seed, `CHRONOVISOR_FORM=text` only forms with that in their name,
//! and `CHRONOVISOR_COUNTS=1` prints the count of every form.
#![allow(unsafe_code, missing_docs)]

mod campaign;
pub mod case;
mod compare;
pub mod forms;
mod generate;
mod guest;
mod host;
mod layout;
mod native;
pub mod operands;
pub mod regressions;
pub mod rng;
pub mod state;
mod undefined;
pub mod values;

use campaign::Campaign;
use case::Case;
use iced_x86::Code;
use layout::{CS_32, CS_64};
use rng::Rng;
use x86::{CpuModel, Engine};

/// Makes the engine that the host's CPU is compared with.
pub type NewEngine = fn() -> Box<dyn Engine>;

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
fn run(new: NewEngine, name: &str, short: u64, selected: &[Code], draw: impl Fn(u64, &mut Rng) -> Option<Case>) {
    if let Some(reason) = host::unsuitable() {
        println!("SKIPPED: {name}: {reason}");
        return;
    }
    let (seed, indices) = plan(short);
    let single = indices.end - indices.start == 1;
    let mut campaign = Campaign::new(new);
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

/// Code segments of both sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 64-bit mode.
    B64,
    /// Compatibility mode.
    B32,
}

impl Bits {
    fn parts(self) -> (u32, u16) {
        match self {
            Bits::B64 => (64, CS_64),
            Bits::B32 => (32, CS_32),
        }
    }
}

/// Cases of every form in code of one size, `short` of them in an ordinary run.
///
/// # Panics
/// If the CPUs differ.
pub fn every_form(new: NewEngine, bits: Bits, short: u64) {
    let (bitness, cs) = bits.parts();
    let forms = forms(bitness);
    run(new, &format!("{bitness}-bit forms"), short, &forms, |index, rng| {
        let code = forms[index as usize % forms.len()];
        (0..50).find_map(|_| generate::of_form(code, cs, rng))
    });
}

/// Cases of bytes near those of a form, `short` of them in an ordinary run.
///
/// # Panics
/// If the CPUs differ.
pub fn any_bytes(new: NewEngine, bits: Bits, short: u64) {
    let (bitness, cs) = bits.parts();
    let forms = forms(bitness);
    run(new, &format!("{bitness}-bit bytes"), short, &[], |_, rng| {
        let case = generate::of_bytes(&forms, cs, rng)?;
        (!generate::on_one_side_only(&case.insn, MODEL)).then_some(case)
    });
}

/// Differences that were found once.
///
/// # Panics
/// If the CPUs differ.
pub fn regressions(new: NewEngine) {
    for (name, regression) in regressions::ALL {
        println!("{name}");
        regression(new);
    }
}
