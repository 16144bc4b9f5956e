//! The I/O APIC: 24 inputs, each with a redirection entry that says which message to send.
//! [`chip`] holds the entries and decides; [`wiring`] has the memory-mapped window and saved state.
//!
//! Sources: Intel 82093AA data sheet (290566); the EOI register at offset 40h, which makes it
//! version 20h, as in the Intel ICH9 data sheet, section 13.5.

pub mod chip;
pub mod wiring;

#[cfg(test)]
mod tests;

pub use wiring::{IoApic, IoApicState};
