//! `chronovisor tree`: the tree of a VM's snapshots and recordings, drawn in text, and what changes it.

mod draw;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use timeline::store::node::{Node, NodeKind};
use timeline::store::tree::TreeLine;
use timeline::store::{Collected, Store};
use timeline::{Position, Recording};

use crate::failure::{self, Failure, print_line};
use crate::info::position_json;

const AFTER_HELP: &str = "\
The tree is made by `run --tree DIR`. A line of it, by example:

  boot        recording  0.000 s to 12.300 s  ╾───┬────────╼   4.2 MB  2026-11-22 15:01  3f2a9c1e5b7d0846
  └─ ready    snapshot   4.100 s                              12.1 MB  2026-11-22 15:02  90ac1f67d2e4b358

that is: name, kind, place in the guest's time (counted from power-on), where in a recording branches leave,
what only this node uses on the disk (deleting it gives as much back), when it was made (UTC), id.

A node is named by its name, its id or the beginning of its id, and in other commands as DIR:NODE:
  chronovisor run --from DIR:ready --record try      go on from a snapshot, recorded as a branch
  chronovisor replay DIR:boot --to 5s --go-live --record other
  chronovisor info DIR:boot                          also verify, events, pack";

/// Draw the tree of snapshots and recordings in a directory, or change it
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The directory
    directory: PathBuf,

    /// Print one JSON object a node
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Change>,
}

#[derive(Subcommand)]
enum Change {
    /// Give a node another name
    Rename {
        /// The node
        node: String,
        /// Its new name
        name: String,
    },
    /// Remove a node and what only it uses. What comes from it hangs on its parent then, and stays whole: recordings
    /// keep the state of the snapshot that they begin with
    Delete {
        /// The node
        node: String,
    },
    /// Give back what no node uses, as a killed session leaves it behind
    Gc,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(tree(arguments))
}

fn tree(arguments: &Arguments) -> Result<u8, Failure> {
    let mut store = Store::open(&arguments.directory).map_err(Failure::bad_request)?;
    let said = match &arguments.command {
        Some(Change::Rename { node, name }) => {
            store.rename(node, name).map_err(Failure::bad_request)?;
            None
        }
        Some(Change::Delete { node }) => {
            let collected = store.delete(node).map_err(Failure::bad_request)?;
            Some(freed(&format!("{node} is deleted"), &collected, arguments.json))
        }
        Some(Change::Gc) => {
            let collected = store.gc().map_err(Failure::bad_request)?;
            Some(freed("collected", &collected, arguments.json))
        }
        None => Some(drawn(&store, arguments.json).map_err(Failure::bad_request)?),
    };
    match said {
        Some(text) if !text.is_empty() => print_line(&text)?,
        _ => {}
    }
    for damaged in store.damaged() {
        let (error, directory) = (damaged.error(), arguments.directory.display());
        // Whoever closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "chronovisor: {error}; `tree {directory} delete {}` gives it up", damaged.id);
    }
    Ok(0)
}

fn freed(what: &str, collected: &Collected, json: bool) -> String {
    if json {
        json!({ "pages": collected.pages, "bytes": collected.bytes() }).to_string()
    } else {
        format!("{what}: {} freed, {} pages", draw::size(collected.bytes()), collected.pages)
    }
}

/// A line of the tree and what is known of its node.
struct Known<'a> {
    line: TreeLine<'a>,
    /// Bytes that only it uses.
    only_it_bytes: u64,
    recording_bytes: u64,
    /// Of a recording that has begun.
    recording: Option<Recording>,
}

impl Known<'_> {
    fn node(&self) -> &Node {
        self.line.node
    }

    fn kind(&self) -> &'static str {
        match self.node().record.kind() {
            NodeKind::Snapshot => "snapshot",
            NodeKind::Recording => "recording",
        }
    }

    fn end(&self) -> Option<Position> {
        self.recording.as_ref().map(Recording::end_position)
    }
}

fn drawn(store: &Store, json: bool) -> Result<String, timeline::store::StoreError> {
    let sizes = store.sizes()?;
    let tree = store.tree().into_iter();
    let lines = tree.map(|line| {
        let at = store.nodes().iter().position(|node| node.id == line.node.id);
        let size = at.map(|at| sizes[at]).unwrap_or_default();
        let recording = (line.node.record.kind() == NodeKind::Recording)
            .then(|| Recording::open_alone(&store.recording_path(&line.node.id)).ok())
            .flatten();
        Known { recording, only_it_bytes: size.only_it, recording_bytes: size.recording, line }
    });
    let lines: Vec<Known<'_>> = lines.collect();
    let text: Vec<String> =
        if json { lines.iter().map(|line| node_json(line).to_string()).collect() } else { draw::lines(&lines) };
    Ok(text.join("\n"))
}

fn node_json(known: &Known<'_>) -> Value {
    let node = known.node();
    json!({
        "id": node.id,
        "name": node.record.name,
        "kind": known.kind(),
        "parent": node.parent(),
        "children": known.line.children,
        "position": position_json(node.position()),
        "end": known.end().map(position_json),
        "cut_short": known.recording.as_ref().map(Recording::is_cut_short),
        "only_it_bytes": known.only_it_bytes,
        "recording_bytes": known.recording_bytes,
        "created_unix_seconds": node.record.created_unix_seconds,
    })
}
