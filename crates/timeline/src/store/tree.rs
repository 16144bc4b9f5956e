//! The tree as a list of lines to be drawn.

use std::collections::{BTreeMap, HashSet};

use super::Store;
use super::node::Node;

/// A node and how it hangs in the tree.
#[derive(Clone, Debug)]
pub struct TreeLine<'a> {
    /// The node.
    pub node: &'a Node,
    /// For each level above it, whether a line goes on there to a later sibling; the last is its own level.
    pub continues: Vec<bool>,
    /// Nodes that come from it.
    pub children: usize,
}

/// The children of each id, and of no node under `None`.
type Children<'a> = BTreeMap<Option<&'a str>, Vec<&'a Node>>;

impl Store {
    /// All nodes, each behind its parent, siblings oldest first. A node whose parent is gone is a root.
    pub fn tree(&self) -> Vec<TreeLine<'_>> {
        let known: HashSet<&str> = self.nodes().iter().map(|node| node.id.as_str()).collect();
        let mut children: Children<'_> = BTreeMap::new();
        for node in self.nodes() {
            children.entry(node.parent().filter(|parent| known.contains(parent))).or_default().push(node);
        }
        let mut lines = Vec::new();
        // Taken out as they are drawn: a file that was tampered with may make a node its own ancestor.
        while let Some(roots) = children.remove(&None).or_else(|| children.pop_first().map(|(_, nodes)| nodes)) {
            add_trees(roots, &mut children, &mut lines);
        }
        lines
    }
}

fn add_trees<'a>(roots: Vec<&'a Node>, children: &mut Children<'a>, lines: &mut Vec<TreeLine<'a>>) {
    // The nodes of each level that are left, the next one last.
    let reversed = |mut nodes: Vec<&'a Node>| {
        nodes.reverse();
        nodes
    };
    let mut levels = vec![reversed(roots)];
    while let Some(level) = levels.last_mut() {
        let Some(node) = level.pop() else {
            levels.pop();
            continue;
        };
        let continues = levels.iter().map(|level| !level.is_empty()).collect();
        let own = children.remove(&Some(node.id.as_str())).unwrap_or_default();
        lines.push(TreeLine { node, continues, children: own.len() });
        levels.push(reversed(own));
    }
}
