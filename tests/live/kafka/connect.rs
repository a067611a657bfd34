//! What `publish` writes with schema blocks, read by Kafka Connect itself: Debezium's JDBC sink makes
//! another database equal to the source, from envelopes and from what `ExtractNewRecordState` leaves of
//! them; and compared with what Debezium's own connector writes. `make test-connect` runs it: it fetches Connect and the sink.

use serde_json::Value;
use wal2graph::envelope::Record;
use wal2graph_servers::Connect;

use super::{
    Published, debezium_source, kafka,
    topic::{raw_records, records},
};
use crate::support::{Pipeline, client, new_database, postgres, until};

/// Two tables, with a column of each kind that the sink has a type for.
const SCHEMA: &str = "CREATE TABLE sk_customers (id int PRIMARY KEY, name text, balance numeric(12,2), \
     small smallint, big bigint, r real, d double precision, ok boolean, born date, wakes time, \
     seen timestamp, at timestamptz, data jsonb, tag uuid, photo bytea, tags text[], numbers int[], \
     span interval, grid int[]);
     CREATE TABLE sk_orders (customer int, number int, note text, PRIMARY KEY (customer, number))";

const COPIED: &str = "INSERT INTO sk_customers SELECT g, 'Ann ' || g, g * 1.25, g, g * 10000000000, g / 4.0, g / 3.0, \
     g % 2 = 0, date '2024-03-04' + g, '05:06:07.12', '2024-03-04 05:06:07.123456', '2024-03-04 05:06:07.5+02', \
     '{\"a\": [1, null]}', gen_random_uuid(), '\\x00ff', ARRAY['x', NULL, 'a \"b\"'], ARRAY[1, NULL, -3], \
     '1 year 2 days 03:04:05', CASE g % 3 WHEN 0 THEN '{{1,2},{3,4}}' WHEN 1 THEN '[0:1]={5,6}' ELSE '{7}' END::int[] \
     FROM generate_series(1, 20) g;
     INSERT INTO sk_orders SELECT g % 5, g, 'copied' FROM generate_series(1, 40) g";

/// Changes of every kind, with several of one row in one transaction.
const CHANGES: &[&str] = &[
    "INSERT INTO sk_customers (id, name) VALUES (100, NULL), (101, 'ä \u{1F600}')",
    "BEGIN; UPDATE sk_customers SET name = 'first' WHERE id = 1; UPDATE sk_customers SET name = 'second', \
     balance = NULL WHERE id = 1; UPDATE sk_customers SET data = '[]', tags = '{}' WHERE id = 2; COMMIT",
    "UPDATE sk_customers SET id = 200 WHERE id = 3",
    "UPDATE sk_customers SET grid = '{{8},{9}}' WHERE id = 9; UPDATE sk_customers SET grid = '{1}' WHERE id = 12",
    "DELETE FROM sk_customers WHERE id BETWEEN 4 AND 7",
    "BEGIN; DELETE FROM sk_customers WHERE id = 8; INSERT INTO sk_customers (id, name, ok) VALUES (8, 'again', true); COMMIT",
    "UPDATE sk_orders SET number = number + 100, note = NULL WHERE customer = 2",
    "DELETE FROM sk_orders WHERE customer = 3",
];

/// A sink into the database of a copied schema. `more` is of this connector alone.
fn sink(name: &str, published: &Published, database: &str, more: &str) -> String {
    let (topic, port) = (&published.config().kafka().unwrap().topic.to_string(), postgres().port());
    format!(
        "name={name}\n\
         connector.class=io.debezium.connector.jdbc.JdbcSinkConnector\n\
         tasks.max=1\n\
         topics={topic}\n\
         header.converter=org.apache.kafka.connect.storage.StringConverter\n\
         connection.url=jdbc:postgresql://127.0.0.1:{port}/{database}?stringtype=unspecified\n\
         connection.username=postgres\n\
         connection.password=none\n\
         insert.mode=upsert\n\
         delete.enabled=true\n\
         primary.key.mode=record_key\n\
         schema.evolution=none\n\
         predicates=heartbeat,tombstone\n\
         predicates.heartbeat.type=org.apache.kafka.connect.transforms.predicates.HasHeaderKey\n\
         predicates.heartbeat.name=wal2graph.copied\n\
         predicates.tombstone.type=org.apache.kafka.connect.transforms.predicates.RecordIsTombstone\n\
         transforms.rows.type=org.apache.kafka.connect.transforms.Filter\n\
         transforms.rows.predicate=heartbeat\n\
         {more}"
    )
}

