//! What the role may do with the mapped tables.

use std::collections::BTreeSet;

use crate::catalog::{TableName, pasteable};

use super::Server;

/// What the role may do with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRights {
    /// The table. Partitions are read through it, by its rights.
    pub table: TableName,
    /// Its owner.
    pub owner: String,
    /// Its owner is a superuser, so that nobody is to be made a member of that role.
    pub owner_is_superuser: bool,
    /// The role may name what is in its schema.
    pub may_use_schema: bool,
    /// The role may read it.
    pub may_read: bool,
    /// The role may do what its owner may.
    pub is_owner: bool,
    /// Policies hide rows of it from the role.
    pub rows_hidden: bool,
}

/// Which right is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RightsRefusal {
    /// A schema can not be looked into.
    #[error("the role {role:?} may not use the schema {schema:?}: {}", self.fix())]
    Schema {
        /// The role.
        role: String,
        /// The schema.
        schema: String,
    },
    /// Tables can not be read.
    #[error("the role {role:?} may not read {tables}: {}", self.fix())]
    Read {
        /// The role.
        role: String,
        /// The tables, as SQL takes them.
        tables: String,
    },
    /// Policies hide rows.
    #[error("row level security hides rows of {tables} from the role {role:?}: {}", self.fix())]
    RowsHidden {
        /// The role.
        role: String,
        /// The tables, as SQL takes them.
        tables: String,
    },
    /// The publication can not be made.
    #[error(
        "the role {role:?} may not create the publication: that takes the ownership of the tables and CREATE on the \
         database, and it lacks {lacks}. {}",
        self.fix()
    )]
    Publish {
        /// The role.
        role: String,
        /// What it lacks.
        lacks: String,
        /// The statement that makes the publication.
        create: String,
        /// The statements that let the role make it; none where they would make it a superuser.
        grants: Option<String>,
    },
}

impl RightsRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            RightsRefusal::Schema { role, schema } => {
                format!("GRANT USAGE ON SCHEMA {} TO {}", pasteable(schema), pasteable(role))
            }
            RightsRefusal::Read { role, tables } => {
                format!("GRANT SELECT ON {tables} TO {}", pasteable(role))
            }
            RightsRefusal::RowsHidden { role, .. } => {
                format!("ALTER ROLE {} BYPASSRLS", pasteable(role))
            }
            // The alternatives must not be pasted as one.
            RightsRefusal::Publish { create, grants, .. } => {
                let or = grants.iter().map(|grants| {
                    format!("\n  or, instead of that, grant the role what it lacks: {grants}")
                });
                let or: String = or.collect();
                format!("Let a superuser, or the owner of all tables, run:\n    {create};{or}")
            }
        }
    }
}

/// How many tables a text names.
const NAMED: usize = 20;

fn named<'a>(tables: impl Iterator<Item = &'a TableRights>) -> Option<String> {
    let tables: Vec<String> = tables.map(|table| table.table.pasteable()).collect();
    (!tables.is_empty()).then(|| tables.join(", "))
}

/// What keeps the role from reading.
pub fn to_read(server: &Server, tables: &[TableRights]) -> Vec<RightsRefusal> {
    let role = &server.role;
    let closed = tables.iter().filter(|table| !table.may_use_schema);
    let schemas: BTreeSet<&str> = closed.map(|table| table.table.schema.as_str()).collect();
    let schemas = schemas
        .into_iter()
        .map(|schema| RightsRefusal::Schema { role: role.clone(), schema: schema.to_owned() });
    let mut found: Vec<_> = schemas.collect();
    if let Some(tables) = named(tables.iter().filter(|table| !table.may_read)) {
        found.push(RightsRefusal::Read { role: role.clone(), tables });
    }
    if let Some(tables) = named(tables.iter().filter(|table| table.rows_hidden)) {
        found.push(RightsRefusal::RowsHidden { role: role.clone(), tables });
    }
    found
}

/// What keeps the role from making the publication.
pub fn to_publish(server: &Server, tables: &[TableRights], create: &str) -> Option<RightsRefusal> {
    let role = pasteable(&server.role);
    let (mut lacks, mut grants) = (Vec::new(), Vec::new());
    if !server.may_create {
        let database = pasteable(&server.database);
        lacks.push(format!("CREATE on the database {database}"));
        grants.push(format!("GRANT CREATE ON DATABASE {database} TO {role};"));
    }
    let others: Vec<&TableRights> = tables.iter().filter(|table| !table.is_owner).collect();
    if !others.is_empty() {
        let first: Vec<String> = others.iter().take(NAMED).map(|it| it.table.pasteable()).collect();
        let more = others.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lacks.push(format!("the ownership of {}{more}", first.join(", ")));
        let owners: BTreeSet<&str> = others.iter().map(|table| table.owner.as_str()).collect();
        grants.extend(owners.iter().map(|it| format!("GRANT {} TO {role};", pasteable(it))));
    }
    let is_safe = !others.iter().any(|table| table.owner_is_superuser);
    (!lacks.is_empty()).then(|| RightsRefusal::Publish {
        role: server.role.clone(),
        lacks: lacks.join(", and "),
        create: create.to_owned(),
        grants: is_safe.then(|| grants.join(" ")),
    })
}
