//! How to read the tables of a mapping: columns, filter and key, in SQL.

use std::sync::Arc;

use crate::{
    catalog::{Catalog, TableKind, TableName, quote_identifier},
    graph::{Pass, TableIndex},
    mapping::{Selection, TableColumns, Translator},
};

/// How to read the tables of a mapping.
#[derive(Clone, Debug)]
pub struct Sources(Arc<Vec<Source>>);

/// How one table is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: TableName,
    /// For the pass of nodes: all mapped columns.
    pub nodes: Selected,
    /// For the pass of relationships.
    pub relationships: Selected,
    /// `ONLY schema.name`, or the root of partitions, which has no blocks of its own.
    pub from: String,
    pub partitioned: bool,
    /// ` AND (...)`: the publication's row filter.
    pub filter: String,
    /// The key's columns.
    pub key: Vec<String>,
}

/// Columns, with their SQL.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub selection: Selection,
    /// `column, column`.
    pub names: String,
}

impl Selected {
    fn new(table: &TableColumns, selection: Selection) -> Self {
        let names: Vec<String> = selection.names(table).map(quote_identifier).collect();
        Selected { selection, names: names.join(", ") }
    }
}

impl Sources {
    /// The tables of the translator's mapping, from the catalog.
    ///
    /// # Panics
    /// If the mapping was not compiled from this catalog.
    pub fn new(catalog: &Catalog, translator: &Translator) -> Self {
        let mapping = translator.mapping();
        let source = |(index, _): (TableIndex, _)| {
            let columns = mapping.columns(index);
            let table = catalog.table(&columns.name).expect("a mapped table is in the catalog");
            let of = |pass| Selected::new(columns, Selection::of_pass(mapping, index, pass));
            let partitioned = table.kind == TableKind::Partitioned;
            let only = if partitioned { "" } else { "ONLY " };
            let filter = table.published.row_filter.as_ref();
            let key = columns.key.iter().map(|slot| columns.column(slot).name.clone()).collect();
            Source {
                name: columns.name.clone(),
                nodes: of(Pass::Nodes),
                relationships: of(Pass::Relationships),
                from: format!("{only}{}", columns.name.sql()),
                partitioned,
                filter: filter.map_or(String::new(), |filter| format!(" AND ({filter})")),
                key,
            }
        };
        Sources(Arc::new(mapping.model.iter().map(source).collect()))
    }

    pub(super) fn get(&self, table: TableIndex) -> &Source {
        &self.0[table.0]
    }
}
