//! The command line: it parses and prints; what a run does is in the crate `session`.
//!
//! One file a subcommand, and one for the kinds of values that options take.

mod run;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A deterministic x86-64 PC: it boots an unmodified operating system, and the same start
/// always goes through the same states, instruction by instruction.
#[derive(Parser)]
#[command(name = "chronovisor", version, max_term_width = 100)]
#[command(after_help = "`chronovisor run --help` explains every option, the console's keys and the exit statuses.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
}

fn main() -> ExitCode {
    // A wrong command line ends here, with clap's message and exit status 2.
    match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
    }
}
