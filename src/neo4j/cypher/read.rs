//! Reads what the graph has of a table's rows: pages in the order of keys, and entities by key.
//!
//! ```text
//! entities after (1, 7), of keys of two properties:
//!   level 1:  first = 1, second >= 7      then second >= ''  (the strings, ...)
//!   level 0:  first >= 1, but not 1       then first >= ''
//! ```
//!
//! A comparison in Cypher knows values of one kind only: `k > 5` finds no string. So a level has one
//! look-up for the kind of its bound, and one for each kind behind it in Neo4j's order, from the kind's
//! least value on. Each is a range of the key's index, in its order, so a page costs what it returns.
//!
//! An entity is one list: the key, then what [`Layout`] says.

use std::collections::BTreeSet;

use crate::graph::{
    TableIndex,
    model::{
        Direction, Model, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey,
        RelationshipShape, Shape,
    },
    statement::{INCOMPLETE, INCOMPLETE_PROPERTY},
};

use super::{
    joins::{own_key, row_match},
    text::{has_any, hint, is_first, is_row, joined, labels_at, owned, pointed_at, quote, seek},
};

/// The texts that read a table, and the form of their answers. Each returns lists named `x`.
#[derive(Clone, Debug)]
pub struct Reads {
    /// A page, level by level: the deepest first. `$rows[0]` are the bounds of a level, in order, each
    /// with the key's values before it, the bound, and whether the bound itself is on the page; `$limit`
    /// is the number of lists that are wanted.
    pub levels: Vec<Level>,
    /// The entities with the keys in `$rows[0]`.
    pub by_key: String,
    /// Of the keys in `$rows[0]`, each with its number behind it, the numbers of those that no row has.
    pub missing: String,
    /// Nodes that have no key, or relationships without one or between other nodes.
    pub strays: StrayTexts,
}

/// Texts that match entities without a row's key, and the variable that has them.
#[derive(Clone, Debug)]
pub struct StrayTexts {
    matches: Vec<String>,
    variable: &'static str,
}

impl StrayTexts {
    /// Their number, as `count`.
    pub fn count(&self) -> String {
        let each = self.matches.iter().map(|text| format!("COUNT {{ {text} }}"));
        format!("RETURN {} AS count", each.collect::<Vec<_>>().join(" + "))
    }

    /// Texts that return them.
    pub fn queries(&self) -> Vec<String> {
        self.matches.iter().map(|text| format!("{text} RETURN {}", self.variable)).collect()
    }
}

/// One text of a page.
#[derive(Clone, Debug)]
pub struct Level {
    /// The text.
    pub text: String,
    /// What its rows are.
    pub bounds: Bounds,
}

/// The rows of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Bounds of the key's value at this position, after the values before it.
    At(usize),
    /// One row: the start's key, then for each value of the end's key that value, and the least values
    /// of the kinds behind it. The key has this many values of the start.
    Ends(usize),
}

/// Where the parts of an entity are in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Key, 0 for a row, 1 for a placeholder that is held, 2 for another one, whether it is incomplete,
    /// the extra labels, the properties, and for each reference a list of keys, two for unique columns. A
    /// key of one value is that value, others are lists.
    Node {
        /// The values of the key.
        key: usize,
        /// The extra labels.
        labels: usize,
        /// The properties.
        properties: usize,
        /// For each reference: whether it is by unique columns, and the values of the target's key.
        references: Vec<(bool, usize)>,
    },
    /// Own key, start's key, end's key, whether it is incomplete, the properties.
    Relationship {
        /// The values of its own key.
        own: usize,
        /// The values of the start's key.
        from: usize,
        /// The values of the end's key.
        to: usize,
        /// The properties.
        properties: usize,
    },
}

impl Layout {
    /// The layout of a table's entities.
    pub fn of(model: &Model, table: TableIndex) -> Self {
        match &model.table(table).shape {
            Shape::Node(node) => Layout::Node {
                key: node.key.len(),
                labels: node.extra_labels.len(),
                properties: node.properties.len(),
                references: (node.references.iter())
                    .map(|it| (it.by != ReferenceBy::Key, model.node(it.target).key.len()))
                    .collect(),
            },
            Shape::Relationship(join) => Layout::Relationship {
                own: own_key(join).len(),
                from: model.node(join.from).key.len(),
                to: model.node(join.to).key.len(),
                properties: join.properties.len(),
            },
        }
    }
}

