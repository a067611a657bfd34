//! Key changes: one text for a run of them, with a sub-query a row, because a chain must be done in
//! order.
//!
//! A plain `UNWIND ... MATCH ... SET key` would do all its matches first and silently skip the
//! later links.

use crate::graph::{
    Key,
    model::{
        Direction, Model, NodeShape, ReferenceBy, RelationshipKey, RelationshipShape, TableIndex,
    },
    statement::{INCOMPLETE, PLACEHOLDER, STAMP},
};

use super::{
    Query,
    joins::{own_key, row_match, seek_own},
    nodes::drop_body,
    text::{
        columns, delete, delete_joined, is_of_others, join_shape, joined, merge, quote, seek,
        sweep_ends,
    },
    two_keys,
};

pub fn nodes(model: &Model, table: TableIndex, moves: Vec<(Key, Key)>) -> Query {
    let shape = model.node(table);
    let width = shape.key.len();
    let taken = format!(
        "CALL (n, b) {{ UNWIND CASE WHEN b IS NOT NULL AND NOT b:{PLACEHOLDER} THEN [n] ELSE [] END AS m \
         {} {} }}",
        hand_over(model, table, shape),
        drop_body(model, table, "m")
    );
    let free = format!(
        "CALL (n, b, r) {{ UNWIND CASE WHEN b IS NULL OR b:{PLACEHOLDER} THEN [n] ELSE [] END AS m {} }}",
        rekey(model, table, shape)
    );
    let text = format!(
        "UNWIND $rows[0] AS r CALL (r) {{ {} WHERE NOT n:{PLACEHOLDER} SET n._lock = null WITH n, r OPTIONAL {} \
         {taken} {free} }}",
        seek("n", shape, 0),
        seek("b", shape, width),
    );
    Query::new(text, moves.into_iter().map(two_keys))
}

/// What others put on the node `m` goes over to the row's node `b`, before `m` is dropped. A property
/// goes first: a constraint of theirs may allow it once only. Names are the keys of a map because names
/// in backticks are quoted everywhere, and strings nowhere.
fn hand_over(model: &Model, table: TableIndex, shape: &NodeShape) -> String {
    let set = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("{}: 0", quote(name))).collect::<Vec<_>>().join(", ")
    };
    let properties = shape.key.iter().chain(&shape.properties).map(String::as_str);
    let labels = std::iter::once(&shape.label).chain(&shape.extra_labels).map(String::as_str);
    format!(
        "WITH m, b, [k IN keys(m) WHERE {{{}}}[k] IS NULL AND b[k] IS NULL | {{k: k, v: m[k]}}] AS kept, \
         [l IN labels(m) WHERE {{{}}}[l] IS NULL] AS others \
         FOREACH (e IN kept | SET m[e.k] = null) FOREACH (e IN kept | SET b[e.k] = e.v) SET b:$(others) \
         WITH m, b CALL (m, b) {{ MATCH (m)-[o]-(p) WHERE {} \
         WITH m, b, o, type(o) AS kind, properties(o) AS kept, \
         CASE WHEN startNode(o) = m THEN b ELSE startNode(o) END AS s, \
         CASE WHEN endNode(o) = m THEN b ELSE endNode(o) END AS t \
         CREATE (s)-[y:$(kind)]->(t) SET y = kept DELETE o }} WITH m",
        set(&mut properties.chain([STAMP])),
        set(&mut labels.chain([PLACEHOLDER, INCOMPLETE])),
        is_of_others(model, table, "m", ("o", "p")),
    )
}

