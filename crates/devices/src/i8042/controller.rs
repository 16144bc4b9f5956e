//! The controller between the ports and the two devices (IBM PS/2 hardware technical reference,
//! "Keyboard and auxiliary device controller").
//!
//! It has one output buffer. As soon as the system has read it, the next byte moves in: its own
//! answers first, then the keyboard's bytes, then the mouse's.

use std::collections::VecDeque;

use super::keyboard::Keyboard;
use super::mouse::Mouse;
use super::translate::Translator;

pub(super) const RAM_LEN: usize = 32;
pub(super) const RESPONSES_LEN: usize = 16;

/// The command byte, which is byte 0 of the controller's RAM.
mod command_byte {
    pub const KEYBOARD_INTERRUPT: u8 = 0x01;
    pub const MOUSE_INTERRUPT: u8 = 0x02;
    pub const SYSTEM: u8 = 0x04;
    pub const KEYBOARD_OFF: u8 = 0x10;
    pub const MOUSE_OFF: u8 = 0x20;
    pub const TRANSLATE: u8 = 0x40;
}

mod status {
    pub const OUTPUT_FULL: u8 = 0x01;
    pub const SYSTEM: u8 = 0x04;
    pub const COMMAND: u8 = 0x08;
    pub const NOT_LOCKED: u8 = 0x10;
    pub const FROM_MOUSE: u8 = 0x20;
}

mod output_port {
    pub const NOT_RESET: u8 = 0x01;
    pub const A20: u8 = 0x02;
    pub const KEYBOARD_FULL: u8 = 0x10;
    pub const MOUSE_FULL: u8 = 0x20;
    /// Clock and data lines to the keyboard, idle.
    pub const LINES: u8 = 0xc0;
}

/// Whose byte is in the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The keyboard's or the controller's own: IRQ 1.
    Keyboard,
    /// The mouse's, or one put there as if: IRQ 12.
    Mouse,
}

/// What a command does outside the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The reset line is pulsed.
    Reset,
    /// The A20 gate.
    A20(bool),
}

/// The controller with its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub ram: [u8; RAM_LEN],
    pub output: u8,
    pub full: Option<Source>,
    /// The controller's own answers that wait for the output buffer.
    pub responses: VecDeque<(u8, Source)>,
    /// The command whose argument comes next at port 60h; 0 if none.
    pub expecting: u8,
    /// The last write was to port 64h.
    pub command_last: bool,
    pub a20: bool,
    pub translator: Translator,
    pub keyboard: Keyboard,
    pub mouse: Mouse,
}

impl Default for Controller {
    /// As firmware leaves it: keyboard on, translating, interrupting; mouse off; A20 open.
    fn default() -> Self {
        let mut ram = [0; RAM_LEN];
        ram[0] =
            command_byte::KEYBOARD_INTERRUPT | command_byte::SYSTEM | command_byte::MOUSE_OFF | command_byte::TRANSLATE;
        Controller {
            ram,
            output: 0,
            full: None,
            responses: VecDeque::new(),
            expecting: 0,
            command_last: false,
            a20: true,
            translator: Translator::default(),
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
        }
    }
}

impl Controller {
    /// Port 64h. The input buffer is always empty: commands take no time.
    pub fn status(&self) -> u8 {
        let mut value = status::NOT_LOCKED;
        value |= match self.full {
            None => 0,
            Some(Source::Keyboard) => status::OUTPUT_FULL,
            Some(Source::Mouse) => status::OUTPUT_FULL | status::FROM_MOUSE,
        };
        if self.command_byte(command_byte::SYSTEM) {
            value |= status::SYSTEM;
        }
        if self.command_last {
            value |= status::COMMAND;
        }
        value
    }

    /// Port 60h. [`Self::refill`] brings the next byte.
    pub fn read_data(&mut self) -> u8 {
        self.full = None;
        self.output
    }

    /// Moves the next byte that may move into an empty output buffer.
    pub fn refill(&mut self) {
        if self.full.is_some() {
            return;
        }
        let next = self.responses.pop_front();
        let next = next.or_else(|| self.keyboard_byte().map(|byte| (byte, Source::Keyboard)));
        let next = next.or_else(|| self.mouse_byte().map(|byte| (byte, Source::Mouse)));
        if let Some((byte, source)) = next {
            self.output = byte;
            self.full = Some(source);
        }
    }

