//! Records of tables that are not as the catalog has them.

use wal2graph::catalog::{Catalog, Table, TableName};
use wal2graph::change::Change;
use wal2graph::envelope::{DecodeOptions, Decoded, Decoder, Expected, Record};
use wal2graph::lsn::Lsn;

use super::support::*;

/// The shop with another form of its customers.
fn shop_with(change: impl Fn(&mut Table)) -> Catalog {
    let mut shop = shop();
    shop.tables.iter_mut().filter(|it| it.name.name == "customers").for_each(change);
    shop
}

/// A customer that comes in this form.
fn inserted(catalog: &Catalog) -> Record {
    let mut both = Both::new(catalog);
    let oid = shop().tables[0].oid;
    let table = catalog.tables.iter().find(|it| it.oid == oid).unwrap();
    let relation = both.decoder.relation(&table.name).unwrap().clone();
    let mut new = tuple(&vec![None; relation.columns.len()]);
    new[0] = text("7");
    new[1] = text("Ann");
    both.encode(&place(3, Some(97_500_060_000)), &Change::Insert { relation, new }).remove(0)
}

#[test]
fn records_of_a_paused_table_are_not_read() {
    let record = inserted(&shop());
    let was = shop_with(|it| it.columns[0].type_oid = 16);
    let decoder = Decoder::new(&was, DecodeOptions::default());
    assert!(decode_one(&mut decoder.clone(), &record).is_err(), "it is not of the types of then");
    let name = TableName::new("public", "customers");
    let decoded = decode_one(&mut decoder.passing_over([&name]), &record).unwrap();
    let Decoded::PassedOver { source } = decoded else { panic!("{decoded:?}") };
    assert_eq!(source.place, Some(place(3, Some(97_500_060_000))), "its transaction ends with it");
}

#[test]
fn a_record_behind_the_look_says_that_its_table_has_changed() {
    type Form = fn(&mut Table);
    let forms: [(&str, Form, bool); 6] = [
        ("as it is", |_| (), false),
        ("another type", |it| it.columns[1].type_oid = 1043, false),
        ("another name of a column", |it| it.columns[2].name = "picture".to_owned(), true),
        ("a column less", |it| drop(it.columns.pop()), true),
        (
            "a column more",
            |it| {
                let new = it.columns[1].clone();
                it.columns.push(wal2graph::catalog::Column {
                    name: "new".to_owned(),
                    number: 9,
                    ..new
                });
            },
            true,
        ),
        ("another name of the table", |it| it.name.name = "people".to_owned(), true),
    ];
    let cluster = Some(history().system_identifier);
    let expected = Expected { cluster, ..Expected::default() };
    let committed = place(3, None).commit_lsn;
    for (what, form, has_changed) in forms {
        let record = inserted(&shop_with(form));
        let decoder = Decoder::new(&shop(), DecodeOptions::default()).expecting(expected.clone());
        let read = |from: Option<Lsn>| {
            let name = TableName::new("public", "customers");
            let decoder = decoder.clone();
            let mut decoder = match from {
                Some(from) => decoder.as_catalog_from(from, [&name]),
                None => decoder,
            };
            decode_one(&mut decoder, &record).unwrap()
        };
        let is_reshaped = |from| matches!(read(from), Decoded::Reshaped { .. });
        assert_eq!(is_reshaped(Some(committed)), has_changed, "{what}");
        assert!(!is_reshaped(Some(Lsn(committed.0 + 1))), "{what}: it is of before the look");
        assert!(!is_reshaped(None), "{what}: nobody compares");
    }
}
