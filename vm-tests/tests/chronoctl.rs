//! `chronoctl` in Debian's kernel: what it asks for reaches the outside, and what it prints is so.

use machine::{ControlRequest, Idle, Input, Machine, StopReason};
use vm_tests::debian::{Debian, MAX_INSNS};
use x86::{InsnCount, VirtualTime};

/// The recording that the host of this test does not make.
const REFUSED: &str = "refused.cvr";

/// What a run asked for and printed.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    requests: Vec<(VirtualTime, ControlRequest)>,
    console: String,
    digest: String,
}

/// Runs `guests/chronoctl.sh` to the power-off, as a host that records and stops when asked.
fn run(guest: &Debian) -> Run {
    let mut machine = guest.machine();
    let mut requests = Vec::new();
    let stop = loop {
        match machine.run(InsnCount(MAX_INSNS), Idle::Jump) {
            StopReason::Request => {
                for request in machine.take_requests() {
                    answer(&mut machine, &request);
                    // Each invocation looks for the device first.
                    if request != ControlRequest::Looked {
                        requests.push((machine.now(), request));
                    }
                }
            }
            stop => break stop,
        }
    };
    let console = String::from_utf8_lossy(&machine.take_output().serial).into_owned();
    assert_eq!(stop, StopReason::PowerOff, "{console}");
    Run { requests, console, digest: machine.digest().to_string() }
}

fn answer(machine: &mut Machine, request: &ControlRequest) {
    match request {
        ControlRequest::RecordStart(file) if file != REFUSED => machine.input(Input::Recording(true)),
        ControlRequest::RecordStop => machine.input(Input::Recording(false)),
        _ => {}
    }
}

fn guest() -> Debian {
    Debian::with_script(include_str!("../guests/chronoctl.sh"))
}

#[test]
fn every_command() {
    let run = run(&guest().vcpus(2));
    expect_requests(&run.requests);
    expect_position(&run);
    let lines = [
        "before: not recorded",
        "status 0: chronoctl record start refused.cvr",
        "refused: not recorded",
        "status 4: chronoctl wait-recording 1",
        "status 0: chronoctl record start x.cvr",
        "status 0: chronoctl wait-recording 1",
        "started: recorded",
        "status 0: chronoctl snapshot base",
        "status 0: chronoctl record stop",
        "stopped: not recorded",
        "waited: 0 recorded",
        "status 0: chronoctl --help",
        "status 2: chronoctl mark",
        "status 2: chronoctl mark ",
        "status 2: chronoctl reboot",
        "status 2: chronoctl record start a b",
        "status 5: sh -c chronoctl position > /dev/full",
        "status 3: su user -c chronoctl status",
        "chronoctl: the kernel refuses the I/O ports, which need root or CAP_SYS_RAWIO: Operation not permitted (os error 1)",
        "run.sh ended with status 0",
    ];
    let mut printed = run.console.lines();
    for line in lines {
        // In this order; what the kernel prints may come between.
        assert!(printed.any(|printed| printed.trim_end_matches('\r') == line), "no '{line}' in {}", run.console);
    }
}

fn expect_requests(requests: &[(VirtualTime, ControlRequest)]) {
    let requests: Vec<ControlRequest> = requests.iter().map(|(_, request)| request.clone()).collect();
    let (in_order, parallel) = requests.split_at(requests.len().saturating_sub(8));
    let expected = [
        ControlRequest::Mark("hello, größe".into()),
        ControlRequest::Mark("end".into()),
        ControlRequest::RecordStart(REFUSED.into()),
        ControlRequest::RecordStart("x.cvr".into()),
        ControlRequest::Snapshot("base".into()),
        ControlRequest::RecordStop,
        ControlRequest::RecordStart(String::new()),
    ];
    assert_eq!(in_order, expected);
    let text = |n: u32| format!("parallel {n}, and a text that is long enough for the others to come between");
    for request in (1..=8).map(|number| ControlRequest::Mark(text(number))) {
        assert!(parallel.contains(&request), "no {request:?} in {parallel:?}");
    }
}

/// The position printed between the first two marks lies between them.
fn expect_position(run: &Run) {
    let line = run.console.lines().find_map(|line| line.strip_prefix("position: ")).expect("the position is printed");
    let position_ns: u64 = line.trim().parse().expect("the position is a number");
    let marks = [run.requests[0].0.as_ns(), run.requests[1].0.as_ns()];
    assert!((marks[0]..=marks[1]).contains(&position_ns), "{position_ns} is not between the marks at {marks:?}");
}

#[test]
fn a_run_with_the_same_answers_ends_in_the_same_state() {
    let first = run(&guest());
    assert_eq!(run(&guest()), first);
}
