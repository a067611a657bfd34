//! The least rights that a configuration needs, as statements.
//!
//! ```text
//! mapped tables, the role if it is there, the publication if it is there --sql--> the missing statements
//! ```
//!
//! `deploy/sql/role.sql` and `deploy/cypher/role.cypher` are the same for everybody: a test keeps them in step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    catalog::{TableName, pasteable},
    neo4j::cypher::quote,
};

use super::{Publication, publication::create_sql};

/// What a role is already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// It may log in.
    pub may_log_in: bool,
    /// It may replicate.
    pub may_replicate: bool,
    /// Policies hide no rows from it.
    pub bypasses_policies: bool,
}

/// A table that the role reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The table.
    pub table: TableName,
    /// Its owner.
    pub owner: String,
    /// It has row level security.
    pub has_policies: bool,
}

/// What the statements are for.
#[derive(Clone, Debug)]
pub struct Grants<'a> {
    /// The role's name.
    pub role: &'a str,
    /// What it is already; `None`: it is not there.
    pub is: Option<Role>,
    /// The database.
    pub database: &'a str,
    /// Not everybody may connect to it.
    pub is_closed: bool,
    /// A slot is read: `apply` alone reads a topic of somebody else.
    pub streams: bool,
    /// The role that Amazon RDS has in place of the attribute REPLICATION is there.
    pub has_rds_role: bool,
    /// What is mapped.
    pub tables: &'a [Read],
    /// The publication's name.
    pub publication: &'a str,
    /// It, if it is there.
    pub published: Option<&'a Publication>,
}

impl Grants<'_> {
    /// The statements, for psql.
    pub fn sql(&self) -> String {
        let mut text = String::new();
        self.begin(&mut text);
        self.role(&mut text);
        self.reading(&mut text);
        self.publishing(&mut text);
        text
    }

    fn begin(&self, text: &mut String) {
        let (role, database) = (pasteable(self.role), pasteable(self.database));
        let _ = writeln!(
            text,
            "-- The rights that the role {role} needs for this configuration, and no more. As a superuser, or as the\n\
             -- owner of the tables who may also create roles, in the database {database}:\n\
             --\n\
             --   wal2graph check --sql -c FILE | psql -v ON_ERROR_STOP=1 -d DATABASE\n"
        );
    }

    fn role(&self, text: &mut String) {
        let role = pasteable(self.role);
        let attribute = if self.streams && !self.has_rds_role { " REPLICATION" } else { "" };
        let lacks = |has: fn(&Role) -> bool| self.is.as_ref().is_none_or(|is| !has(is));
        let replicates = !self.streams || !lacks(|role| role.may_replicate);
        match self.is {
            None => {
                let _ = writeln!(
                    text,
                    "-- Its password is set apart, so that it is in no file: \\password {role}\n\
                     CREATE ROLE {role} LOGIN{attribute};"
                );
            }
            Some(is) if is.may_log_in && replicates => {}
            Some(_) => {
                let _ = writeln!(text, "ALTER ROLE {role} LOGIN{attribute};");
            }
        }
        if self.streams && self.has_rds_role && !replicates {
            let _ = writeln!(text, "GRANT rds_replication TO {role};");
        }
        if self.streams {
            text.push_str("-- A role for `apply` alone needs no REPLICATION.\n");
        }
        if self.tables.iter().any(|table| table.has_policies)
            && lacks(|role| role.bypasses_policies)
        {
            let _ = writeln!(
                text,
                "-- Tables have row level security: the graph would lack the rows that they hide from the role.\n\
                 ALTER ROLE {role} BYPASSRLS;"
            );
        }
        if self.is_closed {
            let database = pasteable(self.database);
            let _ = writeln!(text, "GRANT CONNECT ON DATABASE {database} TO {role};");
        }
    }

    fn reading(&self, text: &mut String) {
        let role = pasteable(self.role);
        let mut schemas: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
        for table in self.tables {
            schemas.entry(&table.table.schema).or_default().push(table);
        }
        text.push_str("\n-- It reads the mapped tables, and writes nothing.\n");
        for (schema, tables) in &schemas {
            let names: Vec<String> = tables.iter().map(|it| it.table.pasteable()).collect();
            let schema = pasteable(schema);
            let _ = writeln!(text, "GRANT USAGE ON SCHEMA {schema} TO {role};");
            let _ = writeln!(text, "GRANT SELECT ON {} TO {role};", names.join(", "));
        }
        text.push_str(
            "-- Tables that come later, if the role is to read them without being asked:\n",
        );
        let later: BTreeSet<(&str, &str)> =
            self.tables.iter().map(|it| (it.table.schema.as_str(), it.owner.as_str())).collect();
        for (schema, owner) in later {
            let (schema, owner) = (pasteable(schema), pasteable(owner));
            let _ = writeln!(
                text,
                "-- ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role};"
            );
        }
    }

    fn publishing(&self, text: &mut String) {
        if !self.streams {
            return;
        }
        let names: Vec<&TableName> = self.tables.iter().map(|table| &table.table).collect();
        let owners: BTreeSet<String> = self.tables.iter().map(|it| pasteable(&it.owner)).collect();
        let owners = owners.into_iter().collect::<Vec<_>>().join(", ");
        let statement = match self.published {
            None => create_sql(self.publication, names),
            Some(publication) => {
                let is_missing = |table: &&TableName| !publication.tables.contains(table);
                let missing = names.into_iter().filter(is_missing);
                let missing: Vec<_> =
                    missing.map(|table| format!("ONLY {}", table.pasteable())).collect();
                if missing.is_empty() || publication.all_tables {
                    return;
                }
                let name = pasteable(self.publication);
                format!("ALTER PUBLICATION {name} ADD TABLE {}", missing.join(", "))
            }
        };
        let _ = writeln!(
            text,
            "\n-- The publication is of the mapped tables alone. It takes their owner ({owners}), with CREATE on the\n\
             -- database, or a superuser.\n{statement};"
        );
    }
}

