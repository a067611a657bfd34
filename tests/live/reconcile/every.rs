//! Damage of every kind beside a stream: each is named, mended, and nothing else is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use neo4rs::Query;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::{differing, found, run};
use crate::{
    statements::properties,
    support::{Pipeline, client, eventually, graph, holds, is_thorough},
};

/// Keys from here on are the writer's. It damages nothing, and nobody damages its rows.
const WRITERS: u32 = 1_000;
/// The writer's transactions have this distance at least.
const DISTANCE: Duration = Duration::from_millis(10);

const TABLES: &str = "
    CREATE TABLE rdm_people (id int PRIMARY KEY, name text, born date, boss_id int REFERENCES rdm_people);
    CREATE TABLE rdm_values (id int PRIMARY KEY, big bigint, ratio float8, exact numeric, word text, yes bool,
        list int[], words text[], at timestamptz, local timestamp, day date, clock time, raw bytea);
    CREATE TABLE rdm_orders (id int PRIMARY KEY, person_id int REFERENCES rdm_people, total int);
    CREATE TABLE rdm_parts (shelf int, code text, note text, PRIMARY KEY (shelf, code));
    CREATE TABLE rdm_uses (id int PRIMARY KEY, shelf int, code text, FOREIGN KEY (shelf, code) REFERENCES rdm_parts);
    CREATE TABLE rdm_likes (a_id int REFERENCES rdm_people, b_id int REFERENCES rdm_people, since date,
        PRIMARY KEY (a_id, b_id));
    CREATE TABLE rdm_posts (id int PRIMARY KEY, person_id int NOT NULL REFERENCES rdm_people,
        order_id int NOT NULL REFERENCES rdm_orders, role text);
    INSERT INTO rdm_people SELECT g, 'n' || g, CASE WHEN g <> 9 THEN '2000-01-01'::date + g END,
        CASE g % 3 WHEN 1 THEN g WHEN 2 THEN g + 1 END FROM generate_series(1, 150) g;
    INSERT INTO rdm_values SELECT g, g, g, '1.50', 'w' || g, true, ARRAY[g, 2, 3], ARRAY['a', 'b'],
        '2024-05-06 07:08:09.123456+00', '2024-05-06 07:08:09.123456', '2024-05-06', '07:08:09',
        decode(lpad(to_hex(g), 4, '0'), 'hex') FROM generate_series(1, 20) g;
    INSERT INTO rdm_orders SELECT g, g, g FROM generate_series(1, 120) g;
    INSERT INTO rdm_parts SELECT g, 'c' || g, 'n' || g FROM generate_series(1, 20) g;
    INSERT INTO rdm_uses SELECT g, g, 'c' || g FROM generate_series(1, 10) g;
    INSERT INTO rdm_likes SELECT g, g + 1, '2020-01-01' FROM generate_series(1, 120) g;
    INSERT INTO rdm_posts SELECT g, g, g, 'r' || g FROM generate_series(1, 20) g;
    SET session_replication_role = replica;
    UPDATE rdm_orders SET person_id = 700 + id WHERE id BETWEEN 117 AND 120;
    RESET session_replication_role";

const MAPPING: &str = "
tables:
  public.rdm_people:
    label: RdmPerson
    labels: [RdmHuman]
    relationships:
      - {type: BOSS, columns: [boss_id], to: public.rdm_people}
  public.rdm_values: {label: RdmValue}
  public.rdm_orders:
    label: RdmOrder
    relationships:
      - {type: PERSON, columns: [person_id], to: public.rdm_people}
  public.rdm_parts: {label: RdmPart}
  public.rdm_uses:
    label: RdmUse
    relationships:
      - {type: USES, columns: [shelf, code], to: public.rdm_parts}
  public.rdm_likes:
    relationship:
      type: RDM_LIKES
      from: {columns: [a_id], to: public.rdm_people}
      to: {columns: [b_id], to: public.rdm_people}
  public.rdm_posts:
    relationship:
      type: RDM_POST
      from: {columns: [person_id], to: public.rdm_people}
      to: {columns: [order_id], to: public.rdm_orders}
";

/// Damage, and the rows that differ then: table, key, and a word of each finding.
type Damage = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

