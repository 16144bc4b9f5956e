//! The table of a contest, as a page of Markdown.

use std::fmt::Write;

use crate::contest::Score;
use crate::timed::Times;

/// What must stand beside a figure for it to mean anything.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The day, as 2024-02-29.
    pub date: String,
    /// The host: processor, cores.
    pub host: String,
    /// Versions of everything that takes part, by name.
    pub versions: Vec<(String, String)>,
    /// The command lines, by contestant.
    pub commands: Vec<(String, String)>,
}

/// Writes the page. The last score is what the others are compared with.
pub fn write(scores: &[Score], circumstances: &Circumstances) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`; run it again beside your own change, since only ratios taken in one\n\
         run on one host mean anything. The programs take turns, and the middle run counts.\n\n\
         ## Boot\n\n\
         Debian's unmodified kernel and a busybox initramfs, one vCPU, 512 MB: from starting the program to\n\
         the line that the guest's init prints, and to the program's end after the guest has powered off.\n\n",
    );
    page.push_str(&table(scores));
    page.push_str("\n## Circumstances\n\n");
    let mut fact = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "- {name}: {value}");
    };
    fact("date", &circumstances.date);
    fact("host", &circumstances.host);
    circumstances.versions.iter().for_each(|(name, version)| fact(name, version));
    for (name, command) in &circumstances.commands {
        let _ = write!(page, "\n{name}:\n\n    {command}\n");
    }
    page
}

/// The table alone.
pub fn table(scores: &[Score]) -> String {
    let mut table = String::from("| machine | to init (s) | to power-off (s) | runs (s) | times the reference |\n");
    table.push_str("|---|---|---|---|---|\n");
    let reference = scores.last().map(|score| score.median);
    for score in scores {
        let Times { to_marker, to_end } = score.median;
        let runs: Vec<String> = score.runs.iter().map(|run| format!("{:.2}", run.to_end.as_secs_f64())).collect();
        let ratio = reference.map_or(f64::NAN, |r| to_marker.as_secs_f64() / r.to_marker.as_secs_f64());
        let _ = writeln!(
            table,
            "| {} | {:.2} | {:.2} | {} | {ratio:.2} |",
            score.name,
            to_marker.as_secs_f64(),
            to_end.as_secs_f64(),
            runs.join(", "),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_ratio_is_to_the_last_line() {
        let score = |name: &str, seconds| {
            let times = Times { to_marker: Duration::from_secs(seconds), to_end: Duration::from_secs(seconds + 1) };
            Score { name: name.into(), median: times, runs: vec![times] }
        };
        let table = table(&[score("ours", 6), score("theirs", 3)]);
        assert!(table.contains("| ours | 6.00 | 7.00 | 7.00 | 2.00 |"), "{table}");
        assert!(table.contains("| theirs | 3.00 | 4.00 | 4.00 | 1.00 |"), "{table}");
    }
}
