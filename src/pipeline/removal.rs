//! What a pipeline has in a graph, for its removal.

use std::collections::BTreeSet;

use crate::graph::Model;

/// The nodes that are rows of a pipeline, or placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// They have one of these labels.
    pub labels: BTreeSet<String>,
    /// A node with one of these is another pipeline's, whatever other labels it has.
    pub spared: BTreeSet<String>,
}

/// How much there is of [`Rows`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The nodes under each label that has some.
    pub nodes: Vec<(String, u64)>,
    /// Their relationships, whoever made them, by type.
    pub relationships: Vec<(String, u64)>,
    /// How many of these lead to or from a node that is none of the rows.
    pub leading_away: u64,
}

/// What went in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Nodes.
    pub nodes: u64,
    /// Relationships that were removed by themselves. Those of a node that goes may go with it, uncounted.
    pub relationships: u64,
}

/// Whose constraints and indexes.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    /// The types of relationships that its mappings have or had, if that is known.
    pub types: Option<&'a BTreeSet<String>>,
    /// The labels.
    pub rows: &'a Rows,
    /// What this one needs is none of them.
    pub needed: Option<&'a Model>,
    /// The graph has no other pipeline.
    pub is_alone: bool,
}

/// Constraints and indexes that were made for pipelines, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Only this pipeline needs them.
    pub goes: Vec<String>,
    /// Another one needs them, or may.
    pub stays: Vec<String>,
}
