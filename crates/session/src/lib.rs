//! One running VM: the machine, and the outside that it cannot see.
//!
//! [`run()`] runs a machine from power-on, [`replay()`] a recording. Inside, the [`runner`] runs slices of
//! instructions and looks outside between them; [`outside`] and [`control`] have the threads that wait for
//! the host, and the [`mailbox`] is where both meet. The [`guest`] is the machine with its recording.

mod boot_file;
mod config;
pub mod console;
pub mod control;
pub mod ending;
mod error;
pub mod escape;
pub mod guest;
pub mod input;
pub mod live;
pub mod mailbox;
mod nodes;
pub mod outside;
pub mod real_clock;
pub mod recording;
pub mod replay;
mod requests;
mod run;
mod run_from;
pub mod runner;
pub mod slice;
mod snapshots;
pub mod terminal;
pub mod tree;
pub mod vm;

pub use boot_file::BootFile;
pub use config::{Boot, ClockMode, Options, Report, SessionConfig};
pub use ending::{Ending, STATUS_BAD_REQUEST, STATUS_DIFFERENT, STATUS_HOST_FAILURE};
pub use error::SessionError;
pub use machine::{EngineKind, Input, MachineConfig};
pub use real_clock::host_unix_seconds;
pub use replay::{ReplayConfig, ReplayReport, Replayed, Speed, replay};
pub use run::run;
pub use run_from::{FromConfig, run_from};
pub use terminal::stdin_is_terminal;
pub use x86::CpuModel;
