//! A snapshot as a file of its own, taken while the guest runs on: a recording that ends where it begins. Its pages
//! are copied between slices of the run, a thread writes them, and the file gets its name when it is on the disk.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use machine::Machine;

use crate::Position;
use crate::copier::{Copier, Copies, PAGES_AT_ONCE};
use crate::encoder::{Checkpoint, Encoder};
use crate::format::PAGE_BYTES;
use crate::format::records::{CheckpointKind, EndReason};
use crate::recorder::{RecordError, RecorderOptions};
use crate::sink::Sink;

/// Copies that wait for the thread at most.
const COPIES_WAITING: usize = 4;

/// What became of it; a sentence if there is none.
type Outcome = Result<(), String>;

#[derive(Default)]
struct Progress {
    /// Copies that were not worked on yet.
    waiting: usize,
    spare: Vec<Vec<u8>>,
    outcome: Option<Outcome>,
}

#[derive(Default)]
struct Shared(Mutex<Progress>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Job {
    Pages(Copies),
    State(Box<Checkpoint>),
}

/// A snapshot that is being taken.
pub struct SnapshotFile {
    position: Position,
    copying: Option<(Copier, Box<Checkpoint>)>,
    pages_at_once: usize,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotFile {
    /// Begins a snapshot of `machine` as it stands, which [`Sink::take_place`] will make the file it is to be.
    ///
    /// # Errors
    /// If the host refuses. What cannot be written is said by [`Self::outcome`].
    pub fn start(machine: &mut Machine, sink: Box<dyn Sink>, options: RecorderOptions) -> Result<Self, RecordError> {
        Self::start_in_steps(machine, sink, options, PAGES_AT_ONCE)
    }

    /// The same, with so many pages copied at a time.
    ///
    /// # Errors
    /// As there.
    pub fn start_in_steps(
        machine: &mut Machine,
        sink: Box<dyn Sink>,
        options: RecorderOptions,
        pages_at_once: usize,
    ) -> Result<Self, RecordError> {
        machine.settle();
        let base = options.base;
        let position = Position::of(machine).after(base);
        let left = machine.populated_pages()?.into_iter().flatten().collect();
        let header = options.header(machine.config(), position, None);
        let encoder = Encoder::new(sink, &header, (machine.ram_bytes().len() / PAGE_BYTES) as u64);
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("snapshot".into()).spawn(move || work(encoder, &queue, &for_thread));
        let thread = Some(thread.map_err(RecordError::Thread)?);
        let checkpoint = Box::new(Checkpoint {
            position,
            kind: CheckpointKind::Initial,
            state: machine.save(),
            config: None,
            base,
            events_before: None,
        });
        let copying = Some((Copier::begin(machine, left, &[]), checkpoint));
        let pages_at_once = pages_at_once.max(1);
        let mut snapshot = SnapshotFile { position, copying, pages_at_once, jobs: Some(jobs), shared, thread };
        snapshot.copy(machine);
        Ok(snapshot)
    }

    /// The instant that it is of.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether pages are left to copy: [`Self::poll`] is to be called soon.
    pub fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// Copies some more pages; call it between slices of the guest's run.
    pub fn poll(&mut self, machine: &mut Machine) {
        let (waiting, failed) = {
            let progress = self.shared.lock();
            (progress.waiting, progress.outcome.is_some())
        };
        if failed && self.copying.take().is_some() {
            machine.unwatch_pages();
        }
        if waiting < COPIES_WAITING {
            self.copy(machine);
        }
    }

    /// Copies all pages that are left: another copy may begin then, or the machine go away.
    pub fn complete(&mut self, machine: &mut Machine) {
        while self.copying.is_some() {
            self.copy(machine);
        }
    }

    fn copy(&mut self, machine: &mut Machine) {
        let Some((copier, _)) = &mut self.copying else { return };
        let mut copies = Copies::into(self.shared.lock().spare.pop().unwrap_or_default());
        copier.copy(machine, self.pages_at_once, &mut copies);
        let done = copier.is_done();
        self.give(Job::Pages(copies));
        if let Some((_, checkpoint)) = self.copying.take_if(|_| done) {
            self.give(Job::State(checkpoint));
        }
    }

    fn give(&mut self, job: Job) {
        self.shared.lock().waiting += 1;
        if let Some(jobs) = &self.jobs {
            // A thread that is gone has left an outcome, or is found gone when that is asked for.
            let _ = jobs.send(job);
        }
    }

    /// Once it is known: whether the file is there, or a sentence on why not, and then nothing is left of it.
    pub fn outcome(&mut self) -> Option<Outcome> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return None;
        }
        let told = self.shared.lock().outcome.clone();
        Some(told.unwrap_or_else(|| Err("the thread that writes the snapshot has failed".into())))
    }

    /// Waits for [`Self::outcome`], `machine` standing still meanwhile.
    ///
    /// # Errors
    /// As told there.
    pub fn finish(&mut self, machine: &mut Machine) -> Outcome {
        self.complete(machine);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; the outcome says that there is none.
            let _ = thread.join();
        }
        self.outcome().unwrap_or(Ok(()))
    }
}

impl Drop for SnapshotFile {
    /// One that is given up leaves no file.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Nobody asks any more what became of it.
            let _ = thread.join();
        }
    }
}

/// Writes what comes, until all is there or something fails; then the file goes away with the encoder.
fn work(mut encoder: Encoder, queue: &Receiver<Job>, shared: &Shared) {
    let outcome = loop {
        let result = match queue.recv() {
            Ok(Job::Pages(copies)) => {
                let written = write_pages(&mut encoder, &copies);
                let buffer = copies.into_buffer();
                let mut progress = shared.lock();
                progress.waiting = progress.waiting.saturating_sub(1);
                progress.spare.push(buffer);
                written
            }
            Ok(Job::State(checkpoint)) => break end(&mut encoder, *checkpoint).map_err(|error| error.to_string()),
            Err(_) => break Err("it was given up".into()),
        };
        if let Err(error) = result {
            break Err(error.to_string());
        }
    };
    // Nothing is left of one that failed before somebody hears of it.
    drop(encoder);
    shared.lock().outcome = Some(outcome);
}

fn write_pages(encoder: &mut Encoder, copies: &Copies) -> std::io::Result<()> {
    encoder.add_pages(&copies.pages, &copies.bytes);
    for (page, content) in &copies.kept {
        encoder.add_pages(&[*page], &**content);
    }
    encoder.writer().write().map_err(|error| error.source)
}

fn end(encoder: &mut Encoder, checkpoint: Checkpoint) -> std::io::Result<()> {
    let position = checkpoint.position;
    let digest = encoder.checkpoint(checkpoint);
    encoder.end(position, EndReason::Stopped, 0, digest);
    let writer = encoder.writer();
    writer.write().map_err(|error| error.source)?;
    writer.sync()?;
    writer.take_place()
}

/// Why there is no file, as the one who asked for the file at `path` should read it.
pub fn failure(path: &Path, why: &str) -> String {
    format!("cannot write the snapshot {}: {why}; nothing is left of it", path.display())
}
