//! Which partition has the records of a row, by the row's key in the graph.
//!
//! ```text
//! key in the graph -> texts of its columns -> record key, as `publish` encodes it -> murmur2 -> partition
//! ```
//!
//! That needs keys whose values have one text each: `1.0` and `1.00` are one key in the graph, and two keys
//! of records. A topic with one partition has all rows, whatever their keys.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{
    catalog::{Catalog, TableName},
    change::{Cell, Relation},
    envelope::{DecodeOptions, Decoder, Encoder, History, Names, payload, record_key},
    graph::{Key, TableIndex},
    mapping::Mapping,
    topic::routing::Partitions,
};

/// Why the partition of a table's rows is not known from their keys in the graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPartition {
    /// Equal values of a key column have several texts.
    #[error(
        "{}: equal values of the key column {column} have several texts, and the graph does not have the one that the \
         partition of a row goes by. Such a table can be compared if its topic has one partition. Name the other \
         tables to compare those",
        .table.pasteable()
    )]
    SeveralTexts {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// The records have another key than the graph.
    #[error(
        "{}: the key of its records is not the key of its rows in the graph, so the partition of a row is not known. \
         Such a table can be compared if its topic has one partition. Name the other tables to compare those",
        .table.pasteable()
    )]
    OtherKey {
        /// The table.
        table: TableName,
    },
}

/// Knows the partition of rows by their keys.
pub struct Owned {
    mapping: Arc<Mapping>,
    partitions: Partitions,
    /// By table; `None`: the topic has none of its rows.
    relations: Vec<Option<Arc<Relation>>>,
    encoder: Mutex<Encoder>,
}

impl Owned {
    /// For a topic that has the rows of these tables in so many partitions.
    ///
    /// # Errors
    /// Of one of the tables it can not be known.
    pub fn new(
        catalog: &Catalog,
        mapping: &Arc<Mapping>,
        tables: &[TableIndex],
        partitions: Partitions,
    ) -> Result<Self, NoPartition> {
        if !partitions.is_one() {
            tables.iter().try_for_each(|table| check(catalog, mapping, *table))?;
        }
        let decoder = Decoder::new(catalog, DecodeOptions::default());
        let relation = |table: TableIndex| {
            let relation = decoder.relation(&mapping.columns(table).name);
            relation.filter(|_| tables.contains(&table)).cloned()
        };
        let relations = mapping.model.iter().map(|(table, _)| relation(table)).collect();
        // A key says nothing of its writer.
        let history = History { system_identifier: String::new(), timeline: 0 };
        let [pipeline, database, version] = [(); 3].map(|()| String::new());
        let names = Names { pipeline, database, version, history };
        let encoder = Mutex::new(Encoder::new(names, catalog));
        Ok(Owned { mapping: mapping.clone(), partitions, relations, encoder })
    }

    /// The partition that has the records of a key, or would have them; `None`: none of the topic.
    pub fn partition_of(&self, table: TableIndex, key: &Key) -> Option<i32> {
        let relation = self.relations[table.0].as_ref()?;
        if self.partitions.is_one() {
            return Some(0);
        }
        // What can be no row's belongs to one of them, whichever.
        Some(
            self.record_key(relation, table, key)
                .map_or(0, |record| self.partitions.of_key(payload(&record))),
        )
    }

    fn record_key(&self, relation: &Arc<Relation>, table: TableIndex, key: &Key) -> Option<Bytes> {
        let mut texts = self.mapping.key_texts(table, key)?;
        let cell = |name: &String| match texts.iter().position(|(of, _)| of == name) {
            Some(at) => Cell::Text(Bytes::from(texts.swap_remove(at).1)),
            None => Cell::Unchanged,
        };
        let cells: Vec<Cell> = relation.columns.iter().map(|it| &it.name).map(cell).collect();
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.key(relation, &cells).ok()?
    }
}

/// A key in the graph tells the text of its record's key.
fn check(catalog: &Catalog, mapping: &Mapping, table: TableIndex) -> Result<(), NoPartition> {
    let columns = mapping.columns(table);
    let name = columns.name.clone();
    if let Some(column) = mapping.key_without_text(table) {
        return Err(NoPartition::SeveralTexts { table: name, column: column.to_owned() });
    }
    let mut key: Vec<String> =
        columns.key.iter().map(|slot| columns.column(slot).name.clone()).collect();
    let mut of_records = catalog.table(&name).and_then(record_key).unwrap_or_default();
    key.sort_unstable();
    of_records.sort_unstable();
    match key == of_records {
        true => Ok(()),
        false => Err(NoPartition::OtherKey { table: name }),
    }
}
