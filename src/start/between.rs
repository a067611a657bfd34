//! Why a graph of `run` does not go on through a topic.
//!
//! ```text
//! publish --from-graph   the topic begins where the graph is
//! apply                  the graph follows the topic from there
//! ```

use crate::{checkpoint::Log, lsn::Lsn};

/// Why a topic can not begin where a graph is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--from-graph: {why}. Without --from-graph the topic begins with a copy of the tables",
    why = .0
)]
pub struct FromGraphRefusal(pub NoGraph);

/// The graph is not one that a topic can begin at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGraph {
    /// `run` has not begun.
    #[error("there is no slot {slot}, so `run` has made no graph")]
    NoSlot {
        /// The slot.
        slot: String,
    },
    /// It has no checkpoint of this name, or several.
    #[error("the graph is not one that `run` made as {pipeline:?}")]
    OfAnother {
        /// The pipeline.
        pipeline: String,
    },
    /// It follows another log.
    #[error("the graph follows {log}, not the slot {slot}")]
    OtherLog {
        /// What it follows.
        log: Log,
        /// The slot.
        slot: String,
    },
    /// Its source is another one.
    #[error("the graph is of another database cluster")]
    OtherCluster,
    /// The source was put back.
    #[error(
        "the source's log ends at {end}, before the graph at {at}: it was put back to an older state"
    )]
    EndsBefore {
        /// The log's end.
        end: Lsn,
        /// The graph's position.
        at: Lsn,
    },
    /// Nothing shows that the source still has what the graph has.
    #[error(
        "the slot {slot} is at {begin} and has not confirmed the graph's newest transaction {xid}, committed at \
         {commit_lsn}: let `run` see that the source still has it, with `wal2graph run --until current`"
    )]
    NotConfirmed {
        /// The slot.
        slot: String,
        /// Where it is.
        begin: Lsn,
        /// The transaction's id.
        xid: u32,
        /// Its commit.
        commit_lsn: Lsn,
    },
    /// It has another mapping.
    #[error("the mapping has changed since the graph was made")]
    OtherMapping,
    /// Its copy is not complete.
    #[error("`run` has not finished its copy: let it")]
    StillCopying,
}

/// Why a graph of `run` is not handed over to a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`run` made this graph: {why}. Or name another pipeline, and fill a graph of its own from the topic",
    why = .0
)]
pub struct TakeOverRefusal(pub NoTakeOver);

/// The topic does not go on from the graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTakeOver {
    /// The topic has several partitions.
    #[error("it goes over to a topic with one partition, and {topic} has {count}")]
    Spread {
        /// The topic.
        topic: String,
        /// Its partitions.
        count: u32,
    },
    /// `run` is not done.
    #[error("it is in the middle of a copy or a transaction: let `run` finish")]
    Unfinished,
    /// The topic begins behind the graph's position.
    #[error("{at} begins at {begins}, and the graph is at {graph}: what is between would be lost")]
    Between {
        /// The partition.
        at: String,
        /// Where it begins.
        begins: Lsn,
        /// Where the graph is.
        graph: Lsn,
    },
    /// No record names a position.
    #[error("{at} does not say where it begins")]
    NoBeginning {
        /// The partition.
        at: String,
    },
    /// Its records are of another source.
    #[error("{at} is of another database cluster")]
    OtherCluster {
        /// The partition.
        at: String,
    },
}
