//! The partitions that this process has claimed. A process that stops for good says why on a checkpoint of its own:
//! one that somebody else has claimed since stays as it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    checkpoint::{Epoch, Log, TopicPartition},
    config::Config,
    service::{ServiceError, graph::tell_why},
};

/// The partitions, each with the last epoch that was claimed.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    epochs: BTreeMap<TopicPartition, Epoch>,
    is_told: bool,
}

impl Claims {
    /// One more, or again.
    pub fn add(&self, at: &TopicPartition, epoch: Epoch) {
        self.claimed().epochs.insert(at.clone(), epoch);
    }

    /// All of them.
    pub fn all(&self) -> Vec<(TopicPartition, Epoch)> {
        self.claimed().epochs.iter().map(|(at, epoch)| (at.clone(), *epoch)).collect()
    }

    /// Why a partition is not applied any more.
    pub async fn tell(&self, config: &Config, at: &TopicPartition, error: &ServiceError) {
        let epoch = self.claimed().epochs.get(at).copied();
        if let Some(epoch) = epoch {
            self.claimed().is_told = true;
            tell_why(config, Log::Partition(at.clone()), epoch, error).await;
        }
    }

    /// Why none is, unless a partition has told it: on one of their checkpoints.
    pub async fn tell_once(&self, config: &Config, error: &ServiceError) {
        let first = {
            let claimed = self.claimed();
            let first = claimed.epochs.keys().next().filter(|_| !claimed.is_told);
            first.cloned()
        };
        if let Some(at) = first {
            self.tell(config, &at, error).await;
        }
    }

    fn claimed(&self) -> MutexGuard<'_, Claimed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
