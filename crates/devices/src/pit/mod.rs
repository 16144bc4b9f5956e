//! The 8254 interval timer: [`chip`] is one of its three channels, [`wiring`] has the ports, the
//! interrupt line of channel 0 and, through port 61h, the gate and output of channel 2.
//!
//! Nothing counts: a channel knows at which clock its counter was loaded, and computes the counter,
//! its output and the next change of the output from that.
//!
//! Sources: Intel 8254 data sheet (231164); port 61h as in the Intel ICH9 data sheet, 13.7.1.

pub mod chip;
mod counting;
pub mod wiring;

#[cfg(test)]
mod tests;

pub use wiring::{PIT_HZ, Pit, PitState};
