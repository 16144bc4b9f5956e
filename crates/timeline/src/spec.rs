//! Positions as people type them: `123456`, `123456i`, `12.5s`, `300ms`, `42%`, `start`, `end`, the name of a mark,
//! and each with an offset: `login+2s`, `end-1000i`.

use std::str::FromStr;

use x86::VirtualTime;

use crate::Position;
use crate::recording::Recording;
use crate::target::Target;

/// A typed position.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionSpec {
    text: String,
    base: Base,
    offset: Option<Offset>,
}

#[derive(Clone, Debug, PartialEq)]
enum Base {
    Start,
    End,
    Insns(u64),
    Ns(u64),
    /// Hundredths of a percent of the steps.
    Part(u64),
    Mark(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Offset {
    back: bool,
    amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Insns(u64),
    Ns(u64),
}

/// A typed position means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not of any form.
    #[error(
        "\"{0}\" is no position: type an instruction number (123456), a time (12.5s, 300ms), a percentage (42%), start, end or the name of a mark, and after it an offset if you like (+2s, -1000i)"
    )]
    Form(String),
    /// No such mark.
    #[error("the recording has no mark \"{name}\"; {known}")]
    NoMark {
        /// What was asked for.
        name: String,
        /// Which there are.
        known: String,
    },
    /// Not in the recording.
    #[error("{text} is outside of the recording, which runs from {start} to {end}")]
    Outside {
        /// What was asked for.
        text: String,
        /// The recording's start.
        start: Position,
        /// The recording's end.
        end: Position,
    },
}

const UNITS_NS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A decimal number times `unit`, exactly; `None` if it is none or too large.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 12 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? * u128::from(unit) / scale };
    whole.checked_add(u64::try_from(fraction).ok()?)
}

fn amount(text: &str) -> Option<Amount> {
    if let Some(number) = text.strip_suffix('i') {
        return number.parse().ok().map(Amount::Insns);
    }
    // "s" ends "ns" and "ms" too, so the number decides.
    let time = UNITS_NS.iter().find_map(|(unit, ns)| decimal(text.strip_suffix(unit)?, *ns));
    time.map(Amount::Ns)
}

fn base(text: &str) -> Option<Base> {
    Some(match text {
        "" => return None,
        "start" => Base::Start,
        "end" => Base::End,
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Base::Insns(text.parse().ok()?),
        _ if text.ends_with('%') => Base::Part(decimal(&text[..text.len() - 1], 100).filter(|part| *part <= 10_000)?),
        _ => match amount(text) {
            Some(Amount::Insns(insns)) => Base::Insns(insns),
            Some(Amount::Ns(ns)) => Base::Ns(ns),
            None => Base::Mark(text.into()),
        },
    })
}

impl FromStr for PositionSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let sign = text.rfind(['+', '-']).filter(|at| *at > 0);
        let split = sign.and_then(|at| {
            let amount = amount(&text[at + 1..])?;
            Some((&text[..at], Offset { back: text.as_bytes()[at] == b'-', amount }))
        });
        let (base_text, offset) = split.map_or((text, None), |(base, offset)| (base, Some(offset)));
        let base = base(base_text).ok_or_else(|| SpecError::Form(text.into()))?;
        Ok(PositionSpec { text: text.into(), base, offset })
    }
}

impl PositionSpec {
    /// Where that is in a recording.
    ///
    /// # Errors
    /// If it names no mark, or lies outside.
    pub fn resolve(&self, recording: &Recording) -> Result<Target, SpecError> {
        let (start, end) = (recording.start(), recording.end_position());
        let mark = |name: &str| recording.marks().find(|(mark, _)| *mark == name).map(|(_, at)| at);
        // The name of a mark may look like an offset.
        if let Some(at) = mark(&self.text) {
            return Ok(Target::At(at));
        }
        let outside = || SpecError::Outside { text: self.text.clone(), start, end };
        let exact = match &self.base {
            Base::Start => Ok(start),
            Base::End => Ok(end),
            Base::Mark(name) => {
                Ok(mark(name).ok_or_else(|| SpecError::NoMark { name: name.clone(), known: known_marks(recording) })?)
            }
            Base::Insns(insns) => Err(Amount::Insns(*insns)),
            Base::Ns(ns) => Err(Amount::Ns(*ns)),
            Base::Part(part) => {
                let length = u128::from(end.insns.saturating_sub(start.insns));
                Err(Amount::Insns(start.insns + (length * u128::from(*part) / 10_000) as u64))
            }
        };
        let target = match (exact, self.offset) {
            (Ok(_), None) if self.base == Base::End => return Ok(Target::End),
            (Ok(at), None) => Target::At(at),
            (Ok(at), Some(offset)) => offset.from(at.insns, at.time.as_ns()).ok_or_else(outside)?,
            (Err(amount), None) => amount.target(),
            (Err(Amount::Insns(insns)), Some(offset)) => {
                let Amount::Insns(_) = offset.amount else { return Err(SpecError::Form(self.text.clone())) };
                offset.from(insns, 0).ok_or_else(outside)?
            }
            (Err(Amount::Ns(ns)), Some(offset)) => {
                let Amount::Ns(_) = offset.amount else { return Err(SpecError::Form(self.text.clone())) };
                offset.from(0, ns).ok_or_else(outside)?
            }
        };
        if target.is_within(start, end) { Ok(target) } else { Err(outside()) }
    }
}

impl Amount {
    fn target(self) -> Target {
        match self {
            Amount::Insns(insns) => Target::Insns(insns),
            Amount::Ns(ns) => Target::Time(VirtualTime::from_ns(ns)),
        }
    }
}

impl Offset {
    fn from(self, insns: u64, ns: u64) -> Option<Target> {
        let shift = |at: u64, by: u64| if self.back { at.checked_sub(by) } else { at.checked_add(by) };
        Some(match self.amount {
            Amount::Insns(by) => Target::Insns(shift(insns, by)?),
            Amount::Ns(by) => Target::Time(VirtualTime::from_ns(shift(ns, by)?)),
        })
    }
}

fn known_marks(recording: &Recording) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = recording.marks().map(|(name, _)| name).take(SHOWN + 1).collect();
    match names.len() {
        0 => "it has no marks".into(),
        n if n > SHOWN => format!("it has {} and more", names[..SHOWN].join(", ")),
        _ => format!("it has {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let base = |text: &str| text.parse::<PositionSpec>().map(|spec| (spec.base, spec.offset));
        assert_eq!(base("123456"), Ok((Base::Insns(123_456), None)));
        assert_eq!(base("123456i"), Ok((Base::Insns(123_456), None)));
        assert_eq!(base("12.5s"), Ok((Base::Ns(12_500_000_000), None)));
        assert_eq!(base("300ms"), Ok((Base::Ns(300_000_000), None)));
        assert_eq!(base("42%"), Ok((Base::Part(4200), None)));
        assert_eq!(base("0.01%"), Ok((Base::Part(1), None)));
        let forward = Some(Offset { back: false, amount: Amount::Ns(2_000_000_000) });
        assert_eq!(base("login+2s"), Ok((Base::Mark("login".into()), forward)));
        let back = Some(Offset { back: true, amount: Amount::Insns(1000) });
        assert_eq!(base("end-1000i"), Ok((Base::End, back)));
        assert_eq!(base("boot-done"), Ok((Base::Mark("boot-done".into()), None)));
        for wrong in ["", "101%", "99999999999999999999"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }
}
