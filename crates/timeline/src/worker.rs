//! The thread that an [`Encoder`] works on, so that the guest does not wait for hashing, packing and the disk.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use machine::MachineState;

use crate::Position;
use crate::account::thread_ns;
use crate::encoder::{Checkpoint, Encoder};
use crate::format::log::Event;
use crate::format::records::{CheckpointKind, EndReason};
use crate::store::PendingBase;
use crate::writer::WriteError;

/// Buffers that are kept for the next pages.
const SPARE_BUFFERS: usize = 2;

/// How a recording ends.
pub struct Ending {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: EndReason,
    /// With [`EndReason::DebugExit`]: the guest's exit status.
    pub status: u8,
    /// Where the machine's own counts begin.
    pub base: Position,
    /// Whether the end is a checkpoint, too.
    pub is_checkpoint: bool,
    /// All but RAM.
    pub state: MachineState,
    /// Indexes of the pages that may have changed since the last checkpoint.
    pub pages: Vec<u64>,
    /// The bytes of `pages`, one after the other.
    pub bytes: Vec<u8>,
}

/// What a worker is asked to do, in this order.
pub enum Job {
    /// Wait for the state that the recording begins with.
    Base(PendingBase),
    /// Log these.
    Log(Vec<Event>),
    /// Add these pages (indexes, and bytes one after the other) to the next state.
    Pages(Vec<u64>, Vec<u8>),
    /// Save this state.
    Checkpoint(Box<Checkpoint>),
    /// Note that the run was recorded up to here, with all that was given before.
    Progress(Position),
    /// The recording ends here.
    End(Box<Ending>),
    /// There is no room for the next checkpoint: thin out those that are there.
    MakeRoom,
    /// Try again to write what could not be written.
    Retry,
    /// Nothing.
    Skip,
}

/// What a worker has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Of those, bytes of checkpoints and pages.
    pub checkpoint_bytes: u64,
    /// Bytes by which thinning has made the file smaller.
    pub thinned_bytes: u64,
    /// Processor time of the jobs, in nanoseconds.
    pub busy_ns: u64,
    /// Processor time that thinning out the file took, in nanoseconds.
    pub thinning_ns: u64,
    /// The file is thinned out when it is time for it.
    pub is_thinned: bool,
    /// It is being thinned out, and can be right now.
    pub is_thinning: bool,
    /// Steps that checkpoints should stand apart from now on, at least.
    pub interval: u64,
}

impl Report {
    fn look(&mut self, encoder: &mut Encoder) {
        (self.is_thinned, self.interval) = encoder.thinning();
        let writer = encoder.writer();
        (self.file_bytes, self.checkpoint_bytes) = (writer.len_bytes(), writer.checkpoint_bytes());
    }
}

/// What became of the jobs so far.
#[derive(Debug, Default)]
struct Outcome {
    done: u64,
    gone: bool,
    /// The last attempt to write failed.
    error: Option<WriteError>,
    /// Why there is no state that the recording could begin with.
    no_base: Option<String>,
    report: Report,
    /// Buffers that are not needed any more: memory that is mapped already spares the guest's thread the faults.
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Shared {
    outcome: Mutex<Outcome>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker; it ends when this is dropped, after what it was given.
pub struct Worker {
    jobs: Option<Sender<Job>>,
    given: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Marks the worker as gone however its thread ends.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.changed.notify_all();
    }
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the host has none.
    pub fn start(encoder: Encoder) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared::default());
        let leaving = Leaving(shared.clone());
        let thread =
            std::thread::Builder::new().name("recorder".into()).spawn(move || work(encoder, &queue, &leaving.0))?;
        Ok(Worker { jobs: Some(jobs), given: 0, shared, thread: Some(thread) })
    }

    /// Gives it a job.
    pub fn give(&mut self, job: Job) {
        self.given += 1;
        if let Some(jobs) = &self.jobs {
            // A worker that is gone says so in its outcome.
            let _ = jobs.send(job);
        }
    }

    /// An empty buffer, one used before if there is one.
    pub fn buffer(&self) -> Vec<u8> {
        self.shared.lock().spare.pop().unwrap_or_default()
    }

    /// How many jobs wait for it, the one that it works on included.
    pub fn backlog(&self) -> u64 {
        let outcome = self.shared.lock();
        if outcome.gone { 0 } else { self.given - outcome.done }
    }

    /// Takes the error of the last attempt to write; what was done; `None` if the worker is gone.
    pub fn outcome(&self) -> Option<(Option<WriteError>, Report)> {
        let mut outcome = self.shared.lock();
        let error = outcome.error.take();
        (!outcome.gone).then_some((error, outcome.report))
    }

    /// Why there is no state that the recording could begin with. Nothing is written then.
    pub fn no_base(&self) -> Option<String> {
        self.shared.lock().no_base.clone()
    }

    /// Waits until it has done all that it was given.
    pub fn wait(&self) {
        let mut outcome = self.shared.lock();
        while outcome.done < self.given && !outcome.gone {
            outcome = self.shared.changed.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; there is nobody here to hear of it again.
            let _ = thread.join();
        }
    }
}

