//! Translation of changes and copied rows: every rule of old and new tuples.

use std::sync::Arc;

use bytes::Bytes;
use wal2graph::catalog::{ReplicaIdentity as CatalogIdentity, Table};
use wal2graph::change::{
    Before, Cell as Sent, Change, Relation, RelationColumn, ReplicaIdentity, Tuple,
};
use wal2graph::graph::{Cell, Event, Key, Pass, Reference, Row, TableIndex};
use wal2graph::lsn::Lsn;
use wal2graph::mapping::{Mapping, Notice, Selection, TranslateError, Translator};
use wal2graph::value::Value;

use super::catalogs::{TableExt, columns, customers, edited, mapped, name, orders, table, unique};

/// The stream's description of a table whose replica identity is its primary key.
pub fn relation(table: &Table) -> Relation {
    let identity = match table.replica_identity {
        CatalogIdentity::Full => ReplicaIdentity::Full,
        _ => ReplicaIdentity::Default,
    };
    let key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
    let columns = table.columns.iter().map(|column| RelationColumn {
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_modifier: -1,
        identity: identity == ReplicaIdentity::Full || key.contains(&column.name),
    });
    Relation {
        oid: table.oid,
        schema: table.name.schema.clone(),
        name: table.name.name.clone(),
        replica_identity: identity,
        columns: columns.collect(),
        leaf: None,
    }
}

/// A tuple of words: `-` is NULL, `~` unchanged.
pub fn tuple(words: &str) -> Tuple {
    let cell = |word: &str| match word {
        "-" => Sent::Null,
        "~" => Sent::Unchanged,
        text => Sent::Text(Bytes::copy_from_slice(text.as_bytes())),
    };
    words.split(' ').map(cell).collect()
}

struct Case {
    translator: Translator,
    relation: Arc<Relation>,
}

impl Case {
    /// Translates changes of the last of `tables`.
    fn new(tables: &[Table]) -> Self {
        let owner = tables.last().expect("one at least");
        let translator = Translator::new(Arc::new(mapped(tables.to_vec())));
        Case { translator, relation: Arc::new(relation(owner)) }
    }

    fn insert(&mut self, new: &str) -> Event {
        let change = Change::Insert { relation: self.relation.clone(), new: tuple(new) };
        self.translator.translate(&change, Lsn::ZERO).expect("translated").expect("mapped")
    }

    fn try_update(&mut self, before: Before, new: &str) -> Result<Event, TranslateError> {
        let change = Change::Update { relation: self.relation.clone(), before, new: tuple(new) };
        Ok(self.translator.translate(&change, Lsn::ZERO)?.expect("mapped"))
    }

    fn update(&mut self, before: Before, new: &str) -> Event {
        self.try_update(before, new).expect("translated")
    }

    fn try_delete(&mut self, before: Before) -> Result<Event, TranslateError> {
        let change = Change::Delete { relation: self.relation.clone(), before };
        Ok(self.translator.translate(&change, Lsn::ZERO)?.expect("mapped"))
    }
}

fn key(values: impl IntoIterator<Item = Value>) -> Key {
    Key(values.into_iter().collect())
}

