//! `chronoctl`: software in the guest starts and stops recording, sets marks, takes snapshots and
//! asks where it is.
//!
//! [`cli`] says what an invocation asks for, [`control`] says it to the device over the ports that
//! [`io_ports`] opens, in its [`turn`].

mod cli;
mod control;
mod io_ports;
mod protocol;
mod turn;

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use cli::Command;
use control::Control;
use io_ports::IoPorts;

/// How an invocation can fail; [`cli::HELP`] lists the exit statuses.
#[derive(Debug)]
enum Failure {
    NotChronovisor,
    Usage(String),
    NoPermission(std::io::Error),
    NotRecorded,
    Lock(std::io::Error),
    Output(std::io::Error),
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Failure::NotChronovisor => 1,
            Failure::Usage(_) => 2,
            Failure::NoPermission(_) => 3,
            Failure::NotRecorded => 4,
            Failure::Lock(_) | Failure::Output(_) => 5,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Failure::NotChronovisor => "this machine is not Chronovisor, or an old one: no control device".into(),
            Failure::Usage(what) => format!("{what}; `chronoctl --help` lists the commands"),
            Failure::NoPermission(error) => {
                format!("the kernel refuses the I/O ports, which need root or CAP_SYS_RAWIO: {error}")
            }
            Failure::NotRecorded => "the time is over, and nothing records".into(),
            Failure::Lock(error) => format!("waiting for other invocations: {error}"),
            Failure::Output(error) => format!("writing the output: {error}"),
        }
    }
}

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)).map_err(Failure::Usage).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("chronoctl: {}", failure.sentence());
            ExitCode::from(failure.status())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => print(cli::HELP),
        Command::Version => print(concat!("chronoctl ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Request(code, text) => {
            let mut device = device()?;
            turn::alone(|| device.request(code, &text)).map_err(Failure::Lock)
        }
        Command::Status => print(if device()?.recording() { "recorded\n" } else { "not recorded\n" }),
        Command::Position => {
            let mut device = device()?;
            let position_ns = turn::alone(|| device.position_ns()).map_err(Failure::Lock)?;
            print(&format!("{position_ns}\n"))
        }
        Command::WaitRecording(seconds) => wait_recording(seconds),
    }
}

fn device() -> Result<Control<IoPorts>, Failure> {
    let ports = IoPorts::open().map_err(Failure::NoPermission)?;
    Control::find(ports).ok_or(Failure::NotChronovisor)
}

fn wait_recording(seconds: Option<u32>) -> Result<(), Failure> {
    const PAUSES_A_SECOND: u64 = 20;
    let pauses = seconds.map(|seconds| u64::from(seconds) * PAUSES_A_SECOND);
    let pause = || thread::sleep(Duration::from_secs(1) / PAUSES_A_SECOND as u32);
    if device()?.wait_recording(pauses, pause) { Ok(()) } else { Err(Failure::NotRecorded) }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)
}