    /// The levels of the keyboard's and the mouse's interrupt.
    pub fn interrupts(&self) -> (bool, bool) {
        (
            self.full == Some(Source::Keyboard) && self.command_byte(command_byte::KEYBOARD_INTERRUPT),
            self.full == Some(Source::Mouse) && self.command_byte(command_byte::MOUSE_INTERRUPT),
        )
    }

    /// A byte written to port 64h.
    pub fn write_command(&mut self, command: u8) -> Option<Effect> {
        self.command_last = true;
        self.expecting = 0;
        match command {
            0x20..=0x3f => self.respond(self.ram[usize::from(command & 0x1f)]),
            0x60..=0x7f | 0xd1..=0xd4 => self.expecting = command,
            0xa4 => self.respond(0xf1), // no password
            0xa7 => self.ram[0] |= command_byte::MOUSE_OFF,
            0xa8 => self.ram[0] &= !command_byte::MOUSE_OFF,
            0xa9 | 0xab => self.respond(0x00), // the lines to the devices are good
            0xaa => {
                self.ram[0] |= command_byte::SYSTEM;
                self.respond(0x55);
            }
            0xad => self.ram[0] |= command_byte::KEYBOARD_OFF,
            0xae => self.ram[0] &= !command_byte::KEYBOARD_OFF,
            0xc0 => self.respond(0x80), // input port: keyboard not locked
            0xd0 => self.respond(self.output_port()),
            0xdd => return Some(self.set_a20(false)),
            0xdf => return Some(self.set_a20(true)),
            0xe0 => self.respond(0x00), // test inputs
            // Zeros in the low bits pulse these lines of the output port: the lowest is reset.
            0xf0..=0xff if command & output_port::NOT_RESET == 0 => return Some(Effect::Reset),
            _ => {}
        }
        None
    }

    /// A byte written to port 60h: an argument, or for the keyboard.
    pub fn write_data(&mut self, value: u8) -> Option<Effect> {
        self.command_last = false;
        match std::mem::take(&mut self.expecting) {
            command @ 0x60..=0x7f => self.ram[usize::from(command & 0x1f)] = value,
            0xd1 => {
                if value & output_port::NOT_RESET == 0 {
                    return Some(Effect::Reset);
                }
                return Some(self.set_a20(value & output_port::A20 != 0));
            }
            0xd2 => self.respond(value),
            0xd3 => self.respond_from(value, Source::Mouse),
            // Talking to a device switches it on.
            0xd4 => {
                self.ram[0] &= !command_byte::MOUSE_OFF;
                self.mouse.write(value);
            }
            _ => {
                self.ram[0] &= !command_byte::KEYBOARD_OFF;
                self.keyboard.write(value);
            }
        }
        None
    }

    fn command_byte(&self, bit: u8) -> bool {
        self.ram[0] & bit != 0
    }

    fn keyboard_byte(&mut self) -> Option<u8> {
        while !self.command_byte(command_byte::KEYBOARD_OFF) {
            let byte = self.keyboard.take()?;
            if !self.command_byte(command_byte::TRANSLATE) {
                self.translator = Translator::default();
                return Some(byte);
            }
            if let Some(translated) = self.translator.translate(byte) {
                return Some(translated);
            }
        }
        None
    }

    fn mouse_byte(&mut self) -> Option<u8> {
        if self.command_byte(command_byte::MOUSE_OFF) { None } else { self.mouse.take() }
    }

    fn output_port(&self) -> u8 {
        let full = match self.full {
            None => 0,
            Some(Source::Keyboard) => output_port::KEYBOARD_FULL,
            Some(Source::Mouse) => output_port::MOUSE_FULL,
        };
        let a20 = if self.a20 { output_port::A20 } else { 0 };
        output_port::LINES | output_port::NOT_RESET | a20 | full
    }

    fn set_a20(&mut self, on: bool) -> Effect {
        self.a20 = on;
        Effect::A20(on)
    }

    fn respond(&mut self, byte: u8) {
        self.respond_from(byte, Source::Keyboard);
    }

    /// Answers that nobody reads are lost when there are too many.
    fn respond_from(&mut self, byte: u8, source: Source) {
        if self.responses.len() < RESPONSES_LEN {
            self.responses.push_back((byte, source));
        }
    }
}
