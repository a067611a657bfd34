//! Values that the stream does not carry: wide ones that an UPDATE left alone, under a new key.

use neo4rs::Query;
use serde_json::Value;
use wal2graph::{
    change::{Cell, Change},
    envelope::{DecodeOptions, Decoded, Decoder},
};

use crate::{
    kafka::{
        Published,
        topic::{records, value},
    },
    support::{client, graph},
};

const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// Of each `c` record, its id and what it has for `big`: how wide, or that it has nothing.
async fn created(published: &Published) -> Vec<(i64, Result<usize, ()>)> {
    let records = records(&published.config()).await;
    let values = records.iter().map(value).filter(|value| value["op"] == "c");
    let width = |value: &Value| match value["after"]["big"].as_str().unwrap() {
        PLACEHOLDER => Err(()),
        big => Ok(big.len()),
    };
    values.map(|value| (value["after"]["id"].as_i64().unwrap(), width(&value))).collect()
}

/// The graph's rows by id, with the width of `big`; those that are not whole in brackets.
async fn in_graph(label: &str) -> String {
    let query = format!(
        "MATCH (n:{label}) WITH n ORDER BY n.id RETURN toString(n.id) + ':' + \
         CASE WHEN n:_Incomplete THEN '(' + coalesce(toString(size(n.big)), '') + ')' \
         ELSE toString(size(n.big)) END AS it"
    );
    let rows = graph().rows(Query::new(query)).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get("it").unwrap()).collect();
    rows.join(" ")
}

async fn applied(published: &Published) {
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn a_row_whose_key_changes_keeps_its_wide_values() {
    let published =
        Published::new("unsent", "CREATE TABLE us_other (id int PRIMARY KEY)", "ack: kafka").await;
    published.catch_up().await;
    // The copy of a table that joins stands at an earlier position than its rows' last changes.
    let sql = &published.pipeline.sql;
    let table = "CREATE TABLE us_things (id int PRIMARY KEY, name text, big text);
        ALTER TABLE us_things ALTER big SET STORAGE EXTERNAL;
        INSERT INTO us_things SELECT g, 'n', repeat('x', 9000 + g) FROM generate_series(1, 30, 10) g";
    sql.batch_execute(table).await.unwrap();
    let name = &published.pipeline.name;
    let publication = format!("ALTER PUBLICATION wal2graph_{name} ADD TABLE us_things");
    sql.batch_execute(&publication).await.unwrap();
    for update in
        ["SET id = 2 WHERE id = 1", "SET id = 3 WHERE id = 2", "SET id = 12 WHERE id = 11"]
    {
        sql.batch_execute(&format!("UPDATE us_things {update}")).await.unwrap();
    }
    published.catch_up().await;
    applied(&published).await;
    assert_eq!(in_graph("UsThing").await, "3:9001 12:9011 21:9021");

    // Behind the copy: a key that changes, changes and is gone, another that takes its place, a
    // value that is newer than the change of the key.
    sql.batch_execute(
        "UPDATE us_things SET id = 4 WHERE id = 3; UPDATE us_things SET id = 13 WHERE id = 12;
         UPDATE us_things SET id = 14 WHERE id = 13; DELETE FROM us_things WHERE id = 14",
    )
    .await
    .unwrap();
    sql.batch_execute("INSERT INTO us_things VALUES (14, 'n', repeat('y', 8000))").await.unwrap();
    sql.batch_execute("UPDATE us_things SET id = 22 WHERE id = 21").await.unwrap();
    let update = "UPDATE us_things SET big = repeat('z', 7000), name = 'm' WHERE id = 22";
    sql.batch_execute(update).await.unwrap();
    published.catch_up().await;
    let created = created(&published).await;
    for (id, expected) in [(4, Ok(9001)), (12, Ok(9011)), (13, Err(())), (22, Ok(7000))] {
        let found: Vec<_> = created.iter().filter(|(it, _)| *it == id).collect();
        assert!(matches!(found[..], [(_, found)] if *found == expected), "{id}: {created:?}");
    }
    applied(&published).await;
    assert_eq!(in_graph("UsThing").await, "4:9001 14:8000 22:7000");
}

#[tokio::test]
async fn a_whole_table_gets_new_keys_and_no_value_is_left_out_or_looks_otherwise() {
    let schema = r#"CREATE TABLE ul_things (a text, b int, flag bool DEFAULT true, doc jsonb, raw bytea,
            list text[], note text, PRIMARY KEY (b, a));
        ALTER TABLE ul_things ALTER doc SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL,
            ALTER list SET STORAGE EXTERNAL, ALTER note SET STORAGE EXTERNAL;
        INSERT INTO ul_things SELECT 'o''' || g || '\', g % 7, g % 2 = 0,
            jsonb_build_object('k', repeat(E'ä\t', 2000)), decode(repeat('00ff', 2000), 'hex'),
            array_fill('a,"b'::text, ARRAY[600]), CASE WHEN g % 3 > 0 THEN repeat(E'x\ty\n', 1000) END
            FROM generate_series(1, 150) g"#;
    let published = Published::new("unsent_all", schema, "ack: kafka").await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    sql.batch_execute("UPDATE ul_things SET b = b + 100, a = a || '\"'").await.unwrap();
    published.catch_up().await;

    let mut sql = client(&published.pipeline.source_url).await;
    let catalog = wal2graph::postgres::catalog::read(&mut sql, None).await.unwrap();
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    let mut decoded = Vec::new();
    let records = records(&published.config()).await;
    records.iter().for_each(|record| decoder.record(record, &mut decoded).unwrap());
    let text = |cell: &Cell| match cell {
        Cell::Null => None,
        Cell::Unchanged => panic!("a value was left out"),
        Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
    };
    let moved = decoded.iter().filter_map(|said| match said {
        Decoded::Change { change: Change::Update { new, .. }, .. } => {
            Some(new.iter().map(text).collect::<Vec<_>>())
        }
        _ => None,
    });
    let mut moved: Vec<_> = moved.collect();
    moved.sort();
    let rows = "SELECT a, b::text, CASE WHEN flag THEN 't' ELSE 'f' END, doc::text, raw::text, list::text, note \
                FROM ul_things ORDER BY a COLLATE \"C\"";
    let rows = sql.query(rows, &[]).await.unwrap();
    let rows: Vec<Vec<Option<String>>> =
        rows.iter().map(|row| (0..7).map(|column| row.get(column)).collect()).collect();
    assert_eq!(moved.len(), 150);
    assert!(moved == rows, "what is read by key has the stream's own text");
}
