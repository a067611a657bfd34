//! A graph that is not as its writer left it, though no other writer was there.

use super::{Checkpoint, Claim, Epoch, Log, Position};

/// What somebody has done to the graph beside its writers. Whoever writes there goes on from what is there now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutBack {
    /// The checkpoint is at an older state. The same writer never goes back by itself.
    #[error(
        "the graph was put back to an older state, as by a restore: expected {expected}, found {found}. It goes on \
         from there, unless what comes next is gone"
    )]
    Older {
        /// Epoch and position that the writer left.
        expected: String,
        /// Those that are there.
        found: String,
    },
    /// There is no checkpoint. No writer deletes its own.
    #[error(
        "the graph has no checkpoint any more, and this writer left one of {expected}: somebody has deleted it, the \
         graph follows another log now, or it is another database. The next start says how it can go on"
    )]
    Gone {
        /// Epoch and position that the writer left.
        expected: String,
    },
}

impl PutBack {
    /// Compares the checkpoint of a claim with where its writer left it; `None`: it is there, further on, or
    /// another writer's.
    pub fn of(found: Option<&Checkpoint>, claim: &Claim, left: &Position) -> Option<PutBack> {
        let log = &claim.identity.log;
        let expected = || place(log, claim.epoch, left);
        match found {
            None => Some(PutBack::Gone { expected: expected() }),
            Some(found) if found.is_older_than(claim.epoch, left) => {
                let found = place(log, found.epoch, &found.position);
                Some(PutBack::Older { expected: expected(), found })
            }
            Some(_) => None,
        }
    }
}

/// Epoch and position, for people.
pub fn place(log: &Log, epoch: Epoch, position: &Position) -> String {
    let part = position
        .part
        .map(|part| format!(" and {} events of {}", part.events, log.place(part.commit_lsn)));
    format!("epoch {} at {}{}", epoch.0, log.place(position.lsn), part.unwrap_or_default())
}
