//! The terminal in raw mode, and back again however this process ends.
//!
//! The mode found at the start is kept in one place for the whole process, because a panic
//! hook and a signal thread must be able to put it back as well as the guard.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

static FOUND_MODE: Mutex<Option<Termios>> = Mutex::new(None);

/// Keeps standard input in raw mode while it lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts standard input, which must be a terminal, into raw mode.
    ///
    /// # Errors
    /// What the terminal said.
    pub fn enter() -> io::Result<RawMode> {
        let found = tcgetattr(stdio::stdin())?;
        let mut raw = found.clone();
        raw.make_raw();
        *FOUND_MODE.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        restore_on_panic();
        let guard = RawMode(());
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    isatty(stdio::stdin())
}

/// Puts the terminal back into the mode it was found in. Does nothing the second time.
pub fn restore() {
    let found = FOUND_MODE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mode) = found {
        // A terminal that has gone away needs no mode, and there is nobody left to tell.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &mode);
    }
}

/// Makes a panic's message readable: the mode is put back before it is printed.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            print(panic);
        }));
    });
}
