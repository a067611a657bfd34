//! Pieces of text that several statements share.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{
    model::{
        Direction, Model, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey,
        RelationshipShape, Shape, TableIndex,
    },
    statement::{Beside, PLACEHOLDER},
};

/// Quotes a name for Cypher, in backticks. No character in it has a special meaning.
///
/// Neo4j decodes unicode escapes before it looks for the end of a quoted name. So with doubled
/// backticks alone, the escape of a backtick would end the name. Therefore each backslash becomes
/// its own escape, and the text after it begins no escape.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``").replace('\\', BACKSLASH))
}

/// A backslash within a quoted name, for Cypher 5 and 25 alike.
const BACKSLASH: &str = r"\u005C";

/// Names in backticks, with commas.
pub fn quote_all(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

/// `` `a`: r[0], `b`: r[1] `` for names whose values are a row's columns from `first` on.
pub fn columns(names: &[String], first: usize) -> String {
    let pairs =
        names.iter().zip(first..).map(|(name, column)| format!("{}: r[{column}]", quote(name)));
    pairs.collect::<Vec<_>>().join(", ")
}

/// `(n:Label {key})`.
pub fn node(variable: &str, shape: &NodeShape, first: usize) -> String {
    format!("({variable}:{} {{{}}})", quote(&shape.label), columns(&shape.key, first))
}

/// `MATCH (n:Label {key}) USING INDEX SEEK n:Label(key)`.
pub fn seek(variable: &str, shape: &NodeShape, first: usize) -> String {
    format!("MATCH {} {}", node(variable, shape, first), hint(variable, &shape.label, &shape.key))
}

/// Finds the node, or creates it as a placeholder. A new relationship needs this and not a plain
/// match, because a sweep in another lane may have removed the node meanwhile.
pub fn merge(variable: &str, shape: &NodeShape, first: usize) -> String {
    let node = node(variable, shape, first);
    format!("MERGE {node} ON CREATE SET {variable}:{PLACEHOLDER}")
}

/// Locks a found node until the transaction ends, because a relationship will lead to it. Creating
/// one at a node with many relationships takes no lock that a drop or a sweep waits for: these
/// would delete the relationship without having seen it. Lanes of a copy remove no row, so they
/// lock placeholders only; otherwise they would wait for each other at every hub.
pub fn keep(variable: &str, beside: Beside) -> String {
    match beside {
        Beside::Nobody => String::new(),
        Beside::Lanes => format!(
            "FOREACH (held IN CASE WHEN {variable}:{PLACEHOLDER} THEN [{variable}] ELSE [] END | \
             SET held._lock = null)"
        ),
        Beside::Anybody => lock(variable),
    }
}

/// The same for a node that is useful only if it is a row's.
pub fn keep_row(variable: &str, beside: Beside) -> String {
    match beside {
        Beside::Nobody | Beside::Lanes => String::new(),
        Beside::Anybody => lock(variable),
    }
}

fn lock(variable: &str) -> String {
    format!("SET {variable}._lock = null")
}

/// The found node belongs to a row.
pub fn is_row(variable: &str) -> String {
    format!("NOT {variable}:{PLACEHOLDER}")
}

/// The index hint for a look-up by properties.
pub fn hint(variable: &str, label: &str, properties: &[String]) -> String {
    format!("USING INDEX SEEK {variable}:{}({})", quote(label), quote_all(properties))
}

/// `(near)-[variable:Type]->(far)`, in the reference's direction; `near` is the owner.
pub fn owned(near: &str, variable: &str, reference: &ReferenceShape, far: &str) -> String {
    owned_any(near, variable, reference.direction, [reference.relationship_type.as_str()], far)
}

/// The same for any of several types.
pub fn owned_any<'a>(
    near: &str,
    variable: &str,
    direction: Direction,
    types: impl IntoIterator<Item = &'a str>,
    far: &str,
) -> String {
    let relationship = format!("[{variable}:{}]", any_of(types));
    match direction {
        Direction::Outgoing => format!("({near})-{relationship}->({far})"),
        Direction::Incoming => format!("({near})<-{relationship}-({far})"),
    }
}

/// `a <> r[2] OR b <> r[3]`: a node's properties differ from a row's columns. A missing property
/// differs.
pub fn differs(variable: &str, properties: &[String], first: usize) -> String {
    let each = properties.iter().zip(first..).map(|(property, column)| {
        format!("coalesce({variable}.{} <> r[{column}], true)", quote(property))
    });
    each.collect::<Vec<_>>().join(" OR ")
}

/// Deletes a node of the table with all its relationships. Removes its key first. Otherwise, until
/// the transaction ends, Neo4j would still find it by a key that it got in this transaction, and
/// would refuse that key to every other node.
pub fn delete(variable: &str, shape: &NodeShape) -> String {
    format!("SET {} DETACH DELETE {variable}", without(variable, &shape.key))
}

