//! Rows as Debezium's connector writes them, into a topic for each table.

use std::{fmt::Write as _, io::Write as _, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use fastrand::Rng;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use wal2graph::envelope::{DecimalHandling, TimePrecision};
use wal2graph_servers::Kafka;

use crate::support::Pipeline;

/// How the connector is set.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    /// `value.converter.schemas.enable`.
    pub with_schema: bool,
    pub decimal: DecimalHandling,
    pub time: TimePrecision,
}

impl Modes {
    /// A statement that inserts a customer whose values these modes carry whole.
    pub fn customer(self, prefix: &str, id: i32, rng: &mut Rng) -> String {
        // Debezium's `connect` mode has milliseconds.
        let micros = if self.time == TimePrecision::Connect { 0 } else { rng.u32(..1_000) };
        let at = format!("2024-03-04 05:06:{:02}.{:03}{micros:03}", rng.u8(..60), rng.u16(..1_000));
        let (balance, days) = (self.balance(rng), rng.u16(..30_000));
        format!(
            "INSERT INTO {prefix}_customers VALUES ({id}, 'n{id}', {balance}, \
             date '1950-01-01' + {days}, '{at}', '{at}+00')"
        )
    }

    /// A number with two decimals, or NULL.
    pub fn balance(self, rng: &mut Rng) -> String {
        match rng.u8(..8) {
            0 => "NULL".to_owned(),
            _ => format!("{}.{:02}", rng.i32(-1_000_000..1_000_000), rng.u8(..100)),
        }
    }

    fn decimal(self, hundredths: i64) -> Value {
        match self.decimal {
            DecimalHandling::Precise => {
                let bytes = hundredths.to_be_bytes();
                // The shortest two's complement.
                let needless = |pair: &[u8]| {
                    (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80)
                };
                let start = bytes.windows(2).take_while(|pair| needless(pair)).count();
                json!(STANDARD.encode(&bytes[start..]))
            }
            DecimalHandling::Double => json!(hundredths as f64 / 100.0),
            DecimalHandling::String => {
                let sign = if hundredths < 0 { "-" } else { "" };
                let (whole, rest) =
                    (hundredths.unsigned_abs() / 100, hundredths.unsigned_abs() % 100);
                json!(format!("{sign}{whole}.{rest:02}"))
            }
        }
    }

    /// A timestamp without zone, and its name in a schema.
    fn timestamp(self, micros: i64, text: &str) -> (Value, &'static str) {
        match self.time {
            TimePrecision::Connect => {
                (json!(micros / 1_000), "org.apache.kafka.connect.data.Timestamp")
            }
            TimePrecision::Isostring => {
                (json!(format!("{text}Z")), "io.debezium.time.IsoTimestamp")
            }
            TimePrecision::Nanoseconds => (json!(micros * 1_000), "io.debezium.time.NanoTimestamp"),
            _ => (json!(micros), "io.debezium.time.MicroTimestamp"),
        }
    }

    fn date(self, days: i32, text: &str) -> Value {
        match self.time {
            TimePrecision::Isostring => json!(format!("{text}Z")),
            _ => json!(days),
        }
    }
}

/// A connector with its topics.
pub struct Connector {
    pub modes: Modes,
    prefix: String,
    server: String,
    producer: BaseProducer,
    config: NamedTempFile,
}

impl Connector {
    pub fn new(kafka: &Kafka, server: &str, prefix: &str, modes: Modes) -> Self {
        let topics = ["customers", "orders"].map(|it| format!("{server}.public.{prefix}_{it}"));
        for topic in &topics {
            kafka.create_topic(topic, 1, &[]).unwrap();
        }
        let mut config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let mut text = format!(
            "pipeline: {server}\nhttp: {{listen: \"off\"}}\nkafka:\n  brokers: {}\n  topics: [{}]\n",
            kafka.brokers(),
            topics.join(", ")
        );
        if !modes.with_schema {
            let [decimal, time] = [format!("{:?}", modes.decimal), format!("{:?}", modes.time)]
                .map(|it| it.to_lowercase());
            writeln!(
                text,
                "  debezium: {{decimal_handling_mode: {decimal}, time_precision_mode: {time}}}"
            )
            .unwrap();
        }
        config.write_all(text.as_bytes()).unwrap();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
        Connector { modes, prefix: prefix.to_owned(), server: server.to_owned(), producer, config }
    }

    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// The rows that are there, as a snapshot.
    pub async fn copy(&self, pipeline: &Pipeline) {
        for table in ["customers", "orders"] {
            let ids = format!("SELECT id FROM {}_{table} ORDER BY id", self.prefix);
            let ids = pipeline.sql.query(&ids, &[]).await.unwrap();
            for (index, row) in ids.iter().enumerate() {
                let word = match (table, index, index + 1 == ids.len()) {
                    ("customers", 0, _) => "first",
                    (_, 0, _) => "first_in_data_collection",
                    ("orders", _, true) => "last",
                    (_, _, true) => "last_in_data_collection",
                    _ => "true",
                };
                let after = self.row(pipeline, table, row.get(0)).await;
                self.send(table, row.get(0), self.event("r", table, word, None, Some(after)), &[]);
            }
        }
    }

    pub async fn created(&self, pipeline: &Pipeline, table: &str, id: i32) {
        let after = self.row(pipeline, table, id).await;
        self.send(table, id, self.event("c", table, "false", None, Some(after)), &[]);
    }

    pub async fn updated(&self, pipeline: &Pipeline, table: &str, id: i32) {
        let after = self.row(pipeline, table, id).await;
        self.send(table, id, self.event("u", table, "false", None, Some(after)), &[]);
    }

