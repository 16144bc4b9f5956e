//! The board: RAM, buses, interrupt fabric, virtual clock, vCPU turns, boot protocols.
//!
//! Start reading at [`machine`] (what runs), then [`clock`] and [`turns`] (when), [`board`] (what the
//! CPUs reach) and [`input`] (the one door through which the outside comes in).

pub mod acpi;
pub mod board;
pub mod boot;
pub mod clock;
pub mod engine;
pub mod input;
pub mod inspect;
pub mod lent;
pub mod machine;
pub mod memory_map;
pub mod page_hashes;
pub mod pages;
pub mod ram;
pub mod save;
pub mod turns;

pub use devices::guest_control::ControlRequest;
pub use engine::EngineKind;
pub use input::Input;
pub use lent::LentRam;
pub use machine::{BootSource, Idle, Machine, MachineConfig, MachineError, Output, StopReason};
pub use save::{Digest, MachineState};
pub use x86::memory::lent::Kept;
