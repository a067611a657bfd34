//! What a slot would send, without taking anything from it.

use bytes::Bytes;
use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::{Client, error::SqlState, types::ToSql};

use crate::{
    catalog::quote_identifier,
    change::Event,
    lsn::Lsn,
    pgoutput::{Decoder, StreamError},
};

/// Why a slot's changes can not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// The server refuses; also while somebody else reads from the slot.
    #[error(transparent)]
    Sql(#[from] tokio_postgres::Error),
    /// What it sends is not understood.
    #[error("the changes of a slot are malformed: {0}")]
    Grammar(#[from] StreamError),
}

impl PeekError {
    /// Somebody reads from the slot, or has it for another reason.
    pub fn is_in_use(&self) -> bool {
        match self {
            PeekError::Sql(error) => error.code() == Some(&SqlState::OBJECT_IN_USE),
            PeekError::Grammar(_) => false,
        }
    }
}

/// Tells everything that the slot has not confirmed and that committed before `end`, in order, until
/// `tell` has heard enough. The server holds all of it meanwhile.
pub async fn peek<T>(
    client: &Client,
    (slot, publication): (&str, &str),
    end: Lsn,
    mut tell: impl FnMut(Event) -> Option<T>,
) -> Result<Option<T>, PeekError> {
    let sql = "SELECT data FROM pg_logical_slot_peek_binary_changes($1::text, $2::text::pg_lsn, NULL, \
               'proto_version', '1', 'publication_names', $3::text)";
    let (end, publication) = (end.to_string(), quote_identifier(publication));
    let parameters: [&(dyn ToSql + Sync); 3] = [&slot, &end, &publication];
    let rows = client.query_raw(sql, parameters).await?;
    pin_mut!(rows);
    let mut decoder = Decoder::new();
    while let Some(row) = rows.try_next().await? {
        let message = Bytes::copy_from_slice(row.get(0));
        let event = decoder.decode(message)?;
        if let Some(heard) = event.and_then(&mut tell) {
            return Ok(Some(heard));
        }
    }
    Ok(None)
}
