//! What was measured, beside what is asked for and what the peer does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Span;
use crate::stats::percentile;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Times as much as something else.
    Times,
    /// Hundredths of something else.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes in each second of the guest's time.
    BytesPerSecond,
    /// Bytes in each minute of the guest's time.
    BytesPerMinute,
}

impl Unit {
    /// As tables say it, behind a number.
    fn sign(self) -> &'static str {
        match self {
            Unit::Seconds => " s",
            Unit::Milliseconds => " ms",
            Unit::Times => "×",
            Unit::Percent => " %",
            Unit::Bytes => " B",
            Unit::BytesPerSecond => " B/s",
            Unit::BytesPerMinute => " B/min",
        }
    }

    /// As programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Times => "times",
            Unit::Percent => "percent",
            _ => self.sign().trim_start(),
        }
    }

    /// A number with its unit, to about three digits.
    pub fn show(self, value: f64) -> String {
        let is_bytes = matches!(self, Unit::Bytes | Unit::BytesPerSecond | Unit::BytesPerMinute);
        let (value, prefix) = match value {
            value if is_bytes && value >= 1e6 => (value / 1e6, "M"),
            value if is_bytes && value >= 1e4 => (value / 1e3, "k"),
            value => (value, ""),
        };
        let digits = match value.abs() {
            _ if is_bytes && prefix.is_empty() => 0,
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 0.1 => 2,
            size if size > 0.0 => (1.0 - size.log10().floor()).min(9.0) as usize,
            _ => 0,
        };
        let sign = self.sign();
        match prefix {
            "" => format!("{value:.digits$}{sign}"),
            _ => format!("{value:.digits$} {prefix}{}", sign.trim_start()),
        }
    }
}

/// What is asked of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

impl Floor {
    fn holds(self, value: f64) -> bool {
        match self {
            Floor::AtMost(limit) => value <= limit,
            Floor::AtLeast(limit) => value >= limit,
        }
    }
}

/// One side's number.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Measured: by the host's clock where it is a time, and the same by CPU time if that was measured, too.
    Is {
        /// By the host's clock.
        value: f64,
        /// By CPU time.
        cpu: Option<f64>,
    },
    /// Not measured, and why.
    NotRun(&'static str),
    /// There is no such thing.
    None,
}

impl Reading {
    /// A number that is no time.
    pub fn of(value: f64) -> Reading {
        Reading::Is { value, cpu: None }
    }

    /// The medians of the runs, in seconds.
    pub fn seconds(runs: &[Span]) -> Reading {
        Reading::percentile(runs, 50.0)
    }

    /// The time that so many percent of the runs do not exceed, in seconds, clock by clock.
    pub fn percentile(runs: &[Span], percent: f64) -> Reading {
        let of = |pick: fn(&Span) -> Duration| percentile(runs.iter().map(|run| pick(run).as_secs_f64()), percent);
        Reading::Is { value: of(|run| run.wall), cpu: Some(of(|run| run.cpu)) }
    }

    /// The same in a unit of which `factor` make one of this.
    #[must_use]
    pub fn times(&self, factor: f64) -> Reading {
        match self {
            Reading::Is { value, cpu } => Reading::Is { value: value * factor, cpu: cpu.map(|cpu| cpu * factor) },
            other => other.clone(),
        }
    }

    /// How many times the `other` this is, by each clock.
    #[must_use]
    pub fn over(&self, other: &Reading) -> Reading {
        match (self, other) {
            (Reading::Is { value, cpu }, Reading::Is { value: other, cpu: other_cpu }) => {
                let cpu = cpu.zip(*other_cpu).filter(|(_, other)| *other > 0.0).map(|(cpu, other)| cpu / other);
                Reading::Is { value: value / other, cpu }
            }
            (Reading::NotRun(why), _) | (_, Reading::NotRun(why)) => Reading::NotRun(why),
            _ => Reading::None,
        }
    }

