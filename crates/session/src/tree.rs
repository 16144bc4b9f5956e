//! The tree of a running machine: where it stands in it, and who waits for nodes that are being made.

use std::path::{Path, PathBuf};

use machine::Machine;
use machine::ram::RamError;
use serde_json::{Value, json};
use timeline::Position;
use timeline::store::node::Node;
use timeline::store::{Added, Base, Keeper, NewNode, SavedState, Started, Store};

use crate::control::{Answer, Request};
use crate::error::SessionError;
use crate::real_clock::host_unix_seconds;

/// What a recording is called that nobody named.
pub const UNNAMED: &str = "recording";

/// Where something that was asked for goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the tree, under this name.
    Node(String),
    /// Into a file of its own.
    File(PathBuf),
}

impl Place {
    /// Where `text` means: with a tree, a name without a slash and without the ending `.cvr` is a node's.
    pub fn of(text: &Path, has_tree: bool) -> Self {
        match node_name(text) {
            Some(name) if has_tree => Place::Node(name.into()),
            _ => Place::File(text.into()),
        }
    }
}

/// `text` if it can only be a node's name, not a path.
pub fn node_name(text: &Path) -> Option<&str> {
    let is_path = |text: &str| text.contains('/') || text.ends_with(".cvr");
    text.to_str().filter(|text| !text.is_empty() && !is_path(text))
}

/// Who waits for a node.
pub(crate) enum Waiting {
    /// Another program, on the socket, while the machine is in this state.
    Program(Request, &'static str),
    /// The user, who reads notices, of what the guest did.
    Guest(&'static str),
    /// Whoever started the session.
    Start(String),
}

/// A node that is being made.
struct Pending {
    ticket: u64,
    id: String,
    /// The node that the run came from before.
    before: Option<String>,
    waiting: Waiting,
}

/// The tree of the machine that runs.
pub struct Tree {
    keeper: Keeper,
    /// The node that the run comes from.
    here: Option<String>,
    /// The state of the tree that the machine has not left yet.
    standing: Option<Base>,
    pending: Vec<Pending>,
}

impl Tree {
    /// The tree in `directory`, which is made if need be; the run comes from the node `here`, and stands in its state if
    /// there is one.
    ///
    /// # Errors
    /// If the tree cannot be read or made.
    pub fn open(directory: &Path, here: Option<String>, standing: Option<Base>) -> Result<Self, SessionError> {
        let store = Store::create(directory)?;
        let keeper = Keeper::start(store).map_err(SessionError::host("starting the thread that keeps the tree"))?;
        Ok(Tree { keeper, here, standing, pending: Vec::new() })
    }

    /// The machine runs on or takes an input.
    pub fn leave(&mut self) {
        self.standing = None;
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.keeper.directory()
    }

    /// Begins a snapshot of `machine`.
    pub(crate) fn snapshot(
        &mut self,
        machine: &mut Machine,
        saved: SavedState,
        name: &str,
        is_recorded: bool,
        waiting: Waiting,
    ) -> Result<(), RamError> {
        let new = self.new_node(name, saved.position);
        let (ticket, id) = self.keeper.snapshot(machine, saved, new)?;
        let before = self.here.clone();
        // While a recording runs, what comes later comes from the recording.
        if !is_recorded {
            self.here = Some(id.clone());
        }
        self.pending.push(Pending { ticket, id, before, waiting });
        Ok(())
    }

    /// Makes a recording's node.
    pub(crate) fn recording(
        &mut self,
        machine: &mut Machine,
        saved: SavedState,
        name: &str,
        waiting: Waiting,
    ) -> Result<Started, RamError> {
        let new = self.new_node(name, saved.position);
        let started = match self.standing.take() {
            Some(base) => self.keeper.recording_from(base, new),
            None => self.keeper.recording(machine, saved, new)?,
        };
        let before = self.here.replace(started.id.clone());
        let (ticket, id) = (started.ticket, started.id.clone());
        self.pending.push(Pending { ticket, id, before, waiting });
        Ok(started)
    }

    fn new_node(&self, name: &str, position: Position) -> NewNode {
        let created_unix_seconds = host_unix_seconds();
        NewNode { name: name.into(), parent: self.here.clone(), position, created_unix_seconds }
    }

    /// Copies some more of what is being saved, and answers those who wait. Gives notices.
    pub fn tend(&mut self, machine: &mut Machine) -> Vec<String> {
        self.keeper.poll(machine);
        let added = self.keeper.take_added();
        self.answer(added)
    }

    /// Ends all copying, so that another may begin or the machine be replaced.
    pub fn complete(&mut self, machine: &mut Machine) {
        self.keeper.complete(machine);
    }

    /// Whether [`Self::tend`] should be called soon.
    pub fn is_busy(&self) -> bool {
        self.keeper.is_busy()
    }

    /// Whether pages are still being copied.
    pub fn is_copying(&self) -> bool {
        self.keeper.is_copying()
    }

    /// Why it waits for room on the disk.
    pub fn no_room(&self) -> Option<String> {
        self.keeper.no_room()
    }

    /// Waits until all that was asked for is done; not for room on the disk. Gives notices.
    pub fn finish(&mut self, machine: &mut Machine) -> Vec<String> {
        let added = self.keeper.finish(machine);
        let notices = self.answer(added);
        // A thread that failed answers nobody.
        for pending in std::mem::take(&mut self.pending) {
            pending.waiting.tell(&Err("it could not be saved: the thread that keeps the tree has failed".into()));
        }
        notices
    }

    fn answer(&mut self, added: Vec<Added>) -> Vec<String> {
        let mut notices = Vec::new();
        for Added { ticket, result } in added {
            let Some(at) = self.pending.iter().position(|pending| pending.ticket == ticket) else { continue };
            let pending = self.pending.remove(at);
            if result.is_err() && self.here.as_ref() == Some(&pending.id) {
                self.here.clone_from(&pending.before);
            }
            let result = result.map(|node| (described(&node, self.directory()), node.record.name));
            notices.extend(pending.waiting.tell(&result));
        }
        notices
    }
}

fn described(node: &Node, directory: &Path) -> Value {
    let at = node.position();
    json!({
        "name": node.record.name,
        "node": node.id,
        "tree": directory.display().to_string(),
        "insns": at.insns,
        "virtual_ns": at.time.as_ns(),
    })
}

impl Waiting {
    /// Tells whoever waits what was made: a description for programs, and its name. Gives what the user should read.
    pub(crate) fn tell(self, result: &Result<(Value, String), String>) -> Option<String> {
        match (self, result) {
            (Waiting::Program(request, state), result) => {
                let answer: Answer = result.as_ref().map(|(value, _)| value.clone()).map_err(String::clone);
                request.answer_in(answer, state);
                None
            }
            (Waiting::Guest(what), Ok((_, name))) => Some(format!("the guest {what} \"{name}\"")),
            (Waiting::Guest(what), Err(sentence)) => Some(format!("the guest {what}, but {sentence}")),
            (Waiting::Start(wanted), Ok((_, name))) if *name == wanted => None,
            (Waiting::Start(_), Ok((_, name))) => Some(format!("the recording is named \"{name}\"")),
            (Waiting::Start(_), Err(sentence)) => Some(format!("the recording is not in the tree: {sentence}")),
        }
    }
}