/// The same for a join row's relationship. Removes its own key first.
pub fn delete_joined(variable: &str, join: &RelationshipShape) -> String {
    match &join.key {
        RelationshipKey::Ends => format!("DELETE {variable}"),
        RelationshipKey::Own(own) => {
            format!("SET {} DELETE {variable}", without(variable, own))
        }
    }
}

fn without(variable: &str, properties: &[String]) -> String {
    let each = properties.iter().map(|property| format!("{variable}.{} = null", quote(property)));
    each.collect::<Vec<_>>().join(", ")
}

/// Whether any mapped relationship holds the node as a placeholder: references by key, join rows at
/// either end.
pub fn pointed_at(model: &Model, table: TableIndex, variable: &str) -> String {
    let exists = kinds_holding(model, table).into_iter().map(|Held { incoming, kinds, labels }| {
        exists(variable, incoming, kinds, &format!(":{}", any_of(labels)))
    });
    let exists: Vec<String> = exists.collect();
    if exists.is_empty() { "false".to_owned() } else { exists.join(" OR ") }
}

/// Whether a relationship of the node, with the node at its other end, does not hold it.
pub fn does_not_hold(
    model: &Model,
    table: TableIndex,
    variable: &str,
    ends: (&str, &str),
) -> String {
    is_none_of(kinds_holding(model, table), variable, ends)
}

/// Whether a relationship of the node is none of the mapping's: others made it.
pub fn is_of_others(
    model: &Model,
    table: TableIndex,
    variable: &str,
    ends: (&str, &str),
) -> String {
    is_none_of(by_labels(mapped(model, table)), variable, ends)
}

/// Uses CASE, because Neo4j multiplies out ORs and ANDs.
fn is_none_of(kinds: Vec<Held>, variable: &str, (relationship, other): (&str, &str)) -> String {
    let kinds = kinds.into_iter().map(|Held { incoming, kinds, labels }| {
        let node = if incoming { "endNode" } else { "startNode" };
        format!(
            " WHEN {node}({relationship}) = {variable} AND {relationship}:{} THEN NOT {other}:{}",
            any_of(kinds),
            any_of(labels)
        )
    });
    match kinds.collect::<String>() {
        none if none.is_empty() => "true".to_owned(),
        kinds => format!("CASE{kinds} ELSE true END"),
    }
}

/// Relationships that hold a node: their direction, their types, the labels at their other ends.
struct Held<'a> {
    incoming: bool,
    kinds: Vec<&'a str>,
    labels: BTreeSet<&'a str>,
}

/// The relationships that hold a node of the table. Types with the same labels at their other ends
/// share one pattern.
fn kinds_holding(model: &Model, table: TableIndex) -> Vec<Held<'_>> {
    by_labels(holding(model, table))
}

/// Types and their direction, with the labels at their other ends.
pub type Kinds<'a> = BTreeMap<(bool, &'a str), BTreeSet<&'a str>>;

fn by_labels(kinds: Kinds) -> Vec<Held> {
    let mut held: BTreeMap<(bool, BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for ((incoming, kind), labels) in kinds {
        held.entry((incoming, labels)).or_default().push(kind);
    }
    let held = held.into_iter();
    held.map(|((incoming, labels), kinds)| Held { incoming, kinds, labels }).collect()
}

/// Whether any relationship of a type that may hold the node leads to it, with any node at its
/// other end. Usually none does. Planning the labels of a node that many tables refer to takes
/// Neo4j long.
pub fn may_be_pointed_at(model: &Model, table: TableIndex, variable: &str) -> Option<String> {
    let kinds: BTreeSet<_> = holding(model, table).into_keys().collect();
    let exists = [true, false].map(|incoming| {
        let kinds = kinds.iter().filter(|(is_incoming, _)| *is_incoming == incoming);
        let kinds: Vec<&str> = kinds.map(|(_, kind)| *kind).collect();
        (!kinds.is_empty()).then(|| exists(variable, incoming, kinds, ""))
    });
    let exists: Vec<String> = exists.into_iter().flatten().collect();
    (!exists.is_empty()).then(|| exists.join(" OR "))
}

/// The types that hold a node of the table, their direction, and the labels at their other ends.
fn holding(model: &Model, table: TableIndex) -> Kinds<'_> {
    let mut ends = Kinds::new();
    for (owner, _, reference) in model.references_to(table) {
        if reference.by == ReferenceBy::Key {
            let incoming = reference.direction == Direction::Outgoing;
            let kind = (incoming, reference.relationship_type.as_str());
            ends.entry(kind).or_default().insert(&model.node(owner).label);
        }
    }
    for (_, join) in model.joins_at(table) {
        let kind = join.relationship_type.as_str();
        if join.from == table {
            ends.entry((false, kind)).or_default().insert(&model.node(join.to).label);
        }
        if join.to == table {
            ends.entry((true, kind)).or_default().insert(&model.node(join.from).label);
        }
    }
    ends
}

