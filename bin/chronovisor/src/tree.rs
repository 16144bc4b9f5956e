//! `chronovisor tree`: the tree of a VM's snapshots and recordings, drawn in text.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::json;
use timeline::Position;
use timeline::store::Store;
use timeline::store::node::{Node, NodeKind};
use timeline::store::tree::TreeLine;

use crate::failure::{self, Failure, print_line};
use crate::info::position_json;

/// Draw the tree of snapshots and recordings in a directory, or change it
#[derive(clap::Args)]
pub struct Arguments {
    /// The directory
    directory: PathBuf,

    /// Print one JSON object a node
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    command: Option<Change>,
}

/// A node is named by its name, its id or the beginning of its id.
#[derive(Subcommand)]
enum Change {
    /// Give a node another name
    Rename {
        /// The node
        node: String,
        /// Its new name
        name: String,
    },
    /// Remove a node; what comes from it hangs on its parent then
    Delete {
        /// The node
        node: String,
    },
    /// Give the room back that no node uses
    Gc,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(tree(arguments))
}

fn tree(arguments: &Arguments) -> Result<u8, Failure> {
    if !arguments.directory.join("nodes").is_dir() {
        let directory = arguments.directory.display();
        return Err(Failure::bad_request(anyhow!("{directory} has no tree of snapshots and recordings")));
    }
    let mut store = Store::open(&arguments.directory).map_err(Failure::bad_request)?;
    match &arguments.command {
        Some(Change::Rename { node, name }) => store.rename(node, name).map_err(Failure::bad_request)?,
        Some(Change::Delete { node }) => store.delete(node).map_err(Failure::bad_request)?,
        Some(Change::Gc) => {
            let collected = store.gc().map_err(Failure::bad_request)?;
            print_line(&if arguments.json {
                json!({ "pages": collected.pages, "bytes": collected.bytes }).to_string()
            } else {
                format!("{} pages that no node used are gone: {} bytes", collected.pages, collected.bytes)
            })?;
        }
        None => {
            for line in store.tree() {
                print_line(&if arguments.json { node_json(line.node) } else { drawn(&line) })?;
            }
        }
    }
    Ok(0)
}

fn position(node: &Node) -> Position {
    node.record.position.unwrap_or_default().into()
}

fn kind(node: &Node) -> &'static str {
    match node.record.kind() {
        NodeKind::Snapshot => "snapshot",
        NodeKind::Recording => "recording",
    }
}

fn node_json(node: &Node) -> String {
    let object = json!({
        "id": node.id,
        "name": node.record.name,
        "kind": kind(node),
        "parent": node.record.parent,
        "position": position_json(position(node)),
        "created_unix_seconds": node.record.created_unix_seconds,
    });
    object.to_string()
}

fn drawn(line: &TreeLine<'_>) -> String {
    let (own, above) = line.continues.split_last().map_or((false, [].as_slice()), |(own, above)| (*own, above));
    let mut text: String = above.iter().map(|goes_on| if *goes_on { "│  " } else { "   " }).collect();
    text.push_str(if own { "├─ " } else { "└─ " });
    text + &format!("{}  {} {} at {}", line.node.record.name, kind(line.node), line.node.id, position(line.node))
}
