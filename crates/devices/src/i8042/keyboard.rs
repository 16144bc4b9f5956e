//! A PS/2 keyboard: its commands and its scan codes (IBM PS/2 hardware technical reference,
//! keyboards, "Commands from the system").

use std::collections::VecDeque;

use super::translate::Translator;

pub(super) const QUEUE_LEN: usize = 256;
pub(super) const REPLIES_LEN: usize = 16;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

/// The keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyboard {
    /// Answers to commands, which go before scan codes.
    pub replies: VecDeque<u8>,
    pub codes: VecDeque<u8>,
    /// The command whose argument comes next; 0 if none.
    pub expecting: u8,
    /// 1 or 2. Set 3 is refused, as by most keyboards.
    pub scan_set: u8,
    pub scanning: bool,
    pub last_sent: u8,
}

impl Default for Keyboard {
    fn default() -> Self {
        Keyboard {
            replies: VecDeque::new(),
            codes: VecDeque::new(),
            expecting: 0,
            scan_set: 2,
            scanning: true,
            last_sent: 0,
        }
    }
}

impl Keyboard {
    /// A byte from the system: a command or its argument.
    pub fn write(&mut self, byte: u8) {
        let command = std::mem::take(&mut self.expecting);
        // All arguments are below EDh; anything else there is a new command.
        if command != 0 && byte < 0xed {
            self.argument(command, byte);
        } else {
            self.command(byte);
        }
    }

    /// A key goes down or up, as bytes of scan code set 2. Returns whether they were taken: not
    /// while scanning is off, and not when they do not fit.
    pub fn key(&mut self, set_2: &[u8]) -> bool {
        if !self.scanning || self.codes.len() + set_2.len() > QUEUE_LEN {
            return false;
        }
        if self.scan_set == 1 {
            let mut translator = Translator::default();
            self.codes.extend(set_2.iter().filter_map(|&byte| translator.translate(byte)));
        } else {
            self.codes.extend(set_2);
        }
        true
    }

    /// The next byte for the controller.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.codes.pop_front())?;
        self.last_sent = byte;
        Some(byte)
    }

    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= REPLIES_LEN {
            self.replies.extend(bytes);
        }
    }

    fn set_defaults(&mut self) {
        self.codes.clear();
        self.scan_set = 2;
        self.scanning = true;
    }

    fn command(&mut self, command: u8) {
        match command {
            0xed | 0xf0 | 0xf3 => {
                self.expecting = command;
                self.reply(&[ACK]);
            }
            0xee => self.reply(&[0xee]),
            0xf2 => self.reply(&[ACK, 0xab, 0x83]),
            0xf4 => {
                self.codes.clear();
                self.scanning = true;
                self.reply(&[ACK]);
            }
            0xf5 => {
                self.set_defaults();
                self.scanning = false;
                self.reply(&[ACK]);
            }
            0xf6 => {
                self.set_defaults();
                self.reply(&[ACK]);
            }
            // What keys do in set 3, which is not offered: taken note of, as real keyboards do.
            0xf7..=0xfa => self.reply(&[ACK]),
            0xfe => self.reply(&[self.last_sent]),
            0xff => {
                self.replies.clear();
                self.set_defaults();
                self.reply(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    fn argument(&mut self, command: u8, argument: u8) {
        match (command, argument) {
            (0xf0, 0) => self.reply(&[ACK, self.scan_set]),
            (0xf0, 1 | 2) => {
                self.scan_set = argument;
                self.codes.clear();
                self.reply(&[ACK]);
            }
            (0xf0, _) => self.reply(&[RESEND]),
            // Lamps and repeat rate: nothing here has either; repeats come from outside.
            _ => self.reply(&[ACK]),
        }
    }
}
