//! Which partition has a row, by its key in the graph: the one that its records go to.

use std::sync::Arc;

use bytes::Bytes;
use wal2graph::change::{Cell, Timestamp};
use wal2graph::envelope::{DecodeOptions, Decoder, Encoder, Format, History, Names, Snapshot};
use wal2graph::graph::TableIndex;
use wal2graph::kafka::owned::{NoPartition, Owned};
use wal2graph::lsn::Lsn;
use wal2graph::mapping::{Edits, Selection, Translator, compile};
use wal2graph::topic::routing::{Layout, Partitions, To};

use super::catalogs::{TableExt, catalog, customers, name, table};

fn names() -> Names {
    let history = History { system_identifier: "7".to_owned(), timeline: 1 };
    let name = || "p".to_owned();
    Names { pipeline: name(), database: name(), version: name(), history }
}

#[test]
fn a_row_belongs_to_the_partition_that_its_records_go_to() {
    let events = table("events", "at timestamp!, note text, name text!, day date!, n int8!");
    let catalog = catalog([customers(), events.pk("n, at, name, day")]);
    let mapping = Arc::new(compile(&catalog, &Edits::default()).unwrap());
    let partitions = Partitions::new(7).unwrap();
    let tables: Vec<TableIndex> = mapping.model.iter().map(|(table, _)| table).collect();
    let owned = Owned::new(&catalog, &mapping, &tables, partitions).unwrap();
    let decoder = Decoder::new(&catalog, DecodeOptions::default());
    let layout = Layout::one(partitions);
    let mut translator = Translator::new(mapping.clone());
    for format in [Format::Json, Format::WithSchemas] {
        let mut encoder = Encoder::new(names(), &catalog).formatted(format);
        for row in 0..200 {
            let events = [
                format!("2024-02-{:02} 01:02:03.{:02}", row % 28 + 1, row % 9 + 1),
                "a note".to_owned(),
                format!("né \"{row}\""),
                format!("2024-03-{:02}", row % 30 + 1),
                (row - 50).to_string(),
            ];
            let customers = [row.to_string(), "n".to_owned()];
            for (of, texts) in [("events", events.to_vec()), ("customers", customers.to_vec())] {
                let relation = decoder.relation(&name(of)).unwrap();
                let cells: Vec<Cell> =
                    texts.iter().map(|text| Cell::Text(Bytes::from(text.clone()))).collect();
                let record = encoder
                    .read(Lsn(1), Snapshot::Inside, relation, &cells, Timestamp::default())
                    .unwrap();
                let To::One(partition) = layout.row(record, relation).unwrap().to else { panic!() };
                let table = mapping.table_index("public", of).unwrap();
                let selection = Selection::of_pass(&mapping, table, wal2graph::graph::Pass::Rows);
                let of_column = |column: &str| {
                    let place = relation.columns.iter().position(|it| it.name == column).unwrap();
                    Some(texts[place].clone())
                };
                let selected: Vec<Option<String>> =
                    selection.names(mapping.columns(table)).map(of_column).collect();
                let (key, _) = translator.row_from_text(table, &selection, &selected).unwrap();
                assert_eq!(owned.partition_of(table, &key), Some(partition), "{of}: {texts:?}");
            }
        }
    }
}

#[test]
fn keys_with_several_texts_are_known_in_one_partition_alone() {
    let prices = table("prices", "price numeric!, note text").pk("price");
    let catalog = catalog([customers(), prices]);
    let mapping = Arc::new(compile(&catalog, &Edits::default()).unwrap());
    let of = |table: &str| mapping.table_index("public", table).unwrap();
    let owned = |tables: &[TableIndex], partitions| {
        Owned::new(&catalog, &mapping, tables, Partitions::new(partitions).unwrap())
    };
    let refused = owned(&[of("customers"), of("prices")], 2).err();
    let expected = NoPartition::SeveralTexts { table: name("prices"), column: "price".to_owned() };
    assert_eq!(refused, Some(expected));
    assert!(owned(&[of("customers")], 2).is_ok());
    let one = owned(&[of("prices")], 1).unwrap();
    let key = wal2graph::graph::Key(vec![wal2graph::value::Value::String("1.5".to_owned())].into());
    assert_eq!(one.partition_of(of("prices"), &key), Some(0));
    assert_eq!(one.partition_of(of("customers"), &key), None, "its rows are in another topic");
}
