//! Where the guest's output goes: the serial port to standard output, the debug console to standard error.

use std::io::{self, Write};

/// The host's side of the console.
#[derive(Debug, Default)]
pub struct Console {
    in_line: bool,
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

    /// Whether the last line of the serial port's output is not ended.
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }
}
