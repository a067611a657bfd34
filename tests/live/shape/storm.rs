//! Random DDL among random rows. In the end the graph is what a fresh copy makes of the tables.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use neo4rs::Query;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::Followed;
use crate::support::{Pipeline, client, graph, rounds};

/// What a storm's names begin with here. Each has names of its own in the graph.
const NAMED: &str = "zst_";

/// What the file says from one start to the next, where tables are paused.
const FILES: [&str; 4] = [
    "schema_changes: pause",
    "schema_changes: pause\ndropped_tables: clear",
    "dropped_tables: keep",
    "schema_changes: apply",
];

const SCHEMA: &str = "
    CREATE TYPE zst_mood AS ENUM ('m0', 'm1', 'm2');
    CREATE TABLE zst_a (id int PRIMARY KEY, v text, n int, mood zst_mood);
    CREATE TABLE zst_b (id int PRIMARY KEY, v text, a_id int REFERENCES zst_a ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE zst_j (a_id int REFERENCES zst_a ON DELETE CASCADE ON UPDATE CASCADE,
        b_id int REFERENCES zst_b ON DELETE CASCADE ON UPDATE CASCADE, w int, PRIMARY KEY (a_id, b_id));
    CREATE TABLE zst_p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE zst_p0 PARTITION OF zst_p FOR VALUES FROM (0) TO (500);
    CREATE TABLE zst_p1 PARTITION OF zst_p FOR VALUES FROM (500) TO (1000);
    INSERT INTO zst_a SELECT g, 'v' || g, g, 'm1' FROM generate_series(1, 300) g;
    INSERT INTO zst_b SELECT g, 'v' || g, g FROM generate_series(1, 300) g;
    INSERT INTO zst_j SELECT g, g % 300 + 1, g FROM generate_series(1, 300) g;
    INSERT INTO zst_p SELECT g * 3, 'v' || g FROM generate_series(1, 300) g;";

/// A table as it is now.
struct Table {
    name: String,
    columns: Vec<(String, String)>,
    key: Vec<String>,
}

async fn tables(sql: &Client) -> Vec<Table> {
    let text = "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), coalesce(a.attnum = ANY (i.indkey), false) \
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
        ORDER BY c.relname, a.attnum";
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for row in sql.query(text, &[]).await.expect("the catalog is read") {
        let (name, column): (String, String) = (row.get(0), row.get(1));
        let table = tables.entry(name.clone()).or_insert(Table {
            name,
            columns: Vec::new(),
            key: Vec::new(),
        });
        if row.get(3) {
            table.key.push(column.clone());
        }
        table.columns.push((column, row.get(2)));
    }
    tables.into_values().collect()
}

fn one<'a, T>(rng: &mut Rng, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[rng.usize(..of.len())])
}

fn value(rng: &mut Rng, of: &str) -> String {
    let n = rng.i32(0..1_000);
    match of {
        _ if rng.u8(..8) == 0 => "NULL".to_owned(),
        "integer" | "bigint" | "numeric" => n.to_string(),
        of if of.ends_with("_mood") => "(enum_range(NULL::zst_mood))[1]".to_owned(),
        _ => format!("'t{n}'"),
    }
}

/// A statement on rows of some table.
fn rows(rng: &mut Rng, tables: &[Table]) -> String {
    let Some(table) = one(rng, tables) else { return String::new() };
    let (name, from) = (&table.name, rng.i32(0..1_000));
    let others: Vec<_> =
        table.columns.iter().filter(|(column, _)| !table.key.contains(column)).collect();
    let key = table.key.first().map_or("NULL", String::as_str);
    let change = one(rng, &others).map(|(column, of)| format!("{column} = {}", value(rng, of)));
    match (rng.u8(..10), change) {
        (0..3, _) => {
            let values: Vec<String> = table
                .columns
                .iter()
                .map(|(column, of)| match table.key.contains(column) {
                    true => rng.i32(0..1_000).to_string(),
                    false => value(rng, of),
                })
                .collect();
            format!("INSERT INTO {name} VALUES ({}) ON CONFLICT DO NOTHING;", values.join(", "))
        }
        (3..7, Some(change)) => {
            format!("UPDATE {name} SET {change} WHERE {key} BETWEEN {from} AND {};", from + 20)
        }
        (7, _) => format!("UPDATE {name} SET {key} = {} WHERE {key} = {from};", from + 1_000),
        _ => format!("DELETE FROM {name} WHERE {key} BETWEEN {from} AND {};", from + 3),
    }
}

