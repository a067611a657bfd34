//! Values that the stream does not carry: wide ones that an UPDATE left alone, under a new key.

use neo4rs::Query;
use serde_json::Value;

use crate::{
    kafka::{
        Published,
        topic::{records, value},
    },
    support::graph,
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
