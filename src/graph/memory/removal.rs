//! Nodes that go by their labels, with everything on them: a pipeline leaves the graph.

use std::collections::BTreeSet;

use super::{Memory, Node, NodeId};
use crate::graph::model::Model;

impl Memory {
    /// Removes at most so many of the nodes that have one of the labels and none of the `spared`, with all
    /// their relationships. Returns the numbers of both.
    pub fn remove_labelled(
        &mut self,
        model: &Model,
        labels: &BTreeSet<String>,
        spared: &BTreeSet<String>,
        at_most: usize,
    ) -> (u64, u64) {
        let is_one = |node: &Node| {
            let shape = model.node(node.table);
            let has = |of: &BTreeSet<String>| {
                std::iter::once(&shape.label).chain(&shape.extra_labels).any(|it| of.contains(it))
            };
            has(labels) && !has(spared)
        };
        let going = self.nodes.iter().filter(|(_, node)| is_one(node)).take(at_most);
        let going: BTreeSet<NodeId> = going.map(|(id, _)| *id).collect();
        let before = self.relationships.len();
        self.relationships.retain(|_, it| !going.contains(&it.near) && !going.contains(&it.far));
        self.nodes.retain(|id, _| !going.contains(id));
        (going.len() as u64, (before - self.relationships.len()) as u64)
    }
}