fn int(value: i64) -> Value {
    Value::Integer(value)
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// The table's index: tables are in the order of their names, `customers` before `orders`.
const ORDERS: TableIndex = TableIndex(1);

fn row(properties: [Cell; 2], reference: Reference) -> Row {
    Row { properties: properties.into(), references: vec![reference] }
}

fn set(value: Value) -> Cell {
    Cell::Value(value)
}

#[test]
fn an_insert_carries_everything() {
    let mut case = Case::new(&[customers(), orders()]);
    let full = row([set(int(7)), set(text("hi"))], Reference::To(key([int(7)])));
    assert_eq!(
        case.insert("1 7 hi"),
        Event::Insert { table: ORDERS, key: key([int(1)]), row: full }
    );
    let empty = row([Cell::Null, Cell::Null], Reference::Null);
    assert_eq!(
        case.insert("1 - -"),
        Event::Insert { table: ORDERS, key: key([int(1)]), row: empty }
    );
    assert_eq!(case.translator.take_notices(), []);
}

#[test]
fn an_update_leaves_alone_what_did_not_come() {
    let mut case = Case::new(&[customers(), orders()]);
    let kept = row([set(int(7)), Cell::Unchanged], Reference::To(key([int(7)])));
    assert_eq!(
        case.update(Before::Absent, "1 7 ~"),
        Event::Update { table: ORDERS, key: key([int(1)]), row: kept }
    );
}

#[test]
fn an_old_key_says_nothing_of_other_columns() {
    let mut case = Case::new(&[customers(), orders()]);
    let moved = row([Cell::Unchanged, Cell::Unchanged], Reference::Unchanged);
    let event = case.update(Before::Key(tuple("1 - -")), "2 ~ ~");
    assert_eq!(
        event,
        Event::Move { table: ORDERS, from: key([int(1)]), to: key([int(2)]), row: moved }
    );
}

#[test]
fn an_old_key_that_is_the_same_is_no_move() {
    let documents = table("documents", "id text, body text").pk("id");
    let mut case = Case::new(&[documents]);
    // A TOASTed key column, unchanged by an update of another column.
    let event = case.update(Before::Key(tuple("long -")), "~ new");
    let row = Row { properties: vec![set(text("new"))], references: vec![] };
    assert_eq!(event, Event::Update { table: TableIndex(0), key: key([text("long")]), row });
}

#[test]
fn unchanged_key_columns_come_from_the_old_key() {
    let parts = table("parts", "a text!, b text!, c text").pk("a, b");
    let mut case = Case::new(&[parts]);
    let event = case.update(Before::Key(tuple("x y -")), "~ z ~");
    let row = Row { properties: vec![Cell::Unchanged], references: vec![] };
    let (from, to) = (key([text("x"), text("y")]), key([text("x"), text("z")]));
    assert_eq!(event, Event::Move { table: TableIndex(0), from, to, row });
}

#[test]
fn a_full_old_row_fills_what_is_unchanged() {
    let full = orders().with(|it| it.replica_identity = CatalogIdentity::Full);
    let mut case = Case::new(&[customers(), full]);
    let event = case.update(Before::Full(tuple("1 7 long")), "1 ~ ~");
    let filled = row([set(int(7)), set(text("long"))], Reference::To(key([int(7)])));
    assert_eq!(event, Event::Update { table: ORDERS, key: key([int(1)]), row: filled });
    let event = case.update(Before::Full(tuple("1 7 long")), "2 - ~");
    let moved = row([Cell::Null, set(text("long"))], Reference::Null);
    assert_eq!(
        event,
        Event::Move { table: ORDERS, from: key([int(1)]), to: key([int(2)]), row: moved }
    );
    let deleted = case.try_delete(Before::Full(tuple("1 7 long"))).expect("translated");
    assert_eq!(deleted, Event::Delete { table: ORDERS, key: key([int(1)]) });
}

#[test]
fn a_delete_has_a_key() {
    let mut case = Case::new(&[customers(), orders()]);
    let deleted = case.try_delete(Before::Key(tuple("1 - -"))).expect("translated");
    assert_eq!(deleted, Event::Delete { table: ORDERS, key: key([int(1)]) });
    assert!(matches!(case.try_delete(Before::Absent), Err(TranslateError::NoOldRow { .. })));
}

#[test]
fn a_change_without_its_key_is_an_error() {
    let mut case = Case::new(&[customers(), orders()]);
    let error = case.try_update(Before::Absent, "~ 7 hi").expect_err("no key");
    assert_eq!(error, TranslateError::KeyNotSent { table: name("orders"), column: "id".into() });
    let error = case.try_update(Before::Absent, "- 7 hi").expect_err("NULL key");
    assert_eq!(error, TranslateError::KeyIsNull { table: name("orders"), column: "id".into() });
}

#[test]
fn a_composite_reference_needs_all_its_columns() {
    let lines = table("lines", "o int4!, n int4!").pk("o, n");
    let notes = table("notes", "id int4, n int4, o int4").pk("id").fk("n, o", "lines", "n, o");
    let mut case = Case::new(&[lines, notes]);
    let cases = [
        ("1 5 4", Reference::To(key([int(4), int(5)]))),
        ("1 5 -", Reference::Null),
        ("1 - ~", Reference::Null),
        ("1 ~ -", Reference::Null),
        ("1 ~ ~", Reference::Unchanged),
    ];
    for (new, expected) in cases {
        let Event::Update { row, .. } = case.update(Before::Absent, new) else {
            panic!("no update")
        };
        assert_eq!(row.references, [expected], "{new}");
    }
    assert_eq!(case.translator.take_notices(), []);
    let Event::Update { row, .. } = case.update(Before::Absent, "1 5 ~") else {
        panic!("no update")
    };
    assert_eq!(row.references, [Reference::Unchanged]);
    let notice = Notice::PartlyUnchanged { table: name("notes"), column: "o".into(), count: 1 };
    assert_eq!(case.translator.take_notices(), [notice]);
}

#[test]
fn references_meet_keys_of_other_texts_and_types() {
    let amounts = table("amounts", "amount numeric").pk("amount");
    let owner = table("owners", "id bpchar, hard numeric, soft text")
        .pk("id")
        .fk("hard", "amounts", "amount");
    let yaml = "{tables: {public.owners: {relationships: [
        {type: HARD, columns: [hard], to: public.amounts}, {type: SOFT, columns: [soft], to: public.amounts}]}}}";
    let mapping = edited([amounts, owner.clone()], yaml);
    let mut translator = Translator::new(Arc::new(mapping));
    let relation = Arc::new(relation(&owner));
    let insert = |translator: &mut Translator, new: Tuple| {
        translator
            .translate(&Change::Insert { relation: relation.clone(), new }, Lsn::ZERO)
            .expect("translated")
    };
    let padded = Sent::Text(Bytes::from_static(b"ab  "));
    let new = [padded, tuple("1.00")[0].clone(), tuple("1.0")[0].clone()];
    let Some(Event::Insert { key: own, row, .. }) = insert(&mut translator, new.into()) else {
        panic!()
    };
    assert_eq!(own, key([text("ab")]), "padding is no part of a key");
    let target = Reference::To(key([text("1")]));
    assert_eq!(row.references, [target.clone(), target]);
    let kept = [text("ab  "), text("1.00"), text("1.0")].map(set);
    assert_eq!(row.properties, kept, "properties are as they are");
    let (copied, _) = copied(&mut translator, 0, &[Some(b"1.000")]);
    assert_eq!(copied, key([text("1")]), "what the references lead to");
}

