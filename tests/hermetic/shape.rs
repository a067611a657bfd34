//! What a change of a table costs: nothing, a look at its rows, or an answer of a person.

use std::collections::{BTreeMap, BTreeSet};

use wal2graph::{
    catalog::{Catalog, TableName},
    graph::{LeftOver, Outlines},
    lsn::Lsn,
    mapping::{Edits, Mapping, TableForm, compile},
    start::{
        Again, TableFacts, TablesRefusal,
        generation::{Before, Generation, Look, first, judge},
        rules::Rules,
        shape::{ColumnTrace, ComesBy, ReadAt, Reshaped, Shape, Standing, Trace},
        tables::{Now, PartitionIdentity, PublicationIs, TableIs, Wanted, Way},
    },
};

use crate::mapping::catalogs::{catalog, customers, edits, northwind, orders};

const AT: ReadAt = ReadAt { from: Lsn(900), through: Lsn(1_000), is_locked: true };
const CLEAN: Standing = Standing { applied: Lsn(950), is_clean: true, by_names: false };

fn column(name: &str, number: i16) -> ColumnTrace {
    ColumnTrace { name: name.to_owned(), number, type_oid: 23, xmin: 700, has_default: false }
}

/// A table with a key and two columns.
fn trace() -> Trace {
    Trace {
        columns: vec![column("id", 1), column("a", 2), column("b", 3)],
        numbers: 3,
        file: 5_000,
        leaves: BTreeMap::new(),
        empty_leaves: BTreeSet::new(),
        labels: BTreeMap::from([(1, "sad".to_owned())]),
        composites: BTreeMap::from([(9, "1 a 23 -1".to_owned())]),
        named_by: 600,
    }
}

fn shape(trace: &Trace) -> Shape {
    let names: Vec<String> = trace.columns.iter().map(|it| it.name.clone()).collect();
    let properties = names.iter().map(|name| (name.clone(), format!("property {name}")));
    let form = TableForm { whole: "a node".to_owned(), properties: properties.collect() };
    let sent: Vec<_> = trace.columns.iter().map(|it| (it.name.clone(), it.type_oid)).collect();
    Shape::new(trace, &form, &names, &sent)
}

/// How a table has changed that was looked at before.
fn changed(standing: Standing, change: impl FnOnce(&mut Trace)) -> Reshaped {
    let (before, mut now) = (trace(), trace());
    change(&mut now);
    shape(&before).compared(&shape(&now), &now, standing, ComesBy::Name)
}

fn is_free(reshaped: &Reshaped) -> bool {
    matches!(reshaped, Reshaped::Free(_))
}

fn is_looked_at(reshaped: &Reshaped) -> bool {
    matches!(reshaped, Reshaped::Rows(_))
}

fn add(trace: &mut Trace, name: &str, number: i16) {
    trace.columns.push(column(name, number));
    trace.numbers = trace.numbers.max(number);
}

#[test]
fn what_changes_no_row_costs_nothing() {
    assert_eq!(changed(CLEAN, |_| ()), Reshaped::Same);
    // VACUUM FULL, TRUNCATE, CLUSTER.
    assert_eq!(changed(CLEAN, |it| it.file = 5_001), Reshaped::Same);
    // SET STATISTICS, SET DEFAULT, SET NOT NULL.
    assert_eq!(changed(CLEAN, |it| it.columns[1].xmin = 701), Reshaped::Same);
    assert!(is_free(&changed(CLEAN, |it| add(it, "c", 4))), "ADD COLUMN");
    assert!(is_free(&changed(CLEAN, |it| drop(it.columns.remove(1)))), "DROP COLUMN");
    let added = |it: &mut Trace| drop(it.labels.insert(2, "new".to_owned()));
    assert_eq!(changed(CLEAN, added), Reshaped::Same, "ALTER TYPE ADD VALUE");
}

