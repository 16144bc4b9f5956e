//! Records a running machine: who runs it calls this beside it, for each input and between slices.

use machine::ram::RamError;
use machine::{EngineKind, Input, Machine};

use crate::Position;
use crate::account::Account;
use crate::encoder::{Checkpoint, Encoder};
use crate::format::PAGE_BYTES;
use crate::format::log::{Event, EventKind};
use crate::format::records::{BootDescription, CheckpointKind, ConfigRecord, EndReason, RecordingHeader};
use crate::page_map::{is_zero, page_of};
use crate::policy::{Decision, Policy};
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

/// Pages of the initial state that are copied at once, before the guest runs on, and then each time that
/// [`Recorder::poll`] is called, and at the end: about a millisecond's worth.
const PAGES_AT_ONCE: usize = 1024;

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
    /// Pages of the initial state that are copied at a time, if not the usual number.
    pub pages_at_once: Option<usize>,
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
            pages_at_once: None,
        }
    }
}

/// The initial state, while its pages are still being copied.
struct Start {
    checkpoint: Box<Checkpoint>,
    /// Pages to copy, the last first.
    left: Vec<u64>,
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
    /// The initial state, until it is complete.
    start: Option<Start>,
    pages_at_once: usize,
    /// What the worker said last.
    report: Report,
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
        recorder.begin(machine)?;
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
        recorder.save(machine, CheckpointKind::Initial, Vec::new(), Vec::new());
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
        let header = RecordingHeader {
            config: Some(machine.config().into()),
            engine: options.engine,
            boot: Some(options.boot),
            start: Some(start.into()),
            created_unix_seconds: options.created_unix_seconds,
            program: options.program,
            clock: options.clock,
            features: Vec::new(),
            snapshot: base.map_or_else(String::new, |base| base.state().into()),
            base: Some(options.base.into()),
            tree: base.map_or_else(String::new, |base| base.tree().into()),
        };
        let pages = (machine.ram_bytes().len() / PAGE_BYTES) as u64;
        let encoder = Encoder::new(sink, &header, pages).with_budget(options.budget_bytes);
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
            start: None,
            pages_at_once: options.pages_at_once.unwrap_or(PAGES_AT_ONCE).max(1),
            report: Report::default(),
            failed: None,
        })
    }

    /// Begins with the state as it stands. Its pages are copied while the guest runs on; those that it changes
    /// first are kept aside by the machine.
    fn begin(&mut self, machine: &mut Machine) -> Result<(), RecordError> {
        let mut left: Vec<u64> = machine.populated_pages()?.into_iter().flatten().collect();
        machine.take_dirty_pages();
        machine.watch_pages(left.iter().copied());
        left.reverse();
        let checkpoint = Box::new(Checkpoint {
            position: self.position(machine),
            kind: CheckpointKind::Initial,
            state: machine.save(),
            pages: Vec::new(),
            bytes: Vec::new(),
            config: None,
            base: self.base,
            events_before: None,
        });
        self.start = Some(Start { checkpoint, left });
        self.copy_some(machine, self.pages_at_once);
        Ok(())
    }

    /// Copies up to `count` more pages of the initial state.
    fn copy_some(&mut self, machine: &mut Machine, count: usize) {
        let Some(start) = &mut self.start else { return };
        let (mut pages, mut bytes) = (Vec::new(), self.worker.buffer());
        for (page, content) in machine.take_preimages() {
            pages.push(page);
            bytes.extend_from_slice(&*content);
        }
        for page in start.left.split_off(start.left.len().saturating_sub(count)).into_iter().rev() {
            if machine.unwatch_page(page) {
                pages.push(page);
                bytes.extend_from_slice(page_of(machine.ram_bytes(), page));
            }
        }
        self.worker.give(Job::Pages(pages, bytes));
        if let Some(start) = self.start.take_if(|start| start.left.is_empty()) {
            self.worker.give(Job::Checkpoint(start.checkpoint));
        }
    }

    /// Copies all pages of the initial state that are left.
    fn complete_start(&mut self, machine: &mut Machine) {
        self.copy_some(machine, usize::MAX);
    }

    /// Ends all copying that waits for pages to change, so that another copy of RAM can begin: a snapshot.
    pub fn settle_copies(&mut self, machine: &mut Machine) {
        self.checkpoint(machine);
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
        // The initial state comes first in the file.
        if !self.events.is_empty() && self.start.is_none() {
            self.worker.give(Job::Log(std::mem::take(&mut self.events)));
        }
    }

    /// Saves a checkpoint if one is due and the last one is done with. Call it often, between runs.
    pub fn poll(&mut self, machine: &mut Machine) {
        if self.start.is_some() {
            // The worker sets the pace: it always has something to do, and copies do not pile up.
            if self.worker.backlog() < 2 {
                self.copy_some(machine, self.pages_at_once);
            }
            return self.account.forget();
        }
        self.account.guest_ran();
        if self.report.put_off_bytes > 0 && !self.ended && self.worker.backlog() == 0 {
            if let Err(error) = self.refresh() {
                self.failed = Some(error);
                return;
            }
            if let Some(ns) = self.account.spendable_ns() {
                self.worker.give(Job::Pack(ns));
            }
        }
        let insns = self.position(machine).insns.saturating_sub(self.last_checkpoint.insns);
        let pages = machine.dirty_page_count();
        if self.ended || self.account.decide(insns, pages) == Decision::Wait || self.worker.backlog() > 0 {
            return;
        }
        if let Err(error) = self.refresh() {
            self.failed = Some(error);
            return;
        }
        match self.account.decide(insns, pages) {
            Decision::Wait => {}
            Decision::Take => self.checkpoint(machine),
            Decision::NoRoom if self.report.is_thinned && !self.report.is_thinning => self.worker.give(Job::MakeRoom),
            Decision::NoRoom => {}
        }
    }

    /// Saves a checkpoint now.
    pub fn checkpoint(&mut self, machine: &mut Machine) {
        self.complete_start(machine);
        machine.settle();
        let (pages, bytes) = self.copy_changes(machine);
        self.save(machine, CheckpointKind::Seek, pages, bytes);
    }

    /// The pages that may have changed since the last checkpoint.
    fn copy_changes(&self, machine: &mut Machine) -> (Vec<u64>, Vec<u8>) {
        let pages = machine.take_dirty_pages();
        let bytes = self.copy_pages(machine, &pages);
        (pages, bytes)
    }

    fn copy_pages(&self, machine: &Machine, pages: &[u64]) -> Vec<u8> {
        let mut bytes = self.worker.buffer();
        bytes.reserve(pages.len() * PAGE_BYTES);
        for &page in pages {
            bytes.extend_from_slice(page_of(machine.ram_bytes(), page));
        }
        bytes
    }

    /// `new` takes the place of `old`, the machine recorded so far: a reset. Positions go on from there.
    ///
    /// # Errors
    /// If the host does not tell about RAM.
    pub fn restart(&mut self, old: &mut Machine, new: &mut Machine) -> Result<(), RecordError> {
        self.complete_start(old);
        old.settle();
        new.settle();
        let here = self.position(old);
        self.base = here.since(Position::of(new));
        self.save_whole(new)
    }

    /// Saves the state of a machine that was not recorded before.
    fn save_whole(&mut self, machine: &mut Machine) -> Result<(), RecordError> {
        machine.take_dirty_pages();
        let ram = machine.ram_bytes();
        let pages = machine.populated_pages()?.into_iter().flatten();
        let pages: Vec<u64> = pages.filter(|&page| !is_zero(page_of(ram, page))).collect();
        let bytes = self.copy_pages(machine, &pages);
        self.save(machine, CheckpointKind::Restart, pages, bytes);
        Ok(())
    }

    fn save(&mut self, machine: &mut Machine, kind: CheckpointKind, pages: Vec<u64>, bytes: Vec<u8>) {
        self.give_events();
        let position = self.position(machine);
        self.last_checkpoint = position;
        let count = pages.len() as u64;
        let config = (kind == CheckpointKind::Restart).then(|| ConfigRecord::from(machine.config()));
        let state = machine.save();
        let (base, events_before) = (self.base, None);
        let checkpoint = Box::new(Checkpoint { position, kind, state, pages, bytes, config, base, events_before });
        let waits = kind == CheckpointKind::Seek && !self.account.is_at_any_price();
        self.worker.give(if waits { Job::PutOff(checkpoint) } else { Job::Checkpoint(checkpoint) });
        self.account.copied(count);
    }

    /// Takes over what the worker says.
    fn refresh(&mut self) -> Result<(), RecordError> {
        if let Some(sentence) = self.worker.no_base() {
            return Err(RecordError::NoBase(sentence));
        }
        let is_idle = self.worker.backlog() == 0;
        let (error, report) = self.worker.outcome().ok_or(RecordError::Gone)?;
        if is_idle && self.start.is_none() {
            self.account.hear(report);
        }
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
        if here > self.progress && !self.ended && self.start.is_none() {
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

    /// Ends the recording where `machine` stands, and waits until all is written. `status` goes with
    /// [`EndReason::DebugExit`].
    ///
    /// # Errors
    /// If it cannot be written: call [`Self::retry`] when there is room.
    pub fn finish(&mut self, machine: &mut Machine, reason: EndReason, status: u8) -> Result<(), RecordError> {
        if !self.ended {
            self.ended = true;
            self.complete_start(machine);
            machine.settle();
            self.give_events();
            // A checkpoint here lets `verify` name what differs, and makes going to the end quick.
            self.worker.wait();
            let mut pages = machine.take_dirty_pages();
            let count = pages.len();
            let is_checkpoint = self.refresh().is_ok() && count <= END_PAGES && self.account.has_room(count as u64);
            if let Some(ns) = self.account.spendable_ns() {
                self.worker.give(Job::Pack(ns));
            }
            if !is_checkpoint {
                self.hash_pages(machine, &std::mem::take(&mut pages));
            }
            let (position, state, base) = (self.position(machine), machine.save(), self.base);
            let bytes = self.copy_pages(machine, &pages);
            let ending = Ending { position, reason, status, base, is_checkpoint, state, pages, bytes };
            self.worker.give(Job::End(Box::new(ending)));
        }
        self.retry()
    }

    /// Has the worker look at pages for the digest at the end, a few at a time: there may be as many as RAM has.
    fn hash_pages(&mut self, machine: &Machine, pages: &[u64]) {
        for part in pages.chunks(PAGES_AT_ONCE) {
            let bytes = self.copy_pages(machine, part);
            self.worker.give(Job::LastPages(part.to_vec(), bytes));
            self.worker.wait();
        }
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