#[test]
fn a_reference_that_no_key_can_equal_is_none_and_counted() {
    let owner = table("owners", "id int4, soft text").pk("id");
    let yaml = "{tables: {public.owners: {relationships: [{type: SOFT, columns: [soft], to: public.customers}]}}}";
    let mut translator = Translator::new(Arc::new(edited([customers(), owner.clone()], yaml)));
    let relation = Arc::new(relation(&owner));
    for soft in ["1 abc", "2 xyz"] {
        let change = Change::Insert { relation: relation.clone(), new: tuple(soft) };
        let Some(Event::Insert { row, .. }) =
            translator.translate(&change, Lsn::ZERO).expect("translated")
        else {
            panic!()
        };
        assert_eq!(row.references, [Reference::Null]);
    }
    let notice = Notice::NoTarget { table: name("owners"), column: "soft".into(), count: 2 };
    assert_eq!(translator.take_notices(), [notice]);
    assert_eq!(translator.take_notices(), [], "taken");
}

#[test]
fn compared_properties_are_in_one_form_on_both_sides() {
    let rates = table("rates", "id int4, rate numeric").pk("id");
    let rates = rates.with(|it| it.unique_keys.push(unique("rates_rate", "rate")));
    let uses = table("uses", "id int4, rate numeric").pk("id").fk("rate", "rates", "rate");
    let mut translator = Translator::new(Arc::new(mapped([rates, uses])));
    let (_, target) = copied(&mut translator, 0, &[Some("1"), Some("0.50")]);
    let (_, owner) = copied(&mut translator, 1, &[Some("9"), Some("0.5")]);
    assert_eq!(target.properties, [text("0.50"), text("0.5")].map(set), "as it is, and to compare");
    assert_eq!(owner.properties, [text("0.5"), text("0.5")].map(set));
    assert_eq!(owner.references, [Reference::To(key([text("0.5")]))]);
}

