//! The timeline: recordings of a machine's run, and everything that is done with them.
//!
//! A machine is a function of its initial state and its inputs, so a recording is those two. Start
//! reading at [`format`](mod@format) (the file), then [`recorder`] (who writes it), [`recording`] (who opens it) and
//! [`replayer`] (who runs it again).

mod account;
pub mod checkpoints;
mod contents;
mod copier;
pub mod difference;
pub mod encoder;
mod file_maps;
pub mod format;
mod hashing;
pub mod maker;
pub mod new_file;
pub mod pack;
pub mod page_cache;
pub mod page_map;
mod page_set;
pub mod policy;
pub mod position;
mod price;
mod put_off;
pub mod reader;
pub mod recorder;
pub mod recording;
mod recover;
mod replay_error;
pub mod replayer;
mod running;
pub mod sink;
pub mod snapshot_file;
pub mod spec;
mod state_source;
pub mod store;
pub mod target;
pub mod temporary;
pub mod thinning;
pub mod verify;
mod worker;
pub mod writer;

pub use format::records::{BootDescription, RecordingHeader};
pub use maker::MachineMaker;
pub use position::Position;
pub use recorder::{RecordError, Recorder, RecorderOptions};
pub use recording::{OpenError, Recording};
pub use replayer::{ReplayError, Replayer};
pub use spec::{PositionSpec, SpecError};
pub use target::Target;
pub use verify::{Verification, verify};
