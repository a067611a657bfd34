//! Rows that are read by key under a turn's snapshot, and written.

use std::collections::BTreeSet;

use crate::graph::{Key, Row, Statement};

use super::{super::letters::Rows, ChunkReader, ChunkWriter, Copied, CopyError, Letters, Search};

/// Reads the rows of a locked table that have these keys, and writes those that `choose` leaves. Returns the keys
/// that were not found; `None` if another session wants the table. Then the locks are released. With `releases`
/// the rows are equal to the graph's then, and their letters go.
pub(super) async fn write_by_key<R: ChunkReader, W: ChunkWriter>(
    (reader, writer): (&mut R, &mut W),
    (letters, releases): (&Letters, bool),
    (of, keys): (&Rows<'_, impl Fn(Vec<(Key, Row)>) -> Vec<Statement>>, &[Key]),
    search: Search,
    mut choose: impl FnMut(Vec<(Key, Row)>) -> Vec<(Key, Row)>,
) -> Copied<Option<BTreeSet<Key>>, R, W> {
    let table = of.table;
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
        let waiting = match releases {
            true => letters.waiting(table, rows.iter().map(|(key, _)| key)),
            false => BTreeSet::new(),
        };
        let rows = choose(rows);
        if rows.is_empty() && waiting.is_empty() {
            continue;
        }
        let written = letters.write_equal(writer, of, None, rows, waiting);
        tokio::pin!(written);
        let written = tokio::select! {
            biased;
            written = &mut written => written,
            waiting = &mut wanted => {
                let waiting = waiting.map_err(CopyError::Read)?;
                // The hold protects the rows already read.
                reader.release().await.map_err(CopyError::Read)?;
                reader.tell_given_way(&waiting);
                written.await?;
                return Ok(None);
            }
        };
        written?;
    }
}
