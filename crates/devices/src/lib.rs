//! The devices of the board, one folder each: the chip (pure registers and logic) apart
//! from its wiring (ports, interrupt lines, saved state).
//!
//! No device reads a clock: every access and every [`Timed::advance`] brings the virtual
//! time with it. No device calls another: what leaves a device goes to its [`Wires`].

pub mod acpi_pm;
pub mod bus;
pub mod byte_memory;
#[cfg(test)]
mod conformance;
pub mod debug;
pub mod fabric;
pub mod fw_cfg;
pub mod guest_control;
pub mod hpet;
pub mod i8042;
pub mod ioapic;
pub mod lapic;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod port92;
pub mod rtc;
pub mod state;
#[cfg(test)]
mod test_wires;
pub mod testdev;
pub mod uart;
pub mod vga;

pub use bus::{IrqLine, MmioDevice, PortDevice, PowerEvent, Timed, Width, Wires};
pub use state::{RestoreError, Saved};
