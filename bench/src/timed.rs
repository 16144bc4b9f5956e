//! Times one run of a program that boots a guest with its console on standard output.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long one run took, from the start of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Until the marker stood on the console.
    pub to_marker: Duration,
    /// Until the program ended.
    pub to_end: Duration,
}

/// Runs `command` to its end and notes when `marker` came out of it.
///
/// # Errors
/// If it cannot be started, ends with another status than 0, or never prints the marker; the error
/// holds the last it printed.
pub fn run(command: &mut Command, marker: &str) -> Result<Times> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let mut pipe = child.stdout.take().context("the program has no standard output")?;
    let mut console = Vec::new();
    let mut to_marker = None;
    let mut buffer = [0; 4096];
    loop {
        let len = pipe.read(&mut buffer).with_context(|| format!("reading the console of {name}"))?;
        if len == 0 {
            break;
        }
        // The marker may have come in two pieces.
        let seen = console.len().saturating_sub(marker.len());
        console.extend_from_slice(&buffer[..len]);
        if to_marker.is_none() && console[seen..].windows(marker.len()).any(|window| window == marker.as_bytes()) {
            to_marker = Some(start.elapsed());
        }
    }
    let status = child.wait().with_context(|| format!("waiting for {name}"))?;
    let to_end = start.elapsed();
    let tail = || String::from_utf8_lossy(&console[console.len().saturating_sub(500)..]).into_owned();
    if !status.success() {
        bail!("{name} ended with {status}; the end of its console:\n{}", tail());
    }
    match to_marker {
        Some(to_marker) => Ok(Times { to_marker, to_end }),
        None => bail!("{name} never printed '{marker}'; the end of its console:\n{}", tail()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_found_and_its_absence_reported() {
        let mut echo = Command::new("echo");
        let times = run(echo.arg("the guest is up"), "guest is").unwrap();
        assert!(times.to_marker <= times.to_end);
        let mut echo = Command::new("echo");
        assert!(run(echo.arg("nothing"), "guest is").unwrap_err().to_string().contains("nothing"));
        assert!(run(&mut Command::new("false"), "x").is_err());
    }
}
