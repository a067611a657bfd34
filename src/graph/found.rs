//! What a graph has of a table's rows, and how it differs from the table.
//!
//! ```text
//! graph --page, found--> Found --+
//!                                +--compare--> Difference*   (none: the graph is right about this key)
//! table --rows---------> Row ----+
//! ```
//!
//! Only what the mapping owns is found: mapped labels and properties, relationships of mapped types
//! between nodes of mapped labels. What others put on our nodes is neither read nor compared. Nor are
//! stamps ([`STAMP`](super::statement::STAMP)), which tell nothing about the tables.

use crate::value::{Float, Value};

use super::{
    Key,
    model::{
        Model, NodeShape, ReferenceShape, RelationshipKey, RelationshipShape, Shape, TableIndex,
    },
    mutation::{Cell, Reference, Row},
};

/// What the graph has under one key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key as the graph has it: equal to the one that was written, maybe of another type.
    pub key: Key,
    /// What is there.
    pub entity: Entity,
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entity {
    /// The node of a node table. There is one for a key, as long as the key's constraint is there.
    Node(FoundNode),
    /// The relationships of a join table that have the key, at least one. More than one are doubles, in
    /// any order.
    Relationships(Vec<FoundRelationship>),
}

/// A node with the table's label and a whole key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNode {
    /// How many nodes have the key. Without the key's constraint others may make more than one: this is one of them,
    /// a row's if any is.
    pub times: usize,
    /// Whether it is a row's.
    pub state: State,
    /// It is marked as lacking values.
    pub is_incomplete: bool,
    /// For each of the shape's extra labels, whether the node has it.
    pub extra_labels: Vec<bool>,
    /// One for each of the shape's properties.
    pub properties: Vec<Stored>,
    /// One for each of the shape's references.
    pub references: Vec<FoundReference>,
}

/// Whether a node is a row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Row,
    /// It has the placeholder's label.
    Placeholder {
        /// A mapped relationship by key, or a join row's, points at it.
        is_held: bool,
    },
}

/// A property as the graph has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There is none: the table's NULL.
    Nothing,
    /// A value, in the form in which it was written.
    Value(Value),
    /// A value of a type that is never written. It equals nothing.
    Foreign,
}

/// The relationships that a node has for one reference: of its type and direction, at a node with the
/// target's label. One that leads to a node of no label that the mapping has there is the first reference's
/// of its type: a node may have lost its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundReference {
    /// The other ends, one for each relationship, sorted. Doubled relationships are two equal ends.
    pub ends: Vec<End>,
    /// For a reference by unique columns: the nodes to which it has to lead, sorted, by what *the graph*
    /// has now as the owner's properties and those of the target's rows. `None` for a reference by key,
    /// where the table's row says it.
    pub expected: Option<Vec<End>>,
}

/// A node at the end of a relationship. It has the label of the table in question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It has this key.
    At(Key),
    /// It has no whole key, or one of a type that is never written, or not the label: others have changed it.
    Keyless,
}

/// A relationship of a join table's type, between nodes of its two labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRelationship {
    /// Its start.
    pub from: End,
    /// Its end.
    pub to: End,
    /// It is marked as lacking values.
    pub is_incomplete: bool,
    /// One for each of the shape's properties.
    pub properties: Vec<Stored>,
}

/// One thing that the graph has otherwise than the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The table has the row. The graph has nothing under its key, or a placeholder only.
    Missing {
        /// It has a placeholder.
        is_placeholder: bool,
    },
    /// The graph has a row that the table has not.
    Extra,
    /// The graph has a placeholder at which nothing points.
    Unheld,
    /// A property.
    Property {
        /// Its name.
        name: String,
        /// What it has to be; `None`: not there.
        table: Option<Value>,
        /// What it is.
        graph: Stored,
    },
    /// An extra label that a row lacks, or that a placeholder has.
    Label {
        /// The label.
        name: String,
        /// The node has it.
        is_there: bool,
    },
    /// The row is marked as lacking values, though it has them all; or a placeholder is.
    Incomplete,
    /// The relationships of a reference: missing, too many, or to other nodes.
    Relationship {
        /// The reference's index in the table.
        reference: usize,
        /// The relationship's type.
        relationship_type: String,
        /// Where it has to lead. Of a reference by unique columns there may be several.
        table: Vec<End>,
        /// Where it leads.
        graph: Vec<End>,
    },
    /// A join row's relationship is between other nodes.
    Ends {
        /// The start and the end that it has to have.
        table: (Key, Key),
        /// Those that it has.
        graph: (End, End),
    },
    /// Several nodes have a row's key, or several relationships a join row's.
    Doubled {
        /// How many.
        times: usize,
    },
}

