//! COPY's text format: rows of cells, in pieces.

use std::{borrow::Cow, pin::Pin};

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use tokio_postgres::{Client, CopyOutStream};

use crate::catalog::TableName;

use super::error::ReadError;

/// A piece of rows has about this many bytes of text.
const PIECE_BYTES: usize = 2 << 20;
/// A piece of rows has at most this many rows.
const PIECE_ROWS: usize = 10_000;

/// The cells of a row; `None` is NULL.
pub type Cells<'l> = Vec<Option<Cow<'l, [u8]>>>;

/// A COPY that is being read.
pub struct CopyText {
    table: TableName,
    columns: usize,
    /// `None` once it has ended.
    stream: Option<Pin<Box<CopyOutStream>>>,
    /// Received text that is not a whole row yet.
    buffer: BytesMut,
}

impl CopyText {
    /// Starts `COPY (select) TO STDOUT`, with this many columns of the table.
    pub async fn start(
        client: &Client,
        table: &TableName,
        columns: usize,
        select: &str,
    ) -> Result<Self, ReadError> {
        let stream = client.copy_out(&format!("COPY ({select}) TO STDOUT")).await;
        let stream = stream.map_err(|source| ReadError::Sql { table: table.clone(), source })?;
        let (table, stream) = (table.clone(), Some(Box::pin(stream)));
        Ok(CopyText { table, columns, stream, buffer: BytesMut::new() })
    }

    /// Whether the server has sent all rows.
    pub fn has_ended(&self) -> bool {
        self.stream.is_none()
    }

    /// The next rows, bounded in number and bytes; `row` builds each from its cells. None after the
    /// last.
    pub async fn piece<T>(
        &mut self,
        mut row: impl FnMut(Cells<'_>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        loop {
            while rows.len() < PIECE_ROWS && bytes < PIECE_BYTES {
                let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else { break };
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                bytes += line.len();
                rows.push(row(self.cells(&line)?)?);
            }
            if rows.len() >= PIECE_ROWS || bytes >= PIECE_BYTES {
                return Ok(rows);
            }
            let Some(stream) = &mut self.stream else { return Ok(rows) };
            match stream.next().await {
                Some(Ok(text)) => self.buffer.extend_from_slice(&text),
                Some(Err(source)) => {
                    return Err(ReadError::Sql { table: self.table.clone(), source });
                }
                None => self.stream = None,
            }
        }
    }

    fn cells<'l>(&self, line: &'l [u8]) -> Result<Cells<'l>, ReadError> {
        let cells: Cells<'l> = match self.columns {
            0 => Vec::new(),
            _ => line.split(|byte| *byte == b'\t').map(unescape).collect(),
        };
        match cells.len() == self.columns {
            true => Ok(cells),
            false => {
                let (expected, found) = (self.columns, cells.len());
                Err(ReadError::Columns { table: self.table.clone(), expected, found })
            }
        }
    }
}

/// `\N` is NULL, and a backslash begins an escape.
fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text == b"\\N" {
        return None;
    }
    if !text.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut value = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    Some(Cow::Owned(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_text_is_unescaped() {
        let text = |text| unescape(text).map(Cow::into_owned);
        assert_eq!(text(b"\\N"), None);
        assert_eq!(text(b"\\\\N"), Some(b"\\N".to_vec()));
        assert_eq!(text(b""), Some(Vec::new()));
        assert_eq!(text(b"a\\tb\\nc\\\\d"), Some(b"a\tb\nc\\d".to_vec()));
    }
}
