//! The board: RAM, buses, interrupt fabric, virtual clock, vCPU turns, boot protocols.

pub mod acpi;
pub mod boot;
pub mod memory_map;
pub mod ram;
