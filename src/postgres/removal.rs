//! What a pipeline has in the source, for its removal: the slot's reader, who made the publication, and DROP.

use tokio_postgres::{Client, Error};

use crate::catalog::quote_identifier;

/// A publication, and whether it is ours to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its comment.
    pub comment: Option<String>,
    /// Its owner.
    pub owner: String,
    /// The role may drop it.
    pub may_drop: bool,
}

/// Reads who made a publication; `None` if it does not exist.
pub async fn marked(client: &Client, publication: &str) -> Result<Option<Marked>, Error> {
    let sql = "SELECT obj_description(oid, 'pg_publication'), pg_get_userbyid(pubowner)::text, \
                      pg_has_role(pubowner, 'USAGE') \
               FROM pg_publication WHERE pubname = $1";
    let row = client.query_opt(sql, &[&publication]).await?;
    Ok(row.map(|row| Marked { comment: row.get(0), owner: row.get(1), may_drop: row.get(2) }))
}

/// The process that reads from a slot, for people; `None` if nobody does, or there is no slot.
pub async fn reader(client: &Client, slot: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT format('process %s', slot.active_pid) \
                   || coalesce(format(' of %s', nullif(activity.usename, '')), '') \
                   || coalesce(format(' from %s', host(activity.client_addr)), '') \
                   || coalesce(format(' (%s)', nullif(activity.application_name, '')), '') \
               FROM pg_replication_slots AS slot \
               LEFT JOIN pg_stat_activity AS activity ON activity.pid = slot.active_pid \
               WHERE slot.slot_name = $1 AND slot.active_pid IS NOT NULL";
    Ok(client.query_opt(sql, &[&slot]).await?.map(|row| row.get(0)))
}

/// Drops a slot that nobody reads from. One that is gone needs nothing.
pub async fn drop_slot(client: &Client, slot: &str) -> Result<(), Error> {
    let sql =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
    client.query(sql, &[&slot]).await.map(drop)
}

/// Drops a publication. One that is gone needs nothing.
pub async fn drop_publication(client: &Client, publication: &str) -> Result<(), Error> {
    let name = quote_identifier(publication);
    client.batch_execute(&format!("DROP PUBLICATION IF EXISTS {name}")).await
}
