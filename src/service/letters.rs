//! Rows that are set aside as dead letters, in the lives of `run` and `apply`.

use crate::{
    checkpoint::Claim,
    config::{Config, OnError},
    graph::Model,
    pipeline::{KeptLetter, KnownLetter, LetterRules, Letters, Store, StoreError},
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

/// The rows of the claimed log that the graph has letters of. Nothing may be written while they are read.
pub async fn of_log(
    config: &Config,
    graph: &impl Store,
    (claim, is_of): (&Claim, impl Fn(&KeptLetter) -> bool),
    model: &Model,
) -> Result<Letters, StoreError> {
    let log = &claim.identity.log;
    let kept = graph.letters(&config.pipeline).await?;
    let is_mapped = |letter: &KeptLetter| model.iter().any(|(_, it)| it.name == letter.table);
    let (kept, unmapped): (Vec<_>, Vec<_>) = kept.into_iter().filter(is_of).partition(is_mapped);
    if !unmapped.is_empty() {
        // If their tables come back, all rows are compared.
        let names = unmapped.into_iter().map(|letter| letter.name).collect();
        graph.remove_letters(&config.pipeline, Some(claim), &names).await?;
        tracing::info!(
            letters = names.len(),
            "dead letters went: their tables are not mapped any more"
        );
    }
    let known = kept.into_iter().filter_map(|letter| KnownLetter::of(model, letter));
    let known: Vec<KnownLetter> = known.collect();
    if !known.is_empty() {
        let rows = known.len();
        tracing::warn!(rows, "rows are set aside: `wal2graph dead-letters list` shows them");
    }
    Ok(Letters::new(rules(config), &config.pipeline, log, known))
}
