//! Changes that no record brings any more.
//!
//! ```text
//! reading stops before a hole --+-- compaction has not got there: it is of a stranger's transaction, reading goes on
//!                               +-- else: a repair of the topic's tables is asked for, reading goes on
//! reading stops before a gap record --- a repair of the topic's tables is asked for, reading goes on
//! records are applied again --- the same, behind them: a table may have changed since without changes of rows
//! a table's first topic, and the graph has rows of it: they came through another topic, and so may
//!     their last changes: a repair of it is asked for
//! ```
//!
//! Nobody knows which changes these were. A repair needs not know it: it compares the tables with the graph as they
//! are now, each partition its own keys.

use std::ops::Range;

use crate::{
    checkpoint::{Checkpoint, TopicPartition},
    envelope::History,
    graph::{TableIndex, model::Shape},
    kafka::tail,
    pipeline::{GraphReader, Store},
    service::{ServiceError, facts},
    topic::{
        gap::{Gap, Gaps},
        holes::Holes,
    },
};

use super::{
    following::{Covered, Why, compare, follows},
    requests::is_in,
    shared::Shared,
};

/// A key that comes twice is looked for among so many records before what is missing.
const NEAR: u64 = 1_000;

/// Takes care of what is missing in the partition. Reading goes on then.
pub async fn look(
    shared: &Shared,
    (at, claimed): (&TopicPartition, &Checkpoint),
    (holes, missing): (&Holes, Range<u64>),
) -> Result<(), ServiceError> {
    let Shared { config, asking, .. } = shared;
    let log = asking.log(at).await?;
    let before = missing.start.saturating_sub(NEAR).max(log.start)..missing.start;
    if tail::has_a_key_twice(config.kafka()?, at, before).await? {
        tracing::debug!(
            %at,
            from = missing.start,
            "an offset without a record is the mark of another producer's transaction: the log is not compacted there"
        );
        holes.go_on(log.end);
        return Ok(());
    }
    let Range { start, end } = missing;
    let found = format!(
        "the records of {at} at offsets {start}..{end} are gone and were never applied: the topic was compacted, or \
         they were deleted"
    );
    let why = why(shared, claimed, found);
    compare(shared, at, &tables_in(shared, at)?, &why, Covered::ByOneToCome).await?;
    tracing::warn!(
        %at,
        from = start,
        to = end,
        "records that were never applied are gone, by compaction or deletion: comparing the topic's tables"
    );
    // The comparison makes up for whatever is missing before the end of now.
    holes.go_on(log.end);
    Ok(())
}

/// Asks for a comparison of what was never published, since the publisher has lost its slot. Reading goes on with the
/// record that says so once that is kept in the graph: nothing behind it is applied before.
pub async fn unpublished(
    shared: &Shared,
    (at, claimed): (&TopicPartition, &Checkpoint),
    (gaps, (offset, gap)): (&Gaps, (u64, Gap)),
) -> Result<(), ServiceError> {
    let Gap { from, to, why } = gap;
    let tables = tables_in(shared, at)?;
    // A topic of heartbeats has none: those of the tables have such a record, too.
    if !tables.is_empty() {
        let found = format!(
            "changes of the source between {from} and {to} were never published ({why}), as the record at offset \
             {offset} of {at} says"
        );
        let why = self::why(shared, claimed, found);
        compare(shared, at, &tables, &why, Covered::ByAnyOpen).await?;
        tracing::warn!(
            %at,
            %from,
            %to,
            why = why.found,
            "changes were never published: comparing the topic's tables"
        );
    }
    gaps.go_on(offset);
    Ok(())
}

/// Asks for a comparison behind records that are about to be applied again. No record says that a table was rewritten,
/// or that another table took its name. Without a comparison its rows would stay as they were before that.
pub async fn replays(
    shared: &Shared,
    (at, checkpoint): (&TopicPartition, &Checkpoint),
) -> Result<(), ServiceError> {
    let tables = tables_in(shared, at)?;
    if tables.is_empty() || !follows(&shared.config)? {
        return Ok(());
    }
    let found = format!("records of {at} are applied again");
    compare(shared, at, &tables, &why(shared, checkpoint, found), Covered::ByAnyOpen).await?;
    tracing::info!(%at, "records are applied again: comparing the topic's tables behind them");
    Ok(())
}

/// Why the tables of a partition have to be compared.
fn why<'a>(shared: &Shared, claimed: &'a Checkpoint, found: String) -> Why<'a> {
    let again = facts::again(&shared.config, Some(&shared.mapping), std::slice::from_ref(claimed));
    Why { found, published: &claimed.origin.system_identifier, again: again.to_string() }
}

/// A partition is about to begin. If its topic is a table's, and the graph has rows of the table, these are compared.
pub async fn begins(
    shared: &Shared,
    at: &TopicPartition,
    history: Option<&History>,
) -> Result<(), ServiceError> {
    let Shared { config, topology, mapping, .. } = shared;
    let Some(history) = history.filter(|_| topology.has_heartbeats()) else { return Ok(()) };
    let mut tables = Vec::new();
    for table in tables_in(shared, at)? {
        if has_rows(shared, table).await? {
            tables.push(table);
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    let why = Why {
        found: format!("the graph has rows of {}, which came through another topic", at.topic),
        published: &history.system_identifier,
        again: facts::again(config, Some(mapping), &[]).to_string(),
    };
    compare(shared, at, &tables, &why, Covered::ByOneToCome).await?;
    tracing::info!(%at, "the graph has rows of this topic's table: comparing them with the table");
    Ok(())
}

fn tables_in(shared: &Shared, at: &TopicPartition) -> Result<Vec<TableIndex>, ServiceError> {
    let is_in = is_in(shared)?;
    // What is paused is compared once it goes on.
    let tables = shared.mapping.followed_tables().map(|(table, _)| table);
    Ok(tables.filter(|table| is_in(*table, &at.topic)).collect())
}

async fn has_rows(shared: &Shared, table: TableIndex) -> Result<bool, ServiceError> {
    let Shared { graph, model, .. } = shared;
    match &model.table(table).shape {
        Shape::Node(node) => {
            let rows = graph.rows(model).await?;
            Ok(rows.iter().any(|(label, count)| *label == node.label && *count > 0))
        }
        Shape::Relationship(_) => {
            let page = graph.reader(model)?.page(table, None, 1).await;
            Ok(!page.map_err(|error| ServiceError::of_write(error.into()))?.is_empty())
        }
    }
}