#[test]
fn a_key_keeps_its_value_beside_what_it_is_compared_by() {
    let mut case = Case::new(&[table("amounts", "amount numeric").pk("amount")]);
    let before = Before::Key(tuple("1.0"));
    let Event::Update { key: one, row, .. } = case.update(before, "1.00") else {
        panic!("the key is the same")
    };
    assert_eq!((one, row.properties), (key([text("1")]), vec![set(text("1.00"))]));
}

#[test]
fn a_join_row_is_its_two_ends() {
    let join =
        table("likes", "order_id int4!, customer_id int4!, since date").pk("order_id, customer_id");
    let join = join.fk("customer_id", "customers", "id").fk("order_id", "orders", "id");
    // In the order of their names: customers, likes, orders.
    let likes = TableIndex(1);
    let mut case = Case::new(&[customers(), orders(), join]);
    let Event::Insert { key: ends, row, .. } = case.insert("4 7 -") else { panic!("no insert") };
    assert_eq!(ends, key([int(4), int(7)]));
    assert_eq!(row.references, [Reference::To(key([int(4)])), Reference::To(key([int(7)]))]);
    assert_eq!(row.properties, [Cell::Null]);
    let moved = case.update(Before::Key(tuple("4 7 -")), "4 8 ~");
    let (from, to) = (key([int(4), int(7)]), key([int(4), int(8)]));
    let references = vec![Reference::To(key([int(4)])), Reference::To(key([int(8)]))];
    let row = Row { properties: vec![Cell::Unchanged], references };
    assert_eq!(moved, Event::Move { table: likes, from: from.clone(), to, row });
    let deleted = case.try_delete(Before::Key(tuple("4 7 -"))).expect("translated");
    assert_eq!(deleted, Event::Delete { table: likes, key: from });
}

#[test]
fn values_that_do_not_fit_are_kept_as_text_and_counted() {
    let days = table("days", "id int4, day date").pk("id");
    let mut case = Case::new(&[days]);
    for day in ["1 infinity", "2 -infinity", "3 2024-01-02"] {
        case.insert(day);
    }
    let notice = Notice::Fallback { table: name("days"), column: "day".into(), count: 2 };
    assert_eq!(case.translator.take_notices(), [notice]);
}

#[test]
fn nan_and_the_infinities_are_keys_like_others() {
    let mut case = Case::new(&[table("floats", "f float8").pk("f")]);
    for (sent, compared) in [("NaN", "NaN"), ("-Infinity", "-Infinity"), ("-0", "0"), ("0", "0")] {
        let Event::Insert { key: made, .. } = case.insert(sent) else { panic!("no insert") };
        assert_eq!(made, key([text(compared)]), "{sent}");
    }
}

#[test]
fn a_truncate_names_the_mapped_tables() {
    let mut case = Case::new(&[customers(), orders()]);
    let log = Arc::new(relation(&table("log", "line text")));
    let relations = vec![log.clone(), case.relation.clone(), Arc::new(relation(&customers()))];
    let event =
        case.translator.translate(&Change::Truncate { relations }, Lsn::ZERO).expect("translated");
    assert_eq!(event, Some(Event::Truncate { tables: vec![ORDERS, TableIndex(0)] }));
    let event = case
        .translator
        .translate(&Change::Truncate { relations: vec![log] }, Lsn::ZERO)
        .expect("translated");
    assert_eq!(event, None);
}

#[test]
fn unmapped_tables_are_passed_over_and_told_once() {
    let mut case = Case::new(&[customers()]);
    let log = Arc::new(relation(&table("log", "line text")));
    for _ in 0..2 {
        let change = Change::Insert { relation: log.clone(), new: tuple("x") };
        assert_eq!(case.translator.translate(&change, Lsn::ZERO), Ok(None));
    }
    assert_eq!(case.translator.take_notices(), [Notice::UnmappedTable { table: name("log") }]);
}

