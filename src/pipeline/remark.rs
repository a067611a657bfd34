//! What a writer notes in the graph, and what a graph has to say of itself.

use crate::{checkpoint::TopicId, copy::Progress};

/// A fact on a checkpoint, beside its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// Which topic it is of, where that was not known.
    Topic(TopicId),
    /// The timeline that the source's log is on now. All that the graph has is before it.
    Timeline(i64),
    /// What the source's tables are: see [`crate::start::tables`].
    Tables(&'a str),
    /// What the mapping has in the graph, and the labels of its nodes: see [`crate::graph::Outlines`].
    Outlines {
        /// The text.
        outlines: &'a str,
        /// The labels.
        labels: &'a [String],
    },
    /// Which file its rows are made by: see [`crate::start::one_file`].
    File(&'a str),
    /// Why its writer has stopped for good, without a row's values. It is for people, and long texts
    /// are cut.
    Stopped(&'a str),
}

/// What the graph is made of from now on, after tables or mapping have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextShape<'a> {
    /// The mapping's digest.
    pub digest: &'a str,
    /// The labels that the graph may have rows under, those of earlier mappings too.
    pub labels: &'a [String],
    /// What the source's tables are: see [`crate::start::tables`].
    pub facts: &'a str,
    /// What the mapping and earlier ones have in the graph: see [`crate::graph::Outlines`].
    pub outlines: &'a str,
    /// What is left to copy and to compare. `None`: what was left.
    pub progress: Option<&'a [Progress]>,
}

/// Something to know about the graph's server before a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub weight: Weight,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// How bad a [`Remark`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// All is well.
    Fine,
    /// It works, but not as well as it could, or not for all rows.
    Warning,
    /// It does not work.
    Failure,
}
