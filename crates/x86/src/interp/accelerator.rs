//! What a faster engine adds to the interpreter: code that runs in place of blocks.
//!
//! The interpreter keeps everything that happens between blocks (events, deadlines, single steps)
//! and executes whatever the accelerator leaves to it, so there is one copy of those rules.

use super::Ran;
use crate::op::Env;
use crate::vcpu::Vcpu;

/// Something that executes instructions like the interpreter, only faster.
pub trait Accelerator {
    /// Executes instructions from RIP on; at least one, none at or behind `env.until`. `None`, and nothing
    /// done that a guest can see, leaves the next block to the interpreter.
    ///
    /// It is asked only where nothing but near jumps happened since [`super::Interpreter`] last looked
    /// for events, and when no instruction needs to run alone.
    fn run(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>) -> Option<Ran>;

    /// Drops whatever was derived from the code in physical page number `page`.
    fn drop_page(&mut self, page: u64);
}

/// The interpreter alone.
pub struct NoAccelerator;

impl Accelerator for NoAccelerator {
    #[inline(always)]
    fn run(&mut self, _cpu: &mut Vcpu, _env: &mut Env<'_>) -> Option<Ran> {
        None
    }

    fn drop_page(&mut self, _page: u64) {}
}