/// The row's node `m` takes its new key. What points at it is made again: at a placeholder with the
/// old key what pointed there, at `m` what pointed at a placeholder `b` with the new one.
fn rekey(model: &Model, table: TableIndex, shape: &NodeShape) -> String {
    let held = Held::all(model, table);
    let set = shape.key.iter().zip(shape.key.len()..);
    let set: Vec<_> =
        set.map(|(name, column)| format!("m.{} = r[{column}]", quote(name))).collect();
    let set = set.join(", ");
    let goes = format!(
        "FOREACH (gone IN CASE WHEN b IS NULL THEN [] ELSE [b] END | {})",
        delete("gone", shape)
    );
    if held.is_empty() {
        return format!("{goes} SET {set}");
    }
    let collected: Vec<_> = held.iter().map(|held| held.collect(model)).collect();
    let described: Vec<_> = held.iter().map(Held::describe).collect();
    let lists: Vec<_> = held.iter().map(|held| held.list.clone()).collect();
    let stays: Vec<_> = held.iter().map(Held::any_stays).collect();
    let created: Vec<_> = held.iter().map(Held::create).collect();
    let names = lists.join(", ");
    format!(
        "WITH m, b, r, {} WITH m, b, r, {} WITH m, b, r, {names}, ({}) AS stays \
         FOREACH (e IN {} | DELETE e.x) {goes} SET {set} \
         FOREACH (x IN CASE WHEN stays THEN [1] ELSE [] END | CREATE (:{}:{PLACEHOLDER} {{{}}})) \
         WITH m, r, {names} OPTIONAL {} {}",
        collected.join(", "),
        described.join(", "),
        stays.join(" OR "),
        lists.join(" + "),
        quote(&shape.label),
        columns(&shape.key, 0),
        seek("q", shape, 0),
        created.join(" "),
    )
}

/// Mapped relationships of one kind that point at a node.
struct Held<'a> {
    list: String,
    kind: HeldKind<'a>,
}

enum HeldKind<'a> {
    Reference { owner: &'a str, relationship_type: &'a str, direction: Direction },
    Join { join: &'a RelationshipShape, from: bool, to: bool },
}

impl<'a> Held<'a> {
    fn all(model: &'a Model, table: TableIndex) -> Vec<Self> {
        let references = model
            .references_to(table)
            .filter(|(_, _, reference)| reference.by == ReferenceBy::Key)
            .map(|(owner, _, reference)| HeldKind::Reference {
                owner: &model.node(owner).label,
                relationship_type: &reference.relationship_type,
                direction: reference.direction,
            });
        let joins = model.joins_at(table).map(|(_, join)| HeldKind::Join {
            join,
            from: join.from == table,
            to: join.to == table,
        });
        let kinds = references.chain(joins).enumerate();
        kinds.map(|(index, kind)| Held { list: format!("held{index}"), kind }).collect()
    }

    /// All of them at `m` and at `b`, each once.
    fn collect(&self, model: &Model) -> String {
        let patterns: Vec<String> = match &self.kind {
            HeldKind::Reference { owner, relationship_type, direction } => {
                let relationship = format!("[x:{}]", quote(relationship_type));
                let pattern = |at: &str| match direction {
                    Direction::Outgoing => format!("(:{})-{relationship}->({at})", quote(owner)),
                    Direction::Incoming => format!("(:{})<-{relationship}-({at})", quote(owner)),
                };
                vec![pattern("m"), pattern("b")]
            }
            HeldKind::Join { join, from, to } => {
                let start = format!(":{}", quote(&model.node(join.from).label));
                let end = format!(":{}", quote(&model.node(join.to).label));
                let at_start = ["m", "b"].map(|at| joined(at, "x", join, &end));
                let at_end = ["m", "b"].map(|at| joined(&start, "x", join, at));
                let at_start = at_start.into_iter().filter(|_| *from);
                at_start.chain(at_end.into_iter().filter(|_| *to)).collect()
            }
        };
        let branches: Vec<_> =
            patterns.iter().map(|pattern| format!("MATCH {pattern} RETURN x")).collect();
        format!("COLLECT {{ {} }} AS {}", branches.join(" UNION "), self.list)
    }