fn work(mut encoder: Encoder, queue: &Receiver<Job>, shared: &Shared) {
    let mut report = Report::default();
    loop {
        // Thinning goes on while there is no job, and a little after each, so that it ends whatever comes.
        let job = match if report.is_thinning { queue.try_recv() } else { queue.recv().map_err(Into::into) } {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => return,
        };
        if let Some(job) = job {
            do_job(&mut encoder, job, &mut report, shared);
        }
        if report.is_thinning {
            do_thinning(&mut encoder, &mut report);
            shared.lock().report = report;
        }
    }
}

fn do_job(encoder: &mut Encoder, mut job: Job, report: &mut Report, shared: &Shared) {
    let start_ns = thread_ns();
    if let Job::Base(base) = &job {
        match base.wait() {
            Ok(base) => encoder.begin_with(&base.pages),
            Err(sentence) => shared.lock().no_base = Some(sentence),
        }
    }
    if shared.lock().no_base.is_some() {
        job = Job::Skip;
    }
    let mut spare = take_pages(encoder, &mut job);
    let result = perform(encoder, job);
    report.busy_ns += thread_ns() - start_ns;
    report.look(encoder);
    report.is_thinning = encoder.is_thinning();
    let mut outcome = shared.lock();
    outcome.done += 1;
    outcome.error = result.err();
    outcome.report = *report;
    if spare.capacity() > 0 && outcome.spare.len() < SPARE_BUFFERS {
        spare.clear();
        outcome.spare.push(spare);
    }
    shared.changed.notify_all();
}

fn do_thinning(encoder: &mut Encoder, report: &mut Report) {
    let start_ns = thread_ns();
    let before = encoder.writer().checkpoint_bytes();
    report.is_thinning = encoder.thin();
    report.thinned_bytes += before.saturating_sub(encoder.writer().checkpoint_bytes());
    report.thinning_ns += thread_ns() - start_ns;
    report.look(encoder);
}

/// Takes the pages out of a job and gives back the buffer they were in.
fn take_pages(encoder: &mut Encoder, job: &mut Job) -> Vec<u8> {
    let (pages, bytes) = match job {
        Job::Pages(pages, bytes) => (pages, bytes),
        // The pages of a restart are known only together.
        Job::Checkpoint(checkpoint) if checkpoint.kind != CheckpointKind::Restart => {
            let Checkpoint { pages, bytes, .. } = &mut **checkpoint;
            (pages, bytes)
        }
        _ => return Vec::new(),
    };
    encoder.add_pages(pages, bytes);
    pages.clear();
    std::mem::take(bytes)
}

fn perform(encoder: &mut Encoder, job: Job) -> Result<(), WriteError> {
    match job {
        Job::Log(events) => encoder.log(&events),
        Job::Checkpoint(checkpoint) => drop(encoder.checkpoint(*checkpoint)),
        Job::Progress(position) => return encoder.writer().write_progress(position),
        Job::End(ending) => {
            let Ending { position, reason, status, base, is_checkpoint, state, pages, bytes } = *ending;
            let digest = if is_checkpoint {
                let kind = CheckpointKind::Seek;
                encoder.checkpoint(Checkpoint { position, kind, state, pages, bytes, config: None, base })
            } else {
                encoder.digest_of(&state, &pages, &bytes)
            };
            encoder.end(position, reason, status, digest);
        }
        Job::MakeRoom => encoder.make_room(),
        Job::Skip => return Ok(()),
        Job::Pages(..) | Job::Retry | Job::Base(_) => {}
    }
    encoder.writer().write()
}
