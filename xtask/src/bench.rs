//! `cargo xtask bench`: brings the programs and guests that are measured, and writes what was found to docs/benchmarks.md.

use std::fs;

use anyhow::{Context, Result, bail};
use bench::page::{self, Section};
use bench::vm::{self, Files};
use bench::{Bench, Effort};
use serde_json::{Value, json};

use crate::guest::GuestFiles;
use crate::process::{command, output, root};
use crate::{Options, Usage, apt, build, guest};

/// What can be asked for, in the order of the page.
const PARTS: [(&str, Measure); 3] =
    [("boot", bench::boot::measure), ("timeline", bench::timeline::measure), ("execution", bench::translator::measure)];

type Measure = fn(&Bench<'_>) -> Result<Section>;

/// What the options say.
pub struct Config {
    parts: Vec<(&'static str, Measure)>,
    effort: Effort,
    /// Whether the numbers may go to the page.
    quick: bool,
    json: bool,
}

impl Config {
    /// Takes the options out of the command line.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn take_from(options: &mut Options) -> Result<Config> {
        let (quick, full, json) = (options.flag("--quick"), options.flag("--full"), options.flag("--json"));
        let mut effort = match (quick, full) {
            (true, true) => bail!(Usage("--quick and --full exclude each other".into())),
            (true, false) => Effort::QUICK,
            (false, true) => Effort::FULL,
            (false, false) => Effort::NORMAL,
        };
        effort.runs = options.number("--runs", effort.runs)?;
        let mut parts = Vec::new();
        while let Some(word) = options.word() {
            let names = PARTS.map(|(name, _)| name).join(", ");
            let part = PARTS.iter().find(|(name, _)| *name == word);
            parts
                .push(*part.ok_or_else(|| Usage(format!("'{word}' is no part of the benchmarks; there are {names}")))?);
        }
        let parts = if parts.is_empty() { PARTS.to_vec() } else { parts };
        Ok(Config { parts, effort, quick, json })
    }
}

/// Measures and writes the page; each part's section as soon as it is there.
///
/// # Errors
/// If a run fails, or something must be installed first.
pub fn run(config: &Config) -> Result<()> {
    apt::install(&["qemu-system-x86"])?;
    vm::require_qemu()?;
    let guest = guest::build(false)?;
    let suite = guest::suite::build(&guest)?;
    let files = Files {
        chronovisor: build::chronovisor()?,
        seeks: build::seeks()?,
        kernel: guest.kernel.clone(),
        initrd: guest.initrd.clone(),
        suite_initrd: suite.initrd,
        suite: suite.directory,
        scratch: root().join("target/bench"),
    };
    let circumstances = circumstances(&guest, config)?;
    let bench = Bench { files, effort: config.effort, note: &|text| eprintln!("{text}") };
    let mut sections = Vec::new();
    for (_, measure) in &config.parts {
        let section = measure(&bench)?;
        let text = section.markdown(&circumstances);
        if !config.json {
            println!("{text}");
        }
        if !config.quick {
            write(section.title, &text)?;
        }
        sections.push(section.json());
    }
    if config.json {
        let facts: serde_json::Map<_, _> =
            circumstances.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        println!("{:#}", json!({ "circumstances": facts, "sections": sections }));
    }
    Ok(())
}

fn write(title: &str, section: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let old = if path.exists() {
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?
    } else {
        String::new()
    };
    fs::write(&path, page::replace(&old, title, section)).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("written to {}", path.display());
    Ok(())
}

fn circumstances(files: &GuestFiles, config: &Config) -> Result<Vec<(String, String)>> {
    let first_line = |program: &str, args: &[&str]| -> Result<String> {
        let text = output(&mut command(program, args))?;
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    };
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let processors = read("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned();
    let quick = if config.quick { " (quick: to see that it works, not for comparing)" } else { "" };
    let facts = [
        ("date", first_line("date", &["-u", "+%F"])?),
        ("host", format!("{}, {cores} cores, load {load} before", model.map_or("unknown processor", |(_, name)| name))),
        ("runs", format!("{} of each{quick}", config.effort.runs)),
        ("Chronovisor", first_line("git", &["describe", "--always", "--dirty"])?),
        ("compiler", first_line("rustc", &["--version"])?),
        ("QEMU", first_line("qemu-system-x86_64", &["--version"])?),
        ("guest kernel", files.kernel_package.trim().to_owned()),
    ];
    Ok(facts.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &str) -> Result<Config> {
        let mut options = Options(words.split_whitespace().map(str::to_owned).collect());
        let config = Config::take_from(&mut options)?;
        options.finish()?;
        Ok(config)
    }

    #[test]
    fn parts_and_effort_are_chosen() {
        let names = |config: &Config| config.parts.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let whole = config("").unwrap();
        assert_eq!(names(&whole), ["boot", "timeline", "execution"]);
        assert!(!whole.quick && !whole.json && whole.effort.qemu_replay);
        let some = config("timeline --quick --runs 2 boot --json").unwrap();
        assert_eq!((names(&some), some.effort.runs), (vec!["timeline", "boot"], 2));
        assert!(some.quick && some.json);
        assert!(config("--full").unwrap().effort.qemu_replay && !config("--quick").unwrap().effort.qemu_replay);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["--quick --full", "speed", "--runs 0", "--fast"] {
            assert!(config(wrong).is_err_and(|error| error.is::<Usage>()), "{wrong}");
        }
    }
}
