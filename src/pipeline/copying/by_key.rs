//! Rows that are read by key under a turn's snapshot, and written.

use std::collections::BTreeSet;

use crate::graph::{Key, Row, Statement, TableIndex};

use super::{ChunkReader, ChunkWriter, Copied, CopyError, Held, Search};

/// Reads the rows of a locked table that have these keys, and writes the statements that `plan`
/// makes of them. Returns the keys that were not found; `None` if another session wants the table.
/// Then the locks are released.
pub(super) async fn write_by_key<R: ChunkReader, W: ChunkWriter>(
    (reader, writer): (&mut R, &mut W),
    held: &Held,
    (table, keys): (TableIndex, &[Key]),
    search: Search,
    mut plan: impl FnMut(Vec<(Key, Row)>) -> Vec<Statement>,
) -> Copied<Option<BTreeSet<Key>>, R, W> {
    let wanted = reader.wanted();
    tokio::pin!(wanted);
    let mut not_found: BTreeSet<Key> = keys.iter().cloned().collect();
    let mut is_open = false;
    loop {
        let read = async {
            if !is_open {
                reader.open_keys(table, keys, search).await?;
                is_open = true;
            }
            reader.rows().await
        };
        let read = tokio::select! {
            biased;
            waiting = &mut wanted => {
                let waiting = waiting.map_err(CopyError::Read)?;
                reader.release().await.map_err(CopyError::Read)?;
                reader.tell_given_way(&waiting);
                return Ok(None);
            }
            read = read => read,
        };
        let mut rows = match read {
            Ok(Some(rows)) => rows,
            Ok(None) => return Ok(Some(not_found)),
            Err(error) if R::is_for_now(&error) => return Ok(None),
            Err(error) => return Err(CopyError::Read(error)),
        };
        // By its text a key may find the row of another one: that of the same instant in UTC, for example.
        rows.retain(|(key, _)| not_found.remove(key));
        let statements = plan(rows);
        if statements.is_empty() {
            continue;
        }
        let written = writer.write_rows(held.position, table, statements);
        tokio::pin!(written);
        let written = tokio::select! {
            biased;
            written = &mut written => written,
            waiting = &mut wanted => {
                let waiting = waiting.map_err(CopyError::Read)?;
                // The hold protects the rows already read.
                reader.release().await.map_err(CopyError::Read)?;
                reader.tell_given_way(&waiting);
                written.await.map_err(CopyError::Write)?;
                return Ok(None);
            }
        };
        written.map_err(CopyError::Write)?;
    }
}
