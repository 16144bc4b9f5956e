//! One processor's local APIC, as xAPIC and x2APIC.
//!
//! [`chip`] holds interrupts and decides their order; [`delivery`] takes interrupts in (messages,
//! local inputs, errors); [`command`] makes the messages that software sends; [`timer`] is the timer;
//! [`registers`] is the register file that both [`wiring`]'s memory window and its MSRs show.
//!
//! Source: Intel SDM volume 3A, chapter 11 (APIC), sections 11.4 to 11.12. Version 14h, six local
//! vectors (no CMCI), no suppression of EOI broadcasts, no focus processor checking.

pub mod chip;
pub mod command;
pub mod delivery;
pub mod registers;
pub mod signals;
pub mod timer;
pub mod vectors;
pub mod wiring;

#[cfg(test)]
mod tests;

pub use chip::Chip;
pub use command::{Effect, Ipi, Recipients};
pub use signals::{CpuSignal, Signals};
pub use timer::APIC_TIMER_HZ;
pub use wiring::{GpFault, LocalApic, LocalApicState};
