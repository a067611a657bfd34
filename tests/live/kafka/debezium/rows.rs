//! Rows without envelopes: what the real `ExtractNewRecordState` leaves of what Debezium's real connector reads
//! becomes the graph. `make test-connect` runs it: it fetches Connect and the connectors.

use std::io::Write;

use tempfile::NamedTempFile;
use wal2graph_servers::Connect;

use super::{
    super::{debezium_source, kafka},
    expected, found, schema,
};
use crate::support::{Pipeline, until};

/// How the transform is set, and what the file says of the values.
struct Set {
    prefix: &'static str,
    /// `delete.tombstone.handling.mode`.
    deletes: &'static str,
    /// More lines of the connector.
    connector: &'static str,
    /// More of `kafka.debezium`.
    debezium: &'static str,
}

/// Changes of every kind; `P` is the prefix.
const CHANGES: &[&str] = &[
    "INSERT INTO P_customers VALUES (100, NULL, NULL, '2024-03-04', '2024-03-04 05:06:07', \
     '2024-03-04 05:06:07+02'), (101, 'ä \u{1F600}', -0.05, \
     '1969-12-31', '2024-03-04 05:06:07.123', '2024-03-04 05:06:07.123+02')",
    "BEGIN; UPDATE P_customers SET name = 'first' WHERE id = 1; UPDATE P_customers SET name = 'second', \
     balance = NULL WHERE id = 1; COMMIT",
    "UPDATE P_customers SET id = 200 WHERE id = 3",
    "UPDATE P_orders SET id = id + 1000, note = 'moved' WHERE id BETWEEN 5 AND 9",
    "UPDATE P_orders SET customer_id = 101 WHERE id = 10",
    "DELETE FROM P_orders WHERE id BETWEEN 11 AND 14",
    "BEGIN; DELETE FROM P_orders WHERE id = 15; INSERT INTO P_orders VALUES (15, 100, 'again'); COMMIT",
    "DELETE FROM P_orders WHERE customer_id = 2; DELETE FROM P_customers WHERE id = 2",
];

fn connector(set: &Set, database: &str) -> String {
    let Set { prefix, deletes, connector, .. } = set;
    let tables = format!("public.{prefix}_customers,public.{prefix}_orders");
    let source = debezium_source(prefix, database, &tables);
    format!(
        "{source}\
         transforms=rows\n\
         transforms.rows.type=io.debezium.transforms.ExtractNewRecordState\n\
         transforms.rows.delete.tombstone.handling.mode={deletes}\n\
         {connector}"
    )
}

async fn is_applied(set: Set) {
    let prefix = set.prefix;
    let pipeline = Pipeline::new(prefix, &schema(prefix)).await;
    let copied = format!(
        "INSERT INTO {prefix}_customers SELECT g, 'Ann ' || g, g * 1.25, date '2024-03-04' + g, \
         '2024-03-04 05:06:07.123', '2024-03-04 05:06:07.5+02' FROM generate_series(1, 20) g; \
         INSERT INTO {prefix}_orders SELECT g, g % 4 + 1, 'copied' FROM generate_series(1, 40) g"
    );
    pipeline.sql.batch_execute(&copied).await.unwrap();
    let topics =
        ["customers", "orders"].map(|it| format!("{}.public.{prefix}_{it}", pipeline.name));
    for topic in &topics {
        kafka().create_topic(topic, 1, &[]).unwrap();
    }
    let mut config: NamedTempFile = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        config,
        "pipeline: {}\nhttp: {{listen: \"off\"}}\nkafka:\n  brokers: {}\n  topics: [{}]\n  \
         debezium: {{records: rows{}}}\n",
        pipeline.name,
        kafka().brokers(),
        topics.join(", "),
        set.debezium
    )
    .unwrap();
    let connector = connector(&set, &pipeline.name);
    let connect = Connect::start(&kafka().brokers(), &[&connector]).unwrap();
    let path = config.path().display().to_string();
    let log = tempfile::NamedTempFile::new().unwrap();
    let _apply = pipeline.start_logging(&["apply", "-c", &path], log.reopen().unwrap());
    becomes_equal(&connect, &pipeline, prefix).await;
    for change in CHANGES {
        let change = change.replace("P_", &format!("{prefix}_"));
        pipeline.sql.batch_execute(&change).await.unwrap();
    }
    becomes_equal(&connect, &pipeline, prefix).await;
}

async fn becomes_equal(connect: &Connect, pipeline: &Pipeline, prefix: &str) {
    let is_equal = async || {
        let status = connect.status(prefix).unwrap_or_default();
        assert!(!status.contains("FAILED"), "{status}\n{}", connect.log());
        found(prefix).await == expected(pipeline, prefix).await
    };
    until("the graph is equal", is_equal).await;
    let (customers, orders) = found(prefix).await;
    println!("{prefix}: {} customers, {} orders, {}", customers.len(), orders.len(), customers[0]);
    assert!(customers.len() > 10 && orders.len() > 10);
}

#[tokio::test]
#[ignore = "fetches Kafka Connect and Debezium's connectors: make test-connect"]
async fn rows_whose_deletes_are_tombstones_with_schema_blocks() {
    is_applied(Set { prefix: "krt", deletes: "tombstone", connector: "", debezium: "" }).await;
}

#[tokio::test]
#[ignore = "fetches Kafka Connect and Debezium's connectors: make test-connect"]
async fn rows_whose_deletes_are_marked_with_added_fields_and_without_schema_blocks() {
    let connector = "transforms.rows.add.fields=op,source.lsn,source.ts_ms,table\n\
        transforms.rows.add.headers=op\n\
        decimal.handling.mode=string\n\
        time.precision.mode=connect\n\
        key.converter=org.apache.kafka.connect.json.JsonConverter\n\
        key.converter.schemas.enable=false\n\
        value.converter=org.apache.kafka.connect.json.JsonConverter\n\
        value.converter.schemas.enable=false\n";
    let debezium = ", decimal_handling_mode: string, time_precision_mode: connect";
    is_applied(Set { prefix: "krw", deletes: "rewrite", connector, debezium }).await;
}
