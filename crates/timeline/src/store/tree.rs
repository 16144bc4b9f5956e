//! The tree as a list of lines to be drawn.

use super::Store;
use super::node::Node;

/// A node and how it hangs in the tree.
#[derive(Clone, Debug)]
pub struct TreeLine<'a> {
    /// The node.
    pub node: &'a Node,
    /// For each level above it, whether a line goes on there to a later sibling; the last is its own level.
    pub continues: Vec<bool>,
}

impl Store {
    /// All nodes, each behind its parent, siblings oldest first. A node whose parent is gone is a root.
    pub fn tree(&self) -> Vec<TreeLine<'_>> {
        let known = |id: &str| self.nodes().iter().any(|node| node.id == id);
        let roots = self.nodes().iter().filter(|node| !known(&node.record.parent)).collect();
        let mut lines = Vec::new();
        self.add_level(roots, &[], &mut lines);
        lines
    }

    fn add_level<'a>(&'a self, nodes: Vec<&'a Node>, above: &[bool], lines: &mut Vec<TreeLine<'a>>) {
        let last = nodes.len().saturating_sub(1);
        for (i, node) in nodes.into_iter().enumerate() {
            // A file that was tampered with may make a node its own ancestor.
            if above.len() > self.nodes().len() {
                return;
            }
            let continues = [above, &[i < last]].concat();
            let children = self.nodes().iter().filter(|child| child.record.parent == node.id).collect();
            lines.push(TreeLine { node, continues: continues.clone() });
            self.add_level(children, &continues, lines);
        }
    }
}
