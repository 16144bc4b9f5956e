//! The keeper's thread: hashes and writes what was copied, in the order pages, state, node.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machine::page_hashes::PageHash;

use super::super::error::StoreError;
use super::super::node::NodeKind;
use super::super::state_writer::{SavedState, StateWriter};
use super::super::{NewNode, Store};
use super::{Added, PendingBase};
use crate::copier::Copies;

/// How often a full disk is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

pub(super) enum Job {
    /// A state begins, for the node with this ticket; these pages may have changed since the one before, and are zero unless
    /// they are copied.
    Begin { ticket: u64, changed: Vec<u64> },
    /// Pages of the state; whether to wait for room on the disk.
    Pages(Copies, bool),
    /// The rest of it, and the node that it is for.
    State(Box<SavedState>, String, Box<Request>),
    /// A node whose state is there.
    Node(PendingBase, Box<Request>),
}

/// A node to be made.
pub(super) struct Request {
    pub ticket: u64,
    pub kind: NodeKind,
    pub id: String,
    pub new: NewNode,
    /// Who waits for the state.
    pub base: Option<PendingBase>,
    /// Wait for room on the disk rather than fail.
    pub insists: bool,
}

/// Pages that have to be copied although they did not change.
pub(super) enum Missing {
    /// Nobody knows what they hold: the state before was not saved.
    All,
    /// These are not in the store any more: whoever deleted the nodes with them did not know of this state.
    Pages(Vec<u64>),
}

#[derive(Default)]
pub(super) struct Outcome {
    /// Copies that were not worked on yet.
    pub waiting: usize,
    pub added: Vec<Added>,
    pub spare: Vec<Vec<u8>>,
    /// Of the state for the node with this ticket.
    pub missing: Option<(u64, Missing)>,
    /// Why the thread waits for room.
    pub no_room: Option<String>,
    /// Nobody wants it to wait any longer.
    pub given_up: bool,
}

#[derive(Default)]
pub(super) struct Shared(Mutex<Outcome>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn work(store: Store, queue: &Receiver<Job>, shared: &Shared) {
    let mut work = Work { store, writer: None, known: None };
    while let Ok(job) = queue.recv() {
        work.perform(job, shared);
        let mut outcome = shared.lock();
        outcome.waiting = outcome.waiting.saturating_sub(1);
    }
}

struct Work {
    store: Store,
    /// The state that is being written.
    writer: Option<Result<StateWriter, StoreError>>,
    /// The pages of the state that was written last.
    known: Option<Vec<PageHash>>,
}

impl Work {
    fn perform(&mut self, job: Job, shared: &Shared) {
        match job {
            Job::Begin { ticket, changed } => {
                let missing = self.begin(&changed);
                shared.lock().missing = Some((ticket, missing));
            }
            Job::Pages(copies, insists) => {
                if let Some(Ok(open)) = &mut self.writer
                    && let Err(error) = add_pages(&mut self.store, open, &copies, insists.then_some(shared))
                {
                    self.writer = Some(Err(error));
                }
                let buffer = copies.into_buffer();
                shared.lock().spare.push(buffer);
            }
            Job::State(saved, state, request) => self.finish(*saved, state, &request, shared),
            Job::Node(base, request) => {
                let result = self.store.add_locked(request.kind, base.state(), &request.new, &request.id);
                let result = result.map_err(|error| error.to_string());
                shared.lock().added.push(Added { ticket: request.ticket, result });
            }
        }
    }

    fn begin(&mut self, changed: &[u64]) -> Missing {
        let known = self.known.take();
        let is_known = known.is_some();
        let writer = StateWriter::begin_with(&mut self.store, known.unwrap_or_default(), changed);
        let missing = match &writer {
            Ok(_) if !is_known => Missing::All,
            Ok(writer) => Missing::Pages(writer.missing(&self.store)),
            // What is copied will not be written.
            Err(_) => Missing::Pages(Vec::new()),
        };
        self.writer = Some(writer);
        missing
    }

    fn finish(&mut self, saved: SavedState, state: String, request: &Request, shared: &Shared) {
        let Work { store, writer, known } = self;
        let insists = request.insists.then_some(shared);
        let result = writer.take().unwrap_or_else(|| StateWriter::begin(store)).and_then(|mut writer| {
            with_room(insists, || writer.retry(store))?;
            let finished = writer.finish_as(store, saved, state)?;
            *known = Some(finished.hashes);
            let node = store.add(&finished.lock, request.kind, &finished.base.state, &request.new, &request.id)?;
            Ok((finished.base, node))
        });
        let (base, result) = match result {
            Ok((base, node)) => (Ok(base), Ok(node)),
            Err(error) => (Err(error.to_string()), Err(error.to_string())),
        };
        if let Some(pending) = &request.base {
            pending.fulfil(base);
        }
        shared.lock().added.push(Added { ticket: request.ticket, result });
    }
}

fn add_pages(
    store: &mut Store,
    writer: &mut StateWriter,
    copies: &Copies,
    insists: Option<&Shared>,
) -> Result<(), StoreError> {
    for (page, bytes) in copies.iter() {
        match writer.add(store, page, bytes) {
            Err(error) if error.is_full() => with_room(insists, || writer.retry(store))?,
            result => result?,
        }
    }
    Ok(())
}

/// Does `write`; if there is no room on the disk and somebody insists, again and again until there is.
fn with_room(insists: Option<&Shared>, mut write: impl FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
    loop {
        match (write(), insists) {
            (Err(error), Some(shared)) if error.is_full() => {
                let mut outcome = shared.lock();
                if outcome.given_up {
                    return Err(error);
                }
                outcome.no_room = Some(error.to_string());
            }
            (result, shared) => {
                if let Some(shared) = shared {
                    shared.lock().no_room = None;
                }
                return result;
            }
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}
