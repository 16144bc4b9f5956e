//! A stretch of a recording: from one checkpoint to the next, or to the end.

use std::sync::Arc;

use crate::format::records::CheckpointKind;
use crate::maker::MachineMaker;
use crate::position::Position;
use crate::recording::{CheckpointInfo, Recording};
use crate::replayer::{Control, ReplayError, Replayer};
use crate::target::Target;

/// What the check of a stretch came to.
pub struct Checked {
    /// Whether there was a digest to compare the replay with.
    pub compared: bool,
    /// What is wrong.
    pub failure: Option<Failure>,
}

/// How a stretch fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The recorded state at its start does not have the recorded digest.
    State,
    /// The replay ends in another state than the recorded one.
    End,
    /// The replay does not come to its end.
    Stopped(String),
}

/// A stretch, and how to get to its ends.
#[derive(Clone, Copy)]
pub struct Stretch<'a> {
    recording: &'a Recording,
    index: usize,
}

impl<'a> Stretch<'a> {
    /// The one that begins at checkpoint number `index`.
    pub fn new(recording: &'a Recording, index: usize) -> Self {
        Stretch { recording, index }
    }

    /// The checkpoint at its start.
    pub fn first(&self) -> &'a CheckpointInfo {
        &self.recording.checkpoints()[self.index]
    }

    /// The checkpoint at its end, but for the last stretch.
    pub fn last(&self) -> Option<&'a CheckpointInfo> {
        self.recording.checkpoints().get(self.index + 1)
    }

    /// Its ends.
    pub fn ends(&self) -> (Position, Position) {
        (self.first().position, self.last().map_or(self.recording.end_position(), |info| info.position))
    }

    /// The recorded digest at its end. Behind a reset there is that of the new machine only.
    pub fn recorded_digest(&self) -> Option<[u8; 32]> {
        match self.last() {
            Some(info) => (info.kind == CheckpointKind::Seek).then_some(info.digest),
            None => self.recording.end().map(|end| end.digest),
        }
    }

    /// Runs `replayer` on to the end.
    ///
    /// # Errors
    /// If the replay fails.
    pub fn run_to_end(&self, replayer: &mut Replayer) -> Result<(), ReplayError> {
        let watch = &mut |_, _| Control::Continue;
        match self.last() {
            Some(info) => replayer.run_to_checkpoint(info, watch).map(|_| ()),
            None => {
                replayer.run_to(Target::End, watch)?;
                replayer.machine.settle();
                Ok(())
            }
        }
    }

    /// The digest of a replay at the end, of the same kind as the recorded one.
    ///
    /// # Errors
    /// If the host does not tell about RAM.
    pub fn digest_at_end(&self, replayer: &mut Replayer) -> Result<[u8; 32], ReplayError> {
        if self.last().is_some() { replayer.digest() } else { Ok(replayer.full_digest().0) }
    }
}

/// Compares the recorded state at the start of stretch `index` with its digest, replays the stretch and compares its end.
///
/// # Errors
/// If it cannot be replayed at all.
pub fn check(
    recording: &Arc<Recording>,
    maker: &MachineMaker,
    replayer: &mut Option<Replayer>,
    index: usize,
) -> Result<Checked, ReplayError> {
    let replayer = match replayer {
        Some(replayer) => replayer,
        None => replayer.insert(Replayer::with_maker(recording.clone(), maker.clone(), 0, 1)?),
    };
    let stretch = Stretch::new(recording, index);
    replayer.restore_whole(index)?;
    if replayer.digest()? != stretch.first().digest {
        return Ok(Checked { compared: false, failure: Some(Failure::State) });
    }
    match stretch.run_to_end(replayer) {
        Ok(()) => {}
        Err(ReplayError::Diverged { here, what }) => {
            let failure = Failure::Stopped(format!("{what} at {here}"));
            return Ok(Checked { compared: false, failure: Some(failure) });
        }
        Err(error) => return Err(error),
    }
    let Some(recorded) = stretch.recorded_digest() else { return Ok(Checked { compared: false, failure: None }) };
    let same = stretch.digest_at_end(replayer)? == recorded;
    Ok(Checked { compared: true, failure: (!same).then_some(Failure::End) })
}