    /// By the host's clock.
    pub fn value(&self) -> Option<f64> {
        match self {
            Reading::Is { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// As a cell of a table.
    pub fn show(&self, unit: Unit) -> String {
        match self {
            Reading::Is { value, cpu: Some(cpu) } => format!("{} (CPU {})", unit.show(*value), unit.show(*cpu)),
            Reading::Is { value, cpu: None } => unit.show(*value),
            Reading::NotRun(why) => format!("not run: {why}"),
            Reading::None => "–".into(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        match self {
            Reading::Is { value, cpu } => json!({ "value": value, "cpu": cpu }),
            Reading::NotRun(why) => json!({ "not_run": why }),
            Reading::None => Value::Null,
        }
    }
}

/// One line of a table of figures.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What the numbers count.
    pub unit: Unit,
    /// What is asked for.
    pub floor: Option<Floor>,
    /// Chronovisor's number.
    pub ours: Reading,
    /// QEMU's.
    pub peer: Reading,
    /// How it was measured, with what is behind the number.
    pub how: String,
}

impl Figure {
    /// With nothing beside it.
    pub fn new(what: impl Into<String>, unit: Unit, ours: Reading) -> Figure {
        Figure { what: what.into(), unit, floor: None, ours, peer: Reading::None, how: String::new() }
    }

    /// With what is asked for.
    #[must_use]
    pub fn floor(self, floor: Floor) -> Figure {
        Figure { floor: Some(floor), ..self }
    }

    /// With QEMU's number.
    #[must_use]
    pub fn peer(self, peer: Reading) -> Figure {
        Figure { peer, ..self }
    }

    /// With how it was measured.
    #[must_use]
    pub fn how(self, how: impl Into<String>) -> Figure {
        Figure { how: how.into(), ..self }
    }

    /// The heads of its columns.
    pub const COLUMNS: [&str; 6] = ["what", "floor", "Chronovisor", "QEMU", "Chronovisor / QEMU", "how"];

    /// Its cells.
    pub fn cells(&self) -> [String; 6] {
        let floor = match self.floor {
            Some(Floor::AtMost(limit)) => format!("≤ {}", self.unit.show(limit)),
            Some(Floor::AtLeast(limit)) => format!("≥ {}", self.unit.show(limit)),
            None => "–".into(),
        };
        let verdict = match (self.floor, self.ours.value()) {
            (Some(floor), Some(value)) if floor.holds(value) => " ✓",
            (Some(_), Some(_)) => " ✗",
            _ => "",
        };
        let ratio = self.ours.over(&self.peer);
        let ratio = ratio.value().map_or("–".into(), |_| ratio.show(Unit::Times));
        let ours = self.ours.show(self.unit) + verdict;
        [self.what.clone(), floor, ours, self.peer.show(self.unit), ratio, self.how.clone()]
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let (floor, holds) = match (self.floor, self.ours.value()) {
            (Some(floor), value) => {
                let (Floor::AtMost(limit) | Floor::AtLeast(limit)) = floor;
                let kind = if matches!(floor, Floor::AtMost(_)) { "at_most" } else { "at_least" };
                (json!({ kind: limit }), value.map(|value| floor.holds(value)))
            }
            (None, _) => (Value::Null, None),
        };
        json!({
            "what": self.what,
            "unit": self.unit.name(),
            "floor": floor,
            "holds": holds,
            "chronovisor": self.ours.json(),
            "qemu": self.peer.json(),
            "how": self.how,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: f64, cpu: f64) -> Reading {
        Reading::Is { value, cpu: Some(cpu) }
    }

    #[test]
    fn numbers_are_shown_to_three_digits_or_so() {
        assert_eq!(Unit::Seconds.show(6.5612), "6.56 s");
        assert_eq!(Unit::Times.show(0.0321), "0.032×");
        assert_eq!(Unit::Times.show(0.000_051_2), "0.000051×");
        assert_eq!(Unit::Seconds.show(0.0), "0 s");
        assert_eq!(Unit::Percent.show(12.34), "12.3 %");
        assert_eq!(Unit::Bytes.show(3755.0), "3755 B");
        assert_eq!(Unit::Bytes.show(73_361_322.0), "73.4 MB");
        assert_eq!(Unit::BytesPerSecond.show(65_536.0), "65.5 kB/s");
    }

    #[test]
    fn medians_are_taken_clock_by_clock() {
        let span = |wall, cpu| Span { wall: Duration::from_secs(wall), cpu: Duration::from_secs(cpu) };
        assert_eq!(Reading::seconds(&[span(9, 2), span(3, 1), span(4, 7)]), is(4.0, 2.0));
    }

    #[test]
    fn ratios_need_both_sides() {
        assert_eq!(is(6.0, 4.0).over(&is(3.0, 1.0)), is(2.0, 4.0));
        assert_eq!(is(6.0, 4.0).over(&Reading::of(3.0)), Reading::of(2.0));
        // Nothing can be said of a CPU time below the clock's step.
        assert_eq!(is(6.0, 4.0).over(&is(3.0, 0.0)), Reading::of(2.0));
        assert_eq!(is(6.0, 4.0).over(&Reading::NotRun("slow")), Reading::NotRun("slow"));
        assert_eq!(Reading::None.over(&is(1.0, 1.0)), Reading::None);
    }

    #[test]
    fn the_verdict_is_by_the_hosts_clock_and_never_on_what_was_not_run() {
        let figure = Figure::new("x", Unit::Times, is(1.04, 2.0)).floor(Floor::AtMost(1.05));
        assert_eq!(figure.cells()[1..3], ["≤ 1.05×", "1.04× (CPU 2.00×) ✓"]);
        assert_eq!(figure.json()["holds"], true);
        let slow = Figure { ours: is(1.06, 1.0), ..figure.clone() };
        assert!(slow.cells()[2].ends_with('✗'));
        let unknown = Figure { ours: Reading::NotRun("left out with --quick"), ..figure };
        assert_eq!(unknown.cells()[2], "not run: left out with --quick");
        assert_eq!(unknown.json()["holds"], Value::Null);
        let at_least = Figure::new("y", Unit::Times, Reading::of(99.0)).floor(Floor::AtLeast(100.0));
        assert_eq!(at_least.json()["holds"], false);
        assert_eq!(at_least.peer(Reading::of(33.0)).cells()[4], "3.00×");
    }
}
