//! When the translator translates, and what it keeps.

/// What is translated, when, and how much of it is kept: when a limit is reached, everything is dropped. None of it is
/// seen by a guest.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How often a block is interpreted before it is translated.
    pub cold_runs: u8,
    /// Instructions in a block at most.
    pub max_block: usize,
    /// Bytes of host code; room for a few large blocks is there in any case.
    pub code_bytes: usize,
    /// Blocks, those counted that were dropped since.
    pub blocks: usize,
    /// Instructions that may be handed over to the interpreter's code; one block may exceed it.
    pub sites: usize,
    /// Jumps within a page that may be linked, likewise.
    pub links: usize,
    /// Jumps to other pages that may be linked, likewise.
    pub far_links: usize,
    /// Blocks follow conditional jumps by the jumps' places instead of by where they were seen to go. For tests.
    pub scattered: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let (cold_runs, max_block) = (4, 64);
        let (blocks, sites, links, far_links) = (1 << 17, 1 << 17, 1 << 18, 60_000);
        Policy { cold_runs, max_block, code_bytes: 16 << 20, blocks, sites, links, far_links, scattered: false }
    }
}

impl Policy {
    /// All code is translated when it is first met, in blocks of at most `instructions`: slower, but what it does at the
    /// first step is done by translated code. For tests.
    pub fn eager(instructions: usize) -> Self {
        Policy { cold_runs: 0, max_block: instructions, scattered: true, ..Policy::default() }
    }
}
