//! Where the guest's output goes: the serial port to standard output, the debug console to standard error.

use std::io::{self, Write};

/// The host's side of the console.
#[derive(Debug, Default)]
pub struct Console {
    in_line: bool,
    raw: bool,
}

impl Console {
    /// Writes what the serial port sent, at once.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn serial(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.in_line = *last != b'\n';
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()?;
        }
        Ok(())
    }

    /// Writes what the debug console (port E9h) sent.
    ///
    /// # Errors
    /// If standard error cannot be written.
    pub fn debug(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(bytes)
    }

    /// Shows the user something of the session's own.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn notice(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// The terminal is in raw mode from now on, or not any more.
    pub fn set_raw(&mut self, raw: bool) {
        self.raw = raw;
    }

    /// Tells the user a sentence of the session's own on standard error.
    pub fn message(&mut self, text: &str) {
        let end = if self.raw { "\r\n" } else { "\n" };
        let start = if self.raw && self.in_line { end } else { "" };
        // Nobody is left to hear that standard error is gone.
        let _ = write!(io::stderr().lock(), "{start}chronovisor: {text}{end}");
    }

    /// Whether the last line of the serial port's output is not ended.
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }
}
