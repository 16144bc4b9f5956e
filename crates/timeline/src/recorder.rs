//! Records a running machine: who runs it calls this beside it, for each input and between slices.

use std::sync::Arc;

use machine::ram::RamError;
use machine::{EngineKind, Input, LentRam, Machine, MachineConfig};

use crate::Position;
use crate::account::{Account, MOST_PACKING_NS};
use crate::encoder::{Checkpoint, Encoder};
use crate::format::PAGE_BYTES;
use crate::format::log::{Event, EventKind};
use crate::format::records::{BootDescription, CheckpointKind, ConfigRecord, EndReason, RecordingHeader};
use crate::policy::{Decision, Policy};
use crate::put_off::Waiting;
use crate::sink::Sink;
use crate::store::PendingBase;
use crate::worker::{Ending, Job, Report, Worker};
use crate::writer::WriteError;

/// Bytes of checkpoints in a file unless told otherwise.
pub const DEFAULT_BUDGET_BYTES: u64 = 128 << 20;
/// Events that wait at most before they are given away, whatever the caller does.
const EVENTS_WAITING: usize = 1 << 14;

/// A recording cannot go on as it should.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file. The recorder is still good: call again when there is room.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The host has no thread for it.
    #[error("cannot start the thread that writes the recording: {0}")]
    Thread(std::io::Error),
    /// The state that it begins with cannot be saved yet.
    #[error(
        "cannot save the state that the recording begins with: {0}; nothing is lost, and it goes on when there is room"
    )]
    NoRoom(String),
    /// The state that it was to begin with could not be saved.
    #[error("nothing was recorded, since the state to begin with could not be saved: {0}")]
    NoBase(String),
    /// The thread is gone.
    #[error("the thread that writes the recording has failed; what it had written is safe")]
    Gone,
}

/// Changed pages with which the end of a recording can be a checkpoint, too; with more it costs more than it is worth.
const END_PAGES: usize = 4096;

/// What a recording says beside the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderOptions {
    /// What was started.
    pub boot: BootDescription,
    /// The engine that runs the machine.
    pub engine: String,
    /// The program and its version.
    pub program: String,
    /// The clock mode, `virtual` or `real`.
    pub clock: String,
    /// The host's time, in seconds since 1970.
    pub created_unix_seconds: u64,
    /// Bytes that initial state and checkpoints may have together, about.
    pub budget_bytes: u64,
    /// Steps between checkpoints at first, if not the usual number.
    pub first_interval: Option<u64>,
    /// How much later than the machine's own power-on positions count; zero without resets.
    pub base: Position,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        RecorderOptions {
            boot: BootDescription::default(),
            engine: EngineKind::default().name().into(),
            program: concat!("chronovisor ", env!("CARGO_PKG_VERSION")).into(),
            clock: "virtual".into(),
            created_unix_seconds: 0,
            budget_bytes: DEFAULT_BUDGET_BYTES,
            first_interval: None,
            base: Position::default(),
        }
    }
}

impl RecorderOptions {
    /// The header of a recording of a machine of this configuration that begins at `start`.
    pub(crate) fn header(
        &self,
        config: &MachineConfig,
        start: Position,
        base: Option<&PendingBase>,
    ) -> RecordingHeader {
        RecordingHeader {
            config: Some(config.into()),
            engine: self.engine.clone(),
            boot: Some(self.boot.clone()),
            start: Some(start.into()),
            created_unix_seconds: self.created_unix_seconds,
            program: self.program.clone(),
            clock: self.clock.clone(),
            features: Vec::new(),
            snapshot: base.map_or_else(String::new, |base| base.state().into()),
            base: Some(self.base.into()),
            tree: base.map_or_else(String::new, |base| base.tree().into()),
        }
    }
}

/// A recording under way.
pub struct Recorder {
    worker: Worker,
    account: Account,
    base: Position,
    /// Events that were not given to the worker yet.
    events: Vec<Event>,
    last_checkpoint: Position,
    progress: Position,
    ended: bool,
    /// What the pages of states that wait are read from.
    ram: Arc<LentRam>,
    /// The number of the last state that was given to the worker.
    number: u32,
    /// What the worker said last.
    report: Report,
    /// Pages that the guest's thread has kept aside, as far as it was charged for.
    kept_pages: usize,
    /// Bytes of checkpoints when the file was to be thinned out last.
    crowded_bytes: u64,
    /// What went wrong since the caller last asked.
    failed: Option<RecordError>,
}

impl Recorder {
    /// Starts to record `machine` where it stands.
    ///
    /// # Errors
    /// If the host refuses. What cannot be written is said by [`Self::flush`].
    pub fn start(machine: &mut Machine, sink: Box<dyn Sink>, options: RecorderOptions) -> Result<Self, RecordError> {
        let mut recorder = Self::new(machine, sink, options, None)?;
        machine.take_dirty_pages();
        // They are copied while the guest runs on; those that it changes first are kept aside by the machine.
        recorder.save_whole(machine, CheckpointKind::Initial)?;
        Ok(recorder)
    }

