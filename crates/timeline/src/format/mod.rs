//! The format of recordings, `NAME.cvr`. Everything that reads or writes bytes of it is in this module;
//! all numbers are little-endian.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | [`preamble`] | 80 | magic, version, two slots that say how far the run has come |
//! | [`block`]s | 24 and the payload, each | see below |
//! | trailer | 24 | where the index is, in a recording that was finished |
//!
//! Blocks follow each other without gaps. Each has a number one higher than the one before and a CRC-32C over
//! its header and payload; the payload is compressed (zstd) on its own. So the blocks that are whole
//! can be found by walking from the first, and whatever follows the first bad one is ignored: that is how a
//! file opens whose writer was killed. The index only saves the walk.
//!
//! The first block is the header, the second the initial checkpoint (behind the blocks with its pages). Payloads are
//! Protocol Buffers messages ([`records`]).
//!
//! Contents of pages have numbers that ascend through the file; a checkpoint names the pages that changed since the one before
//! it in the file, and the number of what each holds. Where a file was thinned out while it was recorded
//! ([`crate::thinning`]), some numbers are missing, and so are the checkpoints that would need them: a file never names a
//! number that it does not hold.
//!
//! A recording that was finished has the lists of changed pages once more, without the states beside which they stand ([`lists`], since
//! version 1.1): who goes to a checkpoint in a fresh process reads one such block instead of all checkpoints before. Where such a block is missing or
//! damaged, the checkpoints' own lists say the same.
//!
//! Events that come after a checkpoint may stand before it in the file: it says how many come before it. Among themselves events
//! are in order, and so are checkpoints.
//!
//! # Versions
//!
//! A file has a major and a minor version. A recording of version 1.0 must replay for ever, and so must all that follow.
//!
//! - *What an older reader may ignore* comes in new fields, or in new kinds of blocks that are marked optional, and raises
//!   the minor version. Readers ignore fields and optional blocks that they do not know.
//! - *What it must not ignore* has a name, which the header lists in `features` if the recording uses it. A reader
//!   refuses a file that requires a name that it does not know. New kinds of events, of checkpoints and of blocks that must be read are
//!   such, and so is everything that changes what the recorded machine does: a new device, a saved field that is not at its
//!   default, a corrected instruction.
//! - *A reader that knows a name does without it what was done before it came*: an old recording's machine has no
//!   device that came later, and keeps the mistakes that it was recorded with. What is absent from a saved state is
//!   as at power-on ([`machine::board::BoardState`]), what is absent from a configuration is not in the machine.
//! - *Digests stay comparable*: they are over the encoded state, in which defaults take no bytes, so that fields
//!   and devices that came later change no digest of a machine that has not got them ([`machine::save`]).
//! - A new major version is for files that cannot be told apart otherwise. A reader refuses a newer one.
//!
//! A recording of version 1.0 with some of everything is kept beside the tests and replayed in each of their runs.
//!
//! # Time
//!
//! Virtual time is written as a 64-bit number of units of 1/840 ns, which end after 254 days; the machine's clock stands
//! still from there on. There is room for more: upper halves can come as new fields beside the lower ones (absent: zero), in
//! the preamble in the four bytes before each slot's checksum, and under the name of a feature. Differences in the log
//! are between neighbours and stay as they are. So the limit is one of this program and not of the format.

pub mod block;
pub mod index;
pub mod lists;
pub mod log;
pub mod preamble;
pub mod records;

/// The major version that is written, and the newest that is read.
pub const MAJOR: u16 = 1;
/// The minor version that is written.
pub const MINOR: u16 = 1;
/// Required features that this reader knows.
pub const FEATURES: &[&str] = &[];
/// The most bytes that the payload of a block has before compression.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
/// Pages in a full block of pages.
pub const PAGES_PER_BLOCK: usize = 16;

/// What is wrong with bytes that should be part of a recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Nothing was written into it, or nothing came through to it.
    #[error("the file is empty: its recorder ended before it wrote anything, or it was not copied")]
    Empty,
    /// Not a recording at all.
    #[error("this is not a recording: it does not begin as one")]
    NotARecording,
    /// The first bytes are damaged.
    #[error("the first bytes of the recording are damaged or cut off; use another copy of the file")]
    Preamble,
    /// A newer major version.
    #[error(
        "the recording has format version {0}.{1}, this program reads up to version {MAJOR}: use a newer chronovisor"
    )]
    Newer(u16, u16),
    /// A feature that must be known and is not.
    #[error("the recording needs \"{0}\", which this program does not know: use a newer chronovisor")]
    Feature(String),
    /// A CPU model that must be known and is not.
    #[error(
        "the recorded machine has the CPU model x86-64-v{0}, which this program does not know: use a newer chronovisor"
    )]
    CpuModel(u32),
    /// A block that is damaged or cut off.
    #[error("the block at byte {offset} is {what}")]
    Block {
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// How it is bad.
        what: &'static str,
    },
    /// The state that it begins with is not at hand.
    #[error(
        "the recording begins with the state {state} of the tree {tree}, which is not beside it: replay it there as {tree}:NODE, or make it one file there with `chronovisor pack {tree}:NODE -o FILE`"
    )]
    NeedsState {
        /// The state's id.
        state: String,
        /// The directory in which the recording was made.
        tree: String,
    },
    /// A whole block with impossible content.
    #[error("the recording contradicts itself: {0}")]
    Content(&'static str),
}
