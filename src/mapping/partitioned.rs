//! The differences of a mapping whose changes come through several partitions.
//!
//! ```text
//! one partition:  commit order          -> whole transactions, key changes joined
//! several:        order within a key    -> every record for itself; the same graph in the end
//! ```
//!
//! A row's key decides its partition, so the changes of one key value are ordered; those of two are
//! not. A relationship needs no order: it belongs to one row and points at a key value. A reference
//! to unique columns other than the key depends on two rows' values, so it needs order.
//!
//! The partition is that of the key's text, and the graph finds a row by the key's equality. Where equal keys may
//! have two texts, the delete of one and the insert of the other are two changes of one node without order.

use crate::graph::{
    Key, TableIndex,
    model::{ReferenceBy, Shape},
};

use super::{
    Mapping, Refusal,
    columns::{Form, Slot, TableColumns},
};

/// Guarantees that hold with one partition but not with several, for people.
pub const DIFFERENCES: [&str; 4] = [
    "a transaction is spread over partitions, and applied record by record: meanwhile the graph may show a part of it",
    "a row whose key changes is deleted and inserted: what others put on its node (properties, relationships) is lost",
    "rows of different keys come in any order: until the last partition has caught up, a relationship may end at a \
     placeholder, and the graph equals the tables at no single position",
    "TRUNCATE comes through every partition, and removes what is older than itself",
];

impl Mapping {
    /// The reasons why the mapping can not be applied from several partitions.
    pub fn refusals_of_partitions(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (table, columns) in std::iter::zip(&self.model.tables, &self.tables) {
            let Shape::Node(node) = &table.shape else { continue };
            for (reference, read) in std::iter::zip(&node.references, &columns.references) {
                if reference.by == ReferenceBy::Key {
                    continue;
                }
                let names = read.slots.iter().map(|slot| columns.column(slot).name.clone());
                refusals.push(Refusal::UniqueThroughPartitions {
                    table: columns.name.clone(),
                    relationship_type: reference.relationship_type.clone(),
                    columns: names.collect(),
                });
            }
        }
        refusals
    }

    /// The key column whose text a key in the graph does not tell, if there is one: equal values of its type
    /// have several texts. A record's partition goes by its key's text.
    pub fn key_without_text(&self, table: TableIndex) -> Option<&str> {
        let columns = self.columns(table);
        let is_told = |slot: &&Slot| match &slot.form {
            Form::Compared(comparable) => {
                comparable.has_one_text(&columns.column(slot).source_type)
            }
            Form::Property => false,
        };
        let slot = columns.key.iter().find(|slot| !is_told(slot))?;
        Some(&columns.column(slot).name)
    }

    /// The texts of a key's columns, by their names. `None` where no row of the table can have the key.
    pub fn key_texts(&self, table: TableIndex, key: &Key) -> Option<Vec<(&str, Vec<u8>)>> {
        let columns = self.columns(table);
        let texts = columns.key.iter().zip(&key.0).map(|(slot, value)| match &slot.form {
            Form::Compared(comparable) => {
                Some((columns.column(slot).name.as_str(), comparable.text(value)?))
            }
            Form::Property => None,
        });
        texts.collect()
    }

    /// The tables whose keys several partitions do not keep in order, of those that `is_spread` over some.
    pub fn refusals_of_keys(&self, is_spread: impl Fn(&TableColumns) -> bool) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for table in self.tables.iter().filter(|table| is_spread(table)) {
            // A join table is found by its ends.
            let ends = table.references.iter().flat_map(|reference| &reference.slots);
            let key: Vec<&Slot> = match table.key.is_empty() {
                true => ends.collect(),
                false => table.key.iter().collect(),
            };
            let several = key.iter().map(|slot| table.column(slot)).find(|it| !it.has_one_text);
            refusals.extend(several.map(|column| Refusal::KeyThroughPartitions {
                table: table.name.clone(),
                column: column.name.clone(),
            }));
        }
        refusals
    }
}
