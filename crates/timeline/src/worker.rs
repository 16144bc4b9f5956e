//! The thread that an [`Encoder`] works on, so that the guest does not wait for hashing, packing and the disk.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use machine::page_hashes::{PageHash, hash};
use machine::{LentRam, MachineState};

use crate::Position;
use crate::account::thread_ns;
use crate::encoder::Encoder;
use crate::format::PAGE_BYTES;
use crate::format::log::Event;
use crate::format::records::EndReason;
use crate::hashing::in_parallel;
use crate::put_off::{Packed, PutOff, Waiting};
use crate::store::PendingBase;
use crate::writer::WriteError;

/// Processor time that goes into packing between two looks at the queue, in nanoseconds.
const SLICE_NS: u64 = 1_000_000;
/// Pages that are read at a time to be hashed.
const PAGES_AT_ONCE: usize = 16;

/// How a recording ends.
pub struct Ending {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: EndReason,
    /// With [`EndReason::DebugExit`]: the guest's exit status.
    pub status: u8,
    /// All but RAM.
    pub state: MachineState,
    /// Indexes of the pages that may have changed since the last state that was given.
    pub pages: Vec<u64>,
    /// RAM, which does not change until this is done.
    pub ram: Arc<LentRam>,
}

/// What a worker is asked to do, in this order.
pub enum Job {
    /// Wait for the state that the recording begins with.
    Base(PendingBase),
    /// Log these.
    Log(Vec<Event>),
    /// Save this state, when there is time for it if it is not urgent.
    Checkpoint(Box<Waiting>),
    /// From now on, and beside other jobs, there is so much processor time for states that were put off, in nanoseconds, and no more.
    MayPack(u64),
    /// Pack for so many nanoseconds of processor time at once.
    Pack(u64),
    /// Note that the run was recorded up to here, with all that was given before.
    Progress(Position),
    /// The recording ends here; states that are still put off are dropped.
    End(Box<Ending>),
    /// There is no room for the next checkpoint: thin out those that are there.
    MakeRoom,
    /// Try again to write what could not be written.
    Retry,
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
    /// Processor time that packing took, in nanoseconds.
    pub packing_ns: u64,
    /// Pages of checkpoints that were packed in it.
    pub packed_pages: u64,
    /// Bytes of checkpoints and pages when the first state, with which the recording begins, was in the file; zero before.
    /// What packing it took is not in `packing_ns` and `packed_pages`.
    pub initial_bytes: u64,
    /// Pages of that state which are not packed.
    pub initial_pages: u64,
    /// Bytes in memory of states that wait to be packed.
    pub put_off_bytes: u64,
    /// Pages of theirs that are not packed, those of the initial state included.
    pub waiting_pages: u64,
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
    /// Urgent states that are being packed: jobs that are not done, and keep no other from being done.
    packing: u64,
    gone: bool,
    /// The last attempt to write failed.
    error: Option<WriteError>,
    /// Why there is no state that the recording could begin with.
    no_base: Option<String>,
    report: Report,
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
    /// Starts the thread, which makes its encoder itself.
    ///
    /// # Errors
    /// If the host has none.
    pub fn start(encoder: impl FnOnce() -> Encoder + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared::default());
        let leaving = Leaving(shared.clone());
        let thread =
            std::thread::Builder::new().name("recorder".into()).spawn(move || work(encoder(), &queue, &leaving.0))?;
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

    /// How many jobs wait for it, the one that it works on and urgent states included.
    pub fn backlog(&self) -> u64 {
        let outcome = self.shared.lock();
        if outcome.gone { 0 } else { self.given - outcome.done }
    }

