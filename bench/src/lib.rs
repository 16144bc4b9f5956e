//! How speed is measured: programs are started in turns and timed from outside.
//!
//! [`timed`] times one run, [`contest`] takes turns and finds the middle run, [`page`] writes it down.

pub mod contest;
pub mod page;
pub mod timed;
