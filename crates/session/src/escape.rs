//! The keys of the console: Ctrl-A and one more are for the session, all else is for the guest.

/// Ctrl-A, the first of two keys.
const ESCAPE: u8 = 0x01;

/// What Ctrl-A H prints.
pub const HELP: &str = "\r\n\
    Ctrl-A X       quit: the guest stops where it is\r\n\
    Ctrl-A P       press the power button: the guest shuts itself down if it listens\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n\
    Ctrl-A H       this help\r\n";

/// What the user asked of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop the machine where it is.
    Quit,
    /// Print [`HELP`].
    Help,
    /// Press the guest's power button.
    PowerButton,
}

/// What a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A byte for the guest.
    Guest(u8),
    /// Something for the session.
    Session(Command),
}

/// Tells the two kinds of keys apart; remembers a Ctrl-A that waits for its second key.
#[derive(Debug, Default)]
pub struct Escapes {
    after_escape: bool,
}

impl Escapes {
    /// Takes the next byte from the terminal. `None` while a second key is awaited, or when it means nothing.
    pub fn key(&mut self, byte: u8) -> Option<Key> {
        if !std::mem::take(&mut self.after_escape) {
            self.after_escape = byte == ESCAPE;
            return (byte != ESCAPE).then_some(Key::Guest(byte));
        }
        match byte {
            ESCAPE => Some(Key::Guest(ESCAPE)),
            b'x' | b'X' => Some(Key::Session(Command::Quit)),
            b'p' | b'P' => Some(Key::Session(Command::PowerButton)),
            b'h' | b'H' | b'?' => Some(Key::Session(Command::Help)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut escapes = Escapes::default();
        bytes.iter().filter_map(|byte| escapes.key(*byte)).collect()
    }

    #[test]
    fn ordinary_bytes_are_the_guests() {
        assert_eq!(keys(b"x\x03\xff"), [Key::Guest(b'x'), Key::Guest(3), Key::Guest(0xff)]);
    }

    #[test]
    fn the_second_key_chooses() {
        assert_eq!(keys(b"\x01x"), [Key::Session(Command::Quit)]);
        assert_eq!(keys(b"\x01\x01h"), [Key::Guest(1), Key::Guest(b'h')]);
        assert_eq!(keys(b"\x01ha"), [Key::Session(Command::Help), Key::Guest(b'a')]);
        assert_eq!(keys(b"\x01qa"), [Key::Guest(b'a')]);
        assert_eq!(keys(b"\x01P"), [Key::Session(Command::PowerButton)]);
    }
}
