//! Configuration files, good and bad.

use std::{fs, path::Path, time::Duration};

use wal2graph::{
    catalog::TableName,
    cli::Global,
    config::{Config, ConfigError, Listen, OnSlotLost, OnStop, OnWalBudget, RawConfig},
    envelope::{DecimalHandling, TimePrecision},
    health::budget::{Bytes, WalBudget},
    kafka::{Ack, Decoding, NewTopic, Options, Retention, Unreadable},
    topic::TopicName,
};

fn nothing(_: &str) -> Option<String> {
    None
}

fn load(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    load_with(text, environment, Global::default())
}

fn load_with(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    flags: Global,
) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    fs::write(&path, text).unwrap();
    Config::load(&Global { config: Some(path), ..flags }, environment)
}

fn login(config: &Config) -> (String, String) {
    let graph = config.graph().unwrap();
    (graph.user, graph.password)
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

const WHOLE: &str = "
pipeline: shop
source:
  url: postgres://cdc:${PG_PASSWORD}@db:5432/shop?sslmode=verify-full
  failover: true
  wal_budget: {warn: 512MB, stop: 20GiB}
graph:
  url: bolt://localhost:7687
  user: writer
  password: ${NEO4J:-changeit}
  database: graphs
mapping:
  numeric: auto
tables:
  public.customers:
    label: Customer
  public.orders:
    label: Order
    properties: {exclude: [note], rename: {placed_at: placedAt}}
    relationships:
      - {type: PLACED_BY, columns: [customer_id], to: public.customers}
  public.order_items:
    relationship:
      type: CONTAINS
      from: {columns: [order_id], to: public.orders}
      to: {columns: [product_id], to: public.products}
on_slot_lost: ${LOST:-repair}
on_wal_budget: drop
on_stop: ${STOP:-stay}
limits:
  copy_lanes: 2
kafka:
  brokers: one:9092,two:9092
  topic: shop.changes
  group: appliers
  ack: kafka
  partitions: 4
  replication_factor: 3
  retention: 14d
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: PLAIN
    sasl.password: ${NEO4J:-changeit}
    linger.ms: 5
    enable.ssl.certificate.verification: false
http:
  listen: 0.0.0.0:9000
  ready_lag: 5m
  progress_timeout: 1500ms
";

#[test]
fn a_whole_file_is_understood() {
    let environment = |name: &str| (name == "PG_PASSWORD").then(|| "secret".to_owned());
    let config = load(WHOLE, &environment).unwrap();
    assert_eq!((config.pipeline.as_str(), config.limits.copy_lanes), ("shop", 2));
    assert_eq!(config.policies.on_slot_lost, OnSlotLost::Repair);
    assert_eq!(config.policies.on_wal_budget, OnWalBudget::Drop);
    assert_eq!(config.policies.on_stop, OnStop::Stay);
    let budget = WalBudget { warn: Some(Bytes(512 << 20)), stop: Some(Bytes(20 << 30)) };
    assert_eq!((config.wal_budget, config.failover), (budget, true));
    assert_eq!(
        (config.slot.as_str(), config.publication.as_str()),
        ("wal2graph_shop", "wal2graph_shop")
    );
    assert_eq!(config.source().database(), "shop");
    assert_eq!(login(&config), pair("writer", "changeit"));
    assert_eq!(config.graph().unwrap().database.as_deref(), Some("graphs"));
    assert_eq!(config.edits.tables.len(), 3);
    assert_eq!(config.http.listen, Listen::At("0.0.0.0:9000".to_owned()));
    assert_eq!(config.http.limits.ready_lag, Duration::from_secs(300));
    assert_eq!(config.http.limits.progress_timeout, Duration::from_millis(1_500));
    let kafka = config.kafka().unwrap();
    assert_eq!(kafka.brokers, "one:9092,two:9092");
    assert_eq!((kafka.topic.as_str(), kafka.group.as_str()), ("shop.changes", "appliers"));
    assert_eq!(kafka.ack, Ack::Kafka);
    let retention = Some(Retention::For(Duration::from_hours(14 * 24)));
    let new_topic = NewTopic { partitions: Some(4), replication_factor: Some(3), retention };
    assert_eq!(kafka.new_topic, new_topic);
    let properties: Vec<_> = kafka.properties.now().into_iter().collect();
    let expected = [
        ("enable.ssl.certificate.verification", "false"),
        ("linger.ms", "5"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.password", "changeit"),
        ("security.protocol", "SASL_SSL"),
    ];
    assert_eq!(properties, expected.map(|(name, value)| pair(name, value)));
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret") && !shown.contains("changeit"), "{shown}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_environment() {
    let flags = Global {
        source_url: Some("postgres://u@other/else".to_owned()),
        graph_url: Some("neo4j+s://ann:pass@graph:7000".to_owned()),
        ..Global::default()
    };
    let environment = |name: &str| (name == "NEO4J_PASSWORD").then(|| "from outside".to_owned());
    let config = load_with("graph: {user: file}", &environment, flags).unwrap();
    assert_eq!((config.pipeline.as_str(), config.source().database()), ("else", "else"));
    assert_eq!(config.graph().unwrap().url, "neo4j+s://graph:7000");
    assert_eq!(login(&config), pair("ann", "pass"));
    let from_variables = |name: &str| {
        let value = match name {
            "PGHOST" => "db",
            "PGUSER" => "me",
            "PGDATABASE" => "My-Shop",
            "NEO4J_PASSWORD" => "from outside",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = load("graph: {url: 'bolt://g:1'}", &from_variables).unwrap();
    assert_eq!((config.pipeline.as_str(), login(&config).1.as_str()), ("my_shop", "from outside"));
}

#[test]
fn user_and_password_in_the_graphs_url_were_not_decoded() {
    let at = |url: &str| {
        let source = "source: {url: 'postgres://u@h/d'}";
        load(&format!("{source}\ngraph: {{url: '{url}'}}"), &|_| None)
    };
    let config = at("bolt://a%40b:p%3A%25%2F@g:1").unwrap();
    assert_eq!(config.graph().unwrap().url, "bolt://g:1");
    assert_eq!(login(&config), pair("a@b", "p:%/"));
    let error = at("bolt://a:secret%zz@g:1").unwrap_err().to_string();
    assert!(error.contains("write % as %25") && !error.contains("secret"), "{error}");
}

#[test]
fn the_variables_that_aura_hands_out_are_enough_and_the_file_wins_over_them() {
    let from_aura = |name: &str| {
        let value = match name {
            "NEO4J_URI" => "neo4j+s://a1b2.databases.neo4j.io",
            "NEO4J_USERNAME" => "a1b2",
            "NEO4J_PASSWORD" => "from aura",
            "NEO4J_DATABASE" => "a1b2",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let source = "source: {url: 'postgres://u@h/d'}\n";
    let config = load(source, &from_aura).unwrap();
    let graph = config.graph().unwrap();
    assert_eq!(graph.url, "neo4j+s://a1b2.databases.neo4j.io");
    assert_eq!(
        (login(&config), graph.database.as_deref()),
        (pair("a1b2", "from aura"), Some("a1b2"))
    );
    let file = format!("{source}graph: {{url: 'bolt://g:1', user: file, database: other}}\n");
    let config = load(&file, &from_aura).unwrap();
    let graph = config.graph().unwrap();
    assert_eq!((graph.url.as_str(), login(&config).0.as_str()), ("bolt://g:1", "file"));
    assert_eq!(graph.database.as_deref(), Some("other"));
}

#[test]
fn http_is_at_its_default_at_another_address_or_off() {
    let urls = "source: {url: 'postgres://u@h/d'}\ngraph: {url: 'bolt://g'}\n";
    let listen = |text: &str, flag: Option<&str>| {
        let flags = Global { http: flag.map(str::to_owned), ..Global::default() };
        load_with(&format!("{urls}{text}"), &nothing, flags).unwrap().http.listen
    };
    let at = |address: &str| Listen::At(address.to_owned());
    assert_eq!(listen("", None), Listen::Default);
    assert_eq!(listen("http: {listen: off}", None), Listen::Off);
    assert_eq!(listen("", Some("off")), Listen::Off);
    assert_eq!(listen("http: {listen: 'localhost:0'}", None), at("localhost:0"));
    assert_eq!(listen("http: {listen: off}", Some("[::1]:80")), at("[::1]:80"), "flags win");
    assert_eq!(listen("", Some(Listen::DEFAULT)), at(Listen::DEFAULT), "named, so it must be had");
}

#[test]
fn what_a_command_does_not_need_may_be_left_out() {
    let source = "source: {url: 'postgres://u@h/d'}\n";
    let config = load(source, &nothing).unwrap();
    let error = config.graph().unwrap_err().to_string();
    assert!(error.contains("no graph") && error.contains("bolt://localhost:7687"), "{error}");
    let error = config.kafka().unwrap_err().to_string();
    assert!(error.contains("no Kafka") && error.contains("--brokers"), "{error}");
    let flags = Global { brokers: Some("flag:1".to_owned()), ..Global::default() };
    for text in ["", "kafka: {brokers: 'file:1'}"] {
        let config = load_with(&format!("{source}{text}"), &nothing, flags.clone()).unwrap();
        let kafka = config.kafka().unwrap();
        assert_eq!((kafka.brokers.as_str(), kafka.topic.as_str()), ("flag:1", "wal2graph.d"));
        assert_eq!((kafka.group.as_str(), kafka.ack), ("wal2graph-d", Ack::Graph));
    }
}

#[test]
fn a_topic_for_each_table() {
    let options = |kafka: &str| {
        let source = "{url: 'postgres://u@h/d'}";
        let text = format!("{{pipeline: shop, source: {source}, kafka: {kafka}}}");
        load(&text, &nothing)
    };
    let config = options("{brokers: b, topics_by: table, partitions: 4}").unwrap();
    let kafka = config.kafka().unwrap();
    assert!(kafka.is_by_table());
    let heartbeats = kafka.heartbeats().unwrap();
    assert_eq!(heartbeats.as_str(), "wal2graph.shop.heartbeats");
    assert_eq!(kafka.of_topic(&heartbeats).new_topic.partitions, Some(1));
    let table = TopicName::new("wal2graph.shop.public.a").unwrap();
    assert_eq!(kafka.of_topic(&table).new_topic.partitions, Some(4));
    let one = options("{brokers: b}").unwrap();
    assert_eq!(one.kafka().unwrap().heartbeats(), None);
    let messages = |section: &str| {
        let topic = options(section).unwrap().kafka().unwrap().messages_topic();
        topic.unwrap().map(|topic| topic.to_string())
    };
    let (own, none) = (Some("wal2graph.shop.message".to_owned()), None);
    assert_eq!(messages("{brokers: b, topics_by: table, messages: true}"), own);
    assert_eq!(messages("{brokers: b, topics_by: table}"), none);
    assert_eq!(messages("{brokers: b, messages: true}"), none, "in the topic of the changes");
    let both = options("{brokers: b, topics_by: table, topics: [a]}").unwrap_err().to_string();
    assert!(both.contains("topics_by: table and kafka.topics"), "{both}");
    let pattern = options("{brokers: b, topics_pattern: 'shop[.].*'}").unwrap();
    let kafka = pattern.kafka().unwrap();
    assert!(kafka.are_foreign && kafka.reads_several());
    let rows = "{brokers: b, topics_pattern: a, debezium: {records: rows, tables: {a: s.t}}}";
    let rows = options(rows).unwrap();
    assert!(rows.kafka().unwrap().decoding.rows.as_ref().unwrap().contains_key("a"));
    for (beside, said) in [
        ("topic: a", "stands alone"),
        ("topics: [a]", "stands alone"),
        ("topics_by: table", "stands alone"),
    ] {
        let text = format!("{{brokers: b, topics_pattern: a, {beside}}}");
        let error = options(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{beside}: {error}");
    }
    let wrong = options("{brokers: b, topics_pattern: 'a('}").unwrap_err().to_string();
    assert!(wrong.contains("kafka.topics_pattern \"a(\"") && wrong.contains("unclosed"), "{wrong}");
    let empty = options("{brokers: b, topics_pattern: ''}").unwrap_err().to_string();
    assert!(empty.contains("kafka.topics_pattern is empty"), "it was taken for a pattern: {empty}");
    let parking = "{brokers: b, topics_by: table, unreadable: park, dead_letter_topic: p.public.a}";
    let parked = TopicName::new("p.public.a").unwrap();
    let read = options(parking).unwrap().reading(vec![parked]).unwrap_err().to_string();
    assert!(read.contains("it is read as well"), "{read}");
}

#[test]
fn topics_of_debezium_and_dead_letters() {
    let kafka = |text: &str| {
        let text = format!("source: {{url: 'postgres://u@h/d'}}\nkafka: {text}\n");
        load(&text, &nothing).unwrap().kafka().unwrap().clone()
    };
    let names = |options: &Options| -> Vec<String> {
        options.topics.iter().map(ToString::to_string).collect()
    };
    let one = kafka("{brokers: b, unreadable: park}");
    assert_eq!((names(&one), one.reads_several()), (vec!["wal2graph.d".to_owned()], false));
    let dead_letters = TopicName::new("wal2graph.d.dead-letters").unwrap();
    assert_eq!(one.unreadable, Unreadable::Park(dead_letters));
    let lot = Unreadable::Park(TopicName::new("lot").unwrap());
    let before = kafka("{brokers: b, unreadable: park, parking_topic: lot}");
    assert_eq!(before.unreadable, lot, "the key's name before");
    assert_eq!((&one.decoding, one.new_topic.partitions), (&Decoding::default(), None));
    let several = kafka(
        "{brokers: b, topics: [dbz.public.a, dbz.public.b], partitions: 4, unreadable: park, \
         dead_letter_topic: lot, debezium: {decimal_handling_mode: string, \
         time_precision_mode: adaptive_time_microseconds}}",
    );
    assert_eq!(
        (names(&several), several.reads_several()),
        (vec!["dbz.public.a".to_owned(), "dbz.public.b".to_owned()], true)
    );
    assert_eq!((several.topic.as_str(), several.new_topic.partitions), ("dbz.public.a", Some(4)));
    assert_eq!(several.unreadable, lot);
    assert_eq!(several.decoding.values.decimal_handling, DecimalHandling::String);
    assert_eq!(several.decoding.values.time_precision, TimePrecision::AdaptiveTimeMicroseconds);
    assert_eq!(several.decoding.rows, None);
    assert!(!several.messages && kafka("{brokers: b, messages: true}").messages);
    let rows =
        kafka("{brokers: b, topics: [a], debezium: {records: rows, tables: {a: 'public.a.b'}}}");
    let table = TableName::new("public", "a.b");
    assert_eq!(rows.decoding.rows, Some([("a".to_owned(), table)].into()));
}

#[test]
fn what_is_wrong_about_kafka_is_named() {
    for (text, expected) in [
        ("{broker: x}", vec!["unknown field `broker`", "did you mean `brokers`?"]),
        ("{}", vec!["no Kafka", "kafka.brokers", "localhost:9092"]),
        ("{brokers: b, ack: all}", vec!["`all`", "expected one of graph, kafka"]),
        ("{brokers: b, topic: a/b}", vec!["kafka.topic \"a/b\"", "1 to 249"]),
        ("{brokers: b, group: ''}", vec!["kafka.group is empty"]),
        ("{brokers: b, partitions: 0}", vec!["kafka.partitions 0", "expected 1 to 1000"]),
        ("{brokers: b, topics: [a, b/c]}", vec!["kafka.topics \"b/c\"", "1 to 249"]),
        ("{brokers: b, topics: [a, a]}", vec!["kafka.topics: a is there twice"]),
        (
            "{brokers: b, topic: a, topics: [b]}",
            vec!["kafka.topic and kafka.topics", "one of them"],
        ),
        ("{brokers: b, unreadable: skip}", vec!["`skip`", "expected one of", "park"]),
        ("{brokers: b, dead_letter_topic: p}", vec!["kafka.dead_letter_topic", "unreadable: park"]),
        (
            "{brokers: b, topic: t, unreadable: park, dead_letter_topic: t}",
            vec!["kafka.dead_letter_topic t", "it is read as well"],
        ),
        (
            "{brokers: b, debezium: {decimal_handling_mode: exact}}",
            vec!["`exact`", "expected one of", "precise"],
        ),
        (
            "{brokers: b, debezium: {records: rows}}",
            vec!["kafka.debezium.records", "`publish` writes envelopes", "kafka.topics"],
        ),
        (
            "{brokers: b, topics: [a], debezium: {tables: {a: public.b}}}",
            vec!["kafka.debezium.tables has no meaning", "records: rows"],
        ),
        (
            "{brokers: b, topics: [a], debezium: {records: rows, tables: {a: b}}}",
            vec!["kafka.debezium.tables", "a is of \"b\"", "public.orders"],
        ),
        ("{brokers: b, partitions: many}", vec!["expected a whole number"]),
        ("{brokers: b, retention: soon}", vec!["kafka.retention \"soon\"", "7d", "forever"]),
        ("{brokers: b, retention: 0d}", vec!["kafka.retention \"0d\""]),
        (
            "{brokers: b, properties: {acks: 1}}",
            vec!["kafka.properties.acks", "all replicas", "Remove it"],
        ),
        (
            "{brokers: b, properties: {isolation.level: read_uncommitted}}",
            vec!["kafka.properties.isolation.level", "aborted", "Remove it"],
        ),
        (
            "{brokers: b, properties: {security.protocol: SASL_SSL, sasl.mechanism: GSSAPI}}",
            vec!["kafka.properties.sasl.mechanism", "not built in", "SCRAM-SHA-512"],
        ),
        (
            "{brokers: b, properties: {security.protocol: SASL_SSL}}",
            vec!["kafka.properties.sasl.mechanism", "has to be named"],
        ),
        (
            "{brokers: b, properties: {sasl.mechanism: OAUTHBEARER}}",
            vec!["kafka.properties.sasl.mechanism", "kafka.oauth_token_file"],
        ),
        (
            "{brokers: b, oauth_token_file: /t, properties: {sasl.mechanism: PLAIN}}",
            vec!["kafka.oauth_token_file has no meaning"],
        ),
        (
            "{brokers: b, properties: {sasl.password: '${NOT_SET}'}}",
            vec!["kafka.properties", "NOT_SET is not set"],
        ),
    ] {
        let text = format!("source: {{url: 'postgres://u@h/d'}}\nkafka: {text}\n");
        let error = load(&text, &nothing).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{text}: {error:?} has no {part:?}");
        }
    }
}

#[test]
fn errors_name_the_place_the_cause_and_the_fix() {
    for (text, expected) in [
        (
            "sorce: {}",
            vec!["wal2graph.yaml:1:1", "unknown field `sorce`", "did you mean `source`?"],
        ),
        ("pipeline: a\ntables:\n  public.a:\n    lable: X\n", vec![":4:", "did you mean `label`?"]),
        ("limits: {copy_lanes: many}", vec![":1:22", "expected a whole number"]),
        ("graph: {url: 'bolt://g'}", vec!["no source", "--source-url"]),
        (
            "source: {url: 'postgres://u@h/d'}\ngraph: {url: 'bolt://g'}\nhttp: {listen: '8080'}",
            vec!["http.listen \"8080\"", "HOST:PORT", "`off`"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\ngraph: {url: 'bolt://g'}\nhttp: {ready_lag: '60'}",
            vec!["http.ready_lag \"60\"", "30s"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\non_slot_lost: ignore",
            vec!["on_slot_lost \"ignore\"", "`stop` or `repair`"],
        ),
        (
            "source: {url: 'postgres://u@h/d', wal_budget: {warn: 5}}",
            vec!["source.wal_budget.warn \"5\"", "512MB"],
        ),
        (
            "source: {url: 'postgres://u@h/d', wal_budget: {stop: lots}}",
            vec!["source.wal_budget.stop \"lots\"", "20GiB"],
        ),
        (
            "source: {url: 'postgres://u@h/d', wal_budget: {warn: 5GB, stop: 5GiB}}",
            vec!["source.wal_budget", "is not below stop", "raise stop"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\non_wal_budget: ignore",
            vec!["on_wal_budget \"ignore\"", "`keep` or `drop`"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\non_stop: wait",
            vec!["on_stop \"wait\"", "`exit` or `stay`"],
        ),
        (
            "source: {url: '${NOT_SET}'}",
            vec!["source.url", "NOT_SET is not set", "${NOT_SET:-default}"],
        ),
        ("source: {url: '${file:/not/there}'}", vec!["/not/there can not be read"]),
        (
            "source: {url: 'postgres://u:secret@h/d?sslmode=perhaps'}",
            vec!["sslmode=perhaps", "verify-full"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\ngraph: {url: 'http://g:1'}",
            vec!["\"http://g:1\"", "bolt://"],
        ),
        (
            "pipeline: My Shop\nsource: {url: 'postgres://u@h/d'}",
            vec!["\"My Shop\"", "a-z, 0-9 and _"],
        ),
        (
            "source: {url: 'postgres://u@h/d'}\ngraph: {url: 'bolt://g'}\nlimits: {copy_lanes: 99}",
            vec!["99", "1 to 16"],
        ),
    ] {
        let error = load(text, &nothing).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{text}: {error:?} has no {part:?}");
        }
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    assert_is_written("schemas/config.schema.json", &schemars::schema_for!(RawConfig));
}

/// The file has this schema. `UPDATE_GOLDEN` writes it.
#[track_caller]
pub fn assert_is_written(file: &str, schema: &schemars::Schema) {
    let schema = serde_json::to_string_pretty(schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == schema,
        "UPDATE_GOLDEN=1 cargo test --test hermetic writes {}",
        path.display()
    );
}
