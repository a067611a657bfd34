//! What the next start does about changes since the graph was made, and whether its role may.

use crate::{
    catalog::TableName,
    config::Config,
    postgres,
    report::Findings,
    service::{ServiceError, checks::Looked, preview::preview},
    start::{Refusal, rights},
};

/// Tables that are compared are read: a stream alone needs no right to.
pub(super) async fn follows(
    config: &Config,
    source: &Looked,
    found: &mut Findings,
) -> Result<(), ServiceError> {
    let Ok(preview) = preview(config).await? else { return Ok(()) };
    if let Some(refused) = preview.refused {
        found.failed(refused, None);
    }
    let marked = preview.marks.iter().map(|(marked, _)| marked.table.clone());
    let mut tables: Vec<TableName> =
        marked.chain(preview.added.into_iter().map(|it| it.0)).collect();
    tables.sort();
    tables.dedup();
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(TableName::in_file).collect();
    let who = if preview.through_topic { "apply" } else { "run" };
    found.ok(format!("{who} will read tables that have changed: {}", names.join(", ")));
    let rights = postgres::setup::rights(&source.client, &tables).await?;
    for refusal in rights::to_read(&source.source.server, &rights) {
        found.refused(&Refusal::from(refusal));
    }
    Ok(())
}
