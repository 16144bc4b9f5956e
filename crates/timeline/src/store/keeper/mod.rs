//! Saves states of a running machine into a store without stopping it: pages are copied while the guest runs on
//! (those that it changes first are kept aside by the machine), and a thread hashes and writes the copies.

mod pending;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use machine::Machine;
use machine::ram::RamError;

pub use pending::PendingBase;

use super::base::Base;
use super::node::{Node, NodeKind};
use super::state_writer::SavedState;
use super::{NewNode, Store, fresh_id, recording_path};
use crate::copier::{Copier, Copies, PAGES_AT_ONCE};
use thread::{Job, Missing, Request, Shared, work};

/// Copies that wait for the thread at most.
const COPIES_WAITING: usize = 4;

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

/// The state that is being copied.
struct Copying {
    saved: Box<SavedState>,
    state: String,
    request: Box<Request>,
    copier: Copier,
    /// Pages that did not change since the last state was saved, until the thread has said which of them are to be copied.
    unchanged: Option<Vec<u64>>,
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
        self.begin(machine, saved, base.state().into(), request)?;
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
        let populated = machine.populated_pages()?.into_iter().flatten();
        let changed = machine.take_pages_for_snapshot();
        let mut rest = changed.iter().copied().peekable();
        let (copied, unchanged): (Vec<u64>, Vec<u64>) = populated.partition(|page| {
            while rest.next_if(|changed| changed < page).is_some() {}
            rest.next_if_eq(page).is_some()
        });
        let copier = Copier::begin(machine, copied, &unchanged);
        self.give(Job::Begin { ticket: request.ticket, changed });
        let unchanged = (!unchanged.is_empty()).then_some(unchanged);
        self.copying = Some(Copying { saved: Box::new(saved), state, request, copier, unchanged });
        self.copy(machine, PAGES_AT_ONCE, false);
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
            self.copy(machine, PAGES_AT_ONCE, false);
        }
    }

    /// Copies all pages that are left.
    pub fn complete(&mut self, machine: &mut Machine) {
        while self.copying.is_some() {
            self.copy(machine, PAGES_AT_ONCE * COPIES_WAITING, true);
        }
    }

    /// Copies about `count` pages. If it is to be done at once, the thread is not asked which pages that did not change are
    /// in the store: all are copied.
    fn copy(&mut self, machine: &mut Machine, count: usize, at_once: bool) {
        let Some(copying) = &mut self.copying else { return };
        let mut copies = Copies::into(self.shared.lock().spare.pop().unwrap_or_default());
        copying.copier.copy(machine, count, &mut copies);
        if copying.copier.is_done()
            && let Some(unchanged) = copying.unchanged.take()
        {
            let ticket = copying.request.ticket;
            let answer = self.shared.lock().missing.take_if(|(of, _)| *of == ticket);
            match answer.map(|(_, missing)| missing) {
                Some(Missing::Pages(pages)) => copying.copier.add(pages),
                Some(Missing::All) => copying.copier.add(unchanged),
                None if at_once => copying.copier.add(unchanged),
                None => copying.unchanged = Some(unchanged),
            }
        }
        let (done, insists) = (copying.copier.is_done() && copying.unchanged.is_none(), copying.request.insists);
        self.give(Job::Pages(copies, insists));
        if let Some(Copying { saved, state, request, .. }) = self.copying.take_if(|_| done) {
            machine.unwatch_pages();
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
