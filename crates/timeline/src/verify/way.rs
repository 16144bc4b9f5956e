//! One way to replay a stretch: by an engine, from some checkpoint.

use std::sync::Arc;

use super::stretch::Stretch;
use crate::maker::MachineMaker;
use crate::recording::Recording;
use crate::replayer::{Control, ReplayError, Replayer};
use crate::target::Target;

/// How a way of replaying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the recorded state.
    AsRecorded,
    /// In another one.
    Different,
    /// It could not follow the recording to the end of the stretch.
    Stopped,
    /// At the end; no digest was recorded there.
    Unknown,
}

/// A way of replaying that was tried, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayReport {
    /// What it is, as in "the replay by the interpreter from the checkpoint".
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// A way to replay a stretch, always from its own origin on, so that an engine's caches are as they were.
pub struct Way {
    recording: Arc<Recording>,
    replayer: Replayer,
    /// The checkpoint that it begins at.
    origin: usize,
    /// The stretch.
    index: usize,
    name: String,
}

impl Way {
    /// Stretch number `index` by machines of `maker`, from checkpoint number `origin` on, which is not behind it.
    ///
    /// # Errors
    /// If the recorded machine cannot be made.
    pub fn new(
        recording: &Arc<Recording>,
        maker: &MachineMaker,
        origin: usize,
        index: usize,
    ) -> Result<Self, ReplayError> {
        let replayer = Replayer::with_maker(recording.clone(), maker.clone(), 0, 1)?;
        let from = match origin {
            _ if origin == index => "the checkpoint before".to_owned(),
            0 => "the start".to_owned(),
            _ => format!("the reset at {}", recording.checkpoints()[origin].position),
        };
        let name = format!("{}, from {from}", maker.engine());
        Ok(Way { recording: recording.clone(), replayer, origin, index, name })
    }

    /// The same from the checkpoint at the start of the stretch, a second time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn again(recording: &Arc<Recording>, maker: &MachineMaker, index: usize) -> Result<Self, ReplayError> {
        let mut way = Way::new(recording, maker, index, index)?;
        way.name.push_str(", a second time");
        Ok(way)
    }

    /// The recording.
    pub fn recording(&self) -> Arc<Recording> {
        self.recording.clone()
    }

    /// The number of the stretch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The replay where it stands.
    pub fn replayer(&mut self) -> &mut Replayer {
        &mut self.replayer
    }

    /// The stretch.
    pub fn stretch(&self) -> Stretch<'_> {
        Stretch::new(&self.recording, self.index)
    }

    /// Goes to the start of the stretch.
    ///
    /// # Errors
    /// If the replay fails.
    pub fn begin(&mut self) -> Result<(), ReplayError> {
        self.replayer.restore_file(self.origin)?;
        if self.origin < self.index {
            let info = self.recording.checkpoints()[self.index];
            self.replayer.run_to_checkpoint(&info, &mut |_, _| Control::Continue)?;
        }
        Ok(())
    }

    /// Runs the stretch and calls `look` at each of `stops`, step counts that rise, with their places in the list;
    /// fewer if the replay cannot follow the recording.
    ///
    /// # Errors
    /// If the replay fails in another way.
    pub fn visit(
        &mut self,
        stops: &[u64],
        look: &mut dyn FnMut(usize, &mut Replayer) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        if !followed(self.begin())? {
            return Ok(());
        }
        for (at, &stop) in stops.iter().enumerate() {
            let run = self.replayer.run_to(Target::Insns(stop), &mut |_, _| Control::Continue);
            if !followed(run.map(|_| ()))? {
                return Ok(());
            }
            look(at, &mut self.replayer)?;
        }
        Ok(())
    }

    /// Runs the stretch to its end; the digest there, if it comes there.
    ///
    /// # Errors
    /// If the replay fails in another way than by going another way.
    pub fn end_digest(&mut self) -> Result<Option<[u8; 32]>, ReplayError> {
        if !followed(self.begin())? {
            return Ok(None);
        }
        let (stretch, replayer) = (Stretch::new(&self.recording, self.index), &mut self.replayer);
        if !followed(stretch.run_to_end(replayer))? {
            return Ok(None);
        }
        stretch.digest_at_end(replayer).map(Some)
    }

    /// How it ended, which `digest` says.
    pub fn report(&self, digest: Option<[u8; 32]>) -> WayReport {
        let outcome = match (digest, self.stretch().recorded_digest()) {
            (None, _) => Outcome::Stopped,
            (Some(_), None) => Outcome::Unknown,
            (Some(here), Some(recorded)) if here == recorded => Outcome::AsRecorded,
            _ => Outcome::Different,
        };
        WayReport { name: self.name.clone(), outcome }
    }
}

/// Whether a replay could follow the recording; other errors stay errors.
pub fn followed(result: Result<(), ReplayError>) -> Result<bool, ReplayError> {
    match result {
        Ok(()) => Ok(true),
        Err(ReplayError::Diverged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
