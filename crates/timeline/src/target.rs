//! Where to go in a recording.

use x86::VirtualTime;

use crate::Position;

/// A place to go to.
///
/// All but [`Target::End`] lie before the events of that instant: whoever goes there can give other inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first instant with this step count.
    Insns(u64),
    /// The first instant with this virtual time or a later one.
    Time(VirtualTime),
    /// This instant.
    At(Position),
    /// The end, with all that happened there.
    End,
}

impl Target {
    /// Whether an instant is the target or behind it. Of [`Target::End`] an instant alone does not tell: `false`.
    pub fn is_reached(&self, here: Position) -> bool {
        match *self {
            Target::Insns(insns) => here.insns >= insns,
            Target::Time(time) => here.time >= time,
            Target::At(position) => here >= position,
            Target::End => false,
        }
    }

    /// Whether it can be reached by running on from an instant of a recording that begins at `start`.
    pub fn can_follow(&self, here: Position, start: Position) -> bool {
        match *self {
            // Of the instants with one count the first is wanted.
            Target::Insns(insns) => here.insns < insns || here == start,
            Target::Time(time) => here.time <= time,
            Target::At(position) => here <= position,
            Target::End => true,
        }
    }

    /// Whether an event at `at` comes before the target.
    pub fn is_after_event(&self, at: Position) -> bool {
        !self.is_reached(at)
    }

    /// Whether a recording from `start` to `end` has it.
    pub fn is_within(&self, start: Position, end: Position) -> bool {
        match *self {
            Target::Insns(insns) => (start.insns..=end.insns).contains(&insns),
            Target::Time(time) => (start.time..=end.time).contains(&time),
            Target::At(position) => (start..=end).contains(&position),
            Target::End => true,
        }
    }
}
