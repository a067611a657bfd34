//! The publication: whether everything that the mapping needs comes through it.

use crate::{
    catalog::{Catalog, TableKind, TableName, pasteable, quote_literal},
    mapping::Mapping,
};

use super::{Again, Names, Server};

/// A publication as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// What it publishes.
    pub tables: Vec<TableName>,
    /// It publishes INSERT, UPDATE, DELETE and TRUNCATE.
    pub all_operations: bool,
    /// Changes of partitions come as changes of their root.
    pub via_root: bool,
    /// It is FOR ALL TABLES: none can be added.
    pub all_tables: bool,
}

/// Why a publication does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicationRefusal {
    /// There is nothing to publish.
    #[error("there is no table to map: {}", self.fix())]
    NoTables,
    /// It is not there, and the slot is.
    #[error(
        "the publication {name:?} is gone, and the slot can not be read without it: one that is made now is younger \
         than the slot's changes. {}",
        self.fix()
    )]
    Gone {
        /// The publication.
        name: String,
        /// What a copy again takes.
        again: Again,
    },
    /// Tables are not in it.
    #[error("the publication {name:?} misses tables: {}", self.fix())]
    Tables {
        /// The publication.
        name: String,
        /// How they come into it.
        fix: String,
        /// What a copy again takes, if the graph has rows of them.
        again: Option<Box<Again>>,
    },
    /// Changes of partitioned tables come as their partitions'.
    #[error(
        "the publication {name:?} sends changes of partitions under the partitions' names, and the mapping has {}: {}",
        listed(.roots), self.fix()
    )]
    NotViaRoot {
        /// The publication.
        name: String,
        /// The partitioned tables.
        roots: Vec<TableName>,
    },
    /// Some operations are not in it.
    #[error("the publication {name:?} misses operations: {}", self.fix())]
    Operations {
        /// The publication.
        name: String,
        /// What a copy again takes, if the graph has rows.
        again: Option<Box<Again>>,
    },
}

impl PublicationRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            PublicationRefusal::NoTables => {
                "`wal2graph plan` says which are left out and why".to_owned()
            }
            PublicationRefusal::Gone { again, .. } => format!("To go on, {again}"),
            PublicationRefusal::Tables { fix, again, .. } => {
                let what = "none of their rows changed while they were not in it";
                format!("{fix}{}", lost_meanwhile(what, again.as_deref()))
            }
            PublicationRefusal::NotViaRoot { name, .. } => format!(
                "ALTER PUBLICATION {} SET (publish_via_partition_root = true)",
                pasteable(name)
            ),
            PublicationRefusal::Operations { name, again } => format!(
                "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate'){}",
                pasteable(name),
                lost_meanwhile("no row changed while they were not in it", again.as_deref())
            ),
        }
    }
}

/// What a statement does not bring back, where the graph has rows already.
fn lost_meanwhile(nothing_changed: &str, again: Option<&Again>) -> String {
    again.map_or_else(String::new, |again| {
        format!(
            ". That alone is right only if {nothing_changed}; if one did, or a table was dropped and made again, \
             {again}"
        )
    })
}

fn listed(tables: &[TableName]) -> String {
    tables.iter().map(TableName::pasteable).collect::<Vec<_>>().join(", ")
}

/// What a publication has to have.
pub struct Wanted<'a> {
    /// The pipeline's names.
    pub names: &'a Names,
    /// The tables.
    pub catalog: &'a Catalog,
    /// What is mapped of them.
    pub mapping: &'a Mapping,
    /// The server.
    pub server: &'a Server,
}

impl Wanted<'_> {
    /// The statement that makes it.
    pub fn create_sql(&self) -> String {
        create_sql(&self.names.publication, self.mapping.published_tables())
    }

    /// What it lacks. `started` is there if the graph has rows already.
    pub fn refusals(
        &self,
        publication: &Publication,
        started: Option<&Again>,
    ) -> Vec<PublicationRefusal> {
        let name = &self.names.publication;
        let is_missing = |table: &&TableName| !publication.tables.contains(table);
        let missing = self.mapping.published_tables().filter(is_missing);
        let (roots, tables): (Vec<_>, Vec<_>) = missing.cloned().partition(|table| {
            !publication.via_root && self.comes_as_partitions(publication, table)
        });
        let mut found = Vec::new();
        if !roots.is_empty() {
            found.push(PublicationRefusal::NotViaRoot { name: name.clone(), roots });
        }
        if !tables.is_empty() {
            let fix = self.fix(publication, &tables);
            let again = started.cloned().map(Box::new);
            found.push(PublicationRefusal::Tables { name: name.clone(), fix, again });
        }
        if !publication.all_operations {
            let again = started.cloned().map(Box::new);
            found.push(PublicationRefusal::Operations { name: name.clone(), again });
        }
        found
    }

    fn fix(&self, publication: &Publication, tables: &[TableName]) -> String {
        if publication.all_tables {
            return format!(
                "it is FOR ALL TABLES without {}. Leave them out with `skip: true`, or name another publication with \
                 source.publication",
                listed(tables)
            );
        }
        let only = tables.iter().map(|table| format!("ONLY {}", table.pasteable()));
        let only = only.collect::<Vec<_>>().join(", ");
        format!("ALTER PUBLICATION {} ADD TABLE {only}", pasteable(&self.names.publication))
    }

    /// A partitioned table of which a partition is published under its own name, or would be.
    fn comes_as_partitions(&self, publication: &Publication, root: &TableName) -> bool {
        let is_partitioned =
            self.catalog.table(root).is_some_and(|table| table.kind == TableKind::Partitioned);
        let mut parts = self.catalog.tables.iter().filter(|table| match &table.kind {
            TableKind::Partition { root: of, .. } => of == root,
            TableKind::Ordinary | TableKind::Partitioned => false,
        });
        is_partitioned
            && (publication.all_tables || parts.any(|part| publication.tables.contains(&part.name)))
    }
}

/// The statement that makes a publication of the tables.
pub fn create_sql<'a>(name: &str, tables: impl IntoIterator<Item = &'a TableName>) -> String {
    let tables: Vec<_> =
        tables.into_iter().map(|table| format!("ONLY {}", table.pasteable())).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        pasteable(name),
        tables.join(", ")
    )
}

/// The comment on a publication that a pipeline has made: only that pipeline's removal drops it.
pub fn mark(pipeline: &str) -> String {
    format!("wal2graph made this publication for the pipeline {pipeline}")
}

/// The statement that puts it there.
pub fn mark_sql(name: &str, pipeline: &str) -> String {
    format!("COMMENT ON PUBLICATION {} IS {}", pasteable(name), quote_literal(&mark(pipeline)))
}
