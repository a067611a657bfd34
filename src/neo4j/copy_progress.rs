//! Progress nodes of a copy: one for each pass over each range of a table, moved with every chunk.
//!
//! ```text
//! (:_Wal2GraphCopy {pipeline, table, partition, pass, part, next_block, end_block, rows, relfilenode,
//!                   epoch, done, owed})
//! ```
//!
//! Each node is its lane's fence. A chunk's first statement compares epoch and `next_block` under
//! the node's lock, like the checkpoint's compare-and-set. A claim raises the epoch of all of them.
//! So lanes write at the same time without sharing a node.

use chrono::Utc;
use neo4rs::{BoltType, Query, Row};

use crate::{
    checkpoint::Epoch,
    copy::{ChunkStep, Progress},
    graph::Pass,
};

use super::{
    checkpoint_row::get,
    connect::Connection,
    error::Error,
    names::{CLAIM_MARK, COPY},
    parameter::{self, KEEP_PLAN},
};

/// Reads all progress of the pipeline, in processing order.
pub async fn read(connection: &Connection, pipeline: &str) -> Result<Vec<Progress>, Error> {
    let text = format!(
        "MATCH (p:{COPY} {{pipeline: $pipeline}}) RETURN p.table AS table, p.pass AS pass, p.part AS part, \
         p.next_block AS next_block, p.end_block AS end_block, p.relfilenode AS relfilenode, p.rows AS rows, \
         p.done AS done, p.partition AS partition, p.owed AS owed, p.spares AS spares"
    );
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    let mut all = rows.iter().map(progress_of).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| (a.pass, &a.table, a.part).cmp(&(b.pass, &b.table, b.part)));
    Ok(all)
}

/// Creates the nodes. An existing one violates their constraint.
pub(super) fn create_query(pipeline: &str, epoch: Epoch, progress: &[Progress]) -> Query {
    let rows = progress.iter().map(|it| {
        parameter::list(
            [
                it.table.as_str().into(),
                it.pass.name().into(),
                i64::from(it.part).into(),
                i64::from(it.next_block).into(),
                it.end_block.map(i64::from).into(),
                i64::from(it.relfilenode).into(),
                (it.rows as i64).into(),
                it.done.into(),
                it.partition.map(i64::from).into(),
                // A property that is null is none.
                it.is_owed.then_some(true).into(),
                it.spares.then_some(true).into(),
            ]
            .into_iter(),
        )
    });
    let rows: BoltType = parameter::list(rows);
    let text = format!(
        "UNWIND $rows AS r CREATE (p:{COPY} {{pipeline: $pipeline, table: r[0], pass: r[1], part: r[2], \
         next_block: r[3], end_block: r[4], relfilenode: r[5], rows: r[6], done: r[7], partition: r[8], \
         owed: r[9], spares: r[10], epoch: $epoch, updated_at: $now}})"
    );
    Query::new(text)
        .param("pipeline", pipeline)
        .param("epoch", epoch.0)
        .param("now", Utc::now())
        .param("rows", rows)
}

/// Removes the nodes of these tables.
pub(super) fn remove_query(pipeline: &str, tables: &[&str]) -> Query {
    let text = format!(
        "MATCH (p:{COPY} {{pipeline: $pipeline}}) WHERE p.table IN $tables DETACH DELETE p"
    );
    let tables = parameter::list(tables.iter().map(|table| (*table).into()));
    Query::new(text).param("pipeline", pipeline).param("tables", tables)
}

/// Removes all nodes of the pipeline.
pub(super) fn end_query(pipeline: &str) -> Query {
    let text = format!("MATCH (p:{COPY} {{pipeline: $pipeline}}) DETACH DELETE p");
    Query::new(text).param("pipeline", pipeline)
}

/// Locks all nodes of the pipeline and sets their epoch.
pub(super) fn raise_query(pipeline: &str, epoch: Epoch) -> Query {
    let text =
        format!("/* {CLAIM_MARK} */ MATCH (p:{COPY} {{pipeline: $pipeline}}) SET p.epoch = $epoch");
    Query::new(text).param("pipeline", pipeline).param("epoch", epoch.0)
}

/// The compare-and-set of a chunk: locks the node, then reads it.
pub(super) fn step_query(pipeline: &str, epoch: Epoch, step: &ChunkStep) -> Query {
    let text = format!(
        "{KEEP_PLAN}{} SET p:{COPY} WITH p, properties(p) AS now WHERE now.epoch = $epoch \
         AND now.next_block = $from AND now.relfilenode = $relfilenode AND NOT now.done \
         SET p.next_block = $to, p.rows = p.rows + $count, p.done = $done, p.updated_at = $now",
        one()
    );
    which(Query::new(text), pipeline, step)
        .param("epoch", epoch.0)
        .param("from", i64::from(step.from_block))
        .param("to", i64::from(step.to_block))
        .param("relfilenode", i64::from(step.relfilenode))
        .param("count", step.rows as i64)
        .param("done", step.done)
        .param("now", Utc::now())
}

/// Locks the chunk's progress node and returns its epoch and place.
pub(super) fn locked_read_query(pipeline: &str, step: &ChunkStep) -> Query {
    let text = format!(
        "{} SET p:{COPY} WITH p RETURN p.epoch AS epoch, p.next_block AS next_block, p.done AS done, \
         p.relfilenode AS relfilenode",
        one()
    );
    which(Query::new(text), pipeline, step)
}

fn one() -> String {
    format!("MATCH (p:{COPY} {{pipeline: $pipeline, table: $table, pass: $pass, part: $part}})")
}

fn which(query: Query, pipeline: &str, step: &ChunkStep) -> Query {
    query
        .param("pipeline", pipeline)
        .param("table", step.table.as_str())
        .param("pass", step.pass.name())
        .param("part", i64::from(step.part))
}

fn progress_of(row: &Row) -> Result<Progress, Error> {
    let number = |name| get::<i64>(row, name).map(|number| number as u32);
    let pass: String = get(row, "pass")?;
    Ok(Progress {
        table: get(row, "table")?,
        partition: get::<Option<i64>>(row, "partition")?.map(|oid| oid as u32),
        pass: Pass::from_name(&pass)
            .ok_or_else(|| Error::Fatal(format!("a {COPY} node has the unknown pass {pass:?}")))?,
        part: number("part")?,
        next_block: number("next_block")?,
        end_block: get::<Option<i64>>(row, "end_block")?.map(|block| block as u32),
        relfilenode: number("relfilenode")?,
        rows: get::<i64>(row, "rows")? as u64,
        done: get(row, "done")?,
        is_owed: get::<Option<bool>>(row, "owed")?.unwrap_or(false),
        spares: get::<Option<bool>>(row, "spares")?.unwrap_or(false),
    })
}
