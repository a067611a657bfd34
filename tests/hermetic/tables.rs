//! What the checkpoint keeps of the tables, against what they are: what is harmless, and what is not.

use std::collections::BTreeMap;

use wal2graph::{
    catalog::TableName,
    mapping::{Edits, compile},
    start::{
        Difference, TableFacts,
        tables::{Now, PartitionIdentity, PublicationIs, TableIs, UnreadableFacts, Wanted, Way},
    },
};

use crate::mapping::catalogs::{catalog, customers, orders};

fn table(name: &str, oid: u32) -> TableIs {
    TableIs {
        schema: "public".to_owned(),
        name: name.to_owned(),
        oid,
        columns: BTreeMap::from([("id".to_owned(), 1), ("v".to_owned(), 2)]),
        key: vec!["id".to_owned()],
        by: vec![Way::Table(oid + 1_000)],
        shape: None,
        definition: None,
        names: None,
        paused: None,
    }
}

fn now() -> Now {
    let publication = PublicationIs { name: "p".to_owned(), oid: 7, altered_by: Some(5) };
    Now {
        unmapped: BTreeMap::new(),
        paused: BTreeMap::new(),
        facts: TableFacts::new(Some(publication), vec![table("a", 1), table("b", 2)]),
        traces: Vec::new(),
        in_recovery: false,
        all_operations: true,
        identities: vec![identity(&["id"])],
    }
}

fn identity(columns: &[&str]) -> PartitionIdentity {
    PartitionIdentity {
        root: 1,
        partition: TableName::new("public", "a_1"),
        columns: columns.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn differences(change: impl FnOnce(&mut Now)) -> Vec<Difference> {
    let before = now().facts;
    let mut now = now();
    change(&mut now);
    before.differences(&now)
}

fn a() -> String {
    "public.a".to_owned()
}

fn unpublished(is_back: bool) -> Difference {
    Difference::Unpublished { table: a(), is_back }
}

#[test]
fn what_changes_nothing_in_the_stream_is_no_difference() {
    type Change = fn(&mut Now);
    let harmless: [(&str, Change); 10] = [
        ("nothing", |_| {}),
        ("a partition comes", |now| now.identities.push(identity(&["id"]))),
        ("a partition carries more than the key", |now| {
            now.identities = vec![identity(&["id", "v"])]
        }),
        ("all partitions carry all columns", |now| now.identities.clear()),
        ("another table's partition", |now| {
            now.identities = vec![PartitionIdentity { root: 99, ..identity(&["v"]) }];
        }),
        ("the schema is published besides", |now| now.facts.tables[0].by.push(Way::Schema(5))),
        ("a table that is not mapped", |now| now.facts.tables.push(table("c", 3))),
        ("a column that is not mapped", |now| {
            now.facts.tables[0].columns.insert("w".to_owned(), 3);
        }),
        // That is another mapping, or an error of the stream.
        ("a column is renamed", |now| {
            now.facts.tables[0].columns.remove("v");
        }),
        ("another publication is named", |now| {
            now.facts.publication =
                Some(PublicationIs { name: "q".to_owned(), oid: 8, altered_by: None });
            now.facts.tables[0].by = vec![Way::All];
        }),
    ];
    for (what, change) in harmless {
        assert_eq!(differences(change), [], "{what}");
    }
    let renamed = |now: &mut Now| now.facts.publication.as_mut().unwrap().name = "q".to_owned();
    assert_eq!(differences(renamed), []);
    let standby = |now: &mut Now| (now.in_recovery, now.facts.tables) = (true, Vec::new());
    assert_eq!(differences(standby), [], "a standby may be behind");
}

#[test]
fn what_keeps_changes_from_the_graph_is_a_difference() {
    type Change = fn(&mut Now);
    let publication = || "p".to_owned();
    let harmful: [(Change, Difference); 10] = [
        (|now| now.facts.tables[0].by = vec![Way::Table(9_999)], unpublished(true)),
        (|now| now.facts.tables[0].by = vec![Way::All], unpublished(true)),
        (|now| now.facts.tables[0].by.clear(), unpublished(false)),
        (|now| drop(now.facts.tables.remove(0)), unpublished(false)),
        (|now| now.facts.tables[0].oid = 9, Difference::OtherTable { table: a(), was: 1, is: 9 }),
        (
            |now| *now.facts.tables[0].columns.get_mut("v").unwrap() = 3,
            Difference::OtherColumn { table: a(), column: "v".to_owned(), was: 2, is: 3 },
        ),
        (
            |now| now.facts.publication.as_mut().unwrap().altered_by = Some(6),
            Difference::Altered { publication: publication() },
        ),
        (|now| now.all_operations = false, Difference::Operations { publication: publication() }),
        (
            |now| now.facts.publication.as_mut().unwrap().oid = 8,
            Difference::Publication { publication: publication(), was: 7, is: Some(8) },
        ),
        (
            |now| now.identities.push(identity(&["v"])),
            Difference::Identity {
                table: a(),
                partition: "public.a_1".to_owned(),
                columns: vec!["v".to_owned()],
            },
        ),
    ];
    for (change, difference) in harmful {
        assert_eq!(differences(change), [difference]);
    }
    let gone = |now: &mut Now| now.facts.publication = None;
    let gone_is = Difference::Publication { publication: publication(), was: 7, is: None };
    assert_eq!(differences(gone), [gone_is]);
    let swapped = |now: &mut Now| {
        (now.facts.tables[0].oid, now.facts.tables[1].oid) = (2, 1);
    };
    assert_eq!(differences(swapped).len(), 2, "two tables swapped their names");
}

/// Without that the advice of a refusal, followed, would have ended in a graph that is wrong.
#[test]
fn what_was_seen_once_stays_a_difference_when_it_is_put_back() {
    let mut blind = now();
    blind.identities = vec![identity(&["v"])];
    blind.facts.tables[1].by.clear();
    let seen = now().facts.differences(&blind);
    assert_eq!(seen.len(), 2);
    let text = now().facts.having_seen(&seen).text();
    let kept = TableFacts::parse(&text).expect("it is read as it was written");
    assert_eq!(kept.differences(&now()), seen, "all is as it was");
    let mut back = now();
    back.facts.tables[1].by = vec![Way::Table(9_999)];
    let said = kept.differences(&back);
    assert_eq!(said.len(), 2, "nothing is said twice: {said:?}");
    assert!(
        said.contains(&Difference::Unpublished { table: "public.b".to_owned(), is_back: true })
    );
}

#[test]
fn the_text_is_read_as_it_was_written_and_another_form_is_not() {
    let facts = now().facts;
    let text = facts.text();
    assert_eq!(TableFacts::parse(&text), Ok(facts));
    let later = text.replace("\"version\":1", "\"version\":2");
    assert_ne!(text, later);
    for other in [&later, "", "{}", "[1]"] {
        assert_eq!(TableFacts::parse(other), Err(UnreadableFacts));
    }
}

#[test]
fn what_is_looked_for_is_every_column_that_is_read() {
    let catalog = catalog(vec![customers(), orders()]);
    let mapping = compile(&catalog, &Edits::default()).unwrap();
    let wanted = Wanted::of(&mapping);
    let orders = wanted.iter().find(|it| it.name.name == "orders").unwrap();
    assert_eq!(orders.key, ["id"]);
    for column in ["id", "customer_id", "note"] {
        assert!(orders.columns.iter().any(|it| it == column), "{column}: {orders:?}");
    }
}
