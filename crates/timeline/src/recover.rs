//! Pages that cannot be had: what a replay does when RAM turns out to be damaged in the file after it has gone on.
//!
//! Pages come when they are touched, so damage shows late. The replay then goes back to an earlier state that needs no page of the
//! damaged blocks and runs again to where it was, as if it had begun there: the guest makes the pages anew. If no state is left,
//! the damage is the replay's error.

use std::collections::BTreeSet;

use crate::format::FormatError;
use crate::page_map::{PageMap, PageRef};
use crate::position::Position;
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::replayer::{Control, ReplayError, Replayer};
use crate::target::Target;

/// An instant between two events of a replay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    position: Position,
    events: usize,
    restarts: usize,
}

impl Replayer {
    /// Where the replay is.
    pub(crate) fn instant(&self) -> Instant {
        Instant { position: self.position(), events: self.events_given(), restarts: self.restarts_made() }
    }

    /// `Err` if a page could not be had since the last call: nothing that the machine did since is worth anything.
    ///
    /// # Errors
    /// Why it could not.
    pub(crate) fn check_pages(&mut self) -> Result<(), ReplayError> {
        let Some(lost) = self.machine.take_lost_page() else { return Ok(()) };
        self.is_sound = false;
        let content = self.lazy_map.get(lost.page).clone();
        self.note_damaged(&content);
        Err(match lost.error.downcast::<ReadError>() {
            Ok(error) => ReplayError::Read(*error),
            Err(error) => ReplayError::Page { page: lost.page, error },
        })
    }

    /// Notes that a content cannot be had, and with it its block.
    fn note_damaged(&mut self, content: &PageRef) {
        let PageRef::File(number) = content else { return };
        if let Some(block) = self.recording.block_of(*number) {
            self.damaged.insert(block);
        }
    }

    /// How many blocks are known to be damaged.
    pub(crate) fn damaged_blocks(&self) -> usize {
        self.damaged.len()
    }

    /// After `error`: goes to `to` another way, if the error was that pages are damaged and there is one.
    ///
    /// # Errors
    /// `error` or another one, if it cannot be mended.
    pub(crate) fn mend(&mut self, mut error: ReplayError, to: Instant) -> Result<(), ReplayError> {
        let held = std::mem::take(&mut self.held);
        while matches!(error, ReplayError::Read(ReadError::Format(_))) && !self.is_sound {
            let known = self.damaged.len();
            self.memory_is_whole();
            match self.go_to(to) {
                Ok(()) => {
                    self.held = held;
                    return Ok(());
                }
                // Each turn leaves out what the last one has found.
                Err(again) if self.damaged.len() > known => error = again,
                Err(again) => return Err(again),
            }
        }
        Err(error)
    }

    fn go_to(&mut self, to: Instant) -> Result<(), ReplayError> {
        let target = Target::At(to.position);
        self.approach(target, false)?;
        self.run_straight(target, &mut |_, _| Control::Continue)?;
        while self.events_given() < to.events || self.restarts_made() < to.restarts {
            let here = self.position();
            if !(self.pass_restart(here)? || self.give_event(here)?) {
                return Err(self.diverged("an input is not where it was"));
            }
        }
        self.check_pages()
    }

    /// Makes RAM whole, on several threads: for whoever looks at all of it, or takes the machine away.
    ///
    /// # Errors
    /// If a page cannot be had, and the replay cannot come here another way.
    pub fn load_all(&mut self) -> Result<(), ReplayError> {
        while let Err(error) = self.load_from_file() {
            let here = self.instant();
            let known = self.damaged.len();
            if matches!(error, ReplayError::Read(ReadError::Format(_))) {
                for page in self.machine.absent_pages() {
                    let content = self.lazy_map.get(page).clone();
                    if matches!(self.cache.check(&self.recording, &content), Err(ReadError::Format(_))) {
                        self.note_damaged(&content);
                    }
                }
            }
            if self.damaged.len() == known {
                return Err(error);
            }
            self.is_sound = false;
            self.mend(error, here)?;
        }
        Ok(())
    }

    /// Reads all absent pages from the file; what is damaged is an error.
    ///
    /// # Errors
    /// If a page cannot be read.
    pub(crate) fn load_from_file(&mut self) -> Result<(), ReplayError> {
        let Replayer { machine, cache, lazy_map, recording, .. } = self;
        machine.load_absent_pages(|pages, ram| {
            let wanted = pages.iter().map(|&page| (page, lazy_map.get(page).clone())).collect();
            cache.write::<ReplayError>(recording, wanted, ram)
        })
    }

    /// Puts the state of a checkpoint of the file in place with all of its pages.
    ///
    /// # Errors
    /// If any of it cannot be read.
    pub(crate) fn restore_whole(&mut self, index: usize) -> Result<(), ReplayError> {
        self.restore_file(index)?;
        self.load_from_file()
    }
}

/// Whether RAM as `map` says needs none of the `damaged` blocks.
pub(crate) fn is_whole(recording: &Recording, damaged: &BTreeSet<usize>, map: &PageMap) -> bool {
    let is_damaged = |number: u64| {
        let spans = damaged.iter().map(|&block| recording.pages[block].span);
        spans.into_iter().any(|span| (span.first..=span.last).contains(&number))
    };
    damaged.is_empty()
        || !(0..map.len()).any(|page| matches!(map.get(page), PageRef::File(number) if is_damaged(*number)))
}

/// What a state is that needs damaged pages.
pub(crate) const DAMAGED: FormatError = FormatError::Content("pages of a checkpoint are damaged");
