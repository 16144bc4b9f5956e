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
    maker: MachineMaker,
    /// Made when it is first needed: several machines at once may be more than the host has room for.
    replayer: Option<Replayer>,
    /// The checkpoint that it begins at.
    origin: usize,
    /// The stretch.
    index: usize,
    name: String,
}

impl Way {
    /// Stretch number `index` by machines of `maker`, from checkpoint number `origin` on, which is not behind it.
    pub fn new(recording: &Arc<Recording>, maker: &MachineMaker, origin: usize, index: usize) -> Self {
        let from = match origin {
            _ if origin == index => "the checkpoint before".to_owned(),
            0 => "the start".to_owned(),
            _ => format!("the reset at {}", recording.checkpoints()[origin].position),
        };
        let name = format!("{}, from {from}", maker.engine());
        Way { recording: recording.clone(), maker: maker.clone(), replayer: None, origin, index, name }
    }

    /// The same from the checkpoint at the start of the stretch, a second time.
    pub fn again(recording: &Arc<Recording>, maker: &MachineMaker, index: usize) -> Self {
        let mut way = Way::new(recording, maker, index, index);
        way.name.push_str(", a second time");
        way
    }

    /// The recording.
    pub fn recording(&self) -> Arc<Recording> {
        self.recording.clone()
    }

    /// The number of the stretch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The replay where it stands; at the start of the recording if it has not begun.
    ///
    /// # Errors
    /// If the recorded machine cannot be made.
    pub fn replayer(&mut self) -> Result<&mut Replayer, ReplayError> {
        Ok(match &mut self.replayer {
            Some(replayer) => replayer,
            none => none.insert(Replayer::with_maker(self.recording.clone(), self.maker.clone(), 0, 1)?),
        })
    }

    /// Gives the machine back to the host, until it is needed again.
    pub fn rest(&mut self) {
        self.replayer = None;
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
        let (origin, index) = (self.origin, self.index);
        let replayer = self.replayer()?;
        replayer.restore_whole(origin)?;
        if origin < index {
            let info = replayer.recording.checkpoints()[index];
            replayer.run_to_checkpoint(&info, &mut |_, _| Control::Continue)?;
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
            let replayer = self.replayer()?;
            let run = replayer.run_to(Target::Insns(stop), &mut |_, _| Control::Continue);
            if !followed(run.map(|_| ()))? {
                return Ok(());
            }
            look(at, replayer)?;
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
        let (recording, index) = (self.recording.clone(), self.index);
        let (stretch, replayer) = (Stretch::new(&recording, index), self.replayer()?);
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
