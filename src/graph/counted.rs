//! What can be counted in graph and tables alike: rows, and relationships by type.

use std::collections::BTreeMap;

use super::model::{Direction, Model, ReferenceBy, RelationshipShape, Shape, TableIndex};

/// A number that a graph keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountOf {
    /// Rows with this label.
    Rows {
        /// The label.
        label: String,
    },
    /// Relationships of a type at nodes with a label, whatever is at their other ends.
    Relationships {
        /// The label.
        label: String,
        /// The type.
        relationship_type: String,
        /// They begin at these nodes.
        is_outgoing: bool,
    },
}

/// Rows of a table, all or those that refer to something.
pub type Counted = (TableIndex, Option<usize>);

/// The numbers of these tables, each with the rows that make it. References by unique columns are left
/// out: a row says nothing of whether there is something at their other end.
pub fn counted(model: &Model, tables: &[TableIndex]) -> BTreeMap<CountOf, Vec<Counted>> {
    let mut all: BTreeMap<CountOf, Vec<Counted>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (table, named) in model.iter() {
        match &named.shape {
            Shape::Node(node) => {
                let rows = CountOf::Rows { label: node.label.clone() };
                all.entry(rows).or_default().push((table, None));
                for (index, reference) in node.references.iter().enumerate() {
                    let count = CountOf::Relationships {
                        label: node.label.clone(),
                        relationship_type: reference.relationship_type.clone(),
                        is_outgoing: reference.direction == Direction::Outgoing,
                    };
                    if reference.by != ReferenceBy::Key {
                        left_out.push(count.clone());
                    }
                    all.entry(count).or_default().push((table, Some(index)));
                }
            }
            Shape::Relationship(join) => {
                all.entry(of_join(model, join)).or_default().push((table, None));
            }
        }
    }
    all.retain(|count, of| {
        !left_out.contains(count) && of.iter().any(|(table, _)| tables.contains(table))
    });
    all
}

fn of_join(model: &Model, join: &RelationshipShape) -> CountOf {
    CountOf::Relationships {
        label: model.node(join.from).label.clone(),
        relationship_type: join.relationship_type.clone(),
        is_outgoing: true,
    }
}