/// The texts that read a table.
pub fn reads(model: &Model, table: TableIndex) -> Reads {
    match &model.table(table).shape {
        Shape::Node(node) => of_nodes(model, table, node),
        Shape::Relationship(join) if join.key == RelationshipKey::Ends => of_ends(model, join),
        Shape::Relationship(join) => of_own(model, join),
    }
}

fn of_nodes(model: &Model, table: TableIndex, shape: &NodeShape) -> Reads {
    let entity = node_entity(model, table, shape);
    let pattern =
        format!("MATCH (n:{}) {}", quote(&shape.label), hint("n", &shape.label, &shape.key));
    let level = |at| {
        let range = range("n", &shape.key, at);
        let order = properties("n", &shape.key);
        Level {
            text: format!(
                "UNWIND $rows[0] AS r CALL (r) {{ {pattern} WHERE {range} RETURN n ORDER BY {order} LIMIT $limit }} \
                 WITH n LIMIT $limit RETURN {entity} AS x"
            ),
            bounds: Bounds::At(at),
        }
    };
    Reads {
        levels: (0..shape.key.len()).rev().map(level).collect(),
        by_key: format!(
            "UNWIND $rows[0] AS r {} {} RETURN {entity} AS x",
            seek("n", shape, 0),
            as_stored("n")
        ),
        missing: format!(
            "UNWIND $rows[0] AS r OPTIONAL {} WITH r, n WHERE n IS NULL OR NOT ({}) RETURN [r[{}]] AS x",
            seek("n", shape, 0),
            is_row("n"),
            shape.key.len()
        ),
        strays: StrayTexts {
            matches: vec![format!(
                "MATCH (n:{}) WHERE {}",
                quote(&shape.label),
                is_stray("n", &shape.key)
            )],
            variable: "n",
        },
    }
}

/// What was found by its key, with its key as it is stored. After a seek Neo4j takes the sought value for the
/// property's: 7 where 7.0 is stored. What comes out of a list was not sought.
fn as_stored(variable: &str) -> String {
    format!("WITH collect({variable}) AS found UNWIND found AS {variable}")
}

fn node_entity(model: &Model, table: TableIndex, shape: &NodeShape) -> String {
    let mut parts: Vec<String> = vec![properties("n", &shape.key)];
    parts.push(format!(
        "CASE WHEN {} THEN 0 WHEN {} THEN 1 ELSE 2 END",
        is_row("n"),
        pointed_at(model, table, "n")
    ));
    parts.push(format!("n:{INCOMPLETE}"));
    parts.extend(shape.extra_labels.iter().map(|label| format!("n:{}", quote(label))));
    parts.extend(shape.properties.iter().map(|name| format!("n.{}", quote(name))));
    for (index, reference) in shape.references.iter().enumerate() {
        let target = model.node(reference.target);
        let far = format!("p:{}", quote(&target.label));
        let key = one_key("p", &target.key);
        parts.push(format!(
            "COLLECT {{ {} }}",
            ends(model, table, (index, reference), (&far, &key))
        ));
        let ReferenceBy::Unique { owner_properties, target_properties } = &reference.by else {
            continue;
        };
        let value = target_properties.iter().zip(owner_properties);
        let value: Vec<String> =
            value.map(|(target, owner)| format!("{}: n.{}", quote(target), quote(owner))).collect();
        parts.push(format!(
            "CASE WHEN {} THEN COLLECT {{ MATCH ({far} {{{}}}) {} WHERE {} RETURN {key} }} ELSE [] END",
            is_row("n"),
            value.join(", "),
            hint("p", &target.label, target_properties),
            is_row("p"),
        ));
    }
    format!("[{}]", parts.join(", "))
}

/// The other ends of a reference's relationships. One without a label that the mapping has there has no key.
fn ends(
    model: &Model,
    table: TableIndex,
    (index, reference): (usize, &ReferenceShape),
    (far, key): (&str, &str),
) -> String {
    if !is_first(model.node(table), index) {
        return format!("MATCH {} RETURN {key}", owned("n", "", reference, far));
    }
    let labels = labels_at(model, table, reference);
    let is_others = match labels.len() {
        1 => String::new(),
        _ => format!(" WHERE {far} OR NOT {}", has_any("p", &labels)),
    };
    let pattern = owned("n", "", reference, "p");
    format!("MATCH {pattern}{is_others} RETURN CASE WHEN {far} THEN {key} END")
}

