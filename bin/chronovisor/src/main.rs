//! The command line: it parses and prints; what a run does is in the crate `session`.
//!
//! One file a subcommand, and one for the kinds of values that options take.

mod ctl;
mod events;
mod failure;
mod info;
mod options;
mod pack;
mod progress;
mod replay;
mod run;
mod tree;
mod values;
mod verify;

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
    Run(Box<run::Arguments>),
    Replay(Box<replay::Arguments>),
    Verify(verify::Arguments),
    Info(info::Arguments),
    Events(events::Arguments),
    Ctl(ctl::Arguments),
    Pack(pack::Arguments),
    Tree(tree::Arguments),
}

fn main() -> ExitCode {
    // A wrong command line ends here, with clap's message and exit status 2.
    match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Replay(arguments) => replay::main(&arguments),
        Command::Verify(arguments) => verify::main(&arguments),
        Command::Info(arguments) => info::main(&arguments),
        Command::Events(arguments) => events::main(&arguments),
        Command::Ctl(arguments) => ctl::main(&arguments),
        Command::Pack(arguments) => pack::main(&arguments),
        Command::Tree(arguments) => tree::main(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn readme_explains_every_option_and_exit_status() {
        let readme = std::fs::read_to_string("../../README.md").expect("README.md can be read");
        let command = Arguments::command();
        let run = command.find_subcommand("run").expect("there is a subcommand run");
        for option in run.get_arguments().filter_map(|argument| argument.get_long()).filter(|name| *name != "help") {
            assert!(readme.contains(&format!("| `--{option}")), "README.md has no line for --{option}");
        }
        for status in [0, 2, 4, 6, 8, 10, 12, 14] {
            assert!(readme.contains(&format!("\n| {status} |")), "README.md has no line for exit status {status}");
        }
    }
}