#[test]
fn what_changes_rows_without_an_event_is_looked_at() {
    type Change = fn(&mut Trace);
    let changes: [(&str, Change); 10] = [
        ("ADD COLUMN ... DEFAULT", |it| {
            add(it, "c", 4);
            it.columns[3].has_default = true;
        }),
        ("the same, and VACUUM FULL, which forgets the default", |it| {
            add(it, "c", 4);
            it.file += 1;
        }),
        ("ADD b, UPDATE, DROP b, ADD b: a gap in the numbers", |it| add(it, "c", 5)),
        ("DROP and ADD under one name", |it| {
            it.columns.remove(1);
            add(it, "a", 4);
        }),
        ("RENAME", |it| it.columns[1].name = "other".to_owned()),
        ("ALTER TYPE", |it| it.columns[1].type_oid = 25),
        ("ALTER TYPE to the same type, USING another value", |it| {
            (it.columns[1].xmin, it.file) = (701, 5_001);
        }),
        ("ALTER TYPE ... ADD ATTRIBUTE", |it| {
            drop(it.composites.insert(9, "1 a 23 -1, 2 b 25 -1".to_owned()));
        }),
        ("ALTER TYPE ... RENAME VALUE", |it| drop(it.labels.insert(1, "blue".to_owned()))),
        ("a partition that was attached again", |it| drop(it.leaves.insert(9, "1".to_owned()))),
    ];
    for (what, change) in changes {
        let is = changed(CLEAN, change);
        assert!(is_looked_at(&is) || matches!(is, Reshaped::Leaves(_)), "{what}: {is:?}");
    }
}

#[test]
fn a_new_column_is_looked_at_while_an_old_one_of_its_name_may_come_back() {
    let add = |it: &mut Trace| add(it, "c", 4);
    assert!(is_looked_at(&changed(Standing { is_clean: false, ..CLEAN }, add)), "steps are left");
    let before = shape(&trace());
    let dropped = Trace { columns: vec![column("id", 1), column("a", 2)], ..trace() };
    let second = shape(&dropped).following(&before, AT);
    let mut now = dropped.clone();
    now.columns.push(column("b", 4));
    now.numbers = 4;
    let compared = |applied| {
        let standing = Standing { applied: Lsn(applied), is_clean: true, by_names: false };
        second.compared(&shape(&now), &now, standing, ComesBy::Name)
    };
    assert!(is_looked_at(&compared(999)), "changes of the old b are still to come");
    assert!(is_free(&compared(1_000)), "they are over");
    let uncertain = second.clone().uncertain();
    let is = uncertain.compared(&shape(&now), &now, CLEAN, ComesBy::Name);
    assert!(is_looked_at(&is), "nobody knows what was sent");
}

#[test]
fn partitions_that_come_are_looked_at_alone() {
    let with = |leaves: &[(u32, &str)]| Trace {
        leaves: leaves.iter().map(|(oid, trace)| (*oid, (*trace).to_owned())).collect(),
        file: 0,
        ..trace()
    };
    let compared = |before: &Trace, now: &Trace| {
        shape(before).compared(&shape(now), now, CLEAN, ComesBy::Name)
    };
    let (one, two) = (with(&[(1, "7:50")]), with(&[(1, "7:50"), (2, "8:51")]));
    assert_eq!(compared(&one, &two), Reshaped::Leaves(BTreeSet::from([2])));
    let empty = Trace { empty_leaves: BTreeSet::from([2]), ..two.clone() };
    assert_eq!(compared(&one, &empty), Reshaped::Same, "what comes into it is streamed");
    let mut touched = empty.clone();
    touched.columns[1].xmin = 701;
    assert_eq!(compared(&one, &touched), Reshaped::Same, "SET STATISTICS beside it");
    add(&mut touched, "c", 4);
    assert!(is_free(&compared(&one, &touched)), "a new column beside it");
    assert!(is_looked_at(&compared(&two, &one)), "DETACH");
    assert!(is_looked_at(&compared(&one, &with(&[(1, "9:50")]))), "DETACH and ATTACH");
    assert!(is_looked_at(&compared(&one, &with(&[(1, "7:52")]))), "TRUNCATE of a partition");
}

