//! Random transactions through the real pipeline; the graph must equal what independent SQL says.
//!
//! The schema has what hurts: a self reference, soft and hard foreign keys, a join table with properties, wide values
//! that are TOASTed, key changes, cascades, truncates.

use std::collections::BTreeMap;

use fastrand::Rng;
use neo4rs::Query;
use tokio_postgres::Client;

use crate::support::{Pipeline, graph};

/// Transactions of each phase.
const TRANSACTIONS: usize = 150;

/// Tables whose names, and so labels, begin with a prefix.
pub fn schema(prefix: &str) -> String {
    format!(
        "CREATE TABLE {prefix}_people (id int PRIMARY KEY, name text, bio text, boss_id int REFERENCES {prefix}_people \
             ON DELETE SET NULL ON UPDATE CASCADE);
         CREATE TABLE {prefix}_teams (id int PRIMARY KEY, title text NOT NULL, budget numeric(12,2), started timestamptz);
         CREATE TABLE {prefix}_tasks (id bigint PRIMARY KEY, team_id int REFERENCES {prefix}_teams ON DELETE CASCADE \
             ON UPDATE CASCADE, owner_id int, done bool, tags text[]);
         CREATE TABLE {prefix}_members (person_id int REFERENCES {prefix}_people ON DELETE CASCADE ON UPDATE CASCADE, \
             team_id int REFERENCES {prefix}_teams ON DELETE CASCADE ON UPDATE CASCADE, role text, note text, \
             PRIMARY KEY (person_id, team_id));
         ALTER TABLE {prefix}_people ALTER COLUMN bio SET STORAGE EXTERNAL;
         ALTER TABLE {prefix}_members ALTER COLUMN note SET STORAGE EXTERNAL;"
    )
}

/// One random transaction; statements that violate a constraint roll it back.
pub async fn transaction(sql: &Client, rng: &mut Rng, prefix: &str) {
    let mut text = String::from("BEGIN;");
    for _ in 0..rng.usize(1..6) {
        let (a, b, n) = (rng.i32(0..30), rng.i32(0..30), rng.i32(0..1000));
        let wide = format!("repeat(md5('{n}'), 100)");
        text += &match rng.u8(0..14) {
            0..3 => format!(
                "INSERT INTO {prefix}_people VALUES ({a}, NULLIF('n{n}', 'n7'), {wide}, NULL) ON CONFLICT (id) DO UPDATE \
                 SET name = excluded.name;"
            ),
            3 => format!(
                "UPDATE {prefix}_people SET boss_id = (SELECT min(id) FROM {prefix}_people WHERE id >= {b}) WHERE id = {a};"
            ),
            4 => format!(
                "UPDATE {prefix}_people SET id = {} WHERE id = {a} AND NOT EXISTS (SELECT FROM {prefix}_people WHERE id = {0});",
                b + 30
            ),
            5 => format!("DELETE FROM {prefix}_people WHERE id IN ({a}, {});", b + 30),
            6..8 => format!(
                "INSERT INTO {prefix}_teams VALUES ({a}, 't{n}', {n} / 4.0, now()) ON CONFLICT (id) DO UPDATE SET budget = NULL;"
            ),
            8 => format!("DELETE FROM {prefix}_teams WHERE id = {a};"),
            9..11 => format!(
                "INSERT INTO {prefix}_tasks SELECT {n}, min(id), {b}, {}, ARRAY['a', 'b{n}'] FROM {prefix}_teams WHERE id >= {a} \
                 ON CONFLICT (id) DO UPDATE SET owner_id = NULLIF({b}, 3), done = NOT {prefix}_tasks.done;",
                rng.bool()
            ),
            11 => format!(
                "INSERT INTO {prefix}_members SELECT p.id, t.id, 'r{n}', {wide} FROM {prefix}_people p, {prefix}_teams t \
                 WHERE p.id < 99 AND t.id < 99 AND p.id % 5 = {} AND t.id % 7 = {} ON CONFLICT (person_id, team_id) DO UPDATE SET role = excluded.role;",
                a % 5,
                b % 7
            ),
            12 => format!(
                "UPDATE {prefix}_teams SET id = {} WHERE id = {a} AND NOT EXISTS (SELECT FROM {prefix}_teams WHERE id = {0});",
                b + 30
            ),
            _ if rng.u8(0..8) == 0 => format!("TRUNCATE {prefix}_members;"),
            _ => format!("DELETE FROM {prefix}_tasks WHERE id % 11 = {};", a % 11),
        };
    }
    text += if rng.u8(0..10) == 0 { "ROLLBACK;" } else { "COMMIT;" };
    if sql.batch_execute(&text).await.is_err() {
        sql.batch_execute("ROLLBACK").await.expect("a rollback works");
    }
}

