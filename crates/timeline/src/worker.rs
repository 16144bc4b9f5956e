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
use crate::put_off::PutOff;
use crate::store::PendingBase;
use crate::writer::WriteError;

/// Buffers that are kept for the next pages, and the bytes that one of them may have.
const SPARE_BUFFERS: usize = 2;
const SPARE_BYTES: usize = 4 << 20;

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
    /// Indexes of the pages that may have changed since the last checkpoint, but for those of [`Job::LastPages`].
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
    /// Save this state, and first those that were put off.
    Checkpoint(Box<Checkpoint>),
    /// Save this state when there is time for it.
    PutOff(Box<Checkpoint>),
    /// There is so much processor time, in nanoseconds, for states that were put off.
    Pack(u64),
    /// Note that the run was recorded up to here, with all that was given before.
    Progress(Position),
    /// Pages (indexes, and bytes one after the other) that changed before the end, which is no checkpoint.
    LastPages(Vec<u64>, Vec<u8>),
    /// The recording ends here; states that are still put off are dropped.
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
    /// Pages of checkpoints that were packed in it.
    pub packed_pages: u64,
    /// Bytes in memory of states that were put off.
    pub put_off_bytes: u64,
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

fn work(encoder: Encoder, queue: &Receiver<Job>, shared: &Shared) {
    let mut work = Work { encoder, put_off: PutOff::default(), report: Report::default() };
    loop {
        // Thinning goes on while there is no job, and a little after each, so that it ends whatever comes.
        let job = match if work.report.is_thinning { queue.try_recv() } else { queue.recv().map_err(Into::into) } {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => return,
        };
        if let Some(job) = job {
            work.do_job(job, shared);
        }
        if work.report.is_thinning {
            work.do_thinning();
            shared.lock().report = work.report;
        }
    }
}

/// What the thread works with.
struct Work {
    encoder: Encoder,
    put_off: PutOff,
    report: Report,
}

impl Work {
    fn do_job(&mut self, mut job: Job, shared: &Shared) {
        let start_ns = thread_ns();
        if let Job::Base(base) = &job {
            match base.wait() {
                Ok(base) => self.encoder.begin_with(&base.pages),
                Err(sentence) => shared.lock().no_base = Some(sentence),
            }
        }
        if shared.lock().no_base.is_some() {
            job = Job::Skip;
        }
        let mut spare = Vec::new();
        let result = self.perform(job, start_ns, &mut spare);
        self.report.busy_ns += thread_ns() - start_ns;
        self.report.put_off_bytes = self.put_off.bytes();
        self.report.look(&mut self.encoder);
        self.report.is_thinning = self.encoder.is_thinning();
        let mut outcome = shared.lock();
        outcome.done += 1;
        outcome.error = result.err();
        outcome.report = self.report;
        if (1..=SPARE_BYTES).contains(&spare.capacity()) && outcome.spare.len() < SPARE_BUFFERS {
            spare.clear();
            outcome.spare.push(spare);
        }
        shared.changed.notify_all();
    }

    fn do_thinning(&mut self) {
        let start_ns = thread_ns();
        let before = self.encoder.writer().checkpoint_bytes();
        self.report.is_thinning = self.encoder.thin();
        self.report.thinned_bytes += before.saturating_sub(self.encoder.writer().checkpoint_bytes());
        self.report.thinning_ns += thread_ns() - start_ns;
        self.report.look(&mut self.encoder);
    }

    /// Does a job that began at `start_ns`; a buffer that is not needed any more comes into `spare`.
    fn perform(&mut self, job: Job, start_ns: u64, spare: &mut Vec<u8>) -> Result<(), WriteError> {
        let encoder = &mut self.encoder;
        let packed = &mut self.report.packed_pages;
        match job {
            Job::Log(events) => encoder.log(&events),
            Job::Pages(pages, bytes) => {
                encoder.add_pages(&pages, &bytes);
                *spare = bytes;
            }
            Job::Checkpoint(checkpoint) => {
                *packed += self.put_off.pack(encoder, spare, &|| true);
                *packed += checkpoint.pages.len() as u64;
                *spare = save(encoder, *checkpoint);
            }
            Job::PutOff(checkpoint) => self.put_off.add(*checkpoint, encoder.events()),
            Job::Pack(ns) => *packed += self.put_off.pack(encoder, spare, &|| thread_ns() - start_ns < ns),
            Job::Progress(position) => return encoder.writer().write_progress(position),
            Job::LastPages(pages, bytes) => {
                encoder.last_pages(&pages, &bytes);
                *spare = bytes;
            }
            Job::End(ending) => end(encoder, &self.put_off, *ending),
            Job::MakeRoom => encoder.make_room(),
            Job::Skip => return Ok(()),
            Job::Retry | Job::Base(_) => {}
        }
        encoder.writer().write()
    }
}

/// Saves a state; gives back the buffer of its pages.
fn save(encoder: &mut Encoder, mut checkpoint: Checkpoint) -> Vec<u8> {
    // The pages of a restart are known only together.
    if checkpoint.kind == CheckpointKind::Restart {
        encoder.checkpoint(checkpoint);
        return Vec::new();
    }
    let (pages, bytes) = (std::mem::take(&mut checkpoint.pages), std::mem::take(&mut checkpoint.bytes));
    encoder.add_pages(&pages, &bytes);
    encoder.checkpoint(checkpoint);
    bytes
}

fn end(encoder: &mut Encoder, put_off: &PutOff, ending: Ending) {
    let Ending { position, reason, status, base, state, pages, bytes, is_checkpoint } = ending;
    let digest = if is_checkpoint && put_off.is_empty() {
        let (kind, config, events_before) = (CheckpointKind::Seek, None, None);
        encoder.checkpoint(Checkpoint { position, kind, state, pages, bytes, config, base, events_before })
    } else {
        encoder.last_pages(&pages, &bytes);
        put_off.changes().for_each(|(pages, bytes)| encoder.last_pages(pages, bytes));
        encoder.digest_of(&state)
    };
    encoder.end(position, reason, status, digest);
}
