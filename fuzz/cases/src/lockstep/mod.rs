//! Two engines side by side: guests made at random run on both, one of them cut into pieces, and the complete state of CPU,
//! TLB, RAM and board must be the same wherever both stop.
//!
//! [`run`] drives one side and [`compare`] holds two together. The guests run in one [`world`]: [`stream`] draws
//! random ones, [`program`] and [`flags`] those that compilers make, [`jitting`] one that makes code itself, [`crossing`] instructions across a
//! page boundary.

pub mod bus;
pub mod compare;
pub mod crossing;
pub mod engines;
pub mod flags;
mod insn;
pub mod jitting;
pub mod program;
pub mod run;
pub mod stream;
pub mod world;
