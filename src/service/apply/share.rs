//! A partition's share in comparing tables and graph: the copier of its pipeline.
//!
//! ```text
//! hold of the partition -> copy come? replayed? -> position of the source -> stamp -> the copier's turn
//! ```
//!
//! Each partition looks by itself, under its own hold, at the keys whose records it has, with a snapshot that
//! sees what it has applied. Other partitions may be behind or ahead meanwhile, and be written: a key's events
//! are in one partition, and a row alone decides what it owns. What they can do to a row of this one is a
//! TRUNCATE, which comes to all. So a row that is written carries a stamp: everything that this partition has
//! applied is older. A TRUNCATE that another partition brings late leaves it, and one that is still to come
//! to this one as well takes it, with the events behind it.
//!
//! A difference is real once the partition has everything through the log's end of the look. It says so
//! itself, by heartbeats and by the ends of transactions; where each table has a topic, the checkpoint of
//! heartbeats says it of all.
//!
//! Nothing is judged while a copy is still to come through the topic, or while records are applied again.

use std::time::Duration;

use crate::{
    checkpoint::{Checkpoint, complete_through},
    lsn::{Lsn, Stamp},
    pipeline::{Copier, Held, HeldAt, Store, Turn},
    service::graph::Graph,
    topic::copied::CopyState,
};

/// The pause before the next turn while something else has to come first.
const PAUSE: Duration = Duration::from_millis(300);

/// Where the position of the source is, if the partition itself does not have it.
pub struct Elsewhere {
    /// It has the checkpoint of heartbeats.
    pub graph: Graph,
    /// Whose.
    pub pipeline: String,
}

/// What a partition is, before its share begins.
pub struct Standing {
    /// Rows have stamps.
    pub is_spread: bool,
    /// The last change that was applied.
    pub last_change: Option<Stamp>,
    /// What is before this offset has to come first: it is applied again, or has rows of the copy.
    pub waits_until: Option<Lsn>,
    /// Whether the copy has come through the partition.
    pub copied: CopyState,
}

impl Standing {
    /// Of a claimed checkpoint.
    pub fn new(checkpoint: &Checkpoint, copied: CopyState, is_spread: bool) -> Self {
        let waits_until = checkpoint.replaying.map(|it| it.until);
        Standing { is_spread, last_change: checkpoint.last_change, waits_until, copied }
    }

    /// The same, once everything before this offset is applied as well.
    pub fn after(self, offset: Lsn) -> Self {
        Standing { waits_until: self.waits_until.max(Some(offset)), ..self }
    }
}

/// A partition's copier.
pub struct Share<C> {
    copier: C,
    standing: Standing,
    held_at: HeldAt,
    elsewhere: Option<Elsewhere>,
    waits_for: Option<Lsn>,
}

impl<C: Copier> Share<C> {
    /// Over a copier of the partition's own keys, which learns where the stream is held.
    pub fn new(
        copier: C,
        standing: Standing,
        held_at: HeldAt,
        elsewhere: Option<Elsewhere>,
    ) -> Self {
        Share { copier, standing, held_at, elsewhere, waits_for: None }
    }

    /// The position of the source through which the graph has all of this partition; `None`: it can not be
    /// known now.
    async fn complete(elsewhere: &Option<Elsewhere>, held: &Held) -> Option<Lsn> {
        let Some(Elsewhere { graph, pipeline }) = elsewhere else {
            return Some(held.complete);
        };
        // The writer reports a graph that is away.
        complete_through(&graph.positions(pipeline).await.ok()?)
    }
}

impl<C: Copier> Copier for Share<C> {
    type Error = C::Error;

    fn writes(&self) -> bool {
        self.copier.writes()
    }

    fn copies(&self) -> bool {
        self.copier.copies()
    }

    async fn turn(&mut self, held: &mut Held) -> Result<Turn, C::Error> {
        let at = held.position.lsn;
        let has_come = self.standing.waits_until.is_none_or(|until| at >= until);
        if !has_come || self.standing.copied.get().is_under_way(at) {
            return Ok(Turn::Later(PAUSE));
        }
        let complete = Self::complete(&self.elsewhere, held).await;
        let Some(complete) = complete.filter(|it| Some(*it) >= self.waits_for) else {
            return Ok(Turn::Later(PAUSE));
        };
        (held.complete, self.waits_for) = (complete, None);
        self.held_at.set(held.position);
        held.applied.forget_reads();
        let last_change = self.standing.last_change.max(held.last_change);
        let applied = Some(Stamp::of_read(complete)).max(last_change);
        held.stamp = applied.filter(|_| self.standing.is_spread);
        let turn = self.copier.turn(held).await?;
        match (turn, &self.elsewhere) {
            (Turn::After(lsn), Some(_)) => {
                self.waits_for = Some(lsn);
                Ok(Turn::Later(PAUSE))
            }
            _ => Ok(turn),
        }
    }
}
