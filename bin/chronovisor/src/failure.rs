//! An error and the exit status that goes with it.

use std::io::Write;
use std::process::ExitCode;

use session::SessionError;

/// Why a command failed.
pub struct Failure {
    /// What to tell.
    pub error: anyhow::Error,
    /// The exit status.
    pub status: u8,
}

impl Failure {
    /// What was asked for cannot be done.
    pub fn bad_request(error: impl Into<anyhow::Error>) -> Self {
        Failure { error: error.into(), status: session::STATUS_BAD_REQUEST }
    }

    /// The host refused.
    pub fn host(error: impl Into<anyhow::Error>) -> Self {
        Failure { error: error.into(), status: session::STATUS_HOST_FAILURE }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let status = error.status();
        Failure { error: error.into(), status }
    }
}

/// The process's status; an error is printed.
pub fn exit(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // Where standard error is gone, too, the exit status still says what happened.
            let _ = writeln!(std::io::stderr(), "chronovisor: {:#}", failure.error);
            ExitCode::from(failure.status)
        }
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    match written {
        // Whoever reads only the beginning closes the pipe.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written
            .map_err(|error| Failure::host(anyhow::Error::new(error).context("standard output cannot be written"))),
    }
}
