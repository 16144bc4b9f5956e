//! What a device and the board say to each other.

use crate::guest_control::ControlRequest;
use x86::VirtualTime;

/// The size of one access on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Dword,
    /// Eight bytes (memory-mapped registers only).
    Qword,
}

impl Width {
    /// The number of bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        match self {
            Width::Byte => 1,
            Width::Word => 2,
            Width::Dword => 4,
            Width::Qword => 8,
        }
    }

    /// All ones in this width: what a read of nothing returns.
    pub const fn mask(self) -> u64 {
        match self {
            Width::Byte => 0xff,
            Width::Word => 0xffff,
            Width::Dword => 0xffff_ffff,
            Width::Qword => u64::MAX,
        }
    }
}

/// A global system interrupt line: ISA lines are 0 to 15, I/O APIC inputs 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IrqLine(pub u8);

/// What a device asks of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// Power off (ACPI S5).
    PowerOff,
    /// Reset the whole machine.
    Reset,
    /// Stop with this process exit status (`isa-debug-exit`).
    DebugExit(u8),
}

/// What leaves a device: interrupt lines and requests to the board.
///
/// The board implements it; a device never sees more of the board than this.
pub trait Wires {
    /// Drives an interrupt line. Levels, not edges: an edge is two calls.
    fn set_irq(&mut self, line: IrqLine, level: bool);
    /// Asks for power-off, reset or exit. Takes effect at the next instruction boundary.
    fn power(&mut self, event: PowerEvent);
    /// Drives the A20 gate (i8042 output port, port 92h).
    fn set_a20(&mut self, enabled: bool);
    /// A byte for the outside: `channel` says which device.
    fn output(&mut self, channel: OutputChannel, byte: u8);
    /// Asks something of the outside. Takes effect at the next instruction boundary.
    fn control(&mut self, request: ControlRequest);
}

/// Where a byte that leaves the machine came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputChannel {
    /// The first serial port.
    Serial,
    /// The debug console at port E9h.
    DebugConsole,
}

/// A device behind I/O ports. `offset` counts from the first port of the range it is attached at.
pub trait PortDevice {
    /// Reads `width` (at most [`Width::Dword`]) at `offset`.
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32;
    /// Writes `width` (at most [`Width::Dword`]) at `offset`.
    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires);
}

/// A device behind memory-mapped registers. Accesses are naturally aligned or whatever the guest did;
/// they never cross the end of the device's range.
pub trait MmioDevice {
    /// Reads `width` at byte `offset` of the device's range.
    fn mmio_read(&mut self, offset: u64, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u64;
    /// Writes `width` at byte `offset` of the device's range.
    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime, wires: &mut dyn Wires);
}

/// A device that does something by itself as time passes.
pub trait Timed {
    /// When [`Self::advance`] must next be called; [`VirtualTime::NEVER`] if nothing is pending.
    ///
    /// It may be earlier than needed, never later.
    fn deadline(&self) -> VirtualTime;
    /// Does everything that is due at `now` or before. `now` never goes backwards.
    fn advance(&mut self, now: VirtualTime, wires: &mut dyn Wires);
}

/// Splits a wide port access into byte accesses, for devices that are eight bits wide.
///
/// Returns the bytes put together, the first port lowest (as the ISA bus does).
pub fn read_bytewise(width: Width, offset: u16, mut read: impl FnMut(u16) -> u8) -> u32 {
    (0..width.bytes() as u16).fold(0, |value, i| value | u32::from(read(offset.wrapping_add(i))) << (8 * i))
}

/// The same for writes: `write(offset, byte)` in rising order.
pub fn write_bytewise(width: Width, offset: u16, value: u32, mut write: impl FnMut(u16, u8)) {
    for i in 0..width.bytes() as u16 {
        write(offset.wrapping_add(i), (value >> (8 * i)) as u8);
    }
}
