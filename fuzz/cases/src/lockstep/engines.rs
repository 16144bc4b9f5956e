//! The engines that are held against each other.

use std::sync::atomic::{AtomicU64, Ordering};

use jit::{Policy, Translator};
use x86::{Bus, Engine, Exit, GuestMemory, InsnCount, Interpreter, Vcpu};

/// The reference.
pub fn interpreter() -> Box<dyn Engine> {
    Box::new(Interpreter::new())
}

/// The translator, translating all code when it first meets it.
///
/// # Panics
/// If this host cannot run it: ask [`translator_missing`] first.
pub fn translator() -> Box<dyn Engine> {
    Box::new(Translator::eager(64).unwrap_or_else(|error| panic!("{error}")))
}

/// The same with small tables, which are quick to make and to drop: for runs of few steps.
///
/// # Panics
/// If this host cannot run it: ask [`translator_missing`] first.
pub fn small_translator() -> Box<dyn Engine> {
    let policy = Policy { code_bytes: 1 << 20, blocks: 1 << 10, ..Policy::eager(64) };
    Box::new(Translator::with_policy(policy).unwrap_or_else(|error| panic!("{error}")))
}

/// The translator in blocks of two instructions at most.
///
/// # Panics
/// If this host cannot run it: ask [`translator_missing`] first.
pub fn translator_in_short_blocks() -> Box<dyn Engine> {
    Box::new(Translator::eager(2).unwrap_or_else(|error| panic!("{error}")))
}

/// The translator as it is used, which interprets code that is seldom run.
///
/// # Panics
/// If this host cannot run it: ask [`translator_missing`] first.
pub fn warming_translator() -> Box<dyn Engine> {
    Box::new(Translator::new().unwrap_or_else(|error| panic!("{error}")))
}

/// A translator with little room, which adds to `dropped` how often it had none left.
struct Cramped {
    translator: Translator,
    forgot: u64,
    dropped: &'static AtomicU64,
}

impl Cramped {
    fn engine(policy: Policy, dropped: &'static AtomicU64) -> Box<dyn Engine> {
        let translator = Translator::with_policy(policy).unwrap_or_else(|error| panic!("{error}"));
        Box::new(Cramped { translator, forgot: 0, dropped })
    }
}

impl Engine for Cramped {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        self.translator.run(vcpu, memory, bus, until)
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        self.forgot += 1;
        self.translator.forget(memory);
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        self.dropped.fetch_add(self.translator.times_dropped() - self.forgot, Ordering::Relaxed);
    }
}

/// Translators that run out of one thing each, and how often they all did so far.
pub struct CrampedKind {
    /// What there is little of.
    pub name: &'static str,
    /// Makes one.
    ///
    /// # Panics
    /// If this host cannot run it: ask [`translator_missing`] first.
    pub new: fn() -> Box<dyn Engine>,
    /// How often they had to drop everything; those count that are no more.
    pub dropped: &'static AtomicU64,
}

macro_rules! cramped {
    ($name:literal, $field:ident: $limit:expr) => {{
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        CrampedKind {
            name: $name,
            new: || {
                Cramped::engine(Policy { $field: $limit, ..Policy { blocks: 1 << 10, ..Policy::eager(64) } }, &DROPPED)
            },
            dropped: &DROPPED,
        }
    }};
}

/// One kind for each thing that a translator can run out of.
pub const CRAMPED: [CrampedKind; 5] = [
    cramped!("the least room for code", code_bytes: 0),
    cramped!("room for one block", blocks: 1),
    cramped!("room for 30 blocks", blocks: 30),
    cramped!("room for 20 instructions that are handed over", sites: 20),
    cramped!("room for 7 links", links: 7),
];

/// Why this host cannot run the translator, if it cannot.
pub fn translator_missing() -> Option<String> {
    Translator::new().err().map(|error| error.to_string())
}