fn of_own(model: &Model, join: &RelationshipShape) -> Reads {
    let (from, to) = (model.node(join.from), model.node(join.to));
    let own = own_key(join);
    let labels = (format!(":{}", quote(&from.label)), format!(":{}", quote(&to.label)));
    let pattern = joined(&labels.0, "x", join, &labels.1);
    let found = format!("MATCH {pattern} {}", hint("x", &join.relationship_type, own));
    let entity = join_entity(model, join);
    let with_ends = "startNode(x) AS a, endNode(x) AS b";
    let level = |at| Level {
        text: format!(
            "UNWIND $rows[0] AS r CALL (r) {{ {found} WHERE {} RETURN x ORDER BY {} LIMIT $limit }} \
             WITH x LIMIT $limit WITH x, {with_ends} RETURN {entity} AS x",
            range("x", own, at),
            properties("x", own),
        ),
        bounds: Bounds::At(at),
    };
    Reads {
        levels: (0..own.len()).rev().map(level).collect(),
        by_key: format!(
            "UNWIND $rows[0] AS r {} {} WITH x, {with_ends} RETURN {entity} AS x",
            row_match(model, join),
            as_stored("x")
        ),
        missing: format!(
            "UNWIND $rows[0] AS r OPTIONAL {} WITH r, x WHERE x IS NULL RETURN [r[{}]] AS x",
            row_match(model, join),
            own.len()
        ),
        strays: StrayTexts {
            matches: vec![
                format!("MATCH {pattern} WHERE {}", is_stray("x", own)),
                misplaced(model, join),
            ],
            variable: "x",
        },
    }
}

fn of_ends(model: &Model, join: &RelationshipShape) -> Reads {
    let (from, to) = (model.node(join.from), model.node(join.to));
    let entity = join_entity(model, join);
    let end = format!("b:{}", quote(&to.label));
    let related = joined("a", "x", join, &end);
    let has_key = to.key.iter().map(|name| format!("b.{} IS NOT NULL", quote(name)));
    let has_key = has_key.collect::<Vec<_>>().join(" AND ");
    let order = properties("b", &to.key);
    let same_start = Level {
        text: format!(
            "UNWIND $rows[0] AS r {} CALL (a, r) {{ MATCH {related} WHERE {} AND ({}) \
             RETURN x, b ORDER BY {order} LIMIT $limit }} RETURN {entity} AS x",
            seek("a", from, 0),
            has_key,
            after("b", &to.key, from.key.len()),
        ),
        bounds: Bounds::Ends(from.key.len()),
    };
    let start = format!("MATCH (a:{}) {}", quote(&from.label), hint("a", &from.label, &from.key));
    let level = |at| Level {
        text: format!(
            "UNWIND $rows[0] AS r CALL (r) {{ {start} WHERE {} MATCH {related} WHERE {has_key} \
             RETURN a, x, b ORDER BY {}, {order} LIMIT $limit }} WITH a, x, b LIMIT $limit RETURN {entity} AS x",
            range("a", &from.key, at),
            properties("a", &from.key),
        ),
        bounds: Bounds::At(at),
    };
    let mut levels = vec![same_start];
    levels.extend((0..from.key.len()).rev().map(level));
    Reads {
        levels,
        by_key: format!("UNWIND $rows[0] AS r {} RETURN {entity} AS x", row_match(model, join)),
        missing: format!(
            "UNWIND $rows[0] AS r OPTIONAL {} OPTIONAL {} WITH r, a, b \
             WHERE a IS NULL OR b IS NULL OR NOT EXISTS {{ {} }} RETURN [r[{}]] AS x",
            seek("a", from, 0),
            seek("b", to, from.key.len()),
            joined("a", "", join, "b"),
            from.key.len() + to.key.len()
        ),
        strays: StrayTexts {
            matches: vec![
                format!(
                    "MATCH {} WHERE {} OR {}",
                    joined(&format!("a:{}", quote(&from.label)), "x", join, &end),
                    is_stray("a", &from.key),
                    is_stray("b", &to.key),
                ),
                misplaced(model, join),
            ],
            variable: "x",
        },
    }
}

