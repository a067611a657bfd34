//! The claim: from now on only this writer may write.
//!
//! ```text
//! lock the checkpoint -> epoch + 1 -> the same epoch on every progress node -> COMMIT
//!   |
//!   longer than the limit: who holds the lock? ours: end it. Somebody else's: name it and go on waiting
//! ```
//!
//! Claim only while holding the slot (START_REPLICATION has succeeded): otherwise a waiting standby
//! would fence the healthy writer. After the claim, any other writer finds a newer epoch, so it can
//! only be in the way: a stopped process keeps its transaction and its lock open as long as the
//! server allows.

use std::time::{Duration, Instant};

use neo4rs::{Query, Row};

use crate::{
    checkpoint::{Checkpoint, Identity},
    pipeline::{Failure, Verdict},
};

use super::{
    checkpoint, checkpoint_row,
    connect::{Connection, Options},
    copy_progress,
    error::Error,
    names::CLAIM_MARK,
    retry,
};

/// A claim waits this long for the lock; then it ends the transaction that holds it. A healthy
/// writer's longest transaction is far shorter, and a claim happens only when that writer has lost
/// the slot.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The time limit for a claim.
pub const CLAIM_LIMIT: Duration = Duration::from_secs(120);

const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The result of a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The checkpoint under the new epoch, read under its lock.
    pub checkpoint: Checkpoint,
    /// The transactions that the claim ended, by Neo4j's ids.
    pub terminated: Vec<String>,
}

/// The reason why a pipeline can not be claimed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// There is nothing to claim.
    #[error("the graph has no checkpoint of pipeline {pipeline:?} for {log}", pipeline = .0.pipeline, log = .0.log)]
    NoCheckpoint(Identity),
    /// Another user's transaction holds the lock, which the claim must not end.
    #[error(
        "the checkpoint of pipeline {pipeline:?} is locked by {holder}. End that transaction: \
         TERMINATE TRANSACTIONS '{id}'"
    )]
    Locked {
        /// The pipeline.
        pipeline: String,
        /// Neo4j's name of the transaction.
        id: String,
        /// Its user, address and age.
        holder: String,
    },
    /// Neo4j did not do it.
    #[error(transparent)]
    Neo4j(#[from] Error),
}

impl Failure for ClaimError {
    fn verdict(&self) -> Verdict {
        match self {
            ClaimError::NoCheckpoint(_) | ClaimError::Locked { .. } => Verdict::Again,
            ClaimError::Neo4j(error) => error.verdict(),
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        match self {
            ClaimError::NoCheckpoint(_) | ClaimError::Locked { .. } => None,
            ClaimError::Neo4j(error) => Some(error),
        }
    }
}

/// Claims the pipeline; `publication` is what a slot is read through. Waits at most
/// [`CLAIM_LIMIT`]; after `patience` it ends the transaction of a stopped writer.
pub async fn claim(
    options: &Options,
    identity: &Identity,
    publication: Option<&str>,
    patience: Duration,
) -> Result<Claimed, ClaimError> {
    let claimer = Connection::new(options, CLAIM_LIMIT)?;
    let watcher = Connection::new(options, CLAIM_LIMIT)?;
    let began = Instant::now();
    let mut terminated = Vec::new();
    let mut raising =
        std::pin::pin!(retry::while_transient(|| raise(&claimer, identity, publication)));
    let mut patience = patience;
    loop {
        if let Ok(checkpoint) = tokio::time::timeout(patience, &mut raising).await {
            let none = || ClaimError::NoCheckpoint(identity.clone());
            return Ok(Claimed { checkpoint: checkpoint?.ok_or_else(none)?, terminated });
        }
        patience = FIRST_LOOK_AGAIN;
        match (holder(&watcher, identity).await?, began.elapsed() > CLAIM_LIMIT) {
            (Some(holder), _) if holder.ours => {
                tracing::warn!(
                    transaction = %holder.id,
                    holder = %holder.description,
                    "ending the transaction of a writer that stopped while it held the checkpoint"
                );
                end(&watcher, &holder.id).await?;
                terminated.push(holder.id);
            }
            (Some(holder), true) => {
                return Err(ClaimError::Locked {
                    pipeline: identity.pipeline.clone(),
                    id: holder.id,
                    holder: holder.description,
                });
            }
            (None, true) => return Err(Error::Lost("no answer to the claim".to_owned()).into()),
            (_, false) => {}
        }
    }
}

/// Raises the epoch; `None` when there is no checkpoint.
async fn raise(
    connection: &Connection,
    identity: &Identity,
    publication: Option<&str>,
) -> Result<Option<Checkpoint>, Error> {
    let mut transaction = connection.begin().await?;
    transaction.run(lock_query(identity)).await?;
    let rows = transaction.rows(checkpoint::raise_query(identity, publication)).await?;
    let Some(row) = rows.first() else {
        transaction.rollback().await;
        return Ok(None);
    };
    let checkpoint = checkpoint_row::checkpoint_of(row)?;
    transaction.run(copy_progress::raise_query(&identity.pipeline, checkpoint.epoch)).await?;
    // Plans the text here, so that the first batch does not wait for the plan.
    transaction.run(checkpoint::planned_query(identity)).await?;
    transaction.commit().await?;
    Ok(Some(checkpoint))
}

fn lock_query(identity: &Identity) -> Query {
    checkpoint::marked_lock_query(CLAIM_MARK, identity)
}

/// The transaction that blocks the claim.
struct Holder {
    id: String,
    description: String,
    ours: bool,
}

/// The transaction that blocks the claim. It is ours if it runs as the same user: no other program
/// has a reason to lock a checkpoint, and of our own writers only one that has lost the slot can
/// block a claim.
async fn holder(connection: &Connection, identity: &Identity) -> Result<Option<Holder>, Error> {
    let text = "SHOW TRANSACTIONS YIELD transactionId, username, currentQuery, status, clientAddress, elapsedTime, \
         parameters RETURN transactionId, username, coalesce(currentQuery, '') AS query, status, \
         coalesce(clientAddress, '?') AS address, toString(elapsedTime) AS elapsed, \
         coalesce(toString(parameters.pipeline), '') AS pipeline, \
         coalesce(toString(parameters.log), '') AS log";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    let field = |row: &Row, name: &str| row.get::<String>(name).unwrap_or_default();
    let log = identity.log.name();
    let is_claim = |row: &&Row| {
        // A copy's progress belongs to the pipeline, not to one log.
        let of_log = field(row, "log");
        let is_ours =
            field(row, "pipeline") == identity.pipeline && (of_log.is_empty() || of_log == log);
        is_ours && field(row, "query").contains(CLAIM_MARK)
    };
    for claim in rows.iter().filter(is_claim) {
        let status = field(claim, "status");
        let blocker = rows.iter().find(|row| {
            // "Blocked by: [neo4j-transaction-7, neo4j-transaction-9]"
            let id = field(row, "transactionId");
            status.split(['[', ']', ',', ' ']).any(|word| word == id) && !is_claim(row)
        });
        if let Some(blocker) = blocker {
            let (user, address) = (field(blocker, "username"), field(blocker, "address"));
            let description =
                format!("user {user:?} from {address}, open for {}", field(blocker, "elapsed"));
            let ours = user == field(claim, "username");
            return Ok(Some(Holder { id: field(blocker, "transactionId"), description, ours }));
        }
    }
    Ok(None)
}

async fn end(connection: &Connection, id: &str) -> Result<(), Error> {
    let query = Query::new("TERMINATE TRANSACTIONS $id".to_owned()).param("id", id);
    connection.rows(query).await.map(drop)
}
