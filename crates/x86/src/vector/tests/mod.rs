//! Tests of the vector instructions: coverage, against the host, and the rules around them.

mod coverage;
mod enumerate;
mod fixture;
mod legacy_modes;
mod memory;
mod native;
mod random;
mod rules;
