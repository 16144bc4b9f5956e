//! One running VM: the machine, and the outside that it cannot see.
//!
//! [`run`] is all that a program needs. Inside, the [`runner`] runs slices of instructions and
//! looks outside between them; [`outside`] has the threads that wait for the host, and the
//! [`mailbox`] is where both meet.

mod config;
pub mod console;
pub mod ending;
mod error;
pub mod escape;
pub mod input;
pub mod mailbox;
pub mod outside;
pub mod real_clock;
mod run;
pub mod runner;
pub mod slice;
pub mod terminal;
pub mod vm;

pub use config::{BootFile, ClockMode, Report, SessionConfig};
pub use ending::{Ending, STATUS_BAD_REQUEST, STATUS_HOST_FAILURE};
pub use error::SessionError;
pub use machine::MachineConfig;
pub use real_clock::host_unix_seconds;
pub use run::run;
pub use terminal::stdin_is_terminal;
pub use x86::CpuModel;