/// Each concerns rows that no other one does.
const DAMAGES: &[Damage] = &[
    // Properties.
    ("MATCH (n:RdmPerson {id: 5}) SET n.name = 'wrong'", &[("people", "id: 5", "name")]),
    ("MATCH (n:RdmPerson {id: 6}) REMOVE n.name", &[("people", "id: 6", "the graph nothing")]),
    (
        "MATCH (n:RdmPerson {id: 9}) SET n.born = date()",
        &[("people", "id: 9", "the table has nothing")],
    ),
    // Types of values.
    ("MATCH (n:RdmPerson {id: 7}) SET n.name = 7", &[("people", "id: 7", "name")]),
    ("MATCH (n:RdmPerson {id: 8}) SET n.name = ['n8']", &[("people", "id: 8", "name")]),
    ("MATCH (n:RdmPerson {id: 10}) SET n.born = toString(n.born)", &[("people", "id: 10", "born")]),
    (
        "MATCH (n:RdmPerson {id: 11}) SET n.born = datetime({date: n.born})",
        &[("people", "id: 11", "born")],
    ),
    ("MATCH (n:RdmValue {id: 1}) SET n.big = toFloat(n.big)", &[("values", "id: 1", "big")]),
    ("MATCH (n:RdmValue {id: 2}) SET n.big = toString(n.big)", &[("values", "id: 2", "big")]),
    (
        "MATCH (n:RdmValue {id: 3}) SET n.ratio = toInteger(n.ratio)",
        &[("values", "id: 3", "ratio")],
    ),
    ("MATCH (n:RdmValue {id: 4}) SET n.list = [4, 2, 4]", &[("values", "id: 4", "list")]),
    ("MATCH (n:RdmValue {id: 5}) SET n.list = n.list + 4", &[("values", "id: 5", "list")]),
    ("MATCH (n:RdmValue {id: 6}) SET n.list = [6.0, 2.0, 3.0]", &[("values", "id: 6", "list")]),
    ("MATCH (n:RdmValue {id: 7}) SET n.words = ['b', 'a']", &[("values", "id: 7", "words")]),
    (
        "MATCH (n:RdmValue {id: 8}) SET n.at = datetime({datetime: n.at, timezone: '+05:00'})",
        &[("values", "id: 8", "at")],
    ),
    ("MATCH (n:RdmValue {id: 9}) SET n.at = localdatetime(n.at)", &[("values", "id: 9", "at")]),
    (
        "MATCH (n:RdmValue {id: 10}) SET n.local = n.local + duration({nanoseconds: 1})",
        &[("values", "id: 10", "local")],
    ),
    ("MATCH (n:RdmValue {id: 11}) SET n.day = n.local", &[("values", "id: 11", "day")]),
    (
        "MATCH (n:RdmValue {id: 12}) SET n.clock = toString(n.clock)",
        &[("values", "id: 12", "clock")],
    ),
    (
        "MATCH (n:RdmValue {id: 13}), (other:RdmValue {id: 20}) SET n.raw = other.raw",
        &[("values", "id: 13", "raw")],
    ),
    ("MATCH (n:RdmValue {id: 14}) SET n.raw = '000e'", &[("values", "id: 14", "raw")]),
    ("MATCH (n:RdmValue {id: 15}) SET n.yes = 'true'", &[("values", "id: 15", "yes")]),
    ("MATCH (n:RdmValue {id: 16}) SET n.exact = '1.5'", &[("values", "id: 16", "exact")]),
    ("MATCH (n:RdmValue {id: 17}) SET n.at = duration('P1D')", &[("values", "id: 17", "at")]),
    // Labels.
    (
        "MATCH (n:RdmPerson {id: 12}) REMOVE n:RdmHuman",
        &[("people", "id: 12", "RdmHuman is missing")],
    ),
    (
        "MATCH (n:RdmPerson {id: 14}) SET n:_Placeholder",
        &[("people", "id: 14", "a placeholder instead")],
    ),
    // Rows that lack values are completed before a verification.
    ("MATCH (n:RdmPerson {id: 15}) SET n:_Incomplete REMOVE n.name", &[]),
    // Rows.
    ("MATCH (n:RdmPerson {id: 143}) DETACH DELETE n", &[("people", "id: 143", "lacks the row")]),
    ("CREATE (:RdmPerson {id: 901})", &[("people", "id: 901", "no such row")]),
    (
        "MATCH (n:RdmPerson {id: 33}) CREATE (:RdmPerson {id: 902})-[:BOSS]->(n)",
        &[("people", "id: 902", "no such row")],
    ),
    // Keys.
    (
        "MATCH (n:RdmPerson {id: 145}) SET n.id = 903",
        &[("people", "id: 145", "lacks the row"), ("people", "id: 903", "no such row")],
    ),
    (
        "MATCH (n:RdmPerson {id: 146}) SET n.id = '146'",
        &[("people", "id: 146", "lacks the row"), ("people", "id: '146'", "no such row")],
    ),
    (
        "MATCH (n:RdmPart {shelf: 1, code: 'c1'}) SET n.note = 'x'",
        &[("parts", "shelf: 1, code: 'c1'", "note")],
    ),
    (
        "MATCH (n:RdmPart {shelf: 12, code: 'c12'}) SET n.code = 'zz'",
        &[
            ("parts", "shelf: 12, code: 'c12'", "lacks the row"),
            ("parts", "shelf: 12, code: 'zz'", "no such row"),
        ],
    ),
    (
        "CREATE (:RdmPart {shelf: 90, code: 'q'})",
        &[("parts", "shelf: 90, code: 'q'", "no such row")],
    ),
    // Placeholders.
    ("CREATE (:RdmPerson:_Placeholder {id: 904})", &[("people", "id: 904", "nothing points")]),
    ("MATCH (n:RdmPerson {id: 817}) SET n.name = 'x'", &[("people", "id: 817", "name")]),
    (
        "MATCH (n:RdmPerson {id: 818}) SET n:RdmHuman",
        &[("people", "id: 818", "has the label RdmHuman")],
    ),
    (
        "MATCH (n:RdmPerson {id: 819}) REMOVE n:_Placeholder",
        &[("people", "id: 819", "no such row")],
    ),
    ("MATCH (n:RdmPerson {id: 820}) SET n:_Incomplete", &[("people", "id: 820", "lacking values")]),
    // Relationships of foreign keys.
    ("MATCH (:RdmOrder {id: 12})-[r:PERSON]->() DELETE r", &[("orders", "id: 12", "nowhere")]),
    (
        "MATCH (n:RdmOrder {id: 13})-[:PERSON]->(p) CREATE (n)-[:PERSON]->(p)",
        &[("orders", "id: 13", "13; 13")],
    ),
    (
        "MATCH (n:RdmOrder {id: 14}), (p:RdmPerson {id: 34}) CREATE (n)-[:PERSON]->(p)",
        &[("orders", "id: 14", "14; 34")],
    ),
    (
        "MATCH (n:RdmOrder {id: 16})-[r:PERSON]->(), (p:RdmPerson {id: 35}) DELETE r CREATE (n)-[:PERSON]->(p)",
        &[("orders", "id: 16", "to 35")],
    ),
    (
        "MATCH (n:RdmPerson {id: 38})-[r:BOSS]->(boss) DELETE r CREATE (boss)-[:BOSS]->(n)",
        &[("people", "id: 38", "nowhere"), ("people", "id: 39", "to 38")],
    ),
    ("MATCH (n:RdmPerson {id: 22})-[r:BOSS]->(n) DELETE r", &[("people", "id: 22", "nowhere")]),
    ("MATCH (n:RdmPerson {id: 25}) CREATE (n)-[:BOSS]->(n)", &[("people", "id: 25", "25; 25")]),
    ("MATCH (n:RdmPerson {id: 27}) CREATE (n)-[:BOSS]->(n)", &[("people", "id: 27", "to 27")]),
    (
        "MATCH (n:RdmPerson {id: 41}) CREATE (n)-[:BOSS]->(:Stranger)",
        &[("people", "id: 41", "a node without its label")],
    ),
    ("MATCH (:RdmUse {id: 3})-[r:USES]->() DELETE r", &[("uses", "id: 3", "nowhere")]),
    (
        "MATCH (n:RdmUse {id: 4})-[r:USES]->(), (p:RdmPart {shelf: 13}) DELETE r CREATE (n)-[:USES]->(p)",
        &[("uses", "id: 4", "to 13")],
    ),
    // Relationships of a join table.
    (
        "MATCH (:RdmPerson {id: 50})-[r:RDM_LIKES]->() DELETE r",
        &[("likes", "id: 50, id: 51", "lacks the row")],
    ),
    (
        "MATCH (n:RdmPerson {id: 52})-[r:RDM_LIKES]->(o) CREATE (n)-[:RDM_LIKES {since: r.since}]->(o)",
        &[("likes", "id: 52, id: 53", "2 times")],
    ),
    (
        "MATCH (:RdmPerson {id: 54})-[r:RDM_LIKES]->() SET r.since = date()",
        &[("likes", "id: 54, id: 55", "since")],
    ),
    (
        "MATCH (:RdmPerson {id: 56})-[r:RDM_LIKES]->() REMOVE r.since",
        &[("likes", "id: 56, id: 57", "since")],
    ),
    (
        "MATCH (:RdmPerson {id: 58})-[r:RDM_LIKES]->() SET r.since = toString(r.since)",
        &[("likes", "id: 58, id: 59", "since")],
    ),
    ("MATCH (:RdmPerson {id: 60})-[r:RDM_LIKES]->() SET r._incomplete = true REMOVE r.since", &[]),
    (
        "MATCH (n:RdmPerson {id: 62}), (o:RdmPerson {id: 70}) CREATE (n)-[:RDM_LIKES]->(o)",
        &[("likes", "id: 62, id: 70", "no such row")],
    ),
    (
        "MATCH (n:RdmPerson {id: 64})-[r:RDM_LIKES]->(o) WITH n, r, o, r.since AS since DELETE r \
         CREATE (o)-[:RDM_LIKES {since: since}]->(n)",
        &[("likes", "id: 64, id: 65", "lacks the row"), ("likes", "id: 65, id: 64", "no such row")],
    ),
    // The same of one with a key of its own.
    ("MATCH ()-[r:RDM_POST {id: 5}]->() DELETE r", &[("posts", "id: 5", "lacks the row")]),
    (
        "MATCH (n)-[r:RDM_POST {id: 6}]->(o) CREATE (n)-[:RDM_POST {id: 6, role: r.role}]->(o)",
        &[("posts", "id: 6", "2 times")],
    ),
    ("MATCH ()-[r:RDM_POST {id: 7}]->() SET r.role = 'x'", &[("posts", "id: 7", "role")]),
    (
        "MATCH ()-[r:RDM_POST {id: 8}]->(o), (n:RdmPerson {id: 36}) DELETE r \
         CREATE (n)-[:RDM_POST {id: 8, role: 'r8'}]->(o)",
        &[("posts", "id: 8", "the graph 36 and 8")],
    ),
    (
        "MATCH ()-[r:RDM_POST {id: 9}]->() SET r.id = 905",
        &[("posts", "id: 9", "lacks the row"), ("posts", "id: 905", "no such row")],
    ),
    (
        "MATCH (n:RdmPerson {id: 37}), (o:RdmOrder {id: 37}) CREATE (n)-[:RDM_POST {id: 906}]->(o)",
        &[("posts", "id: 906", "no such row")],
    ),
];