/// What a key's differences ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// To write the table's row.
    Write,
    /// To remove the key, as by DELETE: the table has no such row.
    Remove,
    /// To empty the placeholder, and to remove it if nothing points at it.
    Empty,
}

impl Difference {
    /// All names of kinds.
    pub const KINDS: [&str; 9] = [
        "missing",
        "extra",
        "unheld",
        "property",
        "label",
        "incomplete",
        "relationship",
        "ends",
        "doubled",
    ];

    /// The name of its kind, for metrics. It is stable.
    pub fn kind(&self) -> &'static str {
        match self {
            Difference::Missing { .. } => "missing",
            Difference::Extra => "extra",
            Difference::Unheld => "unheld",
            Difference::Property { .. } => "property",
            Difference::Label { .. } => "label",
            Difference::Incomplete => "incomplete",
            Difference::Relationship { .. } => "relationship",
            Difference::Ends { .. } => "ends",
            Difference::Doubled { .. } => "doubled",
        }
    }
}

/// What these differences of one key ask for; `None` if there are none. `has_row`: the table has a row.
pub fn remedy(differences: &[Difference], has_row: bool) -> Option<Remedy> {
    match (differences, has_row) {
        ([], _) => None,
        (_, true) => Some(Remedy::Write),
        ([Difference::Extra, ..], false) => Some(Remedy::Remove),
        (_, false) => Some(Remedy::Empty),
    }
}

/// How the graph differs from the table about one key: nothing if it is as it has to be.
///
/// `row` is the table's row with all columns of both passes, in the form of
/// [`plan_copied`](super::plan_copied); a cell or a reference that is unchanged is not compared. `found`
/// is the entity of the same key. Both must be of moments at which nothing is in between: the stream is
/// held, or has passed what the row's snapshot saw.
///
/// - **A row and a node** (or its relationship): everything of the mapping is compared. A placeholder
///   has one difference only, [`Difference::Missing`].
/// - **No row and a row's node**: [`Difference::Extra`] alone.
/// - **No row and a placeholder**: it is right if something points at it, and if it has its key only.
///   What it has of the mapping beside that is a difference each.
/// - **References by unique columns** are compared with what the graph itself has: the relationship has
///   to be where owner and target have the value there. The row's own properties are compared in any
///   case, and those of the target with the target's row. So if no row of both tables differs, then the
///   relationships are those of the tables. If a property is wrong, its relationships are right for the
///   wrong value; they are matched anew when the row is written.
/// - **Keys** that the graph finds by each other are compared by their types, too. So 7.0 in the place of 7 is a
///   property that differs. At the end of a relationship it is the node's difference, not the relationship's.
/// - **Values** are equal if they are the same [`Value`]. Neo4j gives back what was written
///   (`tests/contract/reading.rs`), NaN included; floats are equal by their bits. The zeros are equal: Neo4j does not
///   set one in the place of the other.
pub fn compare(
    model: &Model,
    table: TableIndex,
    row: Option<(&Key, &Row)>,
    found: Option<&Found>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    if let (Some((key, _)), Some(found)) = (row, found) {
        compare_keys(model.own_key(table), key, &found.key, &mut differences);
    }
    match (&model.table(table).shape, row, found) {
        (_, None, None) => {}
        (_, Some(_), None) => differences.push(Difference::Missing { is_placeholder: false }),
        (Shape::Node(shape), row, Some(Found { entity: Entity::Node(node), .. })) => {
            compare_node(shape, row.map(|(_, row)| row), node, &mut differences);
            if node.times > 1 {
                differences.push(Difference::Doubled { times: node.times });
            }
        }
        (
            Shape::Relationship(shape),
            row,
            Some(Found { entity: Entity::Relationships(found), .. }),
        ) => match row {
            Some(row) => compare_joined(model, shape, row, found, &mut differences),
            None => differences.push(Difference::Extra),
        },
        (Shape::Node(_), _, Some(_)) | (Shape::Relationship(_), _, Some(_)) => {
            panic!("what was found is of another shape than {}", model.table(table).name)
        }
    }
    differences
}

/// A graph finds 7.0 by 7, and that is not what was written. `names`: of the properties that are the key.
fn compare_keys(names: &[String], row: &Key, found: &Key, differences: &mut Vec<Difference>) {
    for (name, (row, found)) in names.iter().zip(row.0.iter().zip(&found.0)) {
        if row != found {
            let (name, graph) = (name.clone(), Stored::Value(found.clone()));
            differences.push(Difference::Property { name, table: Some(row.clone()), graph });
        }
    }
}

