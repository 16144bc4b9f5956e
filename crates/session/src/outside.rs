//! The threads that wait for the outside: one for standard input, one for signals.
//!
//! They only fill the [`Mailbox`]; nothing here touches the machine.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::mailbox::Mailbox;
use crate::terminal;

/// Starts the thread that reads standard input until it ends.
///
/// # Errors
/// If the host gives no thread.
pub fn read_stdin(mailbox: Arc<Mailbox>) -> io::Result<()> {
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return mailbox.put_end(None),
                Ok(len) => mailbox.put_bytes(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return mailbox.put_end(Some(error)),
            }
        }
    })?;
    Ok(())
}

/// Starts the thread that turns SIGINT, SIGTERM and SIGHUP into a request to stop.
///
/// A second signal ends the process at once, for a host that has stuck the machine's thread
/// (a console that nobody reads).
///
/// # Errors
/// If the host gives no thread or no handler.
pub fn watch_signals(mailbox: Arc<Mailbox>, status_when_stuck: u8) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut pending = signals.forever();
        if let Some(signal) = pending.next() {
            mailbox.put_signal(signal);
        }
        if pending.next().is_some() {
            terminal::restore();
            std::process::exit(i32::from(status_when_stuck));
        }
    })?;
    Ok(())
}
