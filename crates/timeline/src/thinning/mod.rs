//! Thins out the checkpoints of a recording that goes on, so that a recording of any length keeps within its budget
//! and has its checkpoints evenly spread over all of it.
//!
//! When the budget is nearly used up, [`choice`] picks the checkpoints that stay: about every second one. A new file is
//! written beside the old one ([`rewriting`]), block by block between the worker's other jobs: the log as it is, the checkpoints
//! that stay with the changes of those that go, and the pages that they need. It gets what was appended to the old
//! file meanwhile and then takes its place. Until then the old file is whole and goes on, so whenever the
//! recorder is killed there is one whole file, and at most an unfinished one beside it. Each thinning doubles the
//! distance of checkpoints at least, so the next one comes when the recording is twice as long.

pub mod choice;
pub mod rewriting;
mod thinner;

pub use thinner::Thinner;

use crate::format::records::CheckpointKind;

/// A checkpoint in the file, as far as thinning needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Steps before it.
    pub insns: u64,
    /// Why it was saved.
    pub kind: CheckpointKind,
    /// Pages that changed since the checkpoint before, ascending, and the numbers of their contents.
    pub changes: Vec<(u64, u64)>,
}
