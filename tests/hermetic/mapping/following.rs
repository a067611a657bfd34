//! Translation while the tables' shape changes: what is applied, what ends a life, what is passed over.

use std::{collections::BTreeSet, sync::Arc};

use wal2graph::{
    catalog::Table,
    change::{Before, Change, Relation},
    graph::Event,
    lsn::Lsn,
    mapping::{Followed, Known, TranslateError, Translator},
};

use super::{
    catalogs::{customers, mapped, name, orders},
    translation::{relation, tuple},
};

/// The look at the tables.
const LOOK: Lsn = Lsn(1_000);
/// The one partition of `orders` at that look.
const LEAF: u32 = 77;

fn translator(tables: &[Table], known: Vec<Known>) -> Translator {
    let mapping = Arc::new(mapped(tables.to_vec()));
    Translator::new(mapping).following(Followed {
        paused: Default::default(),
        from: LOOK,
        known,
        leaves: [(orders().oid, BTreeSet::from([LEAF]))].into(),
    })
}

fn insert(relation: &Relation, new: &str) -> Change {
    Change::Insert { relation: Arc::new(relation.clone()), new: tuple(new) }
}

/// `orders` without its last column, as it was before.
fn earlier() -> Relation {
    let mut relation = relation(&orders());
    relation.columns.pop();
    relation
}

fn known(of: &Relation, before: Lsn) -> Known {
    Known { sent: of.sent(), before }
}

#[test]
fn a_change_behind_the_look_with_other_columns_ends_the_life() {
    let mut translator = translator(&[customers(), orders()], vec![]);
    let change = insert(&relation(&orders()), "1 7 hi");
    assert!(translator.translate(&change, LOOK).is_ok());
    let mut added = relation(&orders());
    added.columns.push(added.columns[1].clone());
    added.columns[3].name = "more".to_owned();
    let is = translator.translate(&insert(&added, "1 7 hi 9"), LOOK);
    assert_eq!(is, Err(TranslateError::Reshaped { table: name("orders") }));
    let mut renamed = relation(&orders());
    renamed.name = "others".to_owned();
    let is = translator.translate(&insert(&renamed, "1 7 hi"), LOOK);
    assert_eq!(is, Err(TranslateError::Reshaped { table: name("orders") }));
}

#[test]
fn an_older_change_is_applied_only_in_a_form_that_is_known() {
    let change = insert(&earlier(), "1 7");
    let mut strict = translator(&[customers(), orders()], vec![]);
    let is = strict.translate(&change, Lsn(999));
    assert!(matches!(is, Err(TranslateError::Unexplained { .. })), "{is:?}");
    let until = known(&earlier(), Lsn(500));
    let mut lenient = translator(&[customers(), orders()], vec![until]);
    let is = lenient.translate(&change, Lsn(499));
    assert!(matches!(is, Ok(Some(Event::Insert { .. }))), "{is:?}");
    let is = lenient.translate(&change, Lsn(500));
    assert!(
        matches!(is, Err(TranslateError::Unexplained { .. })),
        "it had this form again: {is:?}"
    );
}

/// The primary key was another one for a while: what came then names no row.
#[test]
fn an_older_change_without_the_key_is_passed_over() {
    let mut keyless = relation(&orders());
    keyless.columns[0].name = "number".to_owned();
    let form = known(&keyless, LOOK);
    let mut translator = translator(&[customers(), orders()], vec![form]);
    assert_eq!(translator.translate(&insert(&keyless, "1 7 hi"), Lsn(1)), Ok(None));
    let delete =
        Change::Delete { relation: Arc::new(keyless), before: Before::Key(tuple("1 - -")) };
    assert_eq!(translator.translate(&delete, Lsn(1)), Ok(None));
}

/// Two tables exchanged their names: each change is of the table that it was made in.
#[test]
fn changes_are_of_the_table_with_their_object_id() {
    let mut swapped = relation(&customers());
    swapped.name = "orders".to_owned();
    let form = known(&swapped, LOOK);
    let mut translator = translator(&[customers(), orders()], vec![form]);
    let Ok(Some(Event::Insert { table, .. })) =
        translator.translate(&insert(&swapped, "1 x"), Lsn(1))
    else {
        panic!("it is translated");
    };
    assert_eq!(table.0, 0, "customers");
    let mut gone = relation(&orders());
    gone.oid = 99_999;
    let change = insert(&gone, "1 7 hi");
    assert_eq!(translator.translate(&change, Lsn(1)), Ok(None), "that table was dropped");
}

/// A partition that was attached, written and detached between two looks leaves no trace in the catalog. Its rows
/// came, and went without an event.
#[test]
fn a_partition_that_no_look_has_seen_needs_a_look() {
    let of = |leaf| Relation { leaf: Some(leaf), ..relation(&orders()) };
    let mut strict = translator(&[customers(), orders()], vec![]);
    assert!(strict.translate(&insert(&of(LEAF), "1 7 hi"), LOOK).is_ok());
    let is = strict.translate(&insert(&of(78), "1 7 hi"), LOOK);
    assert_eq!(is, Err(TranslateError::Reshaped { table: name("orders") }));
    let is = strict.translate(&insert(&of(78), "1 7 hi"), Lsn(999));
    assert!(matches!(is, Err(TranslateError::Unexplained { .. })), "{is:?}");
    let mut lenient = translator(&[customers(), orders()], vec![known(&of(78), LOOK)]);
    assert!(lenient.translate(&insert(&of(78), "1 7 hi"), Lsn(999)).is_ok());
    let is = lenient.translate(&insert(&of(79), "1 7 hi"), Lsn(999));
    assert!(matches!(is, Err(TranslateError::Unexplained { .. })), "{is:?}");
}

/// The key was elsewhere for a while. The columns were those that the table had before the last one was added.
#[test]
fn an_earlier_form_with_another_key_needs_a_look() {
    let mut earlier = relation(&orders());
    earlier.columns.truncate(2);
    let mut moved = earlier.clone();
    moved.columns.iter_mut().for_each(|column| column.identity = column.name == "customer_id");
    let mut strict = translator(&[customers(), orders()], vec![known(&earlier, LOOK)]);
    assert!(strict.translate(&insert(&earlier, "1 7"), Lsn(999)).is_ok());
    let is = strict.translate(&insert(&moved, "1 7"), Lsn(999));
    assert!(matches!(is, Err(TranslateError::Unexplained { .. })), "{is:?}");
    let mut lenient = translator(&[customers(), orders()], vec![known(&moved, LOOK)]);
    assert!(lenient.translate(&insert(&moved, "1 7"), Lsn(999)).is_ok());
}
