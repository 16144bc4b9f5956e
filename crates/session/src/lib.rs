//! One running VM: the machine, and the outside that it cannot see.

pub mod console;
pub mod ending;
mod error;
pub mod escape;
pub mod input;
pub mod mailbox;
pub mod outside;
pub mod real_clock;
pub mod runner;
pub mod slice;
pub mod terminal;
pub mod vm;