/// Where changes name tables and columns, those that came under another name were passed over.
#[test]
fn another_name_for_a_while_is_looked_at_where_changes_have_names_alone() {
    let by_names = Standing { by_names: true, ..CLEAN };
    let column = |it: &mut Trace| it.columns[1].xmin = 701;
    let table = |it: &mut Trace| it.named_by = 601;
    assert!(is_looked_at(&changed(by_names, column)) && is_looked_at(&changed(by_names, table)));
    assert_eq!((changed(CLEAN, column), changed(CLEAN, table)), (Reshaped::Same, Reshaped::Same));
    // An earlier build has not kept it.
    let before = shape(&Trace { named_by: 0, ..trace() });
    assert_eq!(
        before.compared(&shape(&trace()), &trace(), by_names, ComesBy::Name),
        Reshaped::Same
    );
}

/// A table that left the schema that is published, and came back, has changes that were not.
#[test]
fn another_schema_for_a_while_is_looked_at_where_the_schema_is_published() {
    let now = Trace { named_by: 601, ..trace() };
    let compared = |by| shape(&trace()).compared(&shape(&now), &now, CLEAN, by);
    assert!(is_looked_at(&compared(ComesBy::Schema)));
    assert_eq!([compared(ComesBy::All), compared(ComesBy::Name)], [Reshaped::Same, Reshaped::Same]);
}

/// A table that is published because all are may have been UNLOGGED for a while: only its file tells.
#[test]
fn another_file_is_looked_at_where_all_tables_are_published() {
    let now = Trace { file: 5_001, ..trace() };
    let is = shape(&trace()).compared(&shape(&now), &now, CLEAN, ComesBy::All);
    assert!(is_looked_at(&is), "{is:?}");
}

fn mapping(catalog: &Catalog) -> Mapping {
    compile(catalog, &Edits::default()).expect("it is mapped")
}

/// The tables of a mapping as the source has them.
pub fn now(mapping: &Mapping) -> Now {
    let wanted = Wanted::of(mapping);
    let table = |wanted: &Wanted| TableIs {
        schema: wanted.name.schema.clone(),
        name: wanted.name.name.clone(),
        oid: wanted.oid,
        columns: wanted.columns.iter().cloned().zip(1..).collect(),
        key: wanted.key.clone(),
        by: vec![Way::Table(wanted.oid + 1_000)],
        shape: None,
        definition: None,
        names: None,
        paused: None,
    };
    let trace = |wanted: &Wanted| {
        let columns = wanted.columns.iter().zip(1..);
        Trace {
            columns: columns.map(|(name, number)| column(name, number)).collect(),
            numbers: wanted.columns.len() as i16,
            file: wanted.oid,
            ..Trace::default()
        }
    };
    let publication = PublicationIs { name: "p".to_owned(), oid: 7, altered_by: None };
    Now {
        unmapped: BTreeMap::new(),
        paused: BTreeMap::new(),
        facts: TableFacts::new(Some(publication), wanted.iter().map(table).collect()),
        traces: wanted.iter().map(trace).collect(),
        in_recovery: false,
        all_operations: true,
        identities: Vec::new(),
    }
}

/// What a shop's tables become, that was followed as it was.
fn judged(unexplained: &[u32], change: impl FnOnce(&mut Now)) -> Generation {
    let mapping = mapping(&catalog(vec![customers(), orders()]));
    let before = first(&now(&mapping), &mapping);
    let mut now = now(&mapping);
    change(&mut now);
    let (labels, digest) = (mapping.labels(), mapping.digest());
    let unexplained = unexplained.iter().copied().collect();
    let outlines = Outlines::of(&mapping.model);
    let before = Before {
        facts: &before,
        outlines: &outlines,
        labels: &labels,
        digest: &digest,
        standing: CLEAN,
        unexplained: &unexplained,
    };
    judge(before, &now, &mapping, AT)
}

