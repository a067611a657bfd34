//! Whether a key is fit to be a node's: seen in every old row, equal when PostgreSQL says so.

use crate::catalog::{Catalog, ReplicaIdentity, Table, TableKind};

use super::infer::set;
use super::refusal::Refusal;

/// What is wrong with the key, if anything.
pub(super) fn check_key(catalog: &Catalog, table: &Table, key: &[String]) -> Option<Refusal> {
    let within = |other: &&Table| match &other.kind {
        TableKind::Partition { root } => *root == table.name,
        TableKind::Ordinary | TableKind::Partitioned => false,
    };
    let parts = catalog.tables.iter().filter(within);
    let mut family = std::iter::once(table).chain(parts);
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
    check_identity(table, key)
}

/// The statement after which the replica identity is the key, if that is the primary key.
fn by_primary_key(table: &Table, key: &[String]) -> Option<String> {
    let primary = table.primary_key.as_ref().filter(|it| it.immediate)?;
    let is_key = set(&primary.columns) == set(key);
    is_key.then(|| format!(", or run ALTER TABLE {} REPLICA IDENTITY DEFAULT", table.name.sql()))
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
            let identity = columns.join(", ");
            let fix = format!(
                "Use `key: [{identity}]`{}",
                by_primary_key(table, key).unwrap_or_default()
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
                table.name.sql()
            );
            refusal("nothing, for it has no primary key".to_owned(), fix)
        }
    }
}