    /// What is needed to make them again, before anything is deleted: which ends are `m` and which
    /// are `b`.
    fn describe(&self) -> String {
        format!(
            "[x IN {0} | {{x: x, s: startNode(x), t: endNode(x), p: properties(x), \
             sm: startNode(x) = m, sb: coalesce(startNode(x) = b, false), \
             tm: endNode(x) = m, tb: coalesce(endNode(x) = b, false)}}] AS {0}",
            self.list
        )
    }

    fn any_stays(&self) -> String {
        let (start, end) = self.ends_in_question();
        let condition = match (start, end) {
            (true, true) => "e.sm OR e.tm",
            (true, false) => "e.sm",
            (false, _) => "e.tm",
        };
        format!("any(e IN {} WHERE {condition})", self.list)
    }

    /// Which ends are targets of the table; an owner's end is never one.
    fn ends_in_question(&self) -> (bool, bool) {
        match &self.kind {
            HeldKind::Reference { direction: Direction::Outgoing, .. } => (false, true),
            HeldKind::Reference { direction: Direction::Incoming, .. } => (true, false),
            HeldKind::Join { from, to, .. } => (*from, *to),
        }
    }

    fn create(&self) -> String {
        let (start, end) = self.ends_in_question();
        let place = |in_question: bool, letter: &str| match in_question {
            true => {
                format!("CASE WHEN e.{letter}m THEN q WHEN e.{letter}b THEN m ELSE e.{letter} END")
            }
            false => format!("e.{letter}"),
        };
        let relationship_type = match &self.kind {
            HeldKind::Reference { relationship_type, .. } => relationship_type,
            HeldKind::Join { join, .. } => join.relationship_type.as_str(),
        };
        format!(
            "CALL (m, q, {0}) {{ UNWIND {0} AS e WITH {1} AS s, {2} AS t, e.p AS p \
             CREATE (s)-[y:{3}]->(t) SET y = p }}",
            self.list,
            place(start, "s"),
            place(end, "t"),
            quote(relationship_type),
        )
    }
}

pub fn relationships(model: &Model, table: TableIndex, moves: Vec<(Key, Key)>) -> Query {
    let join = join_shape(model, table);
    let body = match &join.key {
        RelationshipKey::Own(_) => rename(model, join),
        RelationshipKey::Ends => reconnect(model, join),
    };
    let text = format!("UNWIND $rows[0] AS r CALL (r) {{ {body} }}");
    Query::new(text, moves.into_iter().map(two_keys))
}

fn rename(model: &Model, join: &RelationshipShape) -> String {
    let own = own_key(join);
    let set = own.iter().zip(own.len()..);
    let set: Vec<_> =
        set.map(|(name, column)| format!("x.{} = r[{column}]", quote(name))).collect();
    format!(
        "{} OPTIONAL {} FOREACH (free IN CASE WHEN y IS NULL THEN [1] ELSE [] END | SET {}) \
         WITH x, y WHERE y IS NOT NULL WITH x, [startNode(x)] AS starts, [endNode(x)] AS ends {} \
         WITH starts, ends {}",
        seek_own(model, "x", join, 0),
        seek_own(model, "y", join, own.len()),
        set.join(", "),
        delete_joined("x", join),
        sweep_ends(model, join),
    )
}

fn reconnect(model: &Model, join: &RelationshipShape) -> String {
    let (from, to) = (model.node(join.from), model.node(join.to));
    let new_from = from.key.len() + to.key.len();
    format!(
        "{} {} {} \
         WITH x, a, b, c, d, properties(x) AS kept, EXISTS {{ {} }} AS there DELETE x \
         FOREACH (free IN CASE WHEN there THEN [] ELSE [1] END | CREATE {} SET y = kept) \
         WITH [a] AS starts, [b] AS ends {}",
        row_match(model, join),
        merge("c", from, new_from),
        merge("d", to, new_from + from.key.len()),
        joined("c", "", join, "d"),
        joined("c", "y", join, "d"),
        sweep_ends(model, join),
    )
}
