//! Definitions of tables that are kept: what differs, and what a catalog is with tables as they were.

use wal2graph::{
    catalog::{Catalog, Table, TableName, definition::Definition},
    mapping::{Edits, Mapping, compile, edit::SchemaChanges},
    start::{
        TableFacts,
        generation::first,
        paused::{kept as kept_of, pauses},
        rules::{Dropped, Paused, Rules},
        tables::Now,
    },
};

use crate::{
    mapping::catalogs::{catalog, customers, orders},
    shape::now,
};

fn kept(table: &Table) -> Definition {
    let definition = Definition::of(table, &catalog([customers(), orders()]));
    // As a checkpoint keeps it.
    let text = serde_json::to_string(&definition).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_differs_is_named_with_what_it_was() {
    let found = |change: fn(&mut Table)| {
        let mut now = orders();
        change(&mut now);
        kept(&orders()).differences(&now)
    };
    assert_eq!(found(|_| ()), Vec::<String>::new());
    assert_eq!(found(|it| it.estimated_rows = Some(9)), Vec::<String>::new());
    type Change = fn(&mut Table);
    let changes: [(Change, &str); 7] = [
        (
            |it| it.name.name = "other".to_owned(),
            "it is called public.other, and was public.orders",
        ),
        (|it| it.columns[1].name = "who".to_owned(), "the column customer_id is called who"),
        (
            |it| {
                it.columns[1].type_oid = 25;
                it.columns[1].type_name = "text".to_owned();
            },
            "the column customer_id is text, and was",
        ),
        (|it| drop(it.columns.remove(1)), "the column customer_id is gone"),
        (
            |it| {
                let mut new = it.columns[1].clone();
                (new.number, new.name) = (90, "new".to_owned());
                it.columns.push(new);
            },
            "the column new was added: ",
        ),
        (|it| it.foreign_keys.clear(), "to public.customers is gone"),
        (|it| it.primary_key = None, "its primary key is gone, and was (id)"),
    ];
    for (change, expected) in changes {
        let found = found(change);
        assert!(found.iter().any(|it| it.contains(expected)), "{expected}: {found:?}");
    }
}

/// For all others, a table is what it was, whatever has become of it.
#[test]
fn a_mapping_is_the_same_with_tables_as_they_were() {
    let before = catalog([customers(), orders()]);
    let digest = |catalog: &Catalog| compile(catalog, &Edits::default()).unwrap().digest();
    let held = |now: Vec<Table>, kept: &[&Definition]| catalog(now).with(kept);
    let definition = kept(&customers());

    let (mut renamed, mut refers) = (customers(), orders());
    renamed.name = TableName::new("public", "people");
    renamed.columns[0].name = "ident".to_owned();
    renamed.primary_key.as_mut().unwrap().columns = vec!["ident".to_owned()];
    refers.foreign_keys[0].target = renamed.name.clone();
    refers.foreign_keys[0].target_columns = vec!["ident".to_owned()];
    assert_ne!(digest(&catalog([renamed.clone(), refers.clone()])), digest(&before));
    let is = held(vec![renamed, refers], &[&definition]);
    assert_eq!(digest(&is), digest(&before), "it has another name, and another table refers to it");

    // Another one has its name: that one is left out.
    let other = Table { oid: 4711, columns: orders().columns, ..customers() };
    let is = held(vec![other, orders()], &[&definition]);
    assert_eq!(digest(&is), digest(&before));

    // It is gone, with what referred to it.
    let mut alone = orders();
    alone.foreign_keys.clear();
    let is = held(vec![alone.clone()], &[&definition]);
    assert_eq!(digest(&is), digest(&catalog([customers(), alone])));

    // What it refers to has another name, or is gone.
    let definition = kept(&orders());
    let mut renamed = customers();
    renamed.name = TableName::new("public", "people");
    let is = held(vec![renamed.clone(), orders()], &[&definition]);
    let target = &is.table(&orders().name).unwrap().foreign_keys[0].target;
    assert_eq!(*target, renamed.name);
    let is = held(vec![orders()], &[&definition]);
    assert!(is.table(&orders().name).unwrap().foreign_keys.is_empty());
}

#[test]
fn what_the_file_says_of_one_table_comes_before_what_it_says_of_all() {
    let (was, is) = (TableName::new("public", "a"), TableName::new("public", "b"));
    let rules = |tables: &[(&str, SchemaChanges)]| Rules {
        all: SchemaChanges::Pause,
        tables: tables.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
        dropped: Dropped::AsOthers,
    };
    assert_eq!(rules(&[]).of(&was, Some(&is)), SchemaChanges::Pause);
    let (stop, apply) = (("public.a", SchemaChanges::Stop), ("public.b", SchemaChanges::Apply));
    assert_eq!(rules(&[stop]).of(&was, Some(&is)), SchemaChanges::Stop);
    assert_eq!(rules(&[stop, apply]).of(&was, Some(&is)), SchemaChanges::Apply, "its name now");
    assert_eq!(rules(&[stop, apply]).of(&was, None), SchemaChanges::Stop);
}

#[test]
fn a_pattern_says_what_happens_to_all_tables_that_fit() {
    let said = [
        ("public.*", SchemaChanges::Stop),
        ("public.order*", SchemaChanges::Pause),
        ("public.order_items", SchemaChanges::Apply),
    ];
    let tables = said.map(|(name, changes)| (name.to_owned(), changes)).into();
    let rules = Rules { all: SchemaChanges::Apply, tables, dropped: Dropped::AsOthers };
    let of = |schema: &str, name: &str| rules.of(&TableName::new(schema, name), None);
    assert_eq!(of("public", "customers"), SchemaChanges::Stop);
    assert_eq!(of("public", "orders"), SchemaChanges::Pause, "the longest that fits");
    assert_eq!(of("public", "order_items"), SchemaChanges::Apply, "its own name");
    assert_eq!(of("sales", "orders"), SchemaChanges::Apply);
}

/// Where each table has a topic, nobody reads those of an old name any more.
#[test]
fn a_table_that_goes_on_under_another_name_was_called_paused_for_ever() {
    let mapping = compile(&catalog([customers(), orders()]), &Edits::default()).unwrap();
    let followed = first(&now(&mapping), &mapping);
    let paused = Paused { why: vec!["WHY".to_owned()], fix: "FIX".to_owned() };
    let mut old = followed.clone();
    old.tables.iter_mut().for_each(|table| table.paused = Some(paused.clone()));
    let shown = |all: &[TableFacts]| {
        TableFacts::paused_in(all).into_keys().map(|name| name.replace("public.", "")).collect()
    };
    // A partition that has not looked yet is behind.
    let all: Vec<String> = shown(&[followed.clone(), old.clone()]);
    assert_eq!(all, ["customers", "orders"]);
    let mut new = followed;
    let renamed = new.tables.iter_mut().find(|table| table.name == "orders").unwrap();
    renamed.name = "purchases".to_owned();
    let left: Vec<String> = shown(&[old, new]);
    assert_eq!(left, ["customers"]);
}

/// What the tables become, and what a partition's checkpoint has of them that has gone over.
fn gone_over(catalog: &Catalog) -> (Mapping, Now, TableFacts) {
    let mapping = compile(catalog, &Edits::default()).unwrap();
    let now = now(&mapping);
    let facts = first(&now, &mapping);
    (mapping, now, facts)
}

/// Partitions go over one by one, and are one graph.
#[test]
fn a_table_is_paused_for_all_partitions_or_for_none() {
    let (_, _, before) = gone_over(&catalog([customers(), orders()]));
    let mut changed = customers();
    changed.columns[1].name = "title".to_owned();
    let catalog = catalog([changed, orders()]);
    let (mapping, now, after) = gone_over(&catalog);
    let rules = Rules { all: SchemaChanges::Pause, ..Rules::default() };
    let paused = |all: &[&TableFacts], now: &Now| {
        let all: Vec<TableFacts> = all.iter().map(|it| (*it).clone()).collect();
        let pauses = pauses(&all, &catalog, Some((now, &mapping)), &rules);
        (pauses.keys().copied().collect::<Vec<_>>(), kept_of(&all, &pauses))
    };
    let oid = customers().oid;
    let (found, kept) = paused(&[&before, &before], &now);
    assert_eq!(found, [oid]);
    assert!(kept.len() == 1 && kept[0].paused.is_some(), "{kept:?}");
    assert_eq!(paused(&[&before, &after], &now).0, [0; 0], "one of them has gone over");
    // Each table has a topic, and a partition of its own.
    let alone = |facts: &TableFacts, oid: u32| {
        let mut facts = facts.clone();
        facts.tables.retain(|it| it.oid == oid);
        facts
    };
    let (a, b) = (alone(&before, oid), alone(&before, orders().oid));
    assert_eq!(paused(&[&a, &b], &now).0, [oid]);
    // One that has taken part keeps it paused for the others.
    let mut held = before.clone();
    held.tables.retain(|it| it.oid != oid);
    held.tables.extend(kept);
    assert_eq!(paused(&[&held, &before], &now).0, [oid]);
    assert_eq!(paused(&[&held, &after], &now).0, [0; 0]);
    // Without the publication nothing is paused that was not before.
    let mut unseen = now.clone();
    unseen.facts.publication = None;
    assert_eq!(paused(&[&before], &unseen).0, [0; 0]);
    assert_eq!(paused(&[&held], &unseen).0, [oid]);
}
