//! COPY of table chunks under a snapshot: the source's side of a copy lane.
//!
//! ```text
//! one lane takes a snapshot, the others join it -> COPY of ctid ranges -> ROLLBACK
//! ```
//!
//! The text form of COPY is the text form of the stream, so both go through one codec.

use std::{sync::Arc, time::Duration};

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, TableKind, TableName, quote_identifier, quote_literal},
    copy::{Chunk, ParseSnapshotError, chunk_blocks},
    graph::{Key, Pass, Row, TableIndex},
    lsn::Lsn,
    mapping::{Notice, Selection, TableColumns, TranslateError, Translator},
    pipeline::{ChunkReader, Failure, Taken},
};

use super::{
    connect::{describe, is_transient},
    snapshot::{self, Locked, position},
    text::{Cells, CopyText},
};

/// Why a chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server refused, or the connection broke.
    #[error("copy of {table}: {}", describe(.source))]
    Sql {
        /// The table.
        table: TableName,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// A row does not fit the mapping.
    #[error("copy: {0}")]
    Translate(#[from] TranslateError),
    /// The server's COPY text is malformed.
    #[error("copy of {table}: a row has {found} columns instead of {expected}")]
    Columns {
        /// The table.
        table: TableName,
        /// The columns selected.
        expected: usize,
        /// The columns that came.
        found: usize,
    },
    /// The server's snapshot is malformed.
    #[error(transparent)]
    Snapshot(#[from] ParseSnapshotError),
    /// The log is not flushed.
    #[error("the source's log was not flushed through {lsn} for {s} s", s = .waited.as_secs())]
    NotFlushed {
        /// The position that a snapshot may have seen commits up to.
        lsn: Lsn,
        /// For how long.
        waited: Duration,
    },
    /// A key can not be looked up.
    #[error("copy of {0}: a key has a value of a kind that has no text form to look it up by")]
    Key(TableName),
}

impl Failure for ReadError {
    fn is_transient(&self) -> bool {
        match self {
            ReadError::Sql { source, .. } => is_transient(source),
            ReadError::NotFlushed { .. } => true,
            _ => false,
        }
    }
}

/// How the tables of a mapping are read.
#[derive(Clone, Debug)]
pub struct Sources(Arc<Vec<Source>>);

/// How one table is read.
#[derive(Clone, Debug)]
struct Source {
    name: TableName,
    /// Of the pass of nodes: all that is mapped.
    nodes: Selected,
    /// Of the pass of relationships.
    relationships: Selected,
    /// `ONLY schema.name`, or the root of partitions, which has no blocks of its own.
    from: String,
    partitioned: bool,
    /// ` AND (...)`: the publication's row filter.
    filter: String,
    /// `(a, b)`: the key.
    key: String,
}

/// Columns, and what the server is asked for.
#[derive(Clone, Debug)]
struct Selected {
    selection: Selection,
    /// `column, column`.
    names: String,
}

impl Selected {
    fn new(table: &TableColumns, selection: Selection) -> Self {
        let names: Vec<String> = selection.names(table).map(quote_identifier).collect();
        Selected { selection, names: names.join(", ") }
    }
}

impl Sources {
    /// The tables of the translator's mapping, as the catalog has them.
    ///
    /// # Panics
    /// When the mapping was not made from this catalog.
    pub fn new(catalog: &Catalog, translator: &Translator) -> Self {
        let mapping = translator.mapping();
        let source = |(index, _): (TableIndex, _)| {
            let columns = mapping.columns(index);
            let table = catalog.table(&columns.name).expect("a mapped table is in the catalog");
            let of = |pass| Selected::new(columns, Selection::of_pass(mapping, index, pass));
            let partitioned = table.kind == TableKind::Partitioned;
            let only = if partitioned { "" } else { "ONLY " };
            let filter = table.published.row_filter.as_ref();
            let key: Vec<String> = columns
                .key
                .iter()
                .map(|slot| quote_identifier(&columns.column(slot).name))
                .collect();
            Source {
                name: columns.name.clone(),
                nodes: of(Pass::Nodes),
                relationships: of(Pass::Relationships),
                from: format!("{only}{}", columns.name.sql()),
                partitioned,
                filter: filter.map_or(String::new(), |filter| format!(" AND ({filter})")),
                key: key.join(", "),
            }
        };
        Sources(Arc::new(mapping.model.iter().map(source).collect()))
    }

    fn get(&self, table: TableIndex) -> &Source {
        &self.0[table.0]
    }
}

/// What a copy must know of a table before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Its blocks; 0 for the root of partitions, which is read as one.
    pub blocks: u32,
    /// How many blocks make a chunk.
    pub chunk_blocks: u32,
    /// The file its blocks are in; 0 for the root of partitions.
    pub relfilenode: u32,
    /// About how many rows it has, if the server knows.
    pub rows: Option<u64>,
}

/// Reads a table's size and file.
pub async fn table_size(
    client: &Client,
    catalog: &Catalog,
    name: &TableName,
) -> Result<TableSize, ReadError> {
    let sql = "SELECT coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid, \
               (pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8)::int8 \
               FROM pg_catalog.pg_class c WHERE c.oid = $1::text::regclass";
    let row = client.query_one(sql, &[&name.sql()]).await;
    let row = row.map_err(|source| ReadError::Sql { table: name.clone(), source })?;
    let (relfilenode, blocks): (u32, i64) = (row.get(0), row.get(1));
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let rows = catalog.table(name).and_then(|table| table.estimated_rows);
    /// Assumed of a table that was never analyzed.
    const ROWS_PER_BLOCK: u64 = 60;
    let estimated = rows.filter(|rows| *rows > 0).unwrap_or(u64::from(blocks) * ROWS_PER_BLOCK);
    let chunk_blocks = chunk_blocks(estimated, u64::from(blocks));
    Ok(TableSize { blocks, chunk_blocks, relfilenode, rows })
}

/// A transaction id that is given out now: once a snapshot's xmin has reached it, everything that
/// runs now has ended.
pub async fn current_xid(client: &Client) -> Result<u64, tokio_postgres::Error> {
    let row = client.query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// Reads chunks on a connection of its own.
pub struct CopyReader {
    client: Client,
    sources: Sources,
    translator: Translator,
    /// For flushing the log, beside the transaction that holds the snapshot.
    flusher: Option<Client>,
    table: TableIndex,
    reading: Option<Reading>,
    tell: TellNotices,
}

/// Rows on their way.
struct Reading {
    text: CopyText,
    selection: Selection,
}

/// Is told what the translation of rows met.
pub type TellNotices = Arc<dyn Fn(Vec<Notice>) + Send + Sync>;

impl CopyReader {
    /// A reader over a connection with pinned settings.
    pub fn new(client: Client, sources: Sources, translator: Translator) -> Self {
        let table = TableIndex(0);
        let tell: TellNotices = Arc::new(|_| {});
        let (flusher, reading) = (None, None);
        CopyReader { client, sources, translator, flusher, table, reading, tell }
    }

    /// From now on, flushes the log over another connection when it has to be.
    pub fn flushing(self, client: Client) -> Self {
        CopyReader { flusher: Some(client), ..self }
    }

    /// From now on, tells what the translation of rows meets.
    pub fn telling(self, tell: TellNotices) -> Self {
        CopyReader { tell, ..self }
    }

    fn tell_notices(&mut self) {
        let notices = self.translator.take_notices();
        if !notices.is_empty() {
            (self.tell)(notices);
        }
    }

    fn sql_error(&self) -> impl Fn(tokio_postgres::Error) -> ReadError + use<> {
        let table = self.sources.get(self.table).name.clone();
        move |source| ReadError::Sql { table: table.clone(), source }
    }

    async fn copy_out(&mut self, pass: Pass, condition: &str) -> Result<(), ReadError> {
        let source = self.sources.get(self.table);
        let Selected { selection, names } = match pass {
            Pass::Nodes => &source.nodes,
            Pass::Relationships => &source.relationships,
        };
        let select =
            format!("SELECT {names} FROM {} WHERE {condition}{}", source.from, source.filter);
        let (name, columns) = (&source.name, selection.count());
        let text = CopyText::start(&self.client, name, columns, &select).await?;
        self.reading = Some(Reading { text, selection: selection.clone() });
        Ok(())
    }
}

impl ChunkReader for CopyReader {
    type Error = ReadError;

    async fn begin(&mut self, tables: &[TableIndex]) -> Result<Taken, ReadError> {
        let sources = tables.iter().map(|table| self.sources.get(*table));
        let locked: Vec<_> =
            sources.map(|source| Locked { name: &source.name, from: &source.from }).collect();
        let snapshot::Taken { snapshot, name, files } =
            snapshot::take(&self.client, self.flusher.as_ref(), &locked).await?;
        Ok(Taken { snapshot, name, relfilenodes: tables.iter().copied().zip(files).collect() })
    }

    async fn join(&mut self, taken: &Taken) -> Result<(), ReadError> {
        snapshot::join(&self.client, &taken.name).await.map_err(self.sql_error())
    }

    async fn open(&mut self, table: TableIndex, pass: Pass, chunk: Chunk) -> Result<(), ReadError> {
        self.table = table;
        if self.sources.get(table).partitioned {
            return self.copy_out(pass, "true").await;
        }
        let end = chunk.end_block.map(|block| format!(" AND ctid < '({block},0)'::pg_catalog.tid"));
        let condition = format!(
            "ctid >= '({},0)'::pg_catalog.tid{}",
            chunk.from_block,
            end.unwrap_or_default()
        );
        self.copy_out(pass, &condition).await
    }

    async fn rows(&mut self) -> Result<Option<Vec<(Key, Row)>>, ReadError> {
        let Some(Reading { text, selection }) = &mut self.reading else { return Ok(None) };
        let (translator, table) = (&mut self.translator, self.table);
        let row = |cells: Cells<'_>| Ok(translator.row_from_text(table, selection, &cells)?);
        let rows = text.piece(row).await?;
        self.tell_notices();
        Ok((!rows.is_empty()).then_some(rows))
    }

    async fn ends_before(&mut self, table: TableIndex, block: u32) -> Result<bool, ReadError> {
        self.table = table;
        let source = self.sources.get(table);
        if source.partitioned {
            return Ok(true);
        }
        let sql = "SELECT pg_catalog.pg_relation_size($1::text::regclass) \
                   <= $2::int8 * pg_catalog.current_setting('block_size')::int8";
        let row = self.client.query_one(sql, &[&source.name.sql(), &i64::from(block)]).await;
        Ok(row.map_err(self.sql_error())?.get(0))
    }

    async fn by_key(
        &mut self,
        table: TableIndex,
        keys: &[Key],
    ) -> Result<Vec<(Key, Row)>, ReadError> {
        self.table = table;
        let source = self.sources.get(table);
        let literal = |key: &Key| -> Option<String> {
            let parts = key.0.iter().map(|value| {
                let text = value.postgres_text()?;
                Some(quote_literal(&text))
            });
            Some(format!("({})", parts.collect::<Option<Vec<_>>>()?.join(", ")))
        };
        let keys: Option<Vec<_>> = keys.iter().map(literal).collect();
        let keys = keys.ok_or_else(|| ReadError::Key(source.name.clone()))?;
        let condition = format!("({}) IN ({})", source.key, keys.join(", "));
        // Both passes write these rows: all of their columns.
        self.copy_out(Pass::Nodes, &condition).await?;
        let mut all = Vec::new();
        while let Some(rows) = self.rows().await? {
            all.extend(rows);
        }
        Ok(all)
    }

    async fn release(&mut self) -> Result<(), ReadError> {
        self.reading = None;
        self.client.batch_execute("ROLLBACK").await.map_err(self.sql_error())
    }

    async fn log_end(&mut self) -> Result<Lsn, ReadError> {
        let function = "pg_catalog.pg_current_wal_insert_lsn()";
        let end = position(&self.client, function).await.map_err(self.sql_error())?;
        Ok(end.without_page_header())
    }
}
