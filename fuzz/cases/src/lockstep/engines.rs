//! The engines that are held against each other.

use jit::Translator;
use x86::{Engine, Interpreter};

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

/// The same in blocks of two instructions at most.
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

/// Why this host cannot run the translator, if it cannot.
pub fn translator_missing() -> Option<String> {
    Translator::new().err().map(|error| error.to_string())
}
