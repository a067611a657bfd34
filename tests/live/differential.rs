//! Random transactions through the real pipeline; the graph must equal what independent SQL says.
//!
//! Mappings are random, too, and change on the way. The schema has what hurts: a self reference, soft and hard foreign keys, a join table with properties, wide values
//! that are TOASTed, key changes, cascades, truncates.

mod model;

use std::collections::BTreeMap;

use fastrand::Rng;
use neo4rs::Query;
use tokio_postgres::Client;

use crate::support::{Pipeline, graph, rounds};
use model::{Arrow, Members, Model};

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
    compare_as(&Model::inferred(prefix), sql, prefix).await;
}

/// A question to both: it asks for the same columns.
struct Question {
    from: String,
    matched: String,
    columns: Vec<(String, String)>,
}

impl Question {
    fn new(from: String, matched: String) -> Self {
        Question { from, matched, columns: Vec::new() }
    }

    /// A column, and what it is in the graph.
    fn column(mut self, sql: &str, cypher: impl Into<String>) -> Self {
        self.columns.push((format!("coalesce(({sql})::text, '-')"), cypher.into()));
        self
    }

    /// The same of a property that may not be there.
    fn property(self, sql: &str, of: &str, name: Option<&String>) -> Self {
        match name {
            Some(name) => self.column(sql, format!("toString({of}.`{name}`)")),
            None => self.column("NULL", "NULL"),
        }
    }

    fn texts(&self) -> (String, String) {
        let (sql, cypher): (Vec<&str>, Vec<&str>) =
            self.columns.iter().map(|(sql, cypher)| (sql.as_str(), cypher.as_str())).unzip();
        let sql = format!("SELECT concat_ws('|', {}) FROM {}", sql.join(", "), self.from);
        (sql, format!("MATCH {} RETURN [{}] AS r", self.matched, cypher.join(", ")))
    }
}

/// The pattern of relationships from `a` to `b`.
fn pattern(from: &str, arrow: &Arrow, to: &str) -> String {
    let Arrow { name, is_in } = arrow;
    match is_in {
        false => format!("(a:{from})-[:{name}]->(b:{to})"),
        true => format!("(a:{from})<-[:{name}]-(b:{to})"),
    }
}

fn questions(model: &Model, prefix: &str) -> BTreeMap<&'static str, Question> {
    let Model { person, team, task, .. } = model;
    let rows = |label: &str| format!("(n:{label}) WHERE NOT n:_Placeholder");
    let table = |name: &str| format!("{prefix}_{name}");
    let wide = |column: &str| format!("left({column}, 32) || length({column})");
    let ends = |question: Question, [from, to]: [&str; 2]| {
        question.column(from, "toString(a.id)").column(to, "toString(b.id)")
    };
    let mut questions = BTreeMap::from([
        (
            "people",
            Question::new(table("people"), rows(person))
                .column("id", "toString(n.id)")
                .property("name", "n", model.name.as_ref())
                .property(&wide("bio"), "n", model.bio.as_ref())
                .property("boss_id", "n", model.boss_id.as_ref()),
        ),
        (
            "teams",
            Question::new(table("teams"), rows(team))
                .column("id", "toString(n.id)")
                .column("title", "n.title")
                .column("budget", "n.budget"),
        ),
        (
            "tasks",
            Question::new(table("tasks"), rows(task))
                .column("id", "toString(n.id)")
                .property("owner_id", "n", model.owner_id.as_ref())
                .column("done", "toString(n.done)")
                .column("tags[2]", "n.tags[1]"),
        ),
    ]);
    let references = [
        ("bosses", "people", "boss_id", model.boss.as_ref(), [person, person]),
        ("task teams", "tasks", "team_id", model.task_team.as_ref(), [task, team]),
        ("owners", "tasks", "owner_id", model.owner.as_ref(), [task, person]),
    ];
    for (what, from, column, arrow, [owner, target]) in references {
        let Some(arrow) = arrow else { continue };
        let from = format!("{} WHERE {column} IS NOT NULL", table(from));
        let question = Question::new(from, pattern(owner, arrow, target));
        questions.insert(what, ends(question, ["id", column]));
    }
    let matched = match &model.members {
        Members::Relationships(name) => format!("(a:{person})-[x:{name}]->(b:{team})"),
        Members::Nodes { label, person: of_person, team: of_team } => {
            format!("(a:{person})<-[:{of_person}]-(x:{label})-[:{of_team}]->(b:{team})")
        }
    };
    let members = ends(Question::new(table("members"), matched), ["person_id", "team_id"]);
    let members = members.property("role", "x", model.role.as_ref());
    questions.insert("members", members.column(&wide("note"), "x.note"));
    questions.insert("left over", left_over(model, prefix));
    questions
}

/// Nodes without a row: owners that are nobody. No other ones, whatever the mapping was before.
fn left_over(model: &Model, prefix: &str) -> Question {
    let Model { person, team, task, .. } = model;
    let unknown = format!("NOT EXISTS (SELECT FROM {prefix}_people p WHERE p.id = owner_id)");
    let from = match &model.owner {
        Some(_) => format!(
            "(SELECT DISTINCT owner_id AS id FROM {prefix}_tasks WHERE owner_id IS NOT NULL AND {unknown}) o"
        ),
        None => "(SELECT 1 AS id WHERE false) o".to_owned(),
    };
    let matched = format!("(n:{person}|{team}|{task}) WHERE n:_Placeholder OR n:_Incomplete");
    Question::new(from, matched).column("id", "toString(n.id)")
}

async fn compare_as(model: &Model, sql: &Client, prefix: &str) {
    for (what, question) in questions(model, prefix) {
        let (sql_text, cypher) = question.texts();
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
        assert_eq!(expected, found, "{what}\n{}", model.file);
    }
}

fn seeded() -> Rng {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

#[tokio::test]
async fn copied_and_streamed_the_graph_equals_the_tables() {
    let mut rng = seeded();
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

/// Each file is a change of the one before, which the graph follows beside what streams.
#[tokio::test]
async fn under_random_mappings_that_change_the_graph_equals_the_tables() {
    let mut rng = seeded();
    let pipeline = Pipeline::new("mappings", &schema("dm")).await;
    for _ in 0..rounds(4, 30) {
        let model = Model::random("dm", &mut rng);
        println!("{}", model.file);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wal2graph.yaml");
        std::fs::write(&path, &model.file).expect("a file");
        let path = path.to_str().expect("a path in UTF-8");
        for _ in 0..TRANSACTIONS / 3 {
            transaction(&pipeline.sql, &mut rng, "dm").await;
        }
        for _ in 0..2 {
            let ran = pipeline.output(&["run", "--until", "current", "-c", path]).await;
            let log = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{}\n{log}", model.file);
            compare_as(&model, &pipeline.sql, "dm").await;
            for _ in 0..TRANSACTIONS / 6 {
                transaction(&pipeline.sql, &mut rng, "dm").await;
            }
        }
    }
}
