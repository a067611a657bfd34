//! Reads whole tables as rows of text cells, for a copy without a mapping.
//!
//! ```text
//! begin (lock, snapshot, flushed log) -> COPY of the published columns and rows -> pieces of rows -> release
//! ```
//!
//! One snapshot covers the whole table. With two, a row could move from one part of the table to
//! another between them and be missed.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use tokio_postgres::Client;

use crate::{
    catalog::{Table, TableKind, quote_identifier},
    change::{Cell, Tuple},
    pipeline::Waiting,
};

use super::{
    error::ReadError,
    locks::Beside,
    sessions::limit_waits,
    snapshot::{Locked, Taken, take},
    text::{Cells, CopyText},
};

/// Reads tables, one after the other, on its own connection.
pub struct TableReader {
    client: Client,
    /// Its process on the server.
    process: i32,
    beside: Arc<Beside>,
    reading: Option<CopyText>,
}

impl TableReader {
    /// A reader over a connection with pinned settings, another connection beside it, and one that
    /// guards its locks.
    pub async fn new(
        client: Client,
        beside: Client,
        guard: Client,
    ) -> Result<Self, tokio_postgres::Error> {
        limit_waits(&client).await?;
        let beside = Beside::new(beside);
        let process = beside.register(&client).await?;
        beside.guard(guard);
        Ok(TableReader { client, process, beside, reading: None })
    }

    /// Locks the table against rewriting and takes a snapshot. All commits that it sees are safe in
    /// the log. `None`: another session has the table; release the reader.
    pub async fn begin(&mut self, table: &Table) -> Result<Option<Taken>, ReadError> {
        let locked = Locked::table(&table.name, table.kind == TableKind::Partitioned);
        let taken = take(&self.client, &self.beside, &[locked]).await?;
        if taken.files.iter().all(Option::is_some) {
            return Ok(Some(taken));
        }
        let told = self.beside.tell_taken(&table.name).await;
        told.map_err(|source| ReadError::Sql { table: table.name.clone(), source })?;
        Ok(None)
    }

    /// Resolves when a session waits for the table.
    pub fn wanted(
        &self,
        table: &Table,
    ) -> impl Future<Output = Result<Waiting, ReadError>> + use<> {
        let (beside, table) = (self.beside.clone(), table.name.clone());
        async move { beside.wanted().await.map_err(|source| ReadError::Sql { table, source }) }
    }

    /// Releases snapshot and lock, and logs which session waited for them.
    pub async fn give_way(&mut self, table: &Table, to: &Waiting) -> Result<(), ReadError> {
        self.release(table).await?;
        self.beside.tell_given_way(to);
        Ok(())
    }

    /// Opens the table under the snapshot: the columns that the stream carries, in its order, of
    /// the published rows.
    pub async fn open(&mut self, table: &Table) -> Result<(), ReadError> {
        let streamed = table.columns.iter().filter(|column| table.streams(column));
        let columns: Vec<String> = streamed.map(|column| quote_identifier(&column.name)).collect();
        let filter = table.published.row_filter.as_ref();
        let filter = filter.map_or(String::new(), |filter| format!(" WHERE ({filter})"));
        let select = format!("SELECT {} FROM {}{filter}", columns.join(", "), from(table));
        let reading = CopyText::start(&self.client, &table.name, columns.len(), &select).await?;
        self.reading = Some(reading);
        Ok(())
    }

    /// The next rows, bounded in bytes; `None` after the last.
    pub async fn rows(&mut self) -> Result<Option<Vec<Tuple>>, ReadError> {
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let rows = reading.piece(|cells| Ok(tuple(cells))).await?;
        Ok((!rows.is_empty()).then_some(rows))
    }

    /// Releases snapshot and lock, also in the middle of the rows.
    pub async fn release(&mut self, table: &Table) -> Result<(), ReadError> {
        let sql_error = |source| ReadError::Sql { table: table.name.clone(), source };
        if self.reading.take().is_some_and(|reading| !reading.has_ended()) {
            self.beside.cancel(self.process).await.map_err(sql_error)?;
        }
        self.client.batch_execute("ROLLBACK").await.map_err(sql_error)
    }
}

/// A partitioned table is read through its root.
fn from(table: &Table) -> String {
    let only = if table.kind == TableKind::Partitioned { "" } else { "ONLY " };
    format!("{only}{}", table.name.sql())
}

fn tuple(cells: Cells<'_>) -> Tuple {
    let text = |text: Cow<'_, [u8]>| Cell::Text(Bytes::from(text.into_owned()));
    cells.into_iter().map(|cell| cell.map_or(Cell::Null, text)).collect()
}
