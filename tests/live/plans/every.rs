//! Every statement there is about a model, each with its rule.

use wal2graph::{
    graph::{
        Key, Model, Statement, TableIndex,
        model::{NodeShape, ReferenceBy, RelationshipKey, RelationshipShape, Shape},
        statement::{Beside, Completeness, Known, NodeRow, Presence, Reach, RelationshipRow},
    },
    value::Value,
};

use super::rules::{Rule, SEEKS};

/// A row's own relationships are few; what points at a node is looked at until the first is found.
const SWEEPS: Rule = Rule { walks: &["p"], eager: true, ..SEEKS };
/// What points at a node goes, or is made again at another: all of it is wanted.
const STEPS: Rule = Rule { walks: &["n", "m", "b", "p", "x"], ..SWEEPS };

const COMPLETENESS: [Completeness; 3] =
    [Completeness::Complete, Completeness::Partial, Completeness::PartialMoved];

/// The statements, by name.
pub fn statements(model: &Model) -> Vec<(String, Statement, Rule)> {
    let mut all = Vec::new();
    for (table, shape) in model.iter() {
        let statements = match &shape.shape {
            Shape::Node(node) => of_nodes(model, table, node),
            Shape::Relationship(join) => of_joins(model, table, join),
        };
        all.extend(
            statements.into_iter().map(|(name, statement, rule)| {
                (format!("{name} of {}", shape.name), statement, rule)
            }),
        );
    }
    all
}

