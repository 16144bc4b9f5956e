//! Two engines side by side: guests made at random run on both, one of them cut into pieces, and the complete state of CPU,
//! TLB, RAM and board must be the same wherever both stop.

pub mod bus;
pub mod compare;
pub mod run;