#[test]
fn columns_are_found_by_name_in_every_new_relation() {
    let mut case = Case::new(&[customers(), orders()]);
    case.insert("1 7 hi");
    // ALTER TABLE: a new column, a changed type, another order; then a dropped column.
    let mut altered = (*case.relation).clone();
    altered.columns.reverse();
    altered
        .columns
        .insert(0, RelationColumn { name: "extra".into(), ..altered.columns[0].clone() });
    altered.columns[2].type_oid = 20;
    case.relation = Arc::new(altered.clone());
    let full = row([set(int(7)), set(text("hi"))], Reference::To(key([int(7)])));
    for _ in 0..2 {
        let expected = Event::Insert { table: ORDERS, key: key([int(1)]), row: full.clone() };
        assert_eq!(case.insert("new hi 7 1"), expected);
    }
    let place = |column: &str| (name("orders"), column.to_owned());
    let ((table, column), (other, changed)) = (place("extra"), place("customer_id"));
    let expected = [
        Notice::ExtraColumn { table, column },
        Notice::TypeChanged { table: other, column: changed },
    ];
    assert_eq!(case.translator.take_notices(), expected);

    altered.columns.retain(|column| column.name != "note");
    case.relation = Arc::new(altered);
    let Event::Insert { row, .. } = case.insert("new 7 1") else { panic!("no insert") };
    assert_eq!(row.properties, [set(int(7)), Cell::Unchanged]);
    let (table, column) = place("note");
    assert_eq!(case.translator.take_notices(), [Notice::MissingColumn { table, column }]);
}

#[test]
fn columns_that_are_left_out_on_purpose_are_no_news() {
    let yaml = "{tables: {public.customers: {properties: {exclude: [name]}}}}";
    let mut translator = Translator::new(Arc::new(edited([customers()], yaml)));
    let change = Change::Insert { relation: Arc::new(relation(&customers())), new: tuple("1 x") };
    let Ok(Some(Event::Insert { row, .. })) = translator.translate(&change, Lsn::ZERO) else {
        panic!()
    };
    assert!(row.properties.is_empty());
    assert_eq!(translator.take_notices(), []);
}

#[test]
fn a_stream_without_the_key_stops() {
    let mut case = Case::new(&[customers(), orders()]);
    let good = (*case.relation).clone();
    let mut error = |change: &dyn Fn(&mut Relation)| {
        let mut relation = good.clone();
        change(&mut relation);
        let change = Change::Insert { relation: Arc::new(relation), new: tuple("1 7 hi") };
        case.translator.translate(&change, Lsn::ZERO).expect_err("an error")
    };
    let renamed = error(&|it| it.columns[0].name = "number".into());
    assert_eq!(
        renamed,
        TranslateError::KeyColumnMissing { table: name("orders"), column: "id".into() }
    );
    let weakened = error(&|it| it.columns[0].identity = false);
    assert_eq!(
        weakened,
        TranslateError::KeyNotIdentity { table: name("orders"), column: "id".into() }
    );
    let elsewhere = error(&|it| it.name = "old_orders".into());
    assert_eq!(
        elsewhere,
        TranslateError::Renamed { table: name("orders"), renamed: name("old_orders") }
    );
    for error in [renamed, weakened, elsewhere] {
        assert!(error.to_string().starts_with("public.orders: "), "{error}");
        assert_eq!(*error.table(), name("orders"));
    }
    // The translator does not cache an error as an answer.
    case.insert("1 7 hi");
}

