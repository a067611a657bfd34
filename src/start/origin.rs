//! Whether the source's history is the graph's.
//!
//! ```text
//! other identifier    another cluster
//! other timeline      promoted, or restored to a point in time
//! log ends before     put back to an older state, as a disk or a machine is: identifier and timeline stay
//! ```

use crate::{checkpoint::Checkpoint, lsn::Lsn};

use super::Again;

/// What a server says of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The cluster's identifier.
    pub identifier: String,
    /// The timeline.
    pub timeline: i64,
    /// Up to where its log is flushed.
    pub flushed: Lsn,
}

impl System {
    /// Whether its log has been at a position. A position just behind a page's header is the page's
    /// start.
    pub fn has_been_at(&self, lsn: Lsn) -> bool {
        lsn.without_page_header() <= self.flushed.without_page_header()
    }
}

/// Why the source's history is not the graph's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefusal {
    /// Another cluster.
    #[error(
        "the source is another cluster ({source_identifier}) than the one that the graph was made from \
         ({graph_identifier}): {}",
        self.fix()
    )]
    OtherCluster {
        /// The source's identifier.
        source_identifier: String,
        /// The graph's.
        graph_identifier: String,
        /// What a copy again takes.
        again: Again,
    },
    /// Another timeline.
    #[error(
        "the source is on timeline {source_timeline}, the graph was made from timeline {graph_timeline}: a standby was \
         promoted, or the source was restored, and it may lack changes that the graph has. {}",
        self.fix()
    )]
    OtherTimeline {
        /// The source's timeline.
        source_timeline: i64,
        /// The graph's.
        graph_timeline: i64,
        /// What a copy again takes.
        again: Again,
    },
    /// The source has not been where the graph is.
    #[error(
        "the source's log ends at {end}, before the graph at {at}: the source was put back to an older state, and the \
         graph has changes that it does not have. Nothing was acknowledged. {}",
        self.fix()
    )]
    EndsBefore {
        /// Where the log ends.
        end: Lsn,
        /// Where the graph is.
        at: Lsn,
        /// What a copy again takes.
        again: Again,
    },
}

impl OriginRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            OriginRefusal::OtherCluster { again, .. } => format!(
                "see that the source's URL names the right server; or, if the source was dumped and loaded, or \
                 upgraded, {again}"
            ),
            OriginRefusal::OtherTimeline { graph_timeline, again, .. } => format!(
                "If the server of timeline {graph_timeline} still runs as the primary, connect to that one; else \
                 {again}"
            ),
            OriginRefusal::EndsBefore { at, again, .. } => {
                format!("Restore the source to {at} or later; or, if it goes on as it is, {again}")
            }
        }
    }
}

/// The history in which a position is.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The cluster's identifier; empty where it is not known.
    pub identifier: &'a str,
    /// Its timeline; 0 where it is not known.
    pub timeline: i64,
    /// The position.
    pub lsn: Lsn,
}

/// Compares a graph with its source.
pub fn judge(checkpoint: &Checkpoint, system: &System, again: &Again) -> Option<OriginRefusal> {
    let origin = &checkpoint.origin;
    let identifier = origin.system_identifier.as_str();
    compare(History { identifier, timeline: origin.timeline, lsn: checkpoint.lsn }, system, again)
}

/// Compares what was made with its source.
pub fn compare(made: History<'_>, system: &System, again: &Again) -> Option<OriginRefusal> {
    let again = again.clone();
    if made.identifier.is_empty() {
        return None;
    }
    if made.identifier != system.identifier {
        return Some(OriginRefusal::OtherCluster {
            source_identifier: system.identifier.clone(),
            graph_identifier: made.identifier.to_owned(),
            again,
        });
    }
    if made.timeline != system.timeline {
        let (source_timeline, graph_timeline) = (system.timeline, made.timeline);
        return Some(OriginRefusal::OtherTimeline { source_timeline, graph_timeline, again });
    }
    if !system.has_been_at(made.lsn) {
        return Some(OriginRefusal::EndsBefore { end: system.flushed, at: made.lsn, again });
    }
    None
}
