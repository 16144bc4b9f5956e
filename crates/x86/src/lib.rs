//! The CPU: state, decoding, interpretation, paging, exceptions, CPUID. It knows no device.

pub mod units;

pub use units::{GuestPhysAddr, InsnCount, VirtualTime};
