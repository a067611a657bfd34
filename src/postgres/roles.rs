//! Roles, and what a database lets them do.

use tokio_postgres::{Client, Error};

use crate::{
    catalog::TableName,
    start::grants::{Read, Role},
};

/// A role; `None`: it is not there.
pub async fn role(client: &Client, name: &str) -> Result<Option<Role>, Error> {
    let sql = "SELECT rolcanlogin, rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles AS rds \
            WHERE rds.rolname IN ('rds_replication', 'rds_superuser') \
            AND pg_catalog.pg_has_role(role.oid, rds.oid, 'MEMBER')), rolsuper OR rolbypassrls \
        FROM pg_catalog.pg_roles AS role WHERE rolname = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| Role {
        may_log_in: row.get(0),
        may_replicate: row.get(1),
        bypasses_policies: row.get(2),
    }))
}

/// Tables, with what a reader of them has to know.
pub async fn to_read(client: &Client, tables: &[TableName]) -> Result<Vec<Read>, Error> {
    let sql = "SELECT n.nspname::text, c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text, \
            c.relrowsecurity \
        FROM unnest($1::text[], $2::text[]) AS wanted (schema, name) \
        JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
        JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
        ORDER BY 1, 2";
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let read = |row: &tokio_postgres::Row| Read {
        table: TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1)),
        owner: row.get(2),
        has_policies: row.get(3),
    };
    Ok(client.query(sql, &[&schemas, &names]).await?.iter().map(read).collect())
}

/// Whether not everybody may connect to the database.
pub async fn is_closed(client: &Client) -> Result<bool, Error> {
    let sql = "SELECT NOT pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT')";
    Ok(client.query_one(sql, &[]).await?.get(0))
}