#[test]
fn copy_and_stream_read_the_same_row_alike() {
    let all =
        table("all", "id int8, n numeric, d date, b bytea, f float8, c bpchar, t text, p int8");
    let all = all.pk("id").fk("p", "all", "id");
    let mut case = Case::new(&[all]);
    let words = "1 1.50 2024-02-29 \\x00ff -0 a t 1";
    let Event::Insert { key, row, .. } = case.insert(words) else { panic!("no insert") };
    let mapped = case.translator.mapping().columns(TableIndex(0)).clone();
    let columns: Vec<&str> = Selection::all(&mapped).names(&mapped).collect();
    let sent: Vec<&str> = words.split(' ').collect();
    let texts: Vec<Option<&[u8]>> = columns
        .iter()
        .map(|name| case.relation.columns.iter().position(|it| it.name == *name).expect("sent"))
        .map(|at| Some(sent[at].as_bytes()))
        .collect();
    assert_eq!(copied(&mut case.translator, 0, &texts), (key, row));
    let nulls: Vec<Option<&[u8]>> =
        columns.iter().map(|name| (*name == "id").then_some(b"1".as_slice())).collect();
    let (_, row) = copied(&mut case.translator, 0, &nulls);
    assert!(row.properties.iter().all(|cell| *cell == Cell::Null));
    assert_eq!(row.references, [Reference::Null]);
}

#[test]
fn only_mapped_columns_are_copied() {
    let yaml = "{tables: {public.orders: {properties: {include: [note]}, relationships: []}}}";
    let mapping: Mapping = edited([customers(), orders()], yaml);
    let translator = Translator::new(Arc::new(mapping));
    let mapped = translator.mapping().columns(ORDERS);
    let copied: Vec<&str> = Selection::all(mapped).names(mapped).collect();
    assert_eq!(copied, columns("id, note"));
}

#[test]
fn the_second_pass_of_a_copy_reads_what_refers_and_no_wide_values() {
    let owner = table("owners", "id int4, body text, customer_id int4, note text").pk("id");
    let owner = owner.fk("customer_id", "customers", "id");
    let mut translator = Translator::new(Arc::new(mapped([customers(), owner])));
    let mapping = translator.mapping().clone();
    let owners = mapping.table_index("public", "owners").expect("mapped");
    let selected = |pass| {
        let selection = Selection::of_pass(&mapping, owners, pass);
        let names: Vec<&str> = selection.names(mapping.columns(owners)).collect();
        (names.join(" "), selection)
    };
    assert_eq!(selected(Pass::Nodes).0, "id body customer_id note");
    let (names, selection) = selected(Pass::Relationships);
    assert_eq!(names, "id customer_id");
    let texts = [Some("1"), Some("7")];
    let (_, row) = translator.row_from_text(owners, &selection, &texts).expect("copied");
    assert_eq!(row.references, [Reference::To(key([Value::Integer(7)]))]);
    assert_eq!(row.properties.iter().filter(|it| **it == Cell::Unchanged).count(), 2);
}

#[test]
fn the_second_pass_of_a_copy_reads_no_values_that_others_refer_to() {
    let rates = table("rates", "id int4, rate numeric, note text").pk("id");
    let rates = rates.with(|it| it.unique_keys.push(unique("rates_rate", "rate")));
    let uses = table("uses", "id int4, rate numeric").pk("id").fk("rate", "rates", "rate");
    let mapping = mapped([rates, uses]);
    let names = |table| {
        let table = mapping.table_index("public", table).expect("mapped");
        let selection = Selection::of_pass(&mapping, table, Pass::Relationships);
        selection.names(mapping.columns(table)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("rates"), "id", "its owners look for them");
    assert_eq!(names("uses"), "id rate");
}

/// A row of a copy, of all columns.
fn copied<T: AsRef<[u8]>>(
    translator: &mut Translator,
    table: usize,
    texts: &[Option<T>],
) -> (Key, Row) {
    let table = TableIndex(table);
    let selection = Selection::all(translator.mapping().columns(table));
    translator.row_from_text(table, &selection, texts).expect("copied")
}

#[test]
fn a_key_that_neo4j_can_not_hold_as_its_type_is_counted_as_a_property_is() {
    let days = table("days", "at date").pk("at");
    let mut translator = Translator::new(Arc::new(mapped([days])));
    let (key_of, _) = copied(&mut translator, 0, &[Some(b"2024-03-04")]);
    assert_eq!(translator.take_notices(), [], "{key_of:?}");
    let (key_of, _) = copied(&mut translator, 0, &[Some(b"infinity")]);
    assert_eq!(key_of, key([text("infinity")]));
    let notice = Notice::Fallback { table: name("days"), column: "at".into(), count: 1 };
    assert_eq!(translator.take_notices(), [notice]);
}
