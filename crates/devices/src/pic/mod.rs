//! The pair of 8259A interrupt controllers of a PC: [`chip`] is one controller, [`wiring`] joins
//! two of them (the second behind input 2 of the first), with their ports and edge/level register.
//!
//! Sources: Intel 8259A data sheet (231468); the edge/level control register (ELCR) as in the
//! Intel 82371SB (PIIX3) data sheet, section 2.5.2.

pub mod chip;
pub mod wiring;

#[cfg(test)]
mod tests;

pub use wiring::{Pic, PicState};
