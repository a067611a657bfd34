//! Checks a key for a node: every old row carries it, and it is equal when PostgreSQL says so.

use crate::{
    catalog::{Catalog, ReplicaIdentity, Table, TableKind, TableName, pasteable},
    shown::shown_list,
};

use super::infer::set;
use super::refusal::Refusal;
use super::render::list;

/// The problem of the key, if any.
pub(super) fn check_key(catalog: &Catalog, table: &Table, key: &[String]) -> Option<Refusal> {
    let parts: Vec<&Table> = catalog.tables.iter().filter(|it| holds_rows_of(it, table)).collect();
    if let Some(part) = parts.iter().find(|part| !part.logged) {
        let (table, partition) = (table.name.clone(), part.name.clone());
        return Some(Refusal::UnloggedPartition { table, partition });
    }
    let mut family = std::iter::once(&table).chain(&parts);
    if let Some(culprit) = family.find(|it| it.replica_identity == ReplicaIdentity::Nothing) {
        let (table, culprit) = (table.name.clone(), culprit.name.clone());
        return Some(Refusal::IdentityNothing { table, culprit });
    }
    for name in key {
        let column = table.column(name)?;
        if !column.deterministic {
            let (table, column) = (table.name.clone(), name.clone());
            return Some(Refusal::NondeterministicKey { table, column });
        }
    }
    let of_part = |part: &&Table| check_part(table, part, key);
    check_identity(table, key).or_else(|| parts.iter().find_map(of_part))
}

/// Whether `part` holds rows of `table`.
fn holds_rows_of(part: &Table, table: &Table) -> bool {
    matches!(&part.kind, TableKind::Partition { root, holds_rows: true } if *root == table.name)
}

/// A partition has its own replica identity, which identifies its rows in the stream.
fn check_part(table: &Table, part: &Table, key: &[String]) -> Option<Refusal> {
    check_identity(part, key)?;
    let identity = match part.identity_columns() {
        Some(columns) => shown_list(columns),
        None => "no key that tells its rows apart at every moment".to_owned(),
    };
    let is_key = |columns: &[String]| set(columns) == set(key);
    let primary = part.primary_key.as_ref().filter(|it| it.immediate && is_key(&it.columns));
    let sql = part.name.pasteable();
    let fix = match (primary, part.identifying_keys().find(|it| is_key(&it.columns))) {
        (Some(_), _) => format!("Run ALTER TABLE {sql} REPLICA IDENTITY DEFAULT"),
        (None, Some(unique)) => {
            let index = pasteable(&unique.name);
            format!("Run ALTER TABLE {sql} REPLICA IDENTITY USING INDEX {index}")
        }
        (None, None) => {
            format!("Add a unique index over the key to {sql}, as its replica identity")
        }
    };
    let (table, partition, key) = (table.name.clone(), part.name.clone(), key.to_vec());
    Some(Refusal::PartitionKeyIsNotIdentity { table, partition, key, identity, fix })
}

/// The statements that make columns, which are NOT NULL, what identifies a table's old rows.
pub fn identify_by(table: &TableName, columns: &[String]) -> String {
    let index = pasteable(&format!("{}_wal2graph_key", table.name));
    let columns: Vec<String> = columns.iter().map(|name| pasteable(name)).collect();
    let (table, columns) = (table.pasteable(), columns.join(", "));
    format!(
        "CREATE UNIQUE INDEX {index} ON {table} ({columns}); ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}"
    )
}

/// The statement that makes the key the replica identity, if the key is the primary key.
fn by_primary_key(table: &Table, key: &[String]) -> Option<String> {
    let primary = table.primary_key.as_ref().filter(|it| it.immediate)?;
    let is_key = set(&primary.columns) == set(key);
    is_key.then(|| {
        format!(", or run ALTER TABLE {} REPLICA IDENTITY DEFAULT", table.name.pasteable())
    })
}

fn check_identity(table: &Table, key: &[String]) -> Option<Refusal> {
    let is_key = |columns: &[String]| set(columns) == set(key) && columns.len() == key.len();
    let late = table.primary_key.as_ref().filter(|key| !key.immediate);
    let refusal = |identity: String, fix: String| {
        let (table, key) = (table.name.clone(), key.to_vec());
        Some(Refusal::KeyIsNotIdentity { table, key, identity, fix })
    };
    match (&table.replica_identity, table.identity_columns(), late) {
        (ReplicaIdentity::Full, ..) => {
            let identifying = table.identifying_keys().any(|key| is_key(&key.columns));
            if identifying {
                return None;
            }
            let identity = "all columns, none of which identify a row at every moment".to_owned();
            let fix = "Use as `key` the columns of an immediate unique constraint that are all NOT \
                       NULL, or add such a constraint";
            refusal(identity, fix.to_owned())
        }
        (_, Some(columns), _) if is_key(columns) => None,
        (_, Some(columns), _) => {
            let identity = shown_list(columns);
            let fix = format!(
                "Use `key: {}`{}",
                list(columns),
                by_primary_key(table, key)
                    .unwrap_or_else(|| format!(", or run {}", identify_by(&table.name, key)))
            );
            refusal(identity, fix)
        }
        (_, None, Some(late)) => {
            let (table, constraint) = (table.name.clone(), late.name.clone());
            Some(Refusal::DeferrableKey { table, constraint })
        }
        (_, None, None) => {
            let fix = format!(
                "Add a primary key, or run ALTER TABLE {} REPLICA IDENTITY USING INDEX with a \
                 unique index on the key",
                table.name.pasteable()
            );
            refusal("nothing, for it has no primary key".to_owned(), fix)
        }
    }
}