    /// How many jobs it has not looked at yet, or waits for. Urgent states that it is packing beside others are not among them.
    pub fn queued(&self) -> u64 {
        let outcome = self.shared.lock();
        if outcome.gone { 0 } else { self.given - outcome.done - outcome.packing }
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

impl Worker {
    /// Waits until it has done what it was given, and ends it.
    pub fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; there is nobody here to hear of it again.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(encoder: Encoder, queue: &Receiver<Job>, shared: &Shared) {
    let mut work = Work {
        encoder,
        put_off: PutOff::default(),
        dropped: PutOff::default(),
        report: Report::default(),
        may_pack_ns: 0,
    };
    loop {
        // Packing and thinning go on while there is no job, and a little after each, so that they end whatever comes.
        let is_busy = work.report.is_thinning || work.put_off.is_urgent() || work.may_pack_ns > 0;
        let job = match if is_busy { queue.try_recv() } else { queue.recv().map_err(Into::into) } {
            Ok(job) => Some(job),
            Err(TryRecvError::Disconnected) if !work.put_off.is_urgent() => return,
            Err(_) => None,
        };
        if let Some(job) = job {
            work.do_job(job, shared);
        }
        if work.put_off.is_urgent() {
            work.do_packing(SLICE_NS, shared);
        } else if work.may_pack_ns > 0 {
            work.do_packing(work.may_pack_ns.min(SLICE_NS), shared);
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
    /// States that are dropped when nobody waits for that.
    dropped: PutOff,
    report: Report,
    /// Processor time that there is for states that are not urgent, in nanoseconds.
    may_pack_ns: u64,
}

impl Work {
    fn do_job(&mut self, job: Job, shared: &Shared) {
        let start_ns = thread_ns();
        if let Job::Base(base) = &job {
            match base.wait() {
                Ok(base) => self.encoder.begin_with(&base.pages),
                Err(sentence) => shared.lock().no_base = Some(sentence),
            }
        }
        let (done, result) = match shared.lock().no_base.is_some() {
            true => (1, Ok(())),
            false => self.perform(job, start_ns),
        };
        self.tell(done, result, shared);
        self.dropped = PutOff::default();
    }

    /// Goes on with packing for about `ns`.
    fn do_packing(&mut self, ns: u64, shared: &Shared) {
        let start_ns = thread_ns();
        let packed = self.pack(&|| thread_ns() - start_ns < ns);
        let spent_ns = (thread_ns() - start_ns).max(1);
        let goes_on = !packed.is_stuck && !self.put_off.is_empty();
        self.may_pack_ns = if goes_on { self.may_pack_ns.saturating_sub(spent_ns) } else { 0 };
        let result = self.encoder.writer().write();
        self.tell(packed.urgent, result, shared);
    }

    /// Says that so many jobs are done.
    fn tell(&mut self, done: u64, result: Result<(), WriteError>, shared: &Shared) {
        self.put_off.prepare_rooms();
        self.report.put_off_bytes = self.put_off.bytes();
        self.report.waiting_pages = self.put_off.pages();
        self.report.initial_pages = self.put_off.initial_pages();
        self.report.look(&mut self.encoder);
        self.report.is_thinning = self.encoder.is_thinning();
        let mut outcome = shared.lock();
        outcome.done += done;
        outcome.packing = self.put_off.urgent();
        outcome.error = result.err();
        outcome.report = self.report;
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

    /// Packs states that wait as long as `goes_on` says so.
    fn pack(&mut self, goes_on: &dyn Fn() -> bool) -> Packed {
        let start_ns = thread_ns();
        let packed = self.put_off.pack(&mut self.encoder, goes_on);
        if self.report.initial_bytes > 0 {
            self.report.packing_ns += thread_ns() - start_ns;
            self.report.packed_pages += packed.pages;
        } else if packed.urgent > 0 {
            // Nothing else was packed with it: packing stops behind what is urgent.
            self.report.initial_bytes = self.encoder.writer().checkpoint_bytes();
        }
        packed
    }

    /// Does a job that began at `start_ns`. Gives the number of jobs that are done now: one that is urgent and waits is not.
    fn perform(&mut self, job: Job, start_ns: u64) -> (u64, Result<(), WriteError>) {
        let encoder = &mut self.encoder;
        let mut done = 1;
        match job {
            Job::Log(events) => encoder.log(&events),
            Job::Checkpoint(waiting) => {
                done -= u64::from(waiting.is_urgent);
                self.put_off.add(*waiting, encoder.events());
            }
            Job::MayPack(ns) => self.may_pack_ns = ns,
            Job::Pack(ns) => done += self.pack(&|| thread_ns() - start_ns < ns).urgent,
            Job::Progress(position) => return (done, encoder.writer().write_progress(position)),
            Job::End(ending) => {
                while self.put_off.is_urgent() {
                    done += self.pack(&|| true).urgent;
                }
                end(&mut self.encoder, &self.put_off, *ending);
                self.may_pack_ns = 0;
                self.dropped = std::mem::take(&mut self.put_off);
            }
            Job::MakeRoom => encoder.make_room(),
            Job::Retry | Job::Base(_) => {}
        }
        (done, self.encoder.writer().write())
    }
}

fn end(encoder: &mut Encoder, put_off: &PutOff, ending: Ending) {
    let Ending { position, reason, status, state, mut pages, ram } = ending;
    pages.extend(put_off.all_pages());
    pages.sort_unstable();
    pages.dedup();
    let hashes = in_parallel(&pages, |pages| hashes_of(pages, &ram));
    let digest = encoder.digest_of(&state, pages.into_iter().zip(hashes));
    encoder.end(position, reason, status, digest);
}

/// The hashes of some pages, which are ascending, of a machine that stands still.
fn hashes_of(pages: &[u64], ram: &LentRam) -> Vec<PageHash> {
    let mut bytes = vec![0; PAGES_AT_ONCE * PAGE_BYTES];
    let mut hashes = Vec::with_capacity(pages.len());
    let mut rest = pages;
    while let Some(&first) = rest.first() {
        let run = (first..).zip(rest).take(PAGES_AT_ONCE).take_while(|(next, page)| next == *page).count();
        let bytes = &mut bytes[..run * PAGE_BYTES];
        ram.read(first, bytes);
        hashes.extend(bytes.as_chunks().0.iter().map(hash));
        rest = &rest[run..];
    }
    hashes
}