/// What SQL says, and what the graph says, as sorted lines of text.
pub async fn compare(sql: &Client, prefix: &str) {
    // Labels: the mapping's names for the prefixed tables.
    let label = |singular: &str| {
        let mut letters = prefix.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        format!("{}{}{singular}", first.collect::<String>(), letters.as_str())
    };
    let (person, team, task) = (label("Person"), label("Team"), label("Task"));
    let members = format!("{}_MEMBERS", prefix.to_uppercase());
    let pairs: BTreeMap<&str, (String, String)> = BTreeMap::from([
        (
            "people",
            (
                format!(
                    "SELECT concat_ws('|', id, coalesce(name, '-'), coalesce(left(bio, 32) || length(bio), '-'), coalesce(boss_id::text, '-')) FROM {prefix}_people"
                ),
                format!(
                    "MATCH (n:{person}) WHERE NOT n:_Placeholder RETURN [toString(n.id), n.name, n.bio, toString(n.boss_id)] AS r"
                ),
            ),
        ),
        (
            "teams",
            (
                format!(
                    "SELECT concat_ws('|', id, title, coalesce(budget::text, '-')) FROM {prefix}_teams"
                ),
                format!(
                    "MATCH (n:{team}) WHERE NOT n:_Placeholder RETURN [toString(n.id), n.title, n.budget] AS r"
                ),
            ),
        ),
        (
            "tasks",
            (
                format!(
                    "SELECT concat_ws('|', id, coalesce(owner_id::text, '-'), done::text, tags[2]) FROM {prefix}_tasks"
                ),
                format!(
                    "MATCH (n:{task}) WHERE NOT n:_Placeholder RETURN [toString(n.id), toString(n.owner_id), toString(n.done), n.tags[1]] AS r"
                ),
            ),
        ),
        (
            "bosses",
            (
                format!(
                    "SELECT concat_ws('|', id, boss_id) FROM {prefix}_people WHERE boss_id IS NOT NULL"
                ),
                format!(
                    "MATCH (a:{person})-[:BOSS]->(b:{person}) RETURN [toString(a.id), toString(b.id)] AS r"
                ),
            ),
        ),
        (
            "task teams",
            (
                format!(
                    "SELECT concat_ws('|', id, team_id) FROM {prefix}_tasks WHERE team_id IS NOT NULL"
                ),
                format!(
                    "MATCH (a:{task})-[:TEAM]->(b:{team}) RETURN [toString(a.id), toString(b.id)] AS r"
                ),
            ),
        ),
        (
            "members",
            (
                format!(
                    "SELECT concat_ws('|', person_id, team_id, role, left(note, 32) || length(note)) FROM {prefix}_members"
                ),
                format!(
                    "MATCH (a:{person})-[x:{members}]->(b:{team}) RETURN [toString(a.id), toString(b.id), x.role, x.note] AS r"
                ),
            ),
        ),
        (
            "left over",
            (
                "SELECT 'none' WHERE false".to_owned(),
                format!(
                    "MATCH (n) WHERE (n:{person} OR n:{team} OR n:{task}) AND (n:_Placeholder OR n:_Incomplete) RETURN [toString(n.id)] AS r"
                ),
            ),
        ),
    ]);
    for (what, (sql_text, cypher)) in pairs {
        let rows = sql.query(&sql_text, &[]).await.expect("the query is right");
        let mut expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let rows = graph().rows(Query::new(cypher)).await.expect("the query is right");
        let mut found: Vec<String> = rows
            .iter()
            .map(|row| {
                let values: Vec<Option<String>> = row.get("r").expect("a list");
                let text = values.into_iter().map(|value| match value {
                    // Wide values repeat their first 32 characters.
                    Some(value) if value.len() > 100 => format!("{}{}", &value[..32], value.len()),
                    Some(value) => value,
                    None => "-".to_owned(),
                });
                text.collect::<Vec<_>>().join("|")
            })
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(expected, found, "{what}");
    }
}

#[tokio::test]
async fn copied_and_streamed_the_graph_equals_the_tables() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let pipeline = Pipeline::new("differential", &schema("df")).await;
    for _ in 0..TRANSACTIONS {
        transaction(&pipeline.sql, &mut rng, "df").await;
    }
    pipeline.catch_up().await;
    compare(&pipeline.sql, "df").await;
    let running = pipeline.start();
    for _ in 0..TRANSACTIONS {
        transaction(&pipeline.sql, &mut rng, "df").await;
    }
    running.kill();
    pipeline.catch_up().await;
    compare(&pipeline.sql, "df").await;
}
