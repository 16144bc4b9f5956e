//! Saves states of a running machine into a store without stopping it: pages are copied while the guest runs on
//! (those that it changes first are kept aside by the machine), and a thread hashes and writes the copies.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use machine::Machine;
use machine::ram::RamError;

use super::base::Base;
use super::error::StoreError;
use super::node::{Node, NodeKind};
use super::state_writer::{SavedState, StateWriter};
use super::{NewNode, Store, fresh_id, recording_path};
use crate::format::PAGE_BYTES;
use crate::page_map::page_of;

/// Pages that are copied at a time between two slices of the guest's run: about two milliseconds' worth.
const PAGES_AT_ONCE: usize = 1024;
/// How often a full disk is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Copies that wait for the thread at most.
const COPIES_WAITING: usize = 4;

/// A state that is being saved, and will be what a recording begins with.
#[derive(Clone, Debug)]
pub struct PendingBase {
    state: String,
    tree: String,
    shared: Arc<Slot>,
}

/// Where it arrives.
#[derive(Debug, Default)]
struct Slot {
    result: Mutex<Option<Result<Arc<Base>, String>>>,
    arrived: Condvar,
}

impl PendingBase {
    fn new(state: String, directory: &Path) -> Self {
        let tree = std::path::absolute(directory).unwrap_or_else(|_| directory.into());
        PendingBase { state, tree: tree.display().to_string(), shared: Arc::default() }
    }

    /// A state that is in the store in `directory`.
    pub fn ready(base: Base, directory: &Path) -> Self {
        let pending = PendingBase::new(base.state.clone(), directory);
        pending.fulfil(Ok(base));
        pending
    }

    /// Its id.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The directory of its store.
    pub fn tree(&self) -> &str {
        &self.tree
    }

    fn fulfil(&self, result: Result<Base, String>) {
        let Slot { result: slot, arrived } = &*self.shared;
        slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(result.map(Arc::new));
        arrived.notify_all();
    }

