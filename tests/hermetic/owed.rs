//! What a graph is owed when its tables change again.

use std::collections::BTreeSet;

use wal2graph::{
    catalog::TableName,
    copy::Progress,
    graph::{
        Model, Pass, TableIndex,
        model::{NodeShape, Shape, Table},
    },
    start::{
        TableFacts,
        following::{kept, looks, owed},
        found::Found,
        generation::{Generation, Look, Mark},
    },
};

fn model(names: &[&str]) -> Model {
    let table = |name: &&str| Table {
        name: (*name).to_owned(),
        shape: Shape::Node(NodeShape {
            label: (*name).to_owned(),
            extra_labels: Vec::new(),
            key: vec!["id".to_owned()],
            properties: Vec::new(),
            references: Vec::new(),
        }),
    };
    Model { tables: names.iter().map(table).collect() }
}

fn marking(table: &str, look: Look) -> Generation {
    let found = Found { table: TableName::new("public", table), what: "it is new".to_owned() };
    Generation {
        unmapped: Vec::new(),
        left_over: Default::default(),
        facts: TableFacts::new(None, Vec::new()),
        marks: vec![Mark { found, has_changed: true, look }],
        free: Vec::new(),
        frozen: Vec::new(),
        newly_frozen: Vec::new(),
        paused: Vec::new(),
        gone: Vec::new(),
        moved: Vec::new(),
        unpublished: Vec::new(),
    }
}

#[test]
fn a_table_that_is_not_mapped_any_more_is_owed_nothing() {
    let model = model(&["public.a"]);
    let left = ["public.a", "public.gone"].map(|name| Progress::new(name, Pass::Rows));
    assert_eq!(kept(&model, &BTreeSet::new(), &left), Some(vec![left[0].clone()]));
    assert_eq!(kept(&model, &BTreeSet::new(), &left[..1]), None, "it stays as it is");
    let paused = BTreeSet::from([TableIndex(0)]);
    assert_eq!(kept(&model, &paused, &left), Some(Vec::new()), "a paused table has no work");
    assert_eq!(owed(&model, left.to_vec(), &[], Vec::new()), [left[0].clone()]);
}

#[test]
fn a_table_is_not_owed_less_when_it_changes_again() {
    let model = model(&["public.a"]);
    let leaves = || Look::Leaves(BTreeSet::from([7]));
    let unfinished = Progress::new("public.a", Pass::Rows);
    let finished = Progress { done: true, ..unfinished.clone() };
    let look = |left: Progress| looks(&model, &[left], &marking("a", leaves()));
    assert_eq!(look(unfinished), [(TableIndex(0), Look::Both)]);
    assert_eq!(look(finished), [(TableIndex(0), leaves())]);
}
