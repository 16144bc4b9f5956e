//! A VM's tree, looked at and changed by the program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vm_tests::{Program, Running};

use super::{json, scratch};

/// A tree in a new directory, which is removed at the end.
pub struct Tree(pub String);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Tree {
    /// A name for a new one.
    pub fn new() -> Self {
        Tree(scratch("tree"))
    }

    /// `DIR:NODE`.
    pub fn node(&self, name: &str) -> String {
        format!("{}:{name}", self.0)
    }

    /// All nodes, as `tree --json` tells of them.
    pub fn nodes(&self) -> Vec<Value> {
        let drawn = Program::new(&["tree", &self.0, "--json"]).run().expect_status(0).console;
        drawn.lines().map(json).collect()
    }

    /// The node with this name or id.
    pub fn find(&self, name: &str) -> Value {
        self.nodes()
            .into_iter()
            .find(|node| node["name"] == name || node["id"] == name)
            .unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The name of the node that it comes from.
    pub fn parent_of(&self, name: &str) -> Option<String> {
        let parent = self.find(name)["parent"].clone();
        let parent = self.nodes().into_iter().find(|node| node["id"] == parent)?;
        parent["name"].as_str().map(str::to_owned)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        files_below(Path::new(&self.0)).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
    }

    /// Deletes a node, and demands that as many bytes come free as the tree says that only it uses.
    pub fn delete(&self, name: &str) {
        let (only_it, before) = (self.find(name)["only_it_bytes"].as_u64().expect("a number"), self.bytes());
        let said = json(&Program::new(&["tree", &self.0, "--json", "delete", name]).run().expect_status(0).console);
        assert_eq!(before - self.bytes(), only_it, "{name}");
        assert_eq!(said["bytes"], only_it, "{name}");
        let rest = json(&Program::new(&["tree", &self.0, "--json", "gc"]).run().expect_status(0).console);
        assert_eq!(rest["bytes"], 0, "{name} left something behind");
    }

    /// A machine under way that keeps it, with a control socket.
    pub fn session(&self, kernel: &Path, more: &[&str]) -> (Running, String) {
        let socket = scratch("socket");
        let kernel = kernel.to_str().expect("a plain path");
        let options = ["run", "--kernel", kernel, "--memory", "32M", "--tree", &self.0, "--control", &socket];
        (Program::new(&[options.as_slice(), more].concat()).spawn(), socket)
    }

    /// The digest of a snapshot's machine.
    pub fn digest(&self, name: &str) -> String {
        self.digest_of(&self.find(name))
    }

    /// The same, of a node that was found.
    pub fn digest_of(&self, node: &Value) -> String {
        let at = node["position"]["insns"].to_string();
        let from = self.node(node["id"].as_str().expect("an id"));
        let outcome = Program::new(&["run", "--from", &from, "--max-insns", &at, "--digest"]).run().expect_status(8);
        outcome.digest.expect("a digest")
    }
}

/// All files in a directory and in those within.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
