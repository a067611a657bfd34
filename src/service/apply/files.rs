//! Members of the group whose files differ: the file that came last counts, and members with another one stand by.

use std::slice;

use tokio::time::sleep;

use crate::{
    checkpoint::{Checkpoint, Log, TopicPartition},
    kafka::offsets::Asking,
    metrics::{SOURCE_INTERVAL, now},
    pipeline::{Note, Store},
    service::{ServiceError, graph},
    start::one_file::{self, FileMark},
};

use super::shared::{File, Shared};

/// Whether this process may join the group. One whose file others have left waits until it is alone.
pub async fn check(
    file: &File,
    asking: &Asking,
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    if let Some(since) = one_file::since(file.digest(), checkpoints) {
        file.is_followed_since(since);
    }
    match file.overtaken(checkpoints) {
        Some(overtaken) if asking.members().await?.is_some_and(|members| members > 0) => {
            Err(ServiceError::NotYet(overtaken.to_string()))
        }
        _ => Ok(()),
    }
}

/// A claimed partition has the rows of this member's file from now on.
pub async fn goes_over(
    shared: &Shared,
    at: &TopicPartition,
    claimed: &Checkpoint,
) -> Result<(), ServiceError> {
    let Shared { config, graph, file, .. } = shared;
    if let Some(overtaken) = file.overtaken(slice::from_ref(claimed))
        && are_others(shared).await?
    {
        return Err(ServiceError::NotYet(overtaken.to_string()));
    }
    let found = FileMark::of(claimed).filter(|mark| mark.digest == file.digest());
    let since = match found {
        Some(mark) => mark.since,
        None => {
            let mark = FileMark { digest: file.digest().to_owned(), since: now() };
            let claim = graph::claimed(config, Log::Partition(at.clone()), claimed.epoch);
            graph.note(&claim, Note::File(&mark.to_string())).await?;
            mark.since
        }
    };
    file.is_followed_since(since);
    Ok(())
}

/// Resolves once another member has gone over to another file. A graph that is away says nothing.
pub async fn overtaken(shared: &Shared) -> ServiceError {
    let Shared { config, graph, file, .. } = shared;
    loop {
        sleep(SOURCE_INTERVAL).await;
        let Ok(checkpoints) = graph.positions(&config.pipeline).await else { continue };
        if let Some(overtaken) = file.overtaken(&checkpoints)
            && are_others(shared).await.is_ok_and(|are_others| are_others)
        {
            return ServiceError::NotYet(overtaken.to_string());
        }
    }
}

async fn are_others(shared: &Shared) -> Result<bool, ServiceError> {
    Ok(shared.asking.members().await?.is_some_and(|members| members > 1))
}
