//! `chronovisor replay`: runs a recording again, and goes live from it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use session::{ClockMode, ReplayConfig, ReplayReport, Replayed, Speed};
use timeline::PositionSpec;

use crate::failure::{self, Failure};
use crate::options::{self, Clock, LiveOptions};
use crate::progress;

const AFTER_HELP: &str = "\
Positions: an instruction number (123456), a time (12.5s, 300ms), a percentage (42%), start, end or the
name of a mark, and after it an offset if you like (login+2s, end-1000i).

Standard output has what the guest sent to its serial port, byte by byte as in the recorded run.
--digest adds the last line \"digest <hex> insns <n>\"; --json makes the last line of standard
error one JSON object: replayed, status, insns, virtual_ns, digest, host_seconds, live.

Exit status:
  0    the replay ended as the recorded run did, or came to --to
  1    the replay went another way than the recording: `chronovisor verify` finds where
  2    the recording, a position or an option cannot be used
  4    the host failed
  10   stopped by the user
With --go-live: the statuses of `chronovisor run`.

Examples:
  chronovisor replay boot.cvr
  chronovisor replay boot.cvr --to login+2s --digest
  chronovisor replay boot.cvr --from 50% --go-live --record branch.cvr
  chronovisor replay vm:boot --to 12.5s --go-live --record other      (a child of boot in the tree vm)";

/// Run a recording again, exactly as it ran
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree
    file: PathBuf,

    /// Begin at this position instead of the start
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    from: Option<PositionSpec>,

    /// Stop at this position instead of the end
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    to: Option<PositionSpec>,

    /// How fast: max, real (the pace of the guest's time) or a multiple of it, such as 10x
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = speed)]
    speed: Speed,

    /// At the end print "digest <hex> insns <n>"
    #[arg(long)]
    digest: bool,

    /// At the end print one JSON object to standard error instead of a sentence
    #[arg(long)]
    json: bool,

    /// There (or at --from, if there is no --to), take the machine over: the terminal is its console, and it
    /// takes new inputs
    #[arg(long)]
    go_live: bool,

    /// Options of the machine once it is live
    #[command(flatten)]
    live: LiveOptions,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text {
        "max" => Ok(Speed::Max),
        "real" => Ok(Speed::Times(1.0)),
        _ => {
            let times: Option<f64> = text.strip_suffix('x').and_then(|number| number.parse().ok());
            let times = times.filter(|times| times.is_finite() && *times > 0.0);
            times.map(Speed::Times).ok_or_else(|| "a speed is max, real, or a multiple such as 0.5x or 10x".into())
        }
    }
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(replay(arguments))
}

fn replay(arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { live, .. } = arguments;
    let for_live = live.record.is_some()
        || live.control.is_some()
        || live.guest_files.is_some()
        || live.clock.is_some()
        || live.tree.is_some();
    if !arguments.go_live && (for_live || live.max_insns.is_some() || live.no_reboot) {
        return Err(Failure::bad_request(anyhow::anyhow!(
            "a replay takes no inputs and cannot be changed: --record, --tree, --control, --guest-files, --clock, \
             --max-insns and --no-reboot belong to --go-live"
        )));
    }
    let clock = match live.clock {
        Some(clock) => Some(clock.into()),
        None if session::stdin_is_terminal() => Some(ClockMode::from(Clock::Real)),
        None => None,
    };
    let options = live.options(ClockMode::Virtual, arguments.digest || arguments.json);
    let config = ReplayConfig {
        path: arguments.file.clone(),
        from: arguments.from.clone(),
        to: arguments.to.clone(),
        speed: arguments.speed,
        engine: live.engine.map(Into::into),
        digest: arguments.digest || arguments.json,
        live: arguments.go_live.then_some((options, clock)),
    };
    let bar = progress::bar_beside_output(0, "instructions");
    let report = session::replay(config, &mut |here, from, to| {
        bar.set_length(to.saturating_sub(from));
        bar.set_position(here.saturating_sub(from));
    });
    bar.finish_and_clear();
    let report = report?;
    print_report(&report, arguments).map_err(Failure::host)?;
    Ok(status(&report))
}

fn status(report: &ReplayReport) -> u8 {
    match (&report.live, &report.replayed) {
        (Some(live), _) => live.ending.status(),
        (None, Replayed::Matched | Replayed::CutShort | Replayed::Reached) => 0,
        (None, Replayed::Different) => session::STATUS_DIFFERENT,
        (None, Replayed::Stopped) => session::Ending::Quit.status(),
    }
}

fn print_report(report: &ReplayReport, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(live) = &report.live {
        if !arguments.json {
            return options::print_report(live, arguments.digest, false);
        }
        if let (true, Some(digest)) = (arguments.digest, &live.digest) {
            options::print_digest(digest, live.insns, live.console_in_line)?;
        }
    } else if let (true, Some(digest)) = (arguments.digest, &report.digest) {
        options::print_digest(digest, report.insns, report.console_in_line)?;
    }
    let summary = if arguments.json { json(report).to_string() } else { sentence(report) };
    writeln!(std::io::stderr(), "{summary}").context("the report cannot be written to standard error")
}

fn name(replayed: &Replayed) -> &'static str {
    match replayed {
        Replayed::Matched => "matched",
        Replayed::Different => "different",
        Replayed::CutShort => "cut-short",
        Replayed::Reached => "reached",
        Replayed::Stopped => "stopped",
    }
}

fn json(report: &ReplayReport) -> Value {
    json!({
        "replayed": name(&report.replayed),
        "status": status(report),
        "insns": report.insns,
        "virtual_ns": report.virtual_ns,
        "digest": report.digest,
        "host_seconds": report.host_time.as_secs_f64(),
        "live": report.live.as_ref().map(options::report_json),
    })
}

fn sentence(report: &ReplayReport) -> String {
    let what = match report.replayed {
        Replayed::Matched => "the replay matched: it ended in the recorded state",
        Replayed::Different => {
            "the replay ended in another state than the recorded run; `chronovisor verify` finds where it began"
        }
        Replayed::CutShort => {
            "the replay came to the last that was written of this recording, which was cut short: there is no digest to compare with"
        }
        Replayed::Reached => "the replay is where it should stop",
        Replayed::Stopped => "the replay was stopped by the user",
    };
    let seconds = report.virtual_ns as f64 / 1e9;
    let host = report.host_time.as_secs_f64();
    format!(
        "chronovisor: {what}, at instruction {}, {seconds:.3} s of its time, after {host:.3} s of the host's",
        report.insns
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!(speed("max"), Ok(Speed::Max));
        assert_eq!(speed("real"), Ok(Speed::Times(1.0)));
        assert_eq!(speed("2.5x"), Ok(Speed::Times(2.5)));
        for wrong in ["", "fast", "x", "0x", "-1x", "NaNx", "infx", "3"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}