/// What others put beside the mapping, on rows, a placeholder and relationships, and what stays of it.
const OTHERS: &str = "
    MATCH (n:RdmPerson {id: 5}), (o:RdmOrder {id: 12}), (p:RdmPerson {id: 817}), (q:RdmPerson {id: 40})
    SET n.mine = 'stays', n:RdmMine, p.mine = 'stays', q.mine = 'stays'
    CREATE (n)-[:MINE {since: 1}]->(:RdmOthers {id: 1}), (o)-[:MINE]->(n), (n)-[:PERSON]->(o)
    WITH n MATCH (n)-[r:RDM_LIKES]->(m)-[s:RDM_LIKES]->() SET r.mine = 'stays'";

/// The graph without the writer's rows: labels, properties with their types, relationships, each with
/// how often it is there.
async fn dump() -> BTreeMap<String, usize> {
    let is_shown = |of: &str| {
        format!(
            "any(it IN labels({of}) WHERE it STARTS WITH 'Rdm') AND NOT coalesce({of}.id, {of}.shelf, 0) >= {WRITERS}"
        )
    };
    let of = |it: &str| format!("labels({it}) AS {it}_labels, properties({it}) AS {it}");
    let (nodes, relationships) = (
        format!("MATCH (n) WHERE {} RETURN {}", is_shown("n"), of("n")),
        format!(
            "MATCH (n)-[r]->(m) WHERE {} AND {} RETURN {}, {}, type(r) AS type, properties(r) AS r",
            is_shown("n"),
            is_shown("m"),
            of("n"),
            of("m")
        ),
    );
    let mut dump = BTreeMap::new();
    for (cypher, ends) in [(nodes, &["n"][..]), (relationships, &["n", "m"][..])] {
        for row in graph().rows(Query::new(cypher)).await.unwrap() {
            let mut line = String::new();
            for end in ends {
                let labels: BTreeSet<String> =
                    row.get::<Vec<String>>(&format!("{end}_labels")).unwrap().into_iter().collect();
                line += &format!("{labels:?} {:?} ", properties(&row, end));
            }
            if ends.len() > 1 {
                line +=
                    &format!("{} {:?}", row.get::<String>("type").unwrap(), properties(&row, "r"));
            }
            *dump.entry(line).or_default() += 1;
        }
    }
    dump
}