    /// Waits until it is saved; a sentence if it could not be.
    ///
    /// # Errors
    /// See there.
    pub fn wait(&self) -> Result<Arc<Base>, String> {
        let Slot { result: slot, arrived } = &*self.shared;
        let mut result = slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => result = arrived.wait(result).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// A recording that may begin.
#[derive(Debug)]
pub struct Started {
    /// The number for [`Keeper::take_added`].
    pub ticket: u64,
    /// Its node's id.
    pub id: String,
    /// The file to record to.
    pub path: PathBuf,
    /// What it begins with.
    pub base: PendingBase,
}

/// What became of a node.
#[derive(Debug)]
pub struct Added {
    /// The number that was given for it.
    pub ticket: u64,
    /// The node, or a sentence.
    pub result: Result<Node, String>,
}

enum Job {
    /// Pages of the state: indexes, and bytes one after the other; whether to wait for room on the disk.
    Pages(Vec<u64>, Vec<u8>, bool),
    /// The rest of it, and the node that it is for.
    State(Box<SavedState>, String, Box<Request>),
    /// A node whose state is there.
    Node(PendingBase, Box<Request>),
}

/// A node to be made.
struct Request {
    ticket: u64,
    kind: NodeKind,
    id: String,
    new: NewNode,
    /// Who waits for the state.
    base: Option<PendingBase>,
    /// Wait for room on the disk rather than fail.
    insists: bool,
}

#[derive(Default)]
struct Outcome {
    /// Copies that were not worked on yet.
    waiting: usize,
    added: Vec<Added>,
    spare: Vec<Vec<u8>>,
    /// Why the thread waits for room.
    no_room: Option<String>,
    /// Nobody wants it to wait any longer.
    given_up: bool,
}

#[derive(Default)]
struct Shared(Mutex<Outcome>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state that is being copied.
struct Copying {
    saved: Box<SavedState>,
    state: String,
    request: Box<Request>,
    /// Pages to copy, the last first.
    left: Vec<u64>,
}

/// Who keeps a running machine's tree.
pub struct Keeper {
    directory: PathBuf,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    copying: Option<Copying>,
    next_ticket: u64,
    /// Nodes that were asked for and not answered for yet.
    pending: usize,
}

impl Keeper {
    /// Keeps the tree in `store`.
    ///
    /// # Errors
    /// If the host has no thread for it.
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared::default());
        let (directory, for_thread) = (store.directory().to_path_buf(), Arc::clone(&shared));
        let thread =
            std::thread::Builder::new().name("keeper".into()).spawn(move || work(store, &queue, &for_thread))?;
        let thread = Some(thread);
        Ok(Keeper { directory, jobs: Some(jobs), shared, thread, copying: None, next_ticket: 0, pending: 0 })
    }

    /// The tree's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins a snapshot of `machine`, which stands as `saved` says; gives a number for [`Self::take_added`] and the id of
    /// the node to come.
    ///
    /// # Errors
    /// If the host does not tell about RAM.
    pub fn snapshot(
        &mut self,
        machine: &mut Machine,
        saved: SavedState,
        new: NewNode,
    ) -> Result<(u64, String), RamError> {
        let id = fresh_id(&new);
        let request = self.request(NodeKind::Snapshot, id.clone(), new);
        let ticket = request.ticket;
        self.begin(machine, saved, fresh_id(&NewNode::default()), request)?;
        Ok((ticket, id))
    }

    /// Begins to save `machine`, which stands as `saved` says, for a recording.
    ///
    /// # Errors
    /// If the host does not tell about RAM.
    pub fn recording(&mut self, machine: &mut Machine, saved: SavedState, new: NewNode) -> Result<Started, RamError> {
        let id = fresh_id(&new);
        let base = PendingBase::new(fresh_id(&NewNode::default()), &self.directory);
        let path = recording_path(&self.directory, &id);
        let mut request = self.request(NodeKind::Recording, id.clone(), new);
        (request.base, request.insists) = (Some(base.clone()), true);
        let ticket = request.ticket;
        self.begin(machine, saved, base.state.clone(), request)?;
        Ok(Started { ticket, id, path, base })
    }

    /// Makes a node for a recording that begins with a state of the store.
    pub fn recording_from(&mut self, base: Base, new: NewNode) -> Started {
        let id = fresh_id(&new);
        let path = recording_path(&self.directory, &id);
        let base = PendingBase::ready(base, &self.directory);
        let mut request = self.request(NodeKind::Recording, id.clone(), new);
        request.insists = true;
        let ticket = request.ticket;
        self.give(Job::Node(base.clone(), request));
        Started { ticket, id, path, base }
    }

    fn request(&mut self, kind: NodeKind, id: String, new: NewNode) -> Box<Request> {
        self.next_ticket += 1;
        self.pending += 1;
        Box::new(Request { ticket: self.next_ticket, kind, id, new, base: None, insists: false })
    }

    fn begin(
        &mut self,
        machine: &mut Machine,
        saved: SavedState,
        state: String,
        request: Box<Request>,
    ) -> Result<(), RamError> {
        self.complete(machine);
        let mut left: Vec<u64> = machine.populated_pages()?.into_iter().flatten().collect();
        machine.watch_pages(left.iter().copied());
        left.reverse();
        self.copying = Some(Copying { saved: Box::new(saved), state, request, left });
        self.copy(machine, PAGES_AT_ONCE);
        Ok(())
    }

    /// Whether pages are left to copy: [`Self::poll`] is to be called soon.
    pub fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// Whether a node was asked for and is not there yet.
    pub fn is_busy(&self) -> bool {
        self.pending > 0
    }

    /// Copies some more pages; call it between slices of the guest's run.
    pub fn poll(&mut self, machine: &mut Machine) {
        if self.shared.lock().waiting < COPIES_WAITING {
            self.copy(machine, PAGES_AT_ONCE);
        }
    }

    /// Copies all pages that are left.
    pub fn complete(&mut self, machine: &mut Machine) {
        while self.copying.is_some() {
            self.copy(machine, PAGES_AT_ONCE * COPIES_WAITING);
        }
    }

    fn copy(&mut self, machine: &mut Machine, count: usize) {
        let Some(copying) = &mut self.copying else { return };
        let (mut pages, mut bytes) = (Vec::new(), self.shared.lock().spare.pop().unwrap_or_default());
        for (page, content) in machine.take_preimages() {
            pages.push(page);
            bytes.extend_from_slice(&*content);
        }
        let more = count.saturating_sub(pages.len());
        for page in copying.left.split_off(copying.left.len().saturating_sub(more)).into_iter().rev() {
            if machine.unwatch_page(page) {
                pages.push(page);
                bytes.extend_from_slice(page_of(machine.ram_bytes(), page));
            }
        }
        // What was kept aside since the last look is taken with the last pages.
        let done = copying.left.is_empty();
        let insists = copying.request.insists;
        self.give(Job::Pages(pages, bytes, insists));
        if let Some(Copying { saved, state, request, left: _ }) = self.copying.take_if(|_| done) {
            self.give(Job::State(saved, state, request));
        }
    }

    fn give(&mut self, job: Job) {
        self.shared.lock().waiting += 1;
        if let Some(jobs) = &self.jobs {
            // A thread that is gone says so when its answers are asked for.
            let _ = jobs.send(job);
        }
    }

    /// Why the state that a recording begins with cannot be written now: the disk is full. It will be when there is room.
    pub fn no_room(&self) -> Option<String> {
        self.shared.lock().no_room.clone()
    }

    /// What became of nodes since the last call.
    pub fn take_added(&mut self) -> Vec<Added> {
        let added = std::mem::take(&mut self.shared.lock().added);
        self.pending -= added.len().min(self.pending);
        added
    }

    /// Waits until all that was asked for is done; not for room on the disk.
    pub fn finish(&mut self, machine: &mut Machine) -> Vec<Added> {
        self.complete(machine);
        self.shared.lock().given_up = true;
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; what it did not answer for did not happen.
            let _ = thread.join();
        }
        self.take_added()
    }
}