fn looks(generation: &Generation) -> Vec<(String, Look)> {
    let marks = generation.marks.iter();
    marks.map(|mark| (mark.found.table.name.clone(), mark.look.clone())).collect()
}

#[test]
fn tables_are_known_by_their_object_ids() {
    assert_eq!(looks(&judged(&[], |_| ())), []);
    let remade = judged(&[], |now| now.facts.tables[0].oid = 99);
    let name = remade.facts.tables[0].name.clone();
    assert_eq!(looks(&remade), [(name.clone(), Look::Both)], "it was made again");
    assert_eq!(remade.gone.len(), 1, "the one before is gone");
    let oid = now(&mapping(&catalog(vec![customers(), orders()]))).facts.tables[0].oid;
    assert_eq!(looks(&judged(&[oid], |_| ())), [(name, Look::Both)], "an unknown form of a change");
}

#[test]
fn a_table_that_left_the_publication_is_frozen_and_looked_at_when_it_is_back() {
    let out = judged(&[], |now| now.facts.tables[0].by.clear());
    assert_eq!((looks(&out), out.frozen.len()), (vec![], 1));
    let back = judged(&[], |now| now.facts.tables[0].by = vec![Way::Table(5)]);
    assert_eq!(looks(&back).len(), 1, "out and in again, or another row filter");
    let all = judged(&[], |now| now.facts.publication.as_mut().expect("it is there").oid = 8);
    assert_eq!(looks(&all).len(), 2, "another publication of the name");
}

#[test]
fn a_key_of_other_columns_is_for_a_person() {
    let moved = judged(&[], |now| {
        let key = now.facts.tables[0].key[0].clone();
        now.facts.tables[0].columns.insert(key, 9);
    });
    let Some(TablesRefusal::KeyMoved { .. }) = moved.refused(&Again::FromTables, &Rules::default())
    else {
        panic!("{moved:?}");
    };
    assert_eq!(judged(&[], |_| ()).refused(&Again::FromTables, &Rules::default()), None);
}

/// It is there, and only its primary key is gone: others have put things on its nodes.
#[test]
fn a_table_that_lost_its_key_is_for_a_person_and_one_that_was_dropped_goes() {
    let gone = |why: Option<&str>| {
        judged(&[], |now| {
            let lost = now.facts.tables.remove(0);
            now.traces.remove(0);
            now.unmapped = why.map(|why| (lost.oid, why.to_owned())).into_iter().collect();
        })
    };
    let Some(TablesRefusal::Unmapped { why, .. }) =
        gone(Some("it has no key")).refused(&Again::FromTables, &Rules::default())
    else {
        panic!("its rows go");
    };
    assert_eq!(why, "it has no key");
    let dropped = gone(None);
    assert_eq!(
        (dropped.refused(&Again::FromTables, &Rules::default()), dropped.gone.len()),
        (None, 1)
    );
}

/// Nodes that are made anew have lost what led to them.
#[test]
fn tables_whose_rows_lead_to_nodes_that_are_made_anew_are_looked_at() {
    let mapping = mapping(&catalog(vec![customers(), orders()]));
    let tables = first(&now(&mapping), &mapping);
    let (labels, digest) = (mapping.labels(), mapping.digest());
    let text = Outlines::of(&mapping.model).text();
    let is = mapping.model.key_names(wal2graph::graph::TableIndex(0))[0].clone();
    let was = text.replace(&format!("\"key\":[\"{is}\"]"), "\"key\":[\"other\"]");
    let judged = |outlines: &str| {
        let outlines = Outlines::parse(outlines);
        let before = Before {
            facts: &tables,
            outlines: &outlines,
            labels: &labels,
            digest: &digest,
            standing: CLEAN,
            unexplained: &BTreeSet::new(),
        };
        judge(before, &now(&mapping), &mapping, AT)
    };
    assert_eq!((looks(&judged(&text)), judged(&text).left_over.len()), (vec![], 0));
    let other = judged(&was);
    assert!(other.left_over.iter().any(|it| matches!(it, LeftOver::Nodes { .. })), "{was}");
    assert!(looks(&other).contains(&("orders".to_owned(), Look::Both)), "{other:?}");
}

