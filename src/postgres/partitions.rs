//! The partitions that have a table's rows: each is read like a table of its own, in the table's name.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

use crate::catalog::TableName;

/// A partition without partitions of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// What it is called now.
    pub name: TableName,
    /// Another server has its rows: it has no blocks here, and can not be locked.
    pub is_foreign: bool,
    /// We may read it by its own name. A role may have the right to its root alone.
    pub is_readable: bool,
    /// The file its blocks are in; 0 if it has none.
    pub file: u32,
    /// About how many blocks it has.
    pub pages: u32,
}

/// The leaves below a partitioned table, by their object ids; none if the table is no such table.
/// Takes no locks: somebody may be at work on one of them.
pub async fn leaves(client: &Client, root: &TableName) -> Result<BTreeMap<u32, Leaf>, Error> {
    let sql = "WITH RECURSIVE tree AS ( \
            SELECT c.oid FROM pg_catalog.pg_class c \
            WHERE c.oid = pg_catalog.to_regclass($1)::oid AND c.relkind = 'p' \
            UNION ALL \
            SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid \
            WHERE NOT i.inhdetachpending) \
        SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'f', \
            pg_catalog.has_table_privilege(c.oid, 'SELECT') \
                AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
            coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid, greatest(c.relpages, 0) \
        FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind <> 'p'";
    let rows = client.query(sql, &[&root.sql()]).await?;
    let leaf = |row: &tokio_postgres::Row| {
        let leaf = Leaf {
            name: TableName::new(row.get::<_, &str>(1), row.get::<_, &str>(2)),
            is_foreign: row.get(3),
            is_readable: row.get::<_, Option<bool>>(4).unwrap_or(false),
            file: row.get(5),
            pages: row.get::<_, i32>(6).unsigned_abs(),
        };
        (row.get(0), leaf)
    };
    Ok(rows.iter().map(leaf).collect())
}