/// Writes rows of all tables, their keys included, as long as the graph is less than 400 transactions behind.
async fn write(sql: tokio_postgres::Client) {
    let mut ticks = interval(DISTANCE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0.. {
        if round % 20 == 0 && round >= 40 {
            let last =
                format!("RETURN EXISTS {{ (:RdmPerson {{id: {}}}) }} AS yes", WRITERS + round - 40);
            while !holds(&last).await {
                ticks.tick().await;
            }
        }
        let (id, before) = (WRITERS + round, WRITERS + round.saturating_sub(8));
        let statements = [
            format!("INSERT INTO rdm_people VALUES ({id}, 'w', NULL, {id})"),
            format!(
                "INSERT INTO rdm_orders VALUES ({id}, {id}, 1); \
                 INSERT INTO rdm_likes VALUES ({id}, {id}, '2021-01-01'); \
                 INSERT INTO rdm_posts VALUES ({id}, {id}, {id}, 'w')"
            ),
            format!(
                "INSERT INTO rdm_parts VALUES ({id}, 'w', 'n'); \
                 INSERT INTO rdm_uses VALUES ({id}, {id}, 'w'); \
                 INSERT INTO rdm_values (id, big, list) VALUES ({id}, 1, '{{1}}')"
            ),
            format!("UPDATE rdm_people SET name = 'v' WHERE id = {before}"),
            format!("UPDATE rdm_orders SET person_id = {id}, total = 2 WHERE id = {before}"),
            format!("UPDATE rdm_parts SET note = 'v' WHERE shelf = {before}"),
            format!("UPDATE rdm_values SET id = id + 1000000, list = '{{2}}' WHERE id = {before}"),
            format!("DELETE FROM rdm_posts WHERE id = {before}"),
            format!("DELETE FROM rdm_uses WHERE id = {before} AND id % 3 = 0"),
            format!("UPDATE rdm_likes SET since = NULL WHERE a_id = {before}"),
        ];
        for statement in statements {
            ticks.tick().await;
            sql.batch_execute(&statement).await.unwrap();
        }
    }
}

/// The rows that differ: table and key, with the finding.
fn named(findings: &Value) -> BTreeMap<(String, String), String> {
    let rows = findings["first"].as_array().unwrap().iter();
    let named = rows.map(|row| {
        let text = |it: &str| row[it].as_str().unwrap().to_owned();
        let table = text("table").replace("public.rdm_", "");
        let said = row["differences"].as_array().unwrap().iter();
        let said: Vec<&str> = said.map(|it| it.as_str().unwrap()).collect();
        ((table, text("key")), said.join("; "))
    });
    named.collect()
}

/// Does these damages, and has them found and mended: exactly them.
async fn found_and_mended(pipeline: &Pipeline, mapping: &str, damages: &[Damage]) {
    let began = Instant::now();
    // Appears if the test fails.
    let tell = |what: &str| println!("{what} after {:.1?}", began.elapsed());
    let before = dump().await;
    for (cypher, _) in damages {
        run(cypher).await;
    }
    let expected: BTreeMap<(String, String), &str> = damages
        .iter()
        .flat_map(|(_, rows)| rows.iter())
        .map(|(table, key, word)| (((*table).to_owned(), (*key).to_owned()), *word))
        .collect();
    let check = |findings: &Value| {
        let named = named(findings);
        for (row, word) in &expected {
            let said = named.get(row).unwrap_or_else(|| panic!("{row:?} in {named:#?}"));
            assert!(said.contains(word), "{row:?}: {word} in {said}");
        }
        named.into_iter().filter(|(row, _)| !expected.contains_key(row)).collect::<Vec<_>>()
    };
    let (is_right, findings) = found(pipeline, &["verify", "-c", mapping]).await;
    tell("verified");
    let others = check(&findings);
    assert!(others.is_empty(), "a false alarm: {others:#?}");
    assert!(is_right == expected.is_empty(), "it succeeds though rows differ");
    let (is_right, findings) = found(pipeline, &["repair", "-c", mapping]).await;
    tell("repaired");
    // It also writes rows that the stream is about to bring.
    let others = check(&findings);
    let is_writers = |key: &str| {
        let numbers = key.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok());
        numbers.max().is_some_and(|id: u32| id >= WRITERS)
    };
    assert!(others.iter().all(|((_, key), _)| is_writers(key)), "a false alarm: {others:#?}");
    assert!(is_right, "{findings:#}");
    let after = dump().await;
    let is_other = |(line, count): &(&String, &usize)| before.get(*line) != Some(count);
    let lost: Vec<_> =
        before.iter().filter(|(line, count)| after.get(*line) != Some(count)).collect();
    let new: Vec<_> = after.iter().filter(is_other).collect();
    assert!(lost.is_empty() && new.is_empty(), "gone: {lost:#?}, come: {new:#?}");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn every_damage_is_named_and_mended_beside_a_stream_and_nothing_else_is_touched() {
    let began = Instant::now();
    let tell = |what: &str| println!("{what} after {:.1?}", began.elapsed());
    let pipeline = Pipeline::new("redamaged", TABLES).await;
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(file.path(), MAPPING).unwrap();
    let mapping = file.path().to_str().unwrap();
    let running = pipeline.start_with(&["-c", mapping]);
    eventually("all is copied", "RETURN COUNT { ()-[:RDM_POST]->() } = 20 AS yes").await;
    let is_settled = format!(
        "RETURN NOT EXISTS {{ (:_Wal2GraphCopy {{pipeline: '{}'}}) }} AS yes",
        pipeline.name
    );
    eventually("the copy has settled", &is_settled).await;
    tell("copied");
    run(OTHERS).await;
    let writing = tokio::spawn(write(client(&pipeline.source_url).await));
    let (is_right, findings) = found(&pipeline, &["verify", "-c", mapping]).await;
    assert!(is_right && differing(&findings) == 0, "a false alarm: {findings:#}");
    tell("verified without damage");
    assert!(DAMAGES.len() >= 60);
    if is_thorough() {
        for damage in DAMAGES {
            println!("{}", damage.0);
            found_and_mended(&pipeline, mapping, std::slice::from_ref(damage)).await;
        }
    }
    found_and_mended(&pipeline, mapping, DAMAGES).await;
    assert!(!writing.is_finished(), "nobody writes any more");
    writing.abort();
    drop(running);
    let arguments = ["run", "--until", "current", "-c", mapping];
    assert!(pipeline.output(&arguments).await.status.success());
    tell("caught up");
    let written =
        pipeline.sql.query_one("SELECT count(*) FROM rdm_people WHERE id >= 1000", &[]).await;
    println!("about {} transactions beside it", written.unwrap().get::<_, i64>(0) * 10);
    let (is_right, findings) = found(&pipeline, &["verify", "-c", mapping]).await;
    assert!(is_right && differing(&findings) == 0, "with no `run` up: {findings:#}");
    let requests = format!(
        "MATCH (r:_Wal2GraphRequest {{pipeline: '{}'}}) RETURN collect(r.state) = ['done'] AS yes",
        pipeline.name
    );
    assert!(holds(&requests).await, "the last one stays, and no other one");
    let status = pipeline.output(&["status", "--json", "-c", mapping]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let request = &status["requests"][0];
    let (purpose, state, differing) =
        (&request["purpose"], &request["state"], &request["differing"]);
    assert!(purpose == "verify" && state == "done" && *differing == 0, "{status:#}");
}
