//! Whether the source's history is the graph's.
//!
//! ```text
//! other identifier    another cluster
//! other timeline      promoted, or restored to a point in time: at a position that the graph is not past?
//! log ends before     put back to an older state, as a disk or a machine is: identifier and timeline stay
//! ```

use crate::{
    checkpoint::{Checkpoint, Log, Newest},
    lsn::Lsn,
};

use super::{Again, Timelines};

/// What a server says of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The cluster's identifier.
    pub identifier: String,
    /// The timeline.
    pub timeline: i64,
    /// Up to where its log is flushed.
    pub flushed: Lsn,
    /// The timelines before it, if they were asked for.
    pub before: Timelines,
}

impl System {
    /// Whether its log has been at a position. A position just behind a page's header is the page's
    /// start.
    pub fn has_been_at(&self, lsn: Lsn) -> bool {
        lsn.without_page_header() <= self.flushed.without_page_header()
    }

    /// Whether its log has what another timeline of the cluster had through a position: up to where that one ended,
    /// both are one log.
    pub fn leads_on_from(&self, timeline: i64, through: Option<Lsn>) -> bool {
        let ended = self.before.ended(timeline);
        let is_shared = ended.zip(through).is_some_and(|(ended, through)| through <= ended);
        timeline == self.timeline || is_shared
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
         promoted, or the source was restored, and it may lack changes that the graph has{}. {}",
        forked(*.ended, *.at),
        self.fix()
    )]
    OtherTimeline {
        /// The source's timeline.
        source_timeline: i64,
        /// The graph's.
        graph_timeline: i64,
        /// Where that one ended in the source's log, if it is known as a part of it.
        ended: Option<Lsn>,
        /// Up to where the graph has changes of it.
        at: Lsn,
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
    /// Up to where it has changes, parts of transactions included; `None`: nothing is known of what is beyond the
    /// position.
    pub through: Option<Lsn>,
}

/// Compares a graph with its source.
pub fn judge(checkpoint: &Checkpoint, system: &System, again: &Again) -> Option<OriginRefusal> {
    let origin = &checkpoint.origin;
    let identifier = origin.system_identifier.as_str();
    let made = History {
        identifier,
        timeline: origin.timeline,
        lsn: checkpoint.lsn,
        through: through(checkpoint),
    };
    compare(made, system, again)
}

/// Up to where a graph has changes of the source's log. `None`: that is not known.
fn through(checkpoint: &Checkpoint) -> Option<Lsn> {
    let behind = |commit: Lsn| Lsn(commit.0 + 1);
    if let Log::Partition(_) = checkpoint.origin.log {
        // Its positions are offsets: a part of a transaction says nothing of the source's log.
        let is_known = checkpoint.position.part.is_none() && checkpoint.replaying.is_none();
        let last = checkpoint.last_change.map(|stamp| behind(stamp.lsn));
        return is_known.then_some(last.max(Some(checkpoint.lsn))).flatten();
    }
    let part = checkpoint.position.part.map(|part| behind(part.commit_lsn));
    let newest = match checkpoint.newest {
        Some(Newest::Transaction(mark)) => Some(behind(mark.commit_lsn)),
        Some(Newest::Nothing) | None => None,
    };
    [part, newest].into_iter().flatten().chain([checkpoint.lsn, checkpoint.position.lsn]).max()
}

fn forked(ended: Option<Lsn>, at: Lsn) -> String {
    forked_before(ended, at, "graph")
}

/// Where a new timeline begins, if what was made is beyond that.
pub(super) fn forked_before(ended: Option<Lsn>, at: Lsn, what: &str) -> String {
    match ended {
        Some(ended) if ended < at => {
            format!(" (the new timeline begins at {ended}, and the {what} is at {at})")
        }
        _ => String::new(),
    }
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
    let ended = system.before.ended(made.timeline);
    if !system.leads_on_from(made.timeline, made.through) {
        return Some(OriginRefusal::OtherTimeline {
            source_timeline: system.timeline,
            graph_timeline: made.timeline,
            ended,
            at: made.through.unwrap_or(made.lsn),
            again,
        });
    }
    if !system.has_been_at(made.lsn) {
        return Some(OriginRefusal::EndsBefore { end: system.flushed, at: made.lsn, again });
    }
    None
}
