//! Rows that are set aside as dead letters, in the lives of `run` and `apply`.

use crate::{
    checkpoint::Log,
    config::{Config, OnError},
    graph::Model,
    pipeline::{
        KeptLetter, KnownLetter, LetterRules, Letters, PipelineError, RefusedChanges, Store,
        StoreError, refuse,
    },
};

/// What is done with a row that the graph does not take.
pub fn rules(config: &Config) -> LetterRules {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    LetterRules {
        sets_aside: config.policies.on_error == OnError::Park,
        rows_max: config.limits.dead_letters,
        value_bytes: bytes(config.limits.value_bytes.0),
        row_bytes: bytes(config.limits.transaction_bytes.0),
    }
}

/// The rows of a log that the graph has letters of. Nothing may be written while they are read.
pub async fn of_log(
    config: &Config,
    graph: &impl Store,
    (log, is_of): (&Log, impl Fn(&KeptLetter) -> bool),
    model: &Model,
    refused: &RefusedChanges,
) -> Result<Letters, StoreError> {
    let kept = graph.letters(&config.pipeline).await?;
    let known = |letter: KeptLetter| {
        let found = model.iter().find(|(_, table)| table.name == letter.table);
        let (table, _) = found?;
        Some(KnownLetter { name: letter.name, table, key: letter.key? })
    };
    let known: Vec<KnownLetter> = kept.into_iter().filter(is_of).filter_map(known).collect();
    if !known.is_empty() {
        let rows = known.len();
        tracing::warn!(rows, "rows are set aside: `wal2graph dead-letters list` shows them");
    }
    Ok(Letters::new(rules(config), &config.pipeline, log, refused.clone(), known))
}

/// The error that ended a life. If it is a change that is set aside, the next life does that, at once.
pub fn set_aside(config: &Config, refused: &RefusedChanges, error: PipelineError) -> PipelineError {
    match error {
        PipelineError::Row { what, error }
            if refuse(rules(config), refused, what.stands(), &*error) =>
        {
            let refused = error.refused().unwrap_or(crate::engine::Refused::Wrong);
            PipelineError::Refused { refused, changes: 1, error }
        }
        error => error,
    }
}