/// The other one's key was taken for the key of the table that is partitioned.
#[test]
fn a_partition_of_a_table_that_exchanged_its_name_has_the_key_of_its_own_table() {
    let mapping = mapping(&catalog(vec![customers(), orders()]));
    let mut before = first(&now(&mapping), &mapping);
    let mut now = now(&mapping);
    before.tables[0].key = vec!["other".to_owned()];
    let names: Vec<String> = now.facts.tables.iter().map(|it| it.name.clone()).collect();
    (now.facts.tables[0].name, now.facts.tables[1].name) = (names[1].clone(), names[0].clone());
    let identity = |columns: &[String]| PartitionIdentity {
        root: before.tables[1].oid,
        partition: TableName::new("public", "leaf"),
        columns: columns.to_vec(),
    };
    now.identities = vec![identity(&before.tables[1].key)];
    assert_eq!(before.blocking(&now), []);
    now.identities = vec![identity(&["else".to_owned()])];
    assert_eq!(before.blocking(&now).len(), 1);
}

/// What another mapping of the same tables takes.
fn edited(was: &str, is: &str) -> Generation {
    let tables = catalog(northwind());
    let made = |yaml: &str| compile(&tables, &edits(yaml)).expect("it is mapped");
    let now = |mapping: &Mapping| {
        let mut now = now(mapping);
        for (table, trace) in std::iter::zip(&mut now.facts.tables, &mut now.traces) {
            let is = tables.table(&table.table_name()).expect("it is there");
            let number = |name: &str| is.column(name).expect("it is there").number;
            table.columns.iter_mut().for_each(|(name, it)| *it = number(name));
            trace.columns.iter_mut().for_each(|it| it.number = number(&it.name));
        }
        now
    };
    let (was, is) = (made(was), made(is));
    let (facts, labels, digest) = (first(&now(&was), &was), was.labels(), was.digest());
    let outlines = Outlines::of(&was.model);
    let before = Before {
        facts: &facts,
        outlines: &outlines,
        labels: &labels,
        digest: &digest,
        standing: CLEAN,
        unexplained: &BTreeSet::new(),
    };
    judge(before, &now(&is), &is, AT)
}

#[test]
fn a_join_table_that_was_turned_around_could_not_become_nodes() {
    let turned = "{tables: {public.order_details: {relationship: {from: {columns: [product_id], to: public.products}}}}}";
    let nodes = "{tables: {public.order_details: {label: Line}}}";
    let generation = edited(turned, nodes);
    assert_eq!(generation.moved, []);
    assert_eq!(looks(&generation).len(), 1, "{:?}", generation.marks);
    let other = "{tables: {public.order_details: {label: Line, key: [product_id, order_id]}}}";
    assert_eq!(edited(nodes, other).moved.len(), 1, "nodes whose key is another one");
}

#[test]
fn the_graph_keeps_the_names_that_inference_gave() {
    let mapping = mapping(&catalog(northwind()));
    let facts = first(&now(&mapping), &mapping);
    let read = TableFacts::parse(&facts.text()).expect("it is read");
    assert_eq!(read, facts);
    let product = read.tables.iter().find(|it| it.name == "products").expect("it is there");
    let names = product.names.as_ref().expect("they are kept");
    assert_eq!(names.label.as_deref(), Some("Product"));
}
