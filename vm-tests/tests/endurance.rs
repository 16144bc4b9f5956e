//! A day of a guest's time, recorded, without growth: the process's memory and the recording stay what they were.
//!
//! The clock is virtual and idle time is skipped, so a guest that sleeps spends an hour within a second.

mod recording_support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use recording_support::{ended, json, scratch};
use vm_tests::debian::{Debian, kernel_file};
use vm_tests::{Program, Running, program};

/// What the process may take beside its guest's RAM, in KiB: see the floor in `docs/benchmarks.md`.
const MOST_ANON_KIB: u64 = 128 << 10;
/// By how much the second half of a run may take more than the first.
const SLACK_KIB: u64 = 8 << 10;
/// Bytes that checkpoints may have; a file that is thinned out is a while twice as large.
const BUDGET_MIB: u64 = 32;

/// What was seen when the guest said that so much of its time had passed.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Memory of the process that belongs to no file, in KiB. RAM does: to a memory file.
    anon_kib: u64,
    recording_bytes: u64,
}

/// Sleeps and says so, `ticks` times.
fn idle(ticks: u32, seconds: u32) -> String {
    format!("i=0; while [ $i -lt {ticks} ]; do sleep {seconds}; i=$((i + 1)); echo tick $i; done")
}

/// The same, and each time some processes that compute, and write and remove files.
fn busy(ticks: u32, seconds: u32) -> String {
    format!(
        "mkdir -p /tmp/work; i=0
        while [ $i -lt {ticks} ]; do
            sleep {seconds}
            seq 1 2000 | sort -r > /tmp/work/$i
            for job in 1 2 3; do (md5sum /tmp/work/* > /tmp/sums.$job) & done; wait
            dd if=/dev/urandom of=/tmp/noise bs=64k count=4 2>/dev/null
            gzip < /tmp/noise > /tmp/noise.gz
            [ $i -lt 20 ] || rm /tmp/work/$((i - 20))
            i=$((i + 1)); echo tick $i
        done"
    )
}

/// Runs a script that says `ticks` times that time has passed, recorded, and looks at the process each time.
fn watch(script: &str, ticks: usize) -> Vec<Sample> {
    let (initrd, file) = (scratch("initrd"), scratch("day.cvr"));
    fs::write(&initrd, Debian::with_script(script).initrd()).expect("the scratch directory can be written");
    let kernel = kernel_file();
    let mut command = Command::new(program());
    command.args(["run", "--memory", "128M", "--no-reboot", "--append", "console=ttyS0 panic=-1 quiet"]);
    command.arg("--kernel").arg(kernel).args(["--initrd", &initrd, "--record", &file]);
    command.arg(format!("--record-budget={BUDGET_MIB}M"));
    let mut child = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut samples = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("the console is text");
        if line.starts_with("tick ") {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
            samples.extend(anon_kib(&status).map(|anon_kib| {
                let recording_bytes = fs::metadata(&file).expect("it is recorded").len();
                Sample { anon_kib, recording_bytes }
            }));
        }
    }
    assert!(child.wait().expect("it was started").success(), "the guest powered off");
    // At the last tick the process may have ended.
    assert!((ticks - 1..=ticks).contains(&samples.len()), "{} of {ticks} ticks", samples.len());
    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    println!("{} of virtual time, {} instructions", info["end"]["virtual_ns"], info["end"]["insns"]);
    ended(&[&initrd, &file]);
    samples
}

/// `None` if the process has ended.
fn anon_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse().expect("a number"))
}

/// Nothing grows: the second half takes what the first did.
fn hold(name: &str, samples: &[Sample]) {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |half: &[Sample]| half.iter().map(|sample| sample.anon_kib).max().expect("some ticks");
    let (first_kib, second_kib) = (most(first), most(second));
    let file_bytes = samples.iter().map(|sample| sample.recording_bytes).max().expect("some ticks");
    println!(
        "{name}: at most {first_kib} KiB in the first half, {second_kib} in the second, {file_bytes} bytes of recording"
    );
    assert!(first_kib.max(second_kib) <= MOST_ANON_KIB, "{name}: {first_kib} and {second_kib} KiB");
    assert!(second_kib <= first_kib + SLACK_KIB, "{name}: {first_kib} KiB, then {second_kib} KiB");
    assert!(file_bytes <= (3 * BUDGET_MIB) << 20, "{name}: {file_bytes} bytes of recording");
}

#[test]
fn an_hour_of_idling_and_some_minutes_of_work() {
    hold("idle", &watch(&idle(12, 300), 12));
    hold("busy", &watch(&busy(8, 60), 8));
}

#[test]
#[ignore = "long: a day of the guest's time"]
fn a_day_of_idling() {
    hold("idle", &watch(&idle(144, 600), 144));
}

#[test]
#[ignore = "long: a day of the guest's time"]
fn a_day_of_work_now_and_then() {
    hold("busy", &watch(&busy(720, 120), 720));
}
