//! What a machine with a tree does: recordings and snapshots that become nodes, while the guest runs on.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use timeline::RecordError;
use timeline::store::StoreError;

use crate::control::{Answer, Request};
use crate::error::SessionError;
use crate::guest::Guest;
use crate::recording::Recording;
use crate::tree::{Place, Tree, Waiting};

/// How often the state that a recording begins with is looked for, when the recording is to end already.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

impl Guest {
    /// Records from here on as `record` says: to a file, or as a node.
    ///
    /// # Errors
    /// If the recording cannot be started.
    pub fn record_from_start(&mut self, record: &Path) -> Result<(), SessionError> {
        match Place::of(record, self.tree.is_some()) {
            Place::File(path) => Ok(self.start_recording(&path)?),
            Place::Node(name) => self.start_node(&name, Waiting::Start(name.clone())),
        }
    }

    /// Starts a recording as a node; its state is saved while the guest runs on.
    fn start_node(&mut self, name: &str, waiting: Waiting) -> Result<(), SessionError> {
        check_name(name)?;
        self.complete_copies();
        self.machine.settle();
        let Some(tree) = &mut self.tree else { return Ok(()) };
        let saved = self.description.saved(&self.machine, self.base);
        let started = tree.recording(&mut self.machine, saved, name, waiting).map_err(RecordError::from)?;
        let recording = Recording::start_in_tree(&mut self.machine, self.base, started, &self.description)?;
        self.begin_recording(recording);
        Ok(())
    }

    /// Takes a snapshot as a node.
    fn snapshot_node(&mut self, name: &str, waiting: Waiting) -> Result<(), SessionError> {
        check_name(name)?;
        self.complete_copies();
        self.machine.settle();
        let Some(tree) = &mut self.tree else { return Ok(()) };
        let saved = self.description.saved(&self.machine, self.base);
        let is_recorded = self.recording.is_some();
        tree.snapshot(&mut self.machine, saved, name, is_recorded, waiting).map_err(RecordError::from)?;
        Ok(())
    }

    /// Starts a recording as a node for a program on the socket.
    pub(crate) fn record_for(&mut self, request: Request, name: &str, state: &'static str) {
        let refused = match &self.recording {
            Some(recording) => Some(recording.is_under_way()),
            None => check_name(name).err().map(|error| error.to_string()),
        };
        match refused {
            Some(sentence) => request.answer_in(Err(sentence), state),
            None => {
                if let Err(error) = self.start_node(name, Waiting::Program(request, state)) {
                    self.notices.push(error.to_string());
                }
            }
        }
    }

    /// Takes a snapshot as a node for a program on the socket.
    pub(crate) fn snapshot_for(&mut self, request: Request, name: &str, state: &'static str) {
        if let Err(error) = check_name(name) {
            return request.answer_in(Err(error.to_string()), state);
        }
        if let Err(error) = self.snapshot_node(name, Waiting::Program(request, state)) {
            self.notices.push(error.to_string());
        }
    }

    /// Starts a recording to a file for a program on the socket.
    pub(crate) fn record_to(&mut self, path: &Path) -> Answer {
        if let Some(recording) = &self.recording {
            return Err(recording.is_under_way());
        }
        self.start_recording(path).map_err(|error| error.to_string())?;
        Ok(json!({ "file": path.display().to_string() }))
    }

    /// Makes the node that the guest asked for.
    pub(crate) fn node_for_guest(&mut self, name: &str, is_recording: bool) -> Answer {
        let result = if is_recording {
            self.start_node(name, Waiting::Guest("started the recording"))
        } else {
            self.snapshot_node(name, Waiting::Guest("took the snapshot"))
        };
        result.map(|()| ().into()).map_err(|error| error.to_string())
    }

    /// Ends all copying that waits for pages to change: only one can be under way.
    pub(crate) fn complete_copies(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.complete(&mut self.machine);
        }
        self.snapshots.complete(&mut self.machine);
    }

    /// The machine leaves the state of the tree in which it stood.
    pub(crate) fn leave(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.leave();
        }
    }

    /// Looks after what is being saved.
    pub(crate) fn tend_tree(&mut self) -> Result<(), RecordError> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if tree.is_busy() {
            let notices = tree.tend(&mut self.machine);
            self.notices.extend(notices);
        }
        match self.tree.as_ref().and_then(Tree::no_room) {
            Some(sentence) => Err(RecordError::NoRoom(sentence)),
            None => Ok(()),
        }
    }

    /// Waits until the state is saved that the recording begins with.
    pub(crate) fn await_base(&mut self) -> Result<(), RecordError> {
        self.complete_tree();
        while self.recording.is_some() && self.tree.as_ref().is_some_and(Tree::is_busy) {
            self.tend_tree()?;
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn complete_tree(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.complete(&mut self.machine);
        }
    }

    /// Waits until all nodes and snapshots are made that were asked for.
    pub(crate) fn finish_saving(&mut self) {
        while let Some(put_off) = self.put_off.pop_front() {
            self.serve_put_off(put_off);
        }
        let notices = self.snapshots.finish(&mut self.machine);
        self.notices.extend(notices);
        if let Some(mut tree) = self.tree.take() {
            let notices = tree.finish(&mut self.machine);
            self.notices.extend(notices);
        }
    }
}

impl Recording {
    fn is_under_way(&self) -> String {
        format!("{} is being recorded already; stop it first", self.path.display())
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    timeline::store::node::check_name(name)
}