/// The rights on a graph, for a user and a role of one name. For Neo4j Enterprise.
pub fn cypher(name: &str, database: &str) -> String {
    let (name, database) = (plain_or_quoted(name), plain_or_quoted(database));
    format!(
        "\
// The rights that wal2graph needs on a graph, and no more. For Neo4j Enterprise, as an administrator:
//
//   cypher-shell -d system -P \"{{password: '...'}}\" -f role.cypher
//
// Community Edition has one kind of user: it may do everything. Not tried: the project's tests run Community Edition.
CREATE USER {name} IF NOT EXISTS SET PASSWORD $password CHANGE NOT REQUIRED;
CREATE ROLE {name} IF NOT EXISTS;
GRANT ROLE {name} TO {name};

GRANT ACCESS ON DATABASE {database} TO {name};
// Rows, relationships and the checkpoint.
GRANT MATCH {{*}} ON GRAPH {database} TO {name};
GRANT WRITE ON GRAPH {database} TO {name};
GRANT NAME MANAGEMENT ON DATABASE {database} TO {name};
// The constraints of the keys, and indexes for references. It shows, makes and, with `destroy`, drops them.
GRANT CONSTRAINT MANAGEMENT ON DATABASE {database} TO {name};
GRANT INDEX MANAGEMENT ON DATABASE {database} TO {name};
// A new instance ends what its predecessor has left open: transactions of the same user, and of no other.
GRANT SHOW TRANSACTION ({name}) ON DATABASE {database} TO {name};
GRANT TERMINATE TRANSACTION ({name}) ON DATABASE {database} TO {name};
// db.info, db.labels, db.createProperty and the like, and the size of the plan cache.
GRANT EXECUTE PROCEDURE * ON DBMS TO {name};
GRANT SHOW SETTING server.memory.query_cache.* ON DBMS TO {name};
"
    )
}

/// A name in Cypher: in backticks where it is not plain.
fn plain_or_quoted(name: &str) -> String {
    let is_plain = name.starts_with(|it: char| it.is_ascii_alphabetic())
        && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    if is_plain { name.to_owned() } else { quote(name) }
}