fn compare_node(
    shape: &NodeShape,
    row: Option<&Row>,
    node: &FoundNode,
    differences: &mut Vec<Difference>,
) {
    match (row, node.state) {
        (Some(_), State::Placeholder { .. }) => {
            differences.push(Difference::Missing { is_placeholder: true });
            return;
        }
        (None, State::Row) => {
            differences.push(Difference::Extra);
            return;
        }
        (None, State::Placeholder { is_held: false }) => differences.push(Difference::Unheld),
        (Some(_), State::Row) | (None, State::Placeholder { is_held: true }) => {}
    }
    let has_row = row.is_some();
    for (name, is_there) in shape.extra_labels.iter().zip(&node.extra_labels) {
        if *is_there != has_row {
            differences.push(Difference::Label { name: name.clone(), is_there: *is_there });
        }
    }
    if node.is_incomplete {
        differences.push(Difference::Incomplete);
    }
    compare_properties(&shape.properties, row, &node.properties, differences);
    for (index, reference) in shape.references.iter().enumerate() {
        let of_row = row.map(|row| &row.references[index]);
        differences.extend(of_reference(index, reference, of_row, &node.references[index]));
    }
}

fn is_same(value: &Value, stored: &Value) -> bool {
    match (value, stored) {
        (Value::Float(Float(value)), Value::Float(Float(stored))) if *value == 0.0 => {
            *stored == 0.0
        }
        _ => value == stored,
    }
}

/// `row`: none for a placeholder, which has no property.
fn compare_properties(
    names: &[String],
    row: Option<&Row>,
    stored: &[Stored],
    differences: &mut Vec<Difference>,
) {
    for (index, (name, stored)) in names.iter().zip(stored).enumerate() {
        let cell = row.map_or(&Cell::Null, |row| &row.properties[index]);
        let is_equal = match (cell, stored) {
            (Cell::Unchanged, _) | (Cell::Null, Stored::Nothing) => true,
            (Cell::Value(value), Stored::Value(stored)) => is_same(value, stored),
            (Cell::Null, _) | (Cell::Value(_), _) => false,
        };
        if !is_equal {
            let table = match cell {
                Cell::Value(value) => Some(value.clone()),
                Cell::Null | Cell::Unchanged => None,
            };
            let (name, graph) = (name.clone(), stored.clone());
            differences.push(Difference::Property { name, table, graph });
        }
    }
}

/// `row`: none for a placeholder, which owns nothing.
fn of_reference(
    reference: usize,
    shape: &ReferenceShape,
    row: Option<&Reference>,
    found: &FoundReference,
) -> Option<Difference> {
    let graph = found.ends.as_slice();
    let differs = |table: Vec<End>| Difference::Relationship {
        reference,
        relationship_type: shape.relationship_type.clone(),
        table,
        graph: graph.to_vec(),
    };
    match (row, &found.expected) {
        (None | Some(Reference::Null), None) => (!graph.is_empty()).then(|| differs(Vec::new())),
        (Some(Reference::To(key)), None) => {
            let is_equal = matches!(graph, [End::At(end)] if end == key);
            (!is_equal).then(|| differs(vec![End::At(key.clone())]))
        }
        (Some(Reference::Unchanged), _) => None,
        (_, Some(expected)) => (graph != expected).then(|| differs(expected.clone())),
    }
}

fn compare_joined(
    model: &Model,
    shape: &RelationshipShape,
    (key, row): (&Key, &Row),
    found: &[FoundRelationship],
    differences: &mut Vec<Difference>,
) {
    let [first, ..] = found else {
        differences.push(Difference::Missing { is_placeholder: false });
        return;
    };
    if found.len() > 1 {
        differences.push(Difference::Doubled { times: found.len() });
    }
    let ends = match (&shape.key, row.references.as_slice()) {
        (RelationshipKey::Ends, _) => Some(shape.split_ends(model, key)),
        (RelationshipKey::Own(_), [Reference::To(from), Reference::To(to)]) => {
            Some((from.clone(), to.clone()))
        }
        (RelationshipKey::Own(_), _) => None,
    };
    if let Some((from, to)) = ends {
        let is_at = |end: &End, key: &Key| matches!(end, End::At(at) if at == key);
        if !is_at(&first.from, &from) || !is_at(&first.to, &to) {
            let graph = (first.from.clone(), first.to.clone());
            differences.push(Difference::Ends { table: (from, to), graph });
        }
    }
    if first.is_incomplete {
        differences.push(Difference::Incomplete);
    }
    compare_properties(&shape.properties, Some(row), &first.properties, differences);
}