impl Drop for Keeper {
    /// Whoever waits for a state that will not come any more must not wait for ever.
    fn drop(&mut self) {
        self.shared.lock().given_up = true;
    }
}

fn work(mut store: Store, queue: &Receiver<Job>, shared: &Shared) {
    let mut writer: Option<Result<StateWriter, StoreError>> = None;
    while let Ok(job) = queue.recv() {
        match job {
            Job::Pages(pages, mut bytes, insists) => {
                let current = writer.get_or_insert_with(|| StateWriter::begin(&mut store));
                if let Ok(open) = current
                    && let Err(error) = add_pages(&mut store, open, &pages, &bytes, insists.then_some(shared))
                {
                    *current = Err(error);
                }
                bytes.clear();
                shared.lock().spare.push(bytes);
            }
            Job::State(saved, state, request) => {
                let writer = writer.take().unwrap_or_else(|| StateWriter::begin(&mut store));
                let insists = request.insists.then_some(shared);
                let result = writer.and_then(|mut writer| {
                    with_room(insists, || writer.retry(&mut store))?;
                    let (base, lock) = writer.finish_as(&mut store, *saved, state)?;
                    let node = store.add(&lock, request.kind, &base.state, &request.new, &request.id)?;
                    Ok((base, node))
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
            Job::Node(base, request) => {
                let result = store.add_locked(request.kind, base.state(), &request.new, &request.id);
                let result = result.map_err(|error| error.to_string());
                shared.lock().added.push(Added { ticket: request.ticket, result });
            }
        }
        let mut outcome = shared.lock();
        outcome.waiting = outcome.waiting.saturating_sub(1);
    }
}

fn add_pages(
    store: &mut Store,
    writer: &mut StateWriter,
    pages: &[u64],
    bytes: &[u8],
    insists: Option<&Shared>,
) -> Result<(), StoreError> {
    for (page, bytes) in pages.iter().zip(bytes.as_chunks::<PAGE_BYTES>().0) {
        match writer.add(store, *page, bytes) {
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