/// A statement on a table, or several.
fn ddl(rng: &mut Rng, tables: &[Table], publication: &str) -> String {
    let number = rng.u32(..1_000);
    let Some(table) = one(rng, tables) else {
        return format!("CREATE TABLE zst_n{number} (id int PRIMARY KEY)");
    };
    let name = &table.name;
    let others: Vec<_> =
        table.columns.iter().filter(|(column, _)| !table.key.contains(column)).collect();
    let column = one(rng, &others).map_or("v", |(column, _)| column.as_str());
    let other = one(rng, tables).map_or("zst_a", |other| other.name.as_str());
    match rng.u8(..27) {
        0..3 => format!("ALTER TABLE {name} ADD c{} int", number % 5),
        3 => format!("ALTER TABLE {name} ADD c{} text", number % 5),
        4 => format!("ALTER TABLE {name} ADD c{} int DEFAULT {number}", number % 5),
        5 => format!("ALTER TABLE {name} ADD c{} text DEFAULT md5(random()::text)", number % 5),
        6..8 => format!("ALTER TABLE {name} DROP COLUMN {column} CASCADE"),
        8 => format!("ALTER TABLE {name} DROP COLUMN {column} CASCADE, ADD {column} int"),
        9 => format!("ALTER TABLE {name} RENAME {column} TO c{}", number % 5),
        10 => format!("ALTER TABLE {name} ALTER {column} TYPE text USING {column}::text || 'x'"),
        11 => format!("ALTER TABLE {name} ALTER {column} TYPE int USING length({column}::text)"),
        12 => format!(
            "CREATE TABLE zst_n{number} (id int PRIMARY KEY, v text, ref int REFERENCES {other} ON DELETE CASCADE \
             ON UPDATE CASCADE); INSERT INTO zst_n{number} SELECT g, 'new', NULL FROM generate_series(1, 50) g"
        ),
        13 if tables.len() > 4 => format!("DROP TABLE {name} CASCADE"),
        14 => format!("ALTER TABLE {name} RENAME TO zst_r{number}"),
        15 => format!(
            "ALTER TABLE {name} RENAME TO zst_x; ALTER TABLE {other} RENAME TO {name}; ALTER TABLE zst_x RENAME TO {other}"
        ),
        16 => format!(
            "UPDATE {name} SET {column} = NULL; ALTER TABLE {name} ADD CONSTRAINT fk{number} FOREIGN KEY ({column}) \
             REFERENCES {other} ON DELETE SET NULL ON UPDATE CASCADE"
        ),
        17 => format!(
            "DO $$ DECLARE it name; BEGIN SELECT conname INTO it FROM pg_constraint WHERE contype = 'f' \
             AND conrelid = '{name}'::regclass LIMIT 1; IF it IS NOT NULL THEN \
             EXECUTE format('ALTER TABLE {name} DROP CONSTRAINT %I', it); END IF; END $$"
        ),
        18 => format!("ALTER TYPE zst_mood RENAME VALUE 'm{}' TO 'm{number}'", number % 3),
        19 => format!("TRUNCATE {name} CASCADE"),
        20 => format!(
            "ALTER PUBLICATION {publication} DROP TABLE {name}; UPDATE {name} SET {column} = NULL; \
             ALTER PUBLICATION {publication} ADD TABLE {name}"
        ),
        21 => format!(
            "CREATE TABLE zst_q{number} (LIKE zst_p INCLUDING ALL); \
             INSERT INTO zst_q{number} SELECT {0} + 1, 'attached'; \
             ALTER TABLE zst_p ATTACH PARTITION zst_q{number} FOR VALUES FROM ({0}) TO ({0} + 10)",
            1_000 + number * 10
        ),
        22 => "DO $$ DECLARE it regclass; BEGIN SELECT inhrelid INTO it FROM pg_inherits WHERE \
               inhparent = 'zst_p'::regclass AND inhrelid::regclass::text LIKE 'zst_q%' LIMIT 1; IF it IS NOT NULL THEN \
               EXECUTE format('ALTER TABLE zst_p DETACH PARTITION %s; DROP TABLE %s', it, it); END IF; END $$"
            .to_owned(),
        23 => format!(
            "ALTER TABLE {name} REPLICA IDENTITY {}",
            if rng.bool() { "FULL" } else { "DEFAULT" }
        ),
        24 => format!("VACUUM FULL {name}"),
        25 => format!(
            "CREATE TABLE zst_o{number} (LIKE zst_p INCLUDING ALL); \
             ALTER TABLE zst_p ATTACH PARTITION zst_o{number} FOR VALUES FROM ({0}) TO ({0} + 10); \
             INSERT INTO zst_p VALUES ({0} + 1, 'for a moment'); \
             ALTER TABLE zst_p DETACH PARTITION zst_o{number}; DROP TABLE zst_o{number}",
            20_000 + number * 10
        ),
        _ => format!("ALTER TABLE {name} ALTER {column} SET STATISTICS {}", number % 100),
    }
}

