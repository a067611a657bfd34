//! How `run` begins, over any graph: the order in which source and graph are asked.
//!
//! ```text
//! checkpoint, read earlier --none--> made --+
//!        |                                  v
//!        +-----------------------------> log held -> claimed -> source agrees -> what a copy has left
//! ```
//!
//! The order matters. The log is held before the epoch is claimed, so that an instance that waits can
//! not fence a healthy one. What is read before that may be old when the log is held: another instance
//! may have gone on meanwhile. So everything that a pipeline goes by is read after the claim, when
//! nobody else moves it, and the earlier checkpoint decides only from where the log is sent. The
//! transactions that a copy must see are asked for last: all that an earlier instance has applied have
//! an id by then.
//!
//! The simulation runs this, with crashes, lost answers and other instances at every step.

use crate::{
    checkpoint::{Checkpoint, Claim, Identity, Newest},
    copy::Progress,
    engine::{Engine, Limits},
    graph::Model,
    lsn::Lsn,
    pipeline::Store,
};

use super::{ServiceError, graph::claim};

/// What a slot's stream has to begin with, and where the server's log must have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The stream begins here, or at what the slot has confirmed if that is later.
    pub from: Lsn,
    /// The log was here, or it is not the one that the graph follows.
    pub reached: Lsn,
}

impl Sent {
    /// For a graph, or a topic, that is complete through `at` and has something of `newest`: the
    /// newest transaction shows that the log is the same, so it comes again. `None`: it is not known.
    pub fn of(at: Lsn, newest: Option<Newest>) -> Self {
        match newest {
            None => Sent { from: at, reached: at },
            Some(Newest::Nothing) => Sent { from: Lsn::ZERO, reached: at },
            // A transaction of which there is a part is behind the position.
            Some(Newest::Transaction(mark)) => {
                Sent { from: at.min(mark.commit_lsn), reached: at.max(Lsn(mark.commit_lsn.0 + 1)) }
            }
        }
    }
}

/// The source's side of a start, before its log is held.
#[allow(async_fn_in_trait)]
pub trait Log {
    /// The same once it is held.
    type Held: HeldLog;

    /// Makes what a first start needs, and the checkpoint after everything else. Another instance may
    /// do the same: the checkpoint that it returns is the one that is there.
    async fn make(&mut self, graph: &impl Store) -> Result<Checkpoint, ServiceError>;

    /// Holds the log, to be sent from where the checkpoint is or before. Nobody else reads it from
    /// then on, until the result is dropped.
    async fn hold(self, checkpoint: &Checkpoint) -> Result<Self::Held, ServiceError>;
}

/// A log that nobody else can read.
#[allow(async_fn_in_trait)]
pub trait HeldLog {
    /// What is known of the source once it agrees.
    type Agreed;

    /// What the slot has confirmed. Only acknowledgements of who holds it move that.
    fn confirmed(&self) -> Lsn;

    /// Whether the claimed checkpoint goes on with this source as it is now.
    async fn agree(
        &mut self,
        graph: &impl Store,
        claimed: &Checkpoint,
    ) -> Result<Self::Agreed, ServiceError>;

    /// The id of a transaction that begins now.
    async fn next_transaction(&mut self) -> Result<u64, ServiceError>;
}

/// A log that is held and claimed.
pub struct Begun<L: HeldLog> {
    /// The log.
    pub log: L,
    /// What its source has agreed to.
    pub agreed: L::Agreed,
    /// Who writes.
    pub claim: Claim,
    /// The checkpoint as it was claimed.
    pub checkpoint: Checkpoint,
    /// What a copy has done and left to do.
    pub progress: Vec<Progress>,
    /// No copy is under way, but rows lack values that an earlier run left to be completed.
    pub is_left: bool,
    /// Transactions before this one must have ended before a copy reads.
    pub ended_before: u64,
}

impl<L: HeldLog> Begun<L> {
    /// Something has to be copied.
    pub fn copies(&self) -> bool {
        self.is_left || !self.progress.is_empty()
    }

    /// The engine that goes on from here.
    pub fn engine(&self, limits: Limits) -> Engine {
        let Checkpoint { position, newest, .. } = self.checkpoint;
        Engine::new(limits, position).continuing(newest, self.log.confirmed())
    }
}

/// Begins, with the checkpoint that was read when the start was admitted. `publication` is what a
/// slot is read through.
pub async fn begin<G: Store, L: Log>(
    graph: &G,
    mut log: L,
    (of, publication): (&Identity, Option<&str>),
    before: Option<Checkpoint>,
    model: &Model,
) -> Result<Begun<L::Held>, ServiceError> {
    let before = match before {
        Some(checkpoint) => checkpoint,
        None => log.make(graph).await?,
    };
    let mut log = log.hold(&before).await?;
    let checkpoint = claim(graph, of, publication).await?;
    let agreed = log.agree(graph, &checkpoint).await?;
    let progress = graph.copy_progress(&of.pipeline).await?;
    let is_left = progress.is_empty() && graph.has_incomplete(model).await?;
    if is_left {
        tracing::info!(
            "completing rows that are marked in the graph as lacking some of their values"
        );
    }
    let ended_before = log.next_transaction().await?;
    let claim = Claim { identity: of.clone(), epoch: checkpoint.epoch };
    Ok(Begun { log, agreed, claim, checkpoint, progress, is_left, ended_before })
}
