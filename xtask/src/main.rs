//! The chores of the project, each with what it installs: `cargo xtask demo|test|bench|guest|fuzz|ci-lints`.
//!
//! One file a chore. Whatever a chore needs from Debian it asks for through [`apt`], which
//! installs it as root and otherwise names the one line to run first.

mod apt;
mod bench;
mod build;
mod demo;
mod fuzz;
mod guest;
mod lints;
mod process;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
The chores of Chronovisor. Each installs what it needs (as root; otherwise it names the line to run first).

Usage: cargo xtask <CHORE> [OPTIONS]

  demo      boot Debian's unmodified kernel twice and show that both runs ended in the same state
              --cpus N        virtual CPUs, 1 to 8 (default 1)
              --cpu MODEL     x86-64-v2 (default) or x86-64-v3
              --shell         no proof: one interactive run that ends in a shell (Ctrl-A X quits)
  test      every test and lint; what CI calls
              --long          the long campaigns as well (hours)
  bench     measure, with QEMU in the same run; writes docs/benchmarks.md
            PART...         only these: boot, timeline, execution
              --runs N        runs of each (default 3)
              --full          5 runs of each, 10 minutes of idling, 100 seeks
              --quick         little work, once, to see that it works; writes no page
              --json          print JSON instead of tables
  guest     only fetch the kernel and build the initramfs; prints their paths
              --refresh       look for a newer kernel package
              --suite         build the initramfs of the benchmarks as well
  fuzz      look for inputs that break decoder, interpreter, translator, devices, boot loaders, saved state
            TARGET          only this one; `fuzz/README.md` lists them
            --time S        seconds for each (default 60)
  ci-lints  only the formatting and clippy checks of `test`

Exit status: 0 all went well, 1 something failed, 2 something must be installed or corrected first.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            let needs_user = error.is::<apt::NeedsRoot>() || error.is::<Usage>();
            ExitCode::from(if needs_user { 2 } else { 1 })
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((chore, options)) = args.split_first() else {
        print!("{HELP}");
        return Err(Usage("name a chore".into()).into());
    };
    let mut options = Options(options.to_vec());
    match chore.as_str() {
        "demo" => {
            let config = demo::Config::take_from(&mut options)?;
            options.finish()?;
            demo::run(&config)
        }
        "test" => {
            let long = options.flag("--long");
            options.finish()?;
            test::run_all(long)
        }
        "bench" => {
            let config = bench::Config::take_from(&mut options)?;
            options.finish()?;
            bench::run(&config)
        }
        "guest" => {
            let refresh = options.flag("--refresh");
            let with_suite = options.flag("--suite");
            options.finish()?;
            let files = guest::build(refresh)?;
            println!("{}\n{}", files.kernel.display(), files.initrd.display());
            if with_suite {
                println!("{}", guest::suite::build(&files)?.initrd.display());
            }
            Ok(())
        }
        "fuzz" => {
            let seconds = options.number("--time", 60)?;
            let target = options.word();
            options.finish()?;
            fuzz::run_all(target.as_deref(), seconds)
        }
        "ci-lints" => {
            options.finish()?;
            lints::run_all()
        }
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!(Usage(format!("there is no chore '{other}'; `cargo xtask help` lists them"))),
    }
}

/// A command line that asks for something that does not exist.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The options of a chore, taken out one by one.
struct Options(Vec<String>);

impl Options {
    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|arg| arg != name);
        self.0.len() != before
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|arg| arg == name) else {
            return Ok(None);
        };
        if at + 1 >= self.0.len() {
            bail!(Usage(format!("{name} needs a value")));
        }
        self.0.remove(at);
        Ok(Some(self.0.remove(at)))
    }

    fn number(&mut self, name: &str, default: u32) -> Result<u32> {
        match self.value(name)? {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => bail!(Usage(format!("{name} wants a number of 1 or more, not '{text}'"))),
            },
        }
    }

    /// The first word that is no option.
    fn word(&mut self) -> Option<String> {
        let at = self.0.iter().position(|arg| !arg.starts_with('-'))?;
        Some(self.0.remove(at))
    }

    fn finish(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(arg) => bail!(Usage(format!("'{arg}' is no option of this chore; see `cargo xtask help`"))),
        }
    }
}
