//! Decides when a file is thinned out, and does it bit by bit.

use super::Saved;
use super::choice::{Limits, choose};
use super::rewriting::Rewriting;
use crate::policy::allowance;
use crate::writer::Writer;

/// The thinning of one recording.
#[derive(Default)]
pub struct Thinner {
    /// `None`: the file is not thinned out.
    budget_bytes: Option<u64>,
    initial_bytes: Option<u64>,
    /// A file could not be written, or nothing would become smaller.
    has_failed: bool,
    rewriting: Option<Rewriting>,
    interval: u64,
}

impl Thinner {
    /// Keeps checkpoints within `budget_bytes`, see [`allowance`].
    pub fn new(budget_bytes: u64) -> Self {
        Thinner { budget_bytes: Some(budget_bytes), ..Thinner::default() }
    }

    /// Whether it will do something when the budget is used up.
    pub fn is_able(&self) -> bool {
        self.budget_bytes.is_some() && !self.has_failed
    }

    /// Whether it has begun and is not done.
    pub fn is_busy(&self) -> bool {
        self.rewriting.is_some()
    }

    /// Steps that checkpoints should stand apart at least, by what was thinned out so far.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// The bytes that checkpoints may have behind the initial state, and those that they have.
    fn usage(&self, writer: &Writer) -> Option<(u64, u64)> {
        let (budget, initial) = (self.budget_bytes?, self.initial_bytes?);
        Some((allowance(budget, initial), writer.checkpoint_bytes().saturating_sub(initial)))
    }

    /// A checkpoint was appended: whether the file should be thinned out now. An eighth of the budget is left for what
    /// comes while that is done.
    pub fn is_time(&mut self, writer: &Writer) -> bool {
        self.initial_bytes.get_or_insert(writer.checkpoint_bytes());
        self.usage(writer).is_some_and(|(allowance, used)| used >= allowance - allowance / 8)
    }

    /// Begins, if it is not being done already and helps; says whether it began. `pending` are changes of the checkpoint that comes
    /// next.
    pub fn begin(&mut self, writer: &Writer, saved: &[Saved], pending: &[(u64, u64)], next_number: u64) -> bool {
        let Some((allowance, used)) = self.usage(writer) else { return false };
        if self.rewriting.is_some() || self.has_failed || used <= allowance / 2 {
            return false;
        }
        let contents = writer.contents();
        let (mut pages, mut page_bytes) = (0, 0);
        let places = contents.blocks.iter().filter(|place| place.kind == Some(crate::format::block::Kind::Pages));
        for (info, place) in contents.pages.iter().zip(places) {
            (pages, page_bytes) = (pages + info.count, page_bytes + place.len);
        }
        let state_bytes = (used.saturating_sub(page_bytes)) / (saved.len() as u64).max(1);
        let page_bytes = page_bytes.div_ceil(pages.max(1));
        let limits = Limits { page_bytes, state_bytes, wanted_bytes: allowance / 2, most_bytes: allowance * 3 / 4 };
        let plan = choose(saved, limits);
        let replacement = writer.replacement().ok().flatten();
        let (Some(plan), Some(new)) = (plan, replacement) else {
            self.has_failed = true;
            return false;
        };
        self.interval = self.interval.max(plan.interval);
        self.rewriting = Some(Rewriting::new(new, plan, pending, next_number));
        true
    }

    /// Whether the content with this number stays in the file.
    pub fn keeps(&self, number: u64) -> bool {
        self.rewriting.as_ref().is_none_or(|rewriting| rewriting.keeps(number))
    }

    /// Does a little, and puts the new file in the place of `writer`'s when it is whole; whether there is more to do.
    pub fn step(&mut self, writer: &mut Writer, saved: &mut Vec<Saved>) -> bool {
        let Some(rewriting) = &mut self.rewriting else { return false };
        match rewriting.step(&writer.contents()) {
            // What waits for room on the disk is copied when it was written.
            Ok(false) => return writer.is_written(),
            Ok(true) => {}
            Err(_) => {
                self.give_up();
                return false;
            }
        }
        let Some(rewriting) = self.rewriting.take() else { return false };
        match rewriting.finish(writer.progress()) {
            Ok((new, plan)) => {
                *writer = new;
                let later = saved.split_off(plan.stays.len());
                *saved = plan.saved;
                saved.extend(later);
            }
            Err(_) => self.give_up(),
        }
        false
    }

    /// The old file goes on as if nothing had been; from now on checkpoints come ever more rarely instead.
    fn give_up(&mut self) {
        self.rewriting = None;
        self.has_failed = true;
    }

    /// The recording ends: what was begun is not needed any more.
    pub fn stop(&mut self) {
        self.rewriting = None;
    }
}
