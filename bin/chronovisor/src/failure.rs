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
            let _ = writeln!(std::io::stderr(), "chronovisor: {}", sentence(&failure.error));
            ExitCode::from(failure.status)
        }
    }
}

/// The error with its causes; many say their cause themselves, and none is said twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |mut said, cause| {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
        said
    })
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

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("the disk is full");
        let own =
            anyhow::Error::new(cause).context("cannot write the file: the disk is full").context("packing failed");
        assert_eq!(sentence(&own), "packing failed: cannot write the file: the disk is full");
    }
}