type Named = (&'static str, Statement, Rule);

fn of_nodes(model: &Model, table: TableIndex, node: &NodeShape) -> Vec<Named> {
    let width = node.key.len();
    let keys: Vec<Key> = (1..=3).map(|key| key_of(width, key)).collect();
    let moves = vec![(key_of(width, 1), key_of(width, 4)), (key_of(width, 2), key_of(width, 1))];
    let scan = Rule { scans: &["NodeByLabelScan", "SubtractionNodeByLabelsScan"], ..STEPS };
    // What is on a double goes over to the node that stays.
    let untangles = Rule { walks: &["c", "m"], eager: true, ..SEEKS };
    let drop = |beside| Statement::DropNodes { table, keys: keys.clone(), beside };
    let mut all = vec![
        ("drop", drop(Beside::Anybody), STEPS),
        ("drop with nobody beside", drop(Beside::Nobody), STEPS),
        ("move", Statement::MoveNodes { table, moves }, STEPS),
        ("clear", Statement::ClearNodes { table, reach: Reach::All }, scan),
        ("untangle", Statement::Untangle { table, keys: keys.clone() }, untangles),
        ("unlabel", Statement::UnlabelNodes { table, keys: keys.clone() }, STEPS),
        ("empty", Statement::EmptyPlaceholders { table, keys: keys.clone() }, STEPS),
    ];
    for completeness in COMPLETENESS {
        for known in knowns(&node.properties) {
            let row =
                |key| NodeRow { key: key_of(width, key), values: values(&known), stamp: None };
            let rows: Vec<_> = (1..=3).map(row).collect();
            for new in [false, true] {
                let (known, rows) = (known.clone(), rows.clone());
                let upsert = Statement::UpsertNodes { table, known, completeness, new, rows };
                all.push(("upsert", upsert, SEEKS));
            }
        }
    }
    all.extend(together(model, table, node, &keys));
    for (reference, shape) in node.references.iter().enumerate() {
        let target = |key| match &shape.by {
            ReferenceBy::Key => key_of(model.node(shape.target).key.len(), key),
            ReferenceBy::Unique { target_properties, .. } => key_of(target_properties.len(), key),
        };
        let from_owner = vec![(keys[0].clone(), Some(target(1))), (keys[1].clone(), None)];
        let from_target = |key| key_of(model.node(shape.target).key.len(), key);
        let from_target = vec![(from_target(1), Some(target(1))), (from_target(2), None)];
        if shape.by != ReferenceBy::Key {
            let owner = Statement::MatchFromOwner { table, reference, rows: from_owner };
            let target = Statement::MatchFromTarget { table, reference, rows: from_target };
            // Which owners hold another value is asked of all that point at the target.
            all.push(("match from owner", owner, Rule { walks: &["c"], ..SWEEPS }));
            all.push(("match from target", target, Rule { walks: &["p"], ..SWEEPS }));
            continue;
        }
        let remove = Statement::RemoveReferences { table, reference, rows: from_owner };
        all.push(("remove references", remove, Rule { walks: &["c", "p"], ..SWEEPS }));
        let rows: Vec<_> = keys.iter().map(|key| (key.clone(), target(1))).collect();
        for beside in [Beside::Lanes, Beside::Anybody] {
            let rows = rows.clone();
            let replace = Statement::ReplaceReferences { table, reference, beside, rows };
            // The second time it finds what the first has made, and sends its other texts.
            for replace in [replace.clone(), replace] {
                all.push(("replace references", replace, Rule { walks: &["c", "p"], ..SWEEPS }));
            }
        }
        let besides = [Beside::Anybody, Beside::Nobody].map(Presence::Unknown);
        for presence in [Presence::New].into_iter().chain(besides) {
            let rows = rows.clone();
            let add = Statement::AddReferences { table, reference, presence, rows };
            all.push(("add references", add, Rule { walks: &["c"], ..SWEEPS }));
        }
    }
    all
}

/// What one text says of all references.
fn together(model: &Model, table: TableIndex, node: &NodeShape, keys: &[Key]) -> Vec<Named> {
    let references: Vec<usize> = node.keyed_references().collect();
    let target = |reference: &usize, key| {
        let target = model.node(node.references[*reference].target);
        Some(key_of(target.key.len(), key))
    };
    let to = |key| references.iter().map(|reference| target(reference, key)).collect::<Vec<_>>();
    let known = Known(vec![true; node.properties.len()].into());
    let fill = keys
        .iter()
        .map(|key| (NodeRow { key: key.clone(), values: values(&known), stamp: None }, to(1)));
    let fill = Statement::FillNodes { table, rows: fill.collect() };
    let rows = vec![(keys[0].clone(), to(1)), (keys[1].clone(), to(2))];
    let remove = Statement::RemoveOutdated { table, references, rows };
    vec![
        ("fill", fill, Rule { eager: true, ..SEEKS }),
        ("remove outdated references", remove, Rule { walks: &["c", "p"], ..SWEEPS }),
    ]
}

fn of_joins(model: &Model, table: TableIndex, join: &RelationshipShape) -> Vec<Named> {
    let ends = |from, to| {
        let (a, b) = (model.node(join.from).key.len(), model.node(join.to).key.len());
        (key_of(a, from), key_of(b, to))
    };
    let key = |number| match &join.key {
        RelationshipKey::Own(own) => key_of(own.len(), number),
        RelationshipKey::Ends => {
            let (from, to) = ends(number, 1);
            Key(from.0.iter().chain(&to.0).cloned().collect())
        }
    };
    let keys: Vec<Key> = (1..=3).map(key).collect();
    let drop = |beside| Statement::DropRelationships { table, keys: keys.clone(), beside };
    let moves = vec![(key(1), key(4)), (key(2), key(1))];
    let scans = &["DirectedRelationshipTypeScan"];
    let clear = Rule { scans, ..SWEEPS };
    let mut all = vec![
        ("drop", drop(Beside::Anybody), SWEEPS),
        ("drop with nobody beside", drop(Beside::Nobody), SWEEPS),
        ("move", Statement::MoveRelationships { table, moves }, SWEEPS),
        ("clear", Statement::ClearRelationships { table, reach: Reach::All }, clear),
        ("untangle", Statement::Untangle { table, keys: keys.clone() }, SWEEPS),
    ];
    for known in knowns(&join.properties) {
        for completeness in COMPLETENESS {
            let row = |number| {
                let (from, to) = ends(number, 1);
                RelationshipRow { key: key(number), from, to, values: values(&known), stamp: None }
            };
            let (known, rows) = (known.clone(), (1..=3).map(row).collect());
            let rows: Vec<_> = rows;
            // What is known of the relationships leaves out texts and adds none, but for few rows with
            // nobody beside.
            for beside in [Beside::Anybody, Beside::Nobody] {
                let (presence, known, rows) =
                    (Presence::Unknown(beside), known.clone(), rows.clone());
                let upsert =
                    Statement::UpsertRelationships { table, known, completeness, presence, rows };
                all.push(("upsert", upsert, SWEEPS));
            }
        }
        if join.key != RelationshipKey::Ends {
            let row = |number| NodeRow { key: key(number), values: values(&known), stamp: None };
            let (known, rows) = (known.clone(), (1..=3).map(row).collect());
            all.push(("update", Statement::UpdateRelationships { table, known, rows }, SEEKS));
        }
    }
    all
}

fn key_of(width: usize, number: i64) -> Key {
    Key(vec![Value::Integer(number); width].into())
}

/// All columns came, and all but the last.
fn knowns(properties: &[String]) -> Vec<Known> {
    let all = Known(vec![true; properties.len()].into());
    let mut some = all.clone();
    match some.0.last_mut() {
        Some(last) => *last = false,
        None => return vec![all],
    }
    vec![all, some]
}

fn values(known: &Known) -> Vec<Option<Value>> {
    known.0.iter().filter(|known| **known).map(|_| Some(Value::Integer(1))).collect()
}
