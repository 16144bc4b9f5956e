//! `cargo xtask demo`: Debian's unmodified kernel, booted twice, with the proof that both
//! runs went through the same states.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::guest::GuestFiles;
use crate::{Options, build, guest, process};

/// What the demo's options say.
#[derive(Debug)]
pub struct Config {
    cpus: String,
    cpu_model: String,
    shell: bool,
}

impl Config {
    /// Takes the demo's options out of the command line.
    ///
    /// # Errors
    /// If one lacks its value.
    pub fn take_from(options: &mut Options) -> Result<Config> {
        Ok(Config {
            cpus: options.number("--cpus", 1)?.to_string(),
            cpu_model: options.value("--cpu")?.unwrap_or_else(|| "x86-64-v2".into()),
            shell: options.flag("--shell"),
        })
    }
}

/// Runs the demo.
///
/// # Errors
/// If the guest does not power off, or the two runs differ in anything.
pub fn run(config: &Config) -> Result<()> {
    let files = guest::build(false)?;
    let program = build::chronovisor()?;
    if config.shell {
        return process::run(&mut boot(&program, &files, config, "console=ttyS0 chronovisor.shell"));
    }
    let mut proof = boot(&program, &files, config, "console=ttyS0 panic=-1");
    proof.args(["--clock", "virtual", "--no-reboot", "--digest"]);

    println!("Kernel: {}, unmodified. First run:\n", files.kernel_package.trim());
    let first = Run::watch(&mut proof, true)?;
    println!("\nFirst run:  {} ({:.1} s)", first.digest, first.seconds);
    println!("Second run: under way, compared with the first instead of shown ...");
    let second = Run::watch(&mut proof, false)?;
    println!("Second run: {} ({:.1} s)\n", second.digest, second.seconds);

    if first.digest != second.digest {
        bail!("the two runs ended in different states: this machine is not deterministic, which is a bug");
    }
    if first.console != second.console {
        bail!("the two runs ended in the same state but printed different consoles, which is a bug");
    }
    println!("Both runs ended after the same number of instructions, with the same digest of the whole");
    println!("machine (CPU, memory, devices, clock), having printed the same {} bytes.", first.console.len());
    Ok(())
}

fn boot(program: &Path, files: &GuestFiles, config: &Config, kernel_options: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg("--kernel").arg(&files.kernel).arg("--initrd").arg(&files.initrd);
    command.args(["--append", kernel_options, "--memory", "512M"]);
    command.args(["--cpus", &config.cpus, "--cpu", &config.cpu_model]);
    command
}

/// One run of the guest to its end.
struct Run {
    /// What the guest printed.
    console: Vec<u8>,
    /// The line `digest <hex> insns <n>`.
    digest: String,
    seconds: f64,
}

impl Run {
    /// Runs to the end; `show` passes the console on to the terminal as it comes.
    fn watch(command: &mut Command, show: bool) -> Result<Run> {
        let start = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting chronovisor")?;
        let mut console = Vec::new();
        let mut pipe = child.stdout.take().context("chronovisor has no standard output")?;
        let mut buffer = [0; 4096];
        loop {
            let len = pipe.read(&mut buffer).context("reading the guest's console")?;
            if len == 0 {
                break;
            }
            console.extend_from_slice(&buffer[..len]);
            if show {
                let mut terminal = std::io::stdout();
                terminal.write_all(&buffer[..len]).and_then(|()| terminal.flush()).context("showing the console")?;
            }
        }
        let status = child.wait().context("waiting for chronovisor")?;
        if !status.success() {
            bail!("the guest did not power off: chronovisor ended with {status} (`chronovisor run --help` lists them)");
        }
        let digest = split_off_digest(&mut console).context("chronovisor printed no digest line")?;
        Ok(Run { console, digest, seconds: start.elapsed().as_secs_f64() })
    }
}

/// Takes the closing line `digest <hex> insns <n>` off the console's end.
fn split_off_digest(console: &mut Vec<u8>) -> Option<String> {
    let end = console.trim_ascii_end().len();
    let start = console[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = String::from_utf8(console[start..end].to_vec()).ok()?;
    if !line.starts_with("digest ") {
        return None;
    }
    console.truncate(start);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_line_is_taken_off_the_console() {
        let mut console = b"reboot: Power down\r\ndigest 12ab insns 77\n".to_vec();
        assert_eq!(split_off_digest(&mut console).as_deref(), Some("digest 12ab insns 77"));
        assert_eq!(console, b"reboot: Power down\r\n");
        assert_eq!(split_off_digest(&mut console), None);
    }
}