    /// Starts to record `machine`, which stands at the state that is being saved as `base`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_from(
        machine: &mut Machine,
        sink: Box<dyn Sink>,
        options: RecorderOptions,
        base: PendingBase,
    ) -> Result<Self, RecordError> {
        let mut recorder = Self::new(machine, sink, options, Some(&base))?;
        recorder.worker.give(Job::Base(base));
        machine.take_dirty_pages();
        recorder.save(machine, CheckpointKind::Initial, Vec::new());
        Ok(recorder)
    }

    fn new(
        machine: &mut Machine,
        sink: Box<dyn Sink>,
        options: RecorderOptions,
        base: Option<&PendingBase>,
    ) -> Result<Self, RecordError> {
        machine.settle();
        let start = Position::of(machine).after(options.base);
        let header = options.header(machine.config(), start, base);
        let pages = (machine.ram_bytes().len() / PAGE_BYTES) as u64;
        let budget_bytes = options.budget_bytes;
        let encoder = move || Encoder::new(sink, &header, pages).with_budget(budget_bytes);
        let ram = Arc::new(machine.lent_ram()?);
        let worker = Worker::start(encoder).map_err(RecordError::Thread)?;
        let policy = Policy::new(options.budget_bytes).with_ram(machine.config().ram_bytes);
        Ok(Recorder {
            worker,
            account: Account::new(options.first_interval.map_or(policy, |insns| policy.with_first_interval(insns))),
            base: options.base,
            events: Vec::new(),
            last_checkpoint: start,
            progress: start,
            ended: false,
            ram,
            number: 0,
            report: Report::default(),
            kept_pages: 0,
            crowded_bytes: 0,
            failed: None,
        })
    }

    /// Where `machine` stands in this recording.
    pub fn position(&self, machine: &Machine) -> Position {
        Position::of(machine).after(self.base)
    }

    /// Hands an input to the machine and writes it down.
    pub fn input(&mut self, machine: &mut Machine, input: Input) {
        machine.settle();
        self.record_input(Position::of(machine), &input);
        machine.input(input);
    }

    /// Writes down an input that a settled machine gets at this place, counted from its own power-on.
    pub fn record_input(&mut self, at: Position, input: &Input) {
        let input = match input {
            Input::ClockTo(time) => Input::ClockTo(Position { insns: 0, time: *time }.after(self.base).time),
            other => other.clone(),
        };
        self.event(at, EventKind::Input(input));
    }

    /// Gives the instant at which `machine` stands a name.
    pub fn mark(&mut self, machine: &mut Machine, name: &str) {
        machine.settle();
        self.event(Position::of(machine), EventKind::Mark(name.into()));
    }

    fn event(&mut self, at: Position, kind: EventKind) {
        self.events.push(Event { position: at.after(self.base), kind });
        if self.events.len() >= EVENTS_WAITING {
            self.give_events();
        }
    }

    fn give_events(&mut self) {
        if !self.events.is_empty() {
            self.worker.give(Job::Log(std::mem::take(&mut self.events)));
        }
    }

    /// Saves a checkpoint if one is due and the last one is done with. Call it often, between runs.
    pub fn poll(&mut self, machine: &mut Machine) {
        let kept = self.ram.kept_total();
        self.account.guest_ran(kept - std::mem::replace(&mut self.kept_pages, kept));
        // While the initial state is being saved, checkpoints may be noted behind it already: the longest run without any would be
        // there. Those that are taken at any price would all be urgent, and come one after the other.
        let is_behind = if self.account.is_at_any_price() { self.worker.backlog() } else { self.worker.queued() } > 0;
        if self.ended || is_behind {
            return;
        }
        if let Err(error) = self.refresh() {
            self.failed = Some(error);
            return;
        }
        if self.report.initial_bytes > 0
            && self.report.put_off_bytes > 0
            && let Some(ns) = self.account.spendable_ns()
        {
            self.worker.give(Job::MayPack(ns));
        }
        let insns = self.position(machine).insns.saturating_sub(self.last_checkpoint.insns);
        match self.account.decide(insns, machine.dirty_page_count()) {
            Decision::Wait => {}
            Decision::Take => self.checkpoint(machine),
            Decision::NoRoom => self.make_room(),
            Decision::Crowded => self.worker.give(Job::MayPack(MOST_PACKING_NS)),
        }
    }

    /// Has the file thinned out, if that was not tried already with what is in it.
    fn make_room(&mut self) {
        let Report { is_thinned, is_thinning, checkpoint_bytes, .. } = self.report;
        if is_thinned && !is_thinning && self.crowded_bytes != checkpoint_bytes {
            self.crowded_bytes = checkpoint_bytes;
            self.worker.give(Job::MakeRoom);
        }
    }

    /// Saves a checkpoint of the machine as it stands.
    pub fn checkpoint(&mut self, machine: &mut Machine) {
        machine.settle();
        let pages = machine.take_dirty_pages();
        self.save(machine, CheckpointKind::Seek, pages);
    }

    /// `new` takes the place of `old`, the machine recorded so far: a reset. Positions go on from there.
    ///
    /// # Errors
    /// If the host does not tell about RAM.
    pub fn restart(&mut self, old: &mut Machine, new: &mut Machine) -> Result<(), RecordError> {
        old.settle();
        new.settle();
        let here = self.position(old);
        self.base = here.since(Position::of(new));
        new.take_dirty_pages();
        // What the old one has lent can be read from it as long as it is needed.
        self.ram = Arc::new(new.lent_ram()?);
        self.kept_pages = 0;
        self.save_whole(new, CheckpointKind::Restart)
    }

    /// Saves the state of a machine that was not recorded before; its dirty pages were taken.
    fn save_whole(&mut self, machine: &mut Machine, kind: CheckpointKind) -> Result<(), RecordError> {
        let pages = machine.populated_pages()?.into_iter().flatten().collect();
        self.save(machine, kind, pages);
        Ok(())
    }

    /// Lends `pages`, which are all that may have changed since the last state, to the worker with the rest of the state.
    fn save(&mut self, machine: &mut Machine, kind: CheckpointKind, pages: Vec<u64>) {
        self.give_events();
        let position = self.position(machine);
        self.last_checkpoint = position;
        self.number += 1;
        machine.lend_pages(&self.ram, self.number, &pages);
        let config = (kind == CheckpointKind::Restart).then(|| ConfigRecord::from(machine.config()));
        let checkpoint =
            Checkpoint { position, kind, state: machine.save(), config, base: self.base, events_before: None };
        let is_urgent = kind != CheckpointKind::Seek || self.account.is_at_any_price() || self.ended;
        let (ram, number) = (self.ram.clone(), self.number);
        self.worker.give(Job::Checkpoint(Box::new(Waiting { checkpoint, pages, ram, number, is_urgent })));
        self.account.noted();
    }

    /// Takes over what the worker says.
    fn refresh(&mut self) -> Result<(), RecordError> {
        if let Some(sentence) = self.worker.no_base() {
            return Err(RecordError::NoBase(sentence));
        }
        let (error, mut report) = self.worker.outcome().ok_or(RecordError::Gone)?;
        report.put_off_bytes += (self.ram.kept_count() * PAGE_BYTES) as u64;
        self.account.hear(report);
        self.report = report;
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Has everything so far written, `machine` having come to where it stands now; call it at least once a second.
    /// It does not wait for the disk.
    ///
    /// # Errors
    /// Of earlier writes that failed. Pause the machine then, and call [`Self::retry`] until it succeeds.
    pub fn flush(&mut self, machine: &Machine) -> Result<(), RecordError> {
        self.give_events();
        let here = self.position(machine);
        if here > self.progress && !self.ended {
            self.progress = here;
            self.worker.give(Job::Progress(here));
        }
        self.refresh()?;
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Waits until everything so far is written.
    ///
    /// # Errors
    /// If it cannot be; then nothing is lost, and this may be called again.
    pub fn retry(&mut self) -> Result<(), RecordError> {
        self.failed = None;
        self.worker.give(Job::Retry);
        self.worker.wait();
        self.refresh()
    }

    /// Ends the recording where `machine` stands, which may be taken apart at once: [`Self::retry`] waits until all is written. `status`
    /// goes with [`EndReason::DebugExit`].
    pub fn end(&mut self, machine: &mut Machine, reason: EndReason, status: u8) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        machine.settle();
        self.give_events();
        let mut pages = machine.take_dirty_pages();
        if self.refresh().is_ok() {
            let last = self.account.last(pages.len() as u64);
            self.worker.give(Job::Pack(last.ns));
            if last.is_all && pages.len() <= END_PAGES && self.account.has_room(pages.len() as u64) {
                // A checkpoint here lets `verify` name what differs, and makes going to the end quick.
                self.save(machine, CheckpointKind::Seek, std::mem::take(&mut pages));
            }
        }
        let (position, state, ram) = (self.position(machine), machine.save(), self.ram.clone());
        self.worker.give(Job::End(Box::new(Ending { position, reason, status, state, pages, ram })));
    }

    /// [`Self::end`] and [`Self::retry`].
    ///
    /// # Errors
    /// If it cannot be written: call [`Self::retry`] when there is room.
    pub fn finish(&mut self, machine: &mut Machine, reason: EndReason, status: u8) -> Result<(), RecordError> {
        self.end(machine, reason, status);
        let result = self.retry();
        self.ram.end();
        result
    }

    /// Whether the file is being thinned out, as far as known.
    pub fn is_thinning(&self) -> bool {
        self.report.is_thinning
    }

    /// Bytes of the file as far as known: all, and those of checkpoints and the initial state.
    pub fn sizes(&self) -> (u64, u64) {
        (self.report.file_bytes, self.report.checkpoint_bytes)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The guest need not keep pages aside any more.
        self.worker.stop();
        self.ram.end();
    }
}
