//! The sizes of tables before a copy.

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, TableKind, TableName, quote_literal},
    copy::chunk_blocks,
};

use super::{error::ReadError, partitions::leaves};

/// The facts about a table that a copy needs before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// The relations with its rows.
    pub heaps: Vec<HeapSize>,
    /// How many blocks make a chunk.
    pub chunk_blocks: u32,
    /// The approximate number of its rows.
    pub rows: u64,
}

/// The same for a relation with its own blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapSize {
    /// The partition, if the table has partitions.
    pub partition: Option<u32>,
    /// About how many blocks it has.
    pub blocks: u32,
    /// The file they are in.
    pub relfilenode: u32,
}

/// Reads a table's size and files. Does not wait for a table that another session has locked
/// exclusively: the size is then the one at the last VACUUM.
pub async fn table_size(
    client: &Client,
    catalog: &Catalog,
    name: &TableName,
) -> Result<TableSize, ReadError> {
    let sql_error = |source| ReadError::Sql { table: name.clone(), source };
    let table = catalog.table(name);
    let heaps = match table.map(|table| &table.kind) {
        Some(TableKind::Partitioned) => {
            let leaves = leaves(client, name).await.map_err(sql_error)?;
            let mut heaps = Vec::with_capacity(leaves.len());
            for (oid, leaf) in leaves {
                let blocks = match leaf.pages {
                    // It is empty, or was never analysed.
                    0 if !leaf.is_foreign => {
                        heap_size(client, &leaf.name).await.map_err(sql_error)?.blocks
                    }
                    pages => pages,
                };
                heaps.push(HeapSize { partition: Some(oid), blocks, relfilenode: leaf.file });
            }
            heaps
        }
        _ => vec![heap_size(client, name).await.map_err(sql_error)?],
    };
    let blocks: u64 = heaps.iter().map(|heap| u64::from(heap.blocks)).sum();
    let analysed = table.and_then(|table| Some((table.estimated_rows?, table.pages)));
    let rows = rows_in(blocks, analysed);
    let chunk_blocks = match blocks {
        0 => u32::try_from(ROWS_PER_BLOCK).unwrap_or(1),
        blocks => chunk_blocks(rows, blocks),
    };
    Ok(TableSize { heaps, chunk_blocks, rows })
}

/// The assumption for a table that was never analysed.
const ROWS_PER_BLOCK: u64 = 60;

/// About how many rows the blocks hold, by the rows and the blocks that the table had when it was
/// analysed. The planner estimates in the same way.
fn rows_in(blocks: u64, analysed: Option<(u64, u64)>) -> u64 {
    match analysed {
        Some((rows, pages)) if rows > 0 && pages > 0 => rows.saturating_mul(blocks) / pages,
        _ => blocks * ROWS_PER_BLOCK,
    }
}

async fn heap_size(client: &Client, name: &TableName) -> Result<HeapSize, tokio_postgres::Error> {
    let sql = "SELECT coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid, \
               greatest(c.relpages, 0)::int8 FROM pg_catalog.pg_class c \
               WHERE c.oid = pg_catalog.to_regclass($1)";
    let Some(row) = client.query_opt(sql, &[&name.sql()]).await? else {
        // Another session has just dropped it.
        return Ok(HeapSize { partition: None, blocks: 0, relfilenode: 0 });
    };
    let (relfilenode, pages): (u32, i64) = (row.get(0), row.get(1));
    // Reading the current size needs the table's lock.
    let sql = format!(
        "BEGIN; SET LOCAL lock_timeout = '10ms'; SELECT pg_catalog.pg_relation_size({}::regclass) \
         / pg_catalog.current_setting('block_size')::int8; COMMIT",
        quote_literal(&name.sql())
    );
    let blocks = match client.simple_query(&sql).await {
        Ok(answer) => answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        }),
        // The table is locked or gone.
        Err(error) if error.as_db_error().is_some() => {
            client.batch_execute("ROLLBACK").await?;
            None
        }
        Err(error) => return Err(error),
    };
    let blocks = u32::try_from(blocks.unwrap_or(pages)).unwrap_or(u32::MAX);
    Ok(HeapSize { partition: None, blocks, relfilenode })
}

#[cfg(test)]
mod tests {
    use super::rows_in;

    #[test]
    fn a_copy_of_a_table_that_was_never_analysed_seemed_to_be_done_all_the_time() {
        assert_eq!(rows_in(1_000, None), 60_000);
        assert_eq!(rows_in(1_000, Some((0, 0))), 60_000, "it was empty when it was analysed");
        assert_eq!(rows_in(1_000, Some((5_000, 100))), 50_000, "it has grown since");
        assert_eq!(rows_in(0, Some((5_000, 100))), 0);
    }
}
