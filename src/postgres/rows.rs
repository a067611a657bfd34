//! Whole tables as rows of text cells: what a copy that maps nothing reads.
//!
//! ```text
//! begin (lock, snapshot, flushed log) -> COPY of the published columns and rows -> pieces of rows -> release
//! ```
//!
//! One snapshot has the whole table, so that no row can be missed by moving from one part of it to
//! another between two snapshots.

use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio_postgres::{Client, CopyOutStream};

use crate::{
    catalog::{Table, TableKind, quote_identifier},
    change::{Cell, Tuple},
};

use super::{
    copy::{PIECE_BYTES, PIECE_ROWS, ReadError, unescape},
    snapshot::{Locked, Taken, take},
};

/// Reads tables, one after the other, on a connection of its own.
pub struct TableReader {
    client: Client,
    reading: Option<Reading>,
}

struct Reading {
    table: crate::catalog::TableName,
    columns: usize,
    stream: Option<Pin<Box<CopyOutStream>>>,
    /// Text that came and is not a whole row yet.
    buffer: BytesMut,
}

impl TableReader {
    /// A reader over a connection with pinned settings.
    pub fn new(client: Client) -> Self {
        TableReader { client, reading: None }
    }

    /// Locks the table against being rewritten and takes a snapshot of now, whose commits are safe
    /// in the log.
    pub async fn begin(&mut self, table: &Table) -> Result<Taken, ReadError> {
        take(&self.client, None, &[Locked { name: &table.name, from: &from(table) }]).await
    }

    /// Starts to read the table under the snapshot: the columns that the stream carries, in its
    /// order, of the rows that are published.
    pub async fn open(&mut self, table: &Table) -> Result<(), ReadError> {
        let streamed = table.columns.iter().filter(|column| table.streams(column));
        let columns: Vec<String> = streamed.map(|column| quote_identifier(&column.name)).collect();
        let filter = table.published.row_filter.as_ref();
        let filter = filter.map_or(String::new(), |filter| format!(" WHERE ({filter})"));
        let sql =
            format!("COPY (SELECT {} FROM {}{filter}) TO STDOUT", columns.join(", "), from(table));
        let stream = self.client.copy_out(&sql).await;
        let stream =
            stream.map_err(|source| ReadError::Sql { table: table.name.clone(), source })?;
        self.reading = Some(Reading {
            table: table.name.clone(),
            columns: columns.len(),
            stream: Some(Box::pin(stream)),
            buffer: BytesMut::new(),
        });
        Ok(())
    }

    /// The next rows, bounded in bytes; `None` after the last.
    pub async fn rows(&mut self) -> Result<Option<Vec<Tuple>>, ReadError> {
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let rows = reading.rows().await?;
        Ok((!rows.is_empty()).then_some(rows))
    }

    /// Lets snapshot and lock go.
    pub async fn release(&mut self, table: &Table) -> Result<(), ReadError> {
        self.reading = None;
        let released = self.client.batch_execute("ROLLBACK").await;
        released.map_err(|source| ReadError::Sql { table: table.name.clone(), source })
    }
}

/// A partitioned table is read through its root.
fn from(table: &Table) -> String {
    let only = if table.kind == TableKind::Partitioned { "" } else { "ONLY " };
    format!("{only}{}", table.name.sql())
}

impl Reading {
    async fn rows(&mut self) -> Result<Vec<Tuple>, ReadError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        loop {
            self.take_rows(&mut rows, &mut bytes)?;
            if rows.len() >= PIECE_ROWS || bytes >= PIECE_BYTES {
                break;
            }
            let Some(stream) = &mut self.stream else { break };
            match stream.next().await {
                Some(Ok(text)) => self.buffer.extend_from_slice(&text),
                Some(Err(source)) => {
                    return Err(ReadError::Sql { table: self.table.clone(), source });
                }
                None => self.stream = None,
            }
        }
        Ok(rows)
    }

    fn take_rows(&mut self, rows: &mut Vec<Tuple>, bytes: &mut usize) -> Result<(), ReadError> {
        while rows.len() < PIECE_ROWS && *bytes < PIECE_BYTES {
            let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else { break };
            let line = self.buffer.split_to(end);
            self.buffer.advance(1);
            *bytes += line.len();
            rows.push(self.parse(&line)?);
        }
        Ok(())
    }

    fn parse(&self, line: &[u8]) -> Result<Tuple, ReadError> {
        let cell =
            |text: &[u8]| unescape(text).map_or(Cell::Null, |it| Cell::Text(Bytes::from(it)));
        let row: Tuple = match self.columns {
            0 => Tuple::default(),
            _ => line.split(|byte| *byte == b'\t').map(cell).collect(),
        };
        match row.len() == self.columns {
            true => Ok(row),
            false => {
                let (expected, found) = (self.columns, row.len());
                Err(ReadError::Columns { table: self.table.clone(), expected, found })
            }
        }
    }
}
