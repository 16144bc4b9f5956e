//! The keyboard controller with a PS/2 keyboard and mouse: ports 60h and 64h, IRQ 1 and 12.
//!
//! `controller` is the chip, `keyboard` and `mouse` are what hangs on it, `translate` turns scan
//! codes; this file is the wiring and `saved` the saved state.

mod controller;
mod keyboard;
mod mouse;
mod saved;
#[cfg(test)]
mod tests;
mod translate;

use x86::VirtualTime;

use crate::bus::{IrqLine, PortDevice, PowerEvent, Width, Wires, read_bytewise, write_bytewise};
use controller::{Controller, Effect};
pub use saved::I8042State;

/// The data port. `offset` of port accesses counts from here.
pub const DATA_PORT: u16 = 0x60;
/// The status and command port. The ports between the two belong to others.
pub const COMMAND_PORT: u16 = 0x64;
/// The keyboard's interrupt line.
pub const KEYBOARD_IRQ: IrqLine = IrqLine(1);
/// The mouse's interrupt line.
pub const MOUSE_IRQ: IrqLine = IrqLine(12);

/// Controller, keyboard, mouse and their interrupt lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct I8042 {
    controller: Controller,
    keyboard_level: bool,
    mouse_level: bool,
}

impl I8042 {
    /// The controller as firmware leaves it: keyboard on with translation to scan code set 1 and
    /// its interrupt, mouse off, A20 open.
    pub fn new() -> Self {
        Self::default()
    }

    /// A key goes down or up. `set_2` holds its whole scan code of set 2 (`1C` for A down, `F0 1C`
    /// for A up, `E0 75` for the up arrow). Returns whether the keyboard took it: it does not while
    /// the system has switched scanning off, nor when its buffer is full.
    pub fn key(&mut self, set_2: &[u8], wires: &mut dyn Wires) -> bool {
        let taken = self.controller.keyboard.key(set_2);
        self.settle(wires);
        taken
    }

    /// The mouse moves by so many counts to the right, up, and of its wheel towards the user;
    /// buttons down: bit 0 left, 1 right, 2 middle. What cannot be reported at once adds up.
    pub fn mouse(&mut self, right: i32, up: i32, wheel: i32, buttons: u8, wires: &mut dyn Wires) {
        self.controller.mouse.moved(right, up, wheel, buttons);
        self.settle(wires);
    }

    /// The A20 gate was moved by someone else (port 92h): the output port shows it from now on.
    pub fn observe_a20(&mut self, enabled: bool) {
        self.controller.a20 = enabled;
    }

    fn settle(&mut self, wires: &mut dyn Wires) {
        self.controller.refill();
        self.drive(wires);
    }

    fn drive(&mut self, wires: &mut dyn Wires) {
        let (keyboard, mouse) = self.controller.interrupts();
        if std::mem::replace(&mut self.keyboard_level, keyboard) != keyboard {
            wires.set_irq(KEYBOARD_IRQ, keyboard);
        }
        if std::mem::replace(&mut self.mouse_level, mouse) != mouse {
            wires.set_irq(MOUSE_IRQ, mouse);
        }
    }

    fn read_port(&mut self, port: u16, wires: &mut dyn Wires) -> u8 {
        match port {
            0 => {
                let byte = self.controller.read_data();
                // The line drops before the next byte moves in, so that there is an edge for each.
                self.drive(wires);
                self.settle(wires);
                byte
            }
            4 => self.controller.status(),
            _ => 0xff,
        }
    }

    fn write_port(&mut self, port: u16, byte: u8, wires: &mut dyn Wires) {
        let effect = match port {
            0 => self.controller.write_data(byte),
            4 => self.controller.write_command(byte),
            _ => None,
        };
        match effect {
            Some(Effect::Reset) => wires.power(PowerEvent::Reset),
            Some(Effect::A20(on)) => wires.set_a20(on),
            None => {}
        }
        self.settle(wires);
    }
}

impl PortDevice for I8042 {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| self.read_port(port, wires))
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| self.write_port(port, byte, wires));
    }
}