/// What a table has.
async fn rows(sql: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let text = format!("SELECT row_to_json(t)::text FROM {table} t ORDER BY 1");
    let rows = sql.query(&text, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until a sink's tables have what the source's have.
async fn becomes_equal(
    connect: &Connect,
    connector: &str,
    source: &Pipeline,
    database: &str,
    tables: &[&str],
) {
    let sql = client(&postgres().url(database)).await;
    let is_equal = async || {
        let status = connect.status(connector).unwrap_or_default();
        assert!(!status.contains("FAILED"), "{status}\n{}", connect.log());
        for table in tables {
            if rows(&source.sql, table).await != rows(&sql, table).await {
                return false;
            }
        }
        true
    };
    until(&format!("{database} is equal"), is_equal).await;
    for table in tables {
        let found = rows(&sql, table).await;
        println!("{database}.{table}: {} rows, {}", found.len(), found[0]);
        assert!(!found.is_empty());
    }
}

async fn database_for(name: &str) -> String {
    let database = new_database(name).await;
    client(&postgres().url(&database)).await.batch_execute(SCHEMA).await.unwrap();
    database
}

#[tokio::test]
#[ignore = "fetches Kafka Connect and Debezium's JDBC sink: make test-connect"]
async fn debeziums_jdbc_sink_makes_another_database_equal() {
    const TABLES: [&str; 2] = ["sk_customers", "sk_orders"];
    let published = Published::new("connect", SCHEMA, "ack: kafka, format: json-schema").await;
    published.pipeline.sql.batch_execute(COPIED).await.unwrap();
    published.catch_up().await;
    let database = database_for("connect_sink").await;
    let of_envelopes = "transforms=rows,values\n\
        transforms.values.type=org.apache.kafka.connect.transforms.Filter\n\
        transforms.values.predicate=tombstone\n\
        truncate.enabled=true\n\
        collection.name.format=${source.table}\n";
    let sink = sink("envelopes", &published, &database, of_envelopes);
    let connect = Connect::start(&kafka().brokers(), &[&sink]).unwrap();
    becomes_equal(&connect, "envelopes", &published.pipeline, &database, &TABLES).await;
    for change in CHANGES {
        published.pipeline.sql.batch_execute(change).await.unwrap();
    }
    published.catch_up().await;
    becomes_equal(&connect, "envelopes", &published.pipeline, &database, &TABLES).await;
    let truncate =
        "BEGIN; TRUNCATE sk_orders; INSERT INTO sk_orders VALUES (1, 1, 'after'); COMMIT";
    published.pipeline.sql.batch_execute(truncate).await.unwrap();
    published.catch_up().await;
    becomes_equal(&connect, "envelopes", &published.pipeline, &database, &TABLES).await;
}

/// What is left of an envelope does not name its table: the topic has one alone.
#[tokio::test]
#[ignore = "fetches Kafka Connect and Debezium's JDBC sink: make test-connect"]
async fn extract_new_record_state_makes_another_database_equal() {
    let published = Published::new("unwrapped", SCHEMA, "ack: kafka, format: json-schema").await;
    let sql = &published.pipeline.sql;
    let publication =
        format!("CREATE PUBLICATION wal2graph_{} FOR TABLE sk_customers", published.pipeline.name);
    sql.batch_execute("DROP TABLE sk_orders").await.unwrap();
    sql.batch_execute(&COPIED[..COPIED.find("INSERT INTO sk_orders").unwrap()]).await.unwrap();
    sql.batch_execute(&publication).await.unwrap();
    published.catch_up().await;
    let database = database_for("unwrapped_sink").await;
    let unwrapped = "transforms=rows,unwrap\n\
        transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState\n\
        transforms.unwrap.delete.tombstone.handling.mode=tombstone\n\
        collection.name.format=sk_customers\n";
    let sink = sink("unwrapped", &published, &database, unwrapped);
    let connect = Connect::start(&kafka().brokers(), &[&sink]).unwrap();
    becomes_equal(&connect, "unwrapped", &published.pipeline, &database, &["sk_customers"]).await;
    for change in CHANGES.iter().filter(|change| !change.contains("sk_orders")) {
        sql.batch_execute(change).await.unwrap();
    }
    published.catch_up().await;
    becomes_equal(&connect, "unwrapped", &published.pipeline, &database, &["sk_customers"]).await;
}

/// Reads what a topic has, once it has something.
async fn first_of(topic: &str) -> Record {
    let brokers = kafka().brokers();
    let mut found = None;
    until(&format!("{topic} has a record"), async || {
        found = raw_records(&brokers, topic).await.into_iter().find(|it| it.value.is_some());
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn json(bytes: &Option<bytes::Bytes>) -> Value {
    serde_json::from_slice(bytes.as_deref().unwrap()).unwrap()
}

/// The names of the fields of a struct's schema.
fn fields(schema: &Value) -> Vec<&str> {
    let fields = schema["fields"].as_array().unwrap();
    fields.iter().map(|field| field["field"].as_str().unwrap()).collect()
}

fn field<'a>(schema: &'a Value, name: &str) -> &'a Value {
    let fields = schema["fields"].as_array().unwrap();
    fields.iter().find(|field| field["field"] == name).unwrap()
}

#[tokio::test]
#[ignore = "fetches Kafka Connect and Debezium's connectors: make test-connect"]
async fn a_logical_message_has_the_form_of_debeziums_connector() {
    let schema = "CREATE TABLE sm_things (id int PRIMARY KEY)";
    let section = "ack: kafka, format: json-schema, messages: true";
    let published = Published::new("connector_messages", schema, section).await;
    published.catch_up().await;
    let (sql, name) = (&published.pipeline.sql, &published.pipeline.name);
    let topic = format!("{name}.message");
    kafka().create_topic(&topic, 1, &[]).unwrap();
    let connector =
        debezium_source("messages", name, "public.sm_things") + "snapshot.mode=no_data\n";
    let connect = Connect::start(&kafka().brokers(), &[&connector]).unwrap();
    let slot =
        format!("SELECT active FROM pg_replication_slots WHERE slot_name = 'debezium_{name}'");
    until("the connector streams", async || {
        let status = connect.status("messages").unwrap_or_default();
        assert!(!status.contains("FAILED"), "{status}\n{}", connect.log());
        let row = sql.query_opt(&slot, &[]).await.unwrap();
        row.is_some_and(|row| row.get(0))
    })
    .await;
    sql.batch_execute("SELECT pg_logical_emit_message(true, 'outbox', 'hello')").await.unwrap();
    published.catch_up().await;
    let theirs = first_of(&topic).await;
    let is_message = |record: &Record| json(&record.value)["payload"]["op"] == "m";
    let ours = records(&published.config()).await.into_iter().find(is_message).unwrap();
    println!("{}\n{}", json(&theirs.value), json(&ours.value));
    assert_eq!(json(&ours.key), json(&theirs.key));
    let [(ours_schema, ours), (schema, theirs)] = [&ours, &theirs].map(|record| {
        let value = json(&record.value);
        (value["schema"].clone(), value["payload"].clone())
    });
    assert_eq!(fields(&ours_schema), fields(&schema));
    for of in ["name", "version", "optional", "type"] {
        assert_eq!(ours_schema[of], schema[of], "{of}");
    }
    assert_eq!(field(&ours_schema, "message"), field(&schema, "message"));
    assert_eq!(ours["message"], theirs["message"]);
    let names = |of: &Value| -> Vec<String> { of.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&ours), names(&theirs));
    for name in names(&theirs["source"]) {
        assert!(ours["source"].get(&name).is_some(), "source.{name}");
    }
    for name in ["connector", "name", "db", "schema", "table", "txId", "snapshot"] {
        assert_eq!(ours["source"][name], theirs["source"][name], "source.{name}");
    }
}
