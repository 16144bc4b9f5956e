//! One running VM: the machine, and the outside that it cannot see.

pub mod ending;
pub mod escape;
pub mod mailbox;
pub mod outside;
pub mod real_clock;
pub mod terminal;
