//! Two programs that do the same work, run in turns, so that a slow spell of the host meets both.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::timed::{self, Times};

/// One of the programs.
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    /// How it is started; started anew for each run.
    pub command: Command,
}

/// What a program's runs came to.
#[derive(Clone, Debug)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// The medians.
    pub median: Times,
    /// Every run, in order.
    pub runs: Vec<Times>,
}

/// Runs each contestant `rounds` times, in turns; `progress` hears of each run.
///
/// # Errors
/// If a run fails.
pub fn hold(
    contestants: &mut [Contestant],
    rounds: u32,
    marker: &str,
    mut progress: impl FnMut(&str, u32, Times),
) -> Result<Vec<Score>> {
    let mut runs: Vec<Vec<Times>> = vec![Vec::new(); contestants.len()];
    for round in 1..=rounds {
        for (contestant, runs) in contestants.iter_mut().zip(&mut runs) {
            let times = timed::run(&mut contestant.command, marker)?;
            progress(&contestant.name, round, times);
            runs.push(times);
        }
    }
    let score = |(contestant, runs): (&Contestant, Vec<Times>)| Score {
        name: contestant.name.clone(),
        median: Times {
            to_marker: median(runs.iter().map(|times| times.to_marker)),
            to_end: median(runs.iter().map(|times| times.to_end)),
        },
        runs,
    };
    Ok(contestants.iter().zip(runs).map(score).collect())
}

/// The middle value; of an even number the lower of the two in the middle. Zero of none.
fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        let of = |ms: &[u64]| median(ms.iter().map(|ms| Duration::from_millis(*ms))).as_millis();
        assert_eq!(of(&[900, 1, 5]), 5);
        assert_eq!(of(&[4, 2]), 2);
        assert_eq!(of(&[]), 0);
    }

    #[test]
    fn contestants_take_turns() {
        let echo = |name: &str| {
            let mut command = Command::new("echo");
            command.arg("up");
            Contestant { name: name.into(), command }
        };
        let mut order = Vec::new();
        let scores = hold(&mut [echo("a"), echo("b")], 2, "up", |name, round, _| order.push(format!("{name}{round}")));
        assert_eq!(order, ["a1", "b1", "a2", "b2"]);
        assert_eq!(scores.unwrap()[1].runs.len(), 2);
    }
}