/// All types of the mapping at a node of the table: those that hold it, those that it owns, and those by
/// unique columns.
pub fn mapped(model: &Model, table: TableIndex) -> Kinds<'_> {
    let mut ends = holding(model, table);
    for (owner, _, reference) in model.references_to(table) {
        let kind = (reference.direction == Direction::Outgoing, &*reference.relationship_type);
        ends.entry(kind).or_default().insert(&model.node(owner).label);
    }
    for reference in &model.node(table).references {
        let kind = (reference.direction == Direction::Incoming, &*reference.relationship_type);
        ends.entry(kind).or_default().insert(&model.node(reference.target).label);
    }
    ends
}

/// The labels that nodes have to which a table's relationships of this reference's type and direction may lead, or
/// from which others' come.
pub fn labels_at(model: &Model, table: TableIndex, reference: &ReferenceShape) -> BTreeSet<String> {
    let kind = (reference.direction == Direction::Incoming, &*reference.relationship_type);
    let labels = mapped(model, table).remove(&kind).unwrap_or_default();
    labels.into_iter().map(str::to_owned).collect()
}

/// The first reference of each type and direction: what leads to a node of no such label is told as its.
pub fn is_first(shape: &NodeShape, index: usize) -> bool {
    let kind = |it: &ReferenceShape| (it.direction, it.relationship_type.clone());
    let own = kind(&shape.references[index]);
    !shape.references[..index].iter().any(|it| kind(it) == own)
}

/// ``p:`A`|`B` ``.
pub fn has_any(variable: &str, labels: &BTreeSet<String>) -> String {
    format!("{variable}:{}", any_of(labels.iter().map(String::as_str)))
}

/// Whether the node, an owner, has a relationship by key to a placeholder.
pub fn points_at_placeholder(shape: &NodeShape, variable: &str) -> Option<String> {
    let exists = [Direction::Outgoing, Direction::Incoming].map(|direction| {
        let by_key = shape.references.iter().filter(|reference| {
            reference.direction == direction && reference.by == ReferenceBy::Key
        });
        let kinds: BTreeSet<&str> = by_key.map(|it| it.relationship_type.as_str()).collect();
        let incoming = direction == Direction::Incoming;
        let far = format!(":{PLACEHOLDER}");
        (!kinds.is_empty()).then(|| exists(variable, incoming, kinds, &far))
    });
    let exists: Vec<String> = exists.into_iter().flatten().collect();
    (!exists.is_empty()).then(|| exists.join(" OR "))
}

/// `` EXISTS { (n)<-[:`A`|`B`]-(far) } ``, or in the other direction.
fn exists<'a>(
    variable: &str,
    incoming: bool,
    kinds: impl IntoIterator<Item = &'a str>,
    far: &str,
) -> String {
    let (start, end) = if incoming { ("<-", "-") } else { ("-", "->") };
    format!("EXISTS {{ ({variable}){start}[:{}]{end}({far}) }}", any_of(kinds))
}

/// `` `A`|`B` ``.
fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join("|")
}

/// `(from)-[variable:Type]->(to)`.
pub fn joined(from: &str, variable: &str, join: &RelationshipShape, to: &str) -> String {
    format!("({from})-[{variable}:{}]->({to})", quote(&join.relationship_type))
}

/// Deletes the placeholders among the rows' `variable` that nothing holds any longer. Locks every
/// node first, whatever its labels. Another writer may be filling it at this moment. Or its row may
/// be on its way out, which leaves a placeholder because of the relationship just taken. Afterwards
/// only the variable is in scope.
pub fn sweep(model: &Model, table: TableIndex, variable: &str) -> String {
    format!(
        "WITH DISTINCT {variable} SET {variable}._lock = null \
         WITH {variable} WHERE {variable}:{PLACEHOLDER} AND NOT ({}) {}",
        pointed_at(model, table, variable),
        delete(variable, model.node(table)),
    )
}

/// Sweeps the nodes of two lists, `starts` and `ends`: the former ends of a join table's
/// relationships.
pub fn sweep_ends(model: &Model, join: &RelationshipShape) -> String {
    let one = |list: &str, table| {
        format!("CALL ({list}) {{ UNWIND {list} AS p {} }}", sweep(model, table, "p"))
    };
    format!("{} {}", one("starts", join.from), one("ends", join.to))
}

/// The join table's shape.
pub fn join_shape(model: &Model, table: TableIndex) -> &RelationshipShape {
    match &model.table(table).shape {
        Shape::Relationship(join) => join,
        Shape::Node(_) => panic!("{} is not a join table", model.table(table).name),
    }
}
