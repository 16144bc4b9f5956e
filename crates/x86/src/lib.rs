//! The CPU: state, decoding, interpretation, paging, exceptions, CPUID. It knows no device.
//!
//! Start reading at [`vcpu`] (what a CPU is), then [`op`] (a decoded instruction),
//! [`memory`] (how it reaches memory) and [`engine`] (what runs it).

pub mod bus;
pub mod decode;
pub mod engine;
pub mod exec;
pub mod fault;
pub mod flags;
pub mod interp;
pub mod memory;
pub mod model;
mod no_board;
pub mod op;
pub mod save;
pub mod segment;
pub mod system;
pub mod units;
pub mod vcpu;
pub mod vector;
pub mod x87;
pub mod xsave;

pub use bus::{Bus, Signals};
pub use engine::{Engine, Exit};
pub use interp::Interpreter;
pub use memory::phys::{GuestMemory, RamLayout};
pub use model::CpuModel;
pub use no_board::NoBoard;
pub use save::{CpuState, InvalidState};
pub use units::{GuestPhysAddr, InsnCount, VirtualTime};
pub use vcpu::Vcpu;