    pub async fn deleted(&self, table: &str, id: i32) {
        let event = self.event("d", table, "false", Some(json!({"id": id})), None);
        self.send(table, id, event, &[]);
        self.tombstone(table, id);
    }

    /// A change of the key: a delete and an insert, each with the other key in a header.
    pub async fn moved(&self, pipeline: &Pipeline, table: &str, from: i32, to: i32) {
        let event = self.event("d", table, "false", Some(json!({"id": from})), None);
        self.send(table, from, event, &[("__debezium.newkey", self.key(to))]);
        self.tombstone(table, from);
        let after = self.row(pipeline, table, to).await;
        let event = self.event("c", table, "false", None, Some(after));
        self.send(table, to, event, &[("__debezium.oldkey", self.key(from))]);
    }

    /// A row as the modes have it.
    async fn row(&self, pipeline: &Pipeline, table: &str, id: i32) -> Value {
        let prefix = &self.prefix;
        if table == "orders" {
            let text = format!("SELECT id, customer_id, note FROM {prefix}_orders WHERE id = $1");
            let row = pipeline.sql.query_one(&text, &[&id]).await.unwrap();
            return json!({
                "id": row.get::<_, i32>(0),
                "customer_id": row.get::<_, Option<i32>>(1),
                "note": row.get::<_, Option<String>>(2),
            });
        }
        let text = format!(
            "SELECT name, (balance * 100)::int8, born - date '1970-01-01', born::text, \
             (extract(epoch FROM seen) * 1e6)::int8, \
             to_char(seen, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), \
             to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') \
             FROM {prefix}_customers WHERE id = $1"
        );
        let row = pipeline.sql.query_one(&text, &[&id]).await.unwrap();
        let modes = self.modes;
        json!({
            "id": id,
            "name": row.get::<_, Option<String>>(0),
            "balance": row.get::<_, Option<i64>>(1).map(|it| modes.decimal(it)),
            "born": modes.date(row.get(2), row.get(3)),
            "seen": modes.timestamp(row.get(4), row.get(5)).0,
            "at": format!("{}Z", row.get::<_, String>(6)),
        })
    }

    fn event(
        &self,
        op: &str,
        table: &str,
        snapshot: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Value {
        let event = json!({
            "before": before, "after": after, "op": op, "transaction": null,
            "ts_ms": 1_700_000_000_200_u64, "ts_us": 1_700_000_000_200_000_u64,
            "ts_ns": 1_700_000_000_200_000_000_u64,
            "source": {
                "version": "3.1.0.Final", "connector": "postgresql", "name": self.server,
                "ts_ms": 1_700_000_000_123_u64, "snapshot": snapshot, "db": self.server,
                "sequence": "[\"24023119\",\"24023128\"]", "schema": "public",
                "table": format!("{}_{table}", self.prefix), "txId": 770, "lsn": 24_023_128,
                "xmin": null,
            },
        });
        match self.modes.with_schema {
            true => json!({"schema": self.schema(table), "payload": event}),
            false => event,
        }
    }

    /// The schema block of a table's envelope, as far as it is about rows.
    fn schema(&self, table: &str) -> Value {
        let field = |name: &str, of: &str| json!({"field": name, "type": of, "optional": true});
        let named = |name: &str, of: &str, logical: &str| json!({"field": name, "type": of, "optional": true, "name": logical, "version": 1});
        let fields = match table {
            "orders" => {
                json!([
                    field("id", "int32"),
                    field("customer_id", "int32"),
                    field("note", "string")
                ])
            }
            _ => json!([
                field("id", "int32"),
                field("name", "string"),
                {"field": "balance", "type": "bytes", "optional": true, "version": 1,
                 "name": "org.apache.kafka.connect.data.Decimal",
                 "parameters": {"scale": "2", "connect.decimal.precision": "12"}},
                named("born", "int32", "io.debezium.time.Date"),
                named("seen", "int64", self.modes.timestamp(0, "").1),
                named("at", "string", "io.debezium.time.ZonedTimestamp"),
            ]),
        };
        let row = |name: &str| {
            json!({"type": "struct", "fields": fields, "optional": true, "field": name,
                   "name": format!("{}.{table}.Value", self.server)})
        };
        json!({
            "type": "struct", "optional": false, "name": format!("{}.{table}.Envelope", self.server),
            "fields": [row("before"), row("after"), field("op", "string"), field("ts_ms", "int64")],
        })
    }

    fn key(&self, id: i32) -> String {
        let key = json!({"id": id});
        match self.modes.with_schema {
            true => json!({
                "schema": {"type": "struct", "optional": false, "fields": [
                    {"field": "id", "type": "int32", "optional": false}
                ]},
                "payload": key,
            }),
            false => key,
        }
        .to_string()
    }

    fn tombstone(&self, table: &str, id: i32) {
        self.produce(table, &self.key(id), None, &[]);
    }

    fn send(&self, table: &str, id: i32, event: Value, headers: &[(&str, String)]) {
        self.produce(table, &self.key(id), Some(event.to_string()), headers);
    }

    fn produce(&self, table: &str, key: &str, value: Option<String>, headers: &[(&str, String)]) {
        let topic = format!("{}.public.{}_{table}", self.server, self.prefix);
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(value) })
        });
        let mut record: BaseRecord<'_, str, str> =
            BaseRecord::to(&topic).partition(0).key(key).headers(headers);
        record.payload = value.as_deref();
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}