/// All nodes and relationships of the tables, as sorted text.
async fn dump(labels: &str) -> Vec<String> {
    let is_ours = format!("any(l IN labels(a) WHERE l STARTS WITH '{labels}')");
    let of =
        |it: &str| format!("[k IN keys({it}) | k + '=' + coalesce(toStringOrNull({it}[k]), '?')]");
    let (a, r, b) = (of("a"), of("r"), of("b"));
    let nodes = format!("MATCH (a) WHERE {is_ours} RETURN [labels(a), {a}] AS parts");
    let relationships = format!(
        "MATCH (a)-[r]->(b) WHERE {is_ours} RETURN [labels(a), {a}, [type(r)], {r}, labels(b), {b}] AS parts"
    );
    let mut lines = Vec::new();
    for text in [nodes, relationships] {
        for row in graph().rows(Query::new(text.clone())).await.expect(&text) {
            let mut parts: Vec<Vec<String>> = row.get("parts").expect("lists of texts");
            parts.iter_mut().for_each(|part| part.sort());
            lines.push(format!("{parts:?}"));
        }
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn a_storm_of_ddl_ends_with_what_a_fresh_copy_makes() {
    storm("zst_", "Zst", rounds(40, 300), false).await;
}

/// It is killed and started with another file again and again.
#[tokio::test]
async fn a_storm_of_ddl_with_paused_tables_ends_with_what_a_fresh_copy_makes() {
    storm("zsp_", "Zsp", rounds(20, 300), true).await;
}

async fn storm(names: &str, labels: &str, rounds: usize, pauses: bool) {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(..1_000_000),
    };
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let of_storm = |text: String| text.replace(NAMED, names);
    let name = format!("ddlstorm{names}").replace('_', "");
    let pipeline = Pipeline::new(&name, &of_storm(SCHEMA.to_owned())).await;
    let pipeline = if pauses { pipeline.configured(FILES[0]) } else { pipeline };
    let url = pipeline.source_url.clone();
    let publication = format!("wal2graph_{}", pipeline.name);
    let mut followed = Followed::with(pipeline, &["run"]);
    let copied = format!("(n:{labels}A) RETURN count(n)");
    followed.becomes("the copy", &[(&copied, 300)]).await;
    let own = names.to_owned();
    let mut writer = Rng::with_seed(seed + 1);
    let sql = client(&url).await;
    let writing = tokio::spawn(async move {
        loop {
            let tables = tables(&sql).await;
            let mut text = String::from("BEGIN;");
            for _ in 0..writer.usize(1..4) {
                text += &rows(&mut writer, &tables);
            }
            text += "COMMIT";
            let text = text.replace(NAMED, &own);
            if sql.batch_execute(&text).await.is_err() {
                sql.batch_execute("ROLLBACK").await.expect("a rollback works");
            }
            sleep(Duration::from_millis(writer.u64(5..30))).await;
        }
    });
    let mut done = Vec::new();
    for _ in 0..rounds {
        if pauses && rng.u8(..6) == 0 {
            let file = FILES[rng.usize(..FILES.len())];
            done.push(format!("-- {file}"));
            followed = followed.restarted(file).await;
        }
        let tables = tables(&followed.pipeline.sql).await;
        let mut text = ddl(&mut rng, &tables, &publication);
        if !text.starts_with("VACUUM") {
            for _ in 0..rng.usize(..3) {
                text = format!("{text}; {}", rows(&mut rng, &tables));
                if rng.bool() {
                    text = format!("{text}; {}", ddl(&mut rng, &tables, &publication));
                }
            }
            let end = if rng.u8(..6) == 0 { "ROLLBACK" } else { "COMMIT" };
            text = match text.contains("VACUUM") {
                true => continue,
                false => format!("BEGIN; {text}; {end}"),
            };
        }
        let text = of_storm(text);
        let ran = followed.pipeline.sql.batch_execute(&text).await;
        if ran.is_err() {
            followed.pipeline.sql.batch_execute("ROLLBACK").await.expect("a rollback works");
        } else {
            done.push(text);
        }
        if let Some(code) = followed.running.0.try_wait().unwrap() {
            panic!(
                "SEED={seed}: it ended with {code} after\n{}\n{}",
                done.join("\n"),
                followed.logged()
            );
        }
        sleep(Duration::from_millis(rng.u64(..2_500))).await;
    }
    writing.abort();
    println!("SEED={seed}: {} transactions of DDL", done.len());
    if pauses {
        let stood = followed.status().await;
        let paused = stood.lines().filter(|it| it.starts_with("paused")).count();
        println!("{paused} tables are paused");
        followed = followed.restarted("schema_changes: apply").await;
    }
    followed.becomes("the storm", &[]).await;
    let before = dump(labels).await;
    followed.running.kill();
    let pipeline = followed.pipeline;
    let output = pipeline.output(&["destroy", "--graph", "--yes"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pipeline.catch_up().await;
    let fresh = dump(labels).await;
    let lacks: Vec<_> = fresh.iter().filter(|line| !before.contains(line)).take(20).collect();
    let more: Vec<_> = before.iter().filter(|line| !fresh.contains(line)).take(20).collect();
    assert!(
        before == fresh,
        "SEED={seed}: {} lines, {} fresh ones\nlacks {lacks:#?}\nhas {more:#?}\n{}",
        before.len(),
        fresh.len(),
        done.join("\n")
    );
}