/// Relationships with the key of the table's rows, or at a node where its rows are, between nodes that nothing of the
/// mapping relates so.
fn misplaced(model: &Model, join: &RelationshipShape) -> String {
    let kind = &join.relationship_type;
    let mut pairs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, table) in model.iter() {
        match &table.shape {
            Shape::Relationship(other) if other.relationship_type == *kind => {
                pairs.insert((&model.node(other.from).label, &model.node(other.to).label));
            }
            Shape::Relationship(_) => {}
            Shape::Node(node) => {
                let of_kind = node.references.iter().filter(|it| it.relationship_type == *kind);
                pairs.extend(of_kind.map(|reference| {
                    let (owner, target) =
                        (&model.node(index).label, &model.node(reference.target).label);
                    match reference.direction {
                        Direction::Outgoing => (owner.as_str(), target.as_str()),
                        Direction::Incoming => (target.as_str(), owner.as_str()),
                    }
                }));
            }
        }
    }
    let is_of_table = match own_key(join) {
        [] => {
            let (from, to) = (model.node(join.from), model.node(join.to));
            format!("(a:{} OR b:{})", quote(&from.label), quote(&to.label))
        }
        own => {
            let has = own.iter().map(|name| format!("x.{} IS NOT NULL", quote(name)));
            has.collect::<Vec<_>>().join(" AND ")
        }
    };
    // Neo4j multiplies out ORs and ANDs, but no CASE.
    let fits = pairs
        .into_iter()
        .map(|(start, end)| format!(" WHEN a:{} AND b:{} THEN false", quote(start), quote(end)));
    format!(
        "MATCH {} WHERE {is_of_table} AND CASE{} ELSE true END",
        joined("a", "x", join, "b"),
        fits.collect::<String>()
    )
}

/// Of the relationship `x` from `a` to `b`.
fn join_entity(model: &Model, join: &RelationshipShape) -> String {
    let (from, to) = (model.node(join.from), model.node(join.to));
    let own = own_key(join).iter().map(|name| format!("x.{}", quote(name)));
    let values = join.properties.iter().map(|name| format!("x.{}", quote(name)));
    let parts = own
        .chain([one_key("a", &from.key), one_key("b", &to.key)])
        .chain([format!("x.{INCOMPLETE_PROPERTY} IS NOT NULL")])
        .chain(values);
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

/// The values before `at` are the row's first columns, the one at `at` is the next one or behind it, or
/// behind it only, and the rest is there.
fn range(variable: &str, key: &[String], at: usize) -> String {
    let name = |index: usize| format!("{variable}.{}", quote(&key[index]));
    let equal = (0..at).map(|index| format!("{} = r[{index}]", name(index)));
    let bound = name(at);
    let behind = format!("{bound} >= r[{at}] AND (r[{}] OR {bound} <> r[{at}])", at + 1);
    let rest = (at + 1..key.len()).map(|index| format!("{} IS NOT NULL", name(index)));
    equal.chain([behind]).chain(rest).collect::<Vec<_>>().join(" AND ")
}

/// Whether a key comes after the one in the columns from `first` on, where each value is followed by
/// the least values of the kinds behind it.
fn after(variable: &str, key: &[String], first: usize) -> String {
    let mut text = "false".to_owned();
    for (index, name) in key.iter().enumerate().rev() {
        let (name, bound, kinds) =
            (format!("{variable}.{}", quote(name)), first + 2 * index, first + 2 * index + 1);
        text = format!(
            "coalesce({name} > r[{bound}], false) OR any(k IN r[{kinds}] WHERE {name} >= k) \
             OR {name} = r[{bound}] AND ({text})"
        );
    }
    text
}

/// No key has such a value: it is missing, of a kind that has no order, or in a zone that has a name.
fn is_stray(variable: &str, key: &[String]) -> String {
    let each = key.iter().map(|name| {
        let it = format!("{variable}.{}", quote(name));
        format!(
            "({it} IS NULL OR {it} <> {it} OR {it} IS :: DURATION NOT NULL OR {it} IS :: POINT NOT NULL \
             OR CASE WHEN {it} IS :: ZONED DATETIME NOT NULL THEN {it}.timezone =~ '[A-Y].*' ELSE false END)"
        )
    });
    each.collect::<Vec<_>>().join(" OR ")
}

/// `n.a, n.b`.
fn properties(variable: &str, names: &[String]) -> String {
    names.iter().map(|name| format!("{variable}.{}", quote(name))).collect::<Vec<_>>().join(", ")
}

/// A key in one value.
fn one_key(variable: &str, names: &[String]) -> String {
    let key = properties(variable, names);
    if names.len() == 1 { key } else { format!("[{key}]") }
}
