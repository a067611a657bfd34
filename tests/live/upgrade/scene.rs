//! A database whose pipeline the release before has left in the middle of something.
//!
//! ```text
//! WAL2GRAPH_BEFORE=program   the program of the release before works on the database until it is killed
//!   and UPDATE_GOLDEN=1      what it has left goes to tests/live/upgrade/*.json, with names for what a server gives
//! otherwise                  what it has left comes from there, with this server's numbers for the names
//! ```
//!
//! Both have the same rows and the same transactions, in this order. So what the recorded checkpoint says of
//! transactions is true of this server's, once the names are replaced.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;
use tokio_postgres::Client;

use super::state;
use crate::{
    chaos::proxy::{Network, Proxy},
    differential::compare,
    support::{Pipeline, Running, holds, neo4j},
};

/// What names the program of the release before.
const BEFORE: &str = "WAL2GRAPH_BEFORE";
/// The longest beginning of a message of the stream that is looked at.
const HEAD: i32 = 32;

/// The program of the release before, if there is one: else what it has left is recorded.
pub fn before() -> Option<PathBuf> {
    std::env::var_os(BEFORE).map(PathBuf::from)
}

/// A database, its pipeline, and what has happened to it.
pub struct Scene {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What the names of its tables begin with.
    pub prefix: &'static str,
    /// A second slot, which shows all transactions since the beginning.
    witness: String,
    /// The tables and partitions, with object id and file. A truncated table gets another file.
    pub tables: Vec<(String, u32, u32)>,
}

/// A transaction of the source, as its log has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    commit: u64,
    pub end: u64,
}

/// The tables and their rows. Few rows are in a block, so that a range has some blocks; nothing moves them.
fn schema(prefix: &str) -> String {
    format!(
        "CREATE TABLE {prefix}_people (id int PRIMARY KEY, name text, bio text, boss_id int REFERENCES {prefix}_people \
             ON DELETE SET NULL ON UPDATE CASCADE) WITH (fillfactor = 10, autovacuum_enabled = false);
         ALTER TABLE {prefix}_people ALTER COLUMN bio SET STORAGE EXTERNAL;
         CREATE TABLE {prefix}_teams (id int PRIMARY KEY, title text NOT NULL, budget numeric(12,2), \
             started timestamptz);
         CREATE TABLE {prefix}_tasks (id bigint PRIMARY KEY, team_id int REFERENCES {prefix}_teams ON DELETE CASCADE \
             ON UPDATE CASCADE, owner_id int, done bool, tags text[]);
         CREATE TABLE {prefix}_members (person_id int REFERENCES {prefix}_people ON DELETE CASCADE ON UPDATE CASCADE, \
             team_id int REFERENCES {prefix}_teams ON DELETE CASCADE ON UPDATE CASCADE, role text, note text, \
             PRIMARY KEY (person_id, team_id));
         CREATE TABLE {prefix}_events (id int, region text, person_id int REFERENCES {prefix}_people \
             ON DELETE SET NULL ON UPDATE CASCADE, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
         CREATE TABLE {prefix}_events_north PARTITION OF {prefix}_events FOR VALUES IN ('north');
         CREATE TABLE {prefix}_events_south PARTITION OF {prefix}_events FOR VALUES IN ('south');
         CREATE TABLE \"{prefix}_odd.ones\" (id int PRIMARY KEY, person_id int REFERENCES {prefix}_people \
             ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE {prefix}_wide (id int PRIMARY KEY, name text, pad text);
         ALTER TABLE {prefix}_wide ALTER COLUMN pad SET STORAGE EXTERNAL;
         INSERT INTO {prefix}_people SELECT g, 'n' || g, CASE WHEN g % 40 = 0 THEN repeat(md5(g::text), 70) END, \
             CASE WHEN g % 3 = 0 THEN g - 1 END FROM generate_series(1, 120) g;
         INSERT INTO {prefix}_teams SELECT g, 't' || g, g / 4.0, \
             timestamptz '2026-01-01 00:00Z' + g * interval '1 day' FROM generate_series(1, 6) g;
         INSERT INTO {prefix}_tasks SELECT g, g % 6 + 1, g, g % 2 = 0, ARRAY['a', 'b' || g] \
             FROM generate_series(1, 30) g;
         INSERT INTO {prefix}_members SELECT g, g % 6 + 1, 'r' || g, NULL FROM generate_series(1, 30) g;
         INSERT INTO {prefix}_events SELECT g, CASE WHEN g % 2 = 0 THEN 'north' ELSE 'south' END, g \
             FROM generate_series(1, 20) g;
         INSERT INTO \"{prefix}_odd.ones\" SELECT g, g FROM generate_series(1, 5) g;
         INSERT INTO {prefix}_wide SELECT g, 'w' || g, 'x' FROM generate_series(8001, 8005) g;"
    )
}

/// What the file says: wide values are in the log, and not in the graph.
pub fn file(prefix: &str) -> String {
    format!(
        "tables: {{public.{prefix}_wide: {{properties: {{exclude: [pad]}}}}}}\nhttp: {{listen: off}}\n"
    )
}

/// Transactions that the program before has seen.
pub fn seen(prefix: &str) -> Vec<String> {
    [
        "UPDATE P_people SET name = 'changed' WHERE id = 1",
        // The stream has no `bio` of it.
        "UPDATE P_people SET name = 'changed' WHERE id = 120",
        "INSERT INTO P_people VALUES (301, 'new', NULL, 119); INSERT INTO P_members VALUES (301, 2, 'r', NULL)",
        "DELETE FROM P_people WHERE id = 8",
        "UPDATE P_people SET id = 402 WHERE id = 2",
        "UPDATE P_events SET region = 'south' WHERE id = 2",
    ]
    .map(|text| text.replace("P_", &format!("{prefix}_")))
    .into()
}

/// Transactions since then, while no program was up.
pub fn unseen(prefix: &str) -> Vec<String> {
    [
        "UPDATE P_teams SET budget = 5 WHERE id = 1; DELETE FROM P_tasks WHERE id % 7 = 0",
        "TRUNCATE P_members; \
         INSERT INTO P_members SELECT g, 3, 'again', repeat('n', 120) FROM generate_series(10, 20) g",
        "UPDATE P_people SET name = 'again' WHERE id IN (1, 90, 120, 301)",
        "UPDATE P_people SET boss_id = 301 WHERE id IN (50, 100)",
        "DELETE FROM P_people WHERE id IN (11, 119)",
    ]
    .map(|text| text.replace("P_", &format!("{prefix}_")))
    .into()
}

/// Transactions after the upgrade.
pub fn later(prefix: &str) -> Vec<String> {
    [
        "UPDATE P_people SET id = 502 WHERE id = 402; DELETE FROM P_people WHERE id = 301",
        "INSERT INTO P_people VALUES (2, 'back', repeat('b', 3000), 3); UPDATE P_people SET name = 'x' WHERE id = 100",
        "INSERT INTO P_wide VALUES (9001, 'w', 'w')",
    ]
    .map(|text| text.replace("P_", &format!("{prefix}_")))
    .into()
}

impl Scene {
    /// A new database, with the publication of the pipeline. Nothing has run on it.
    pub async fn new(prefix: &'static str) -> Self {
        let pipeline = Pipeline::new(prefix, &schema(prefix)).await.configured(&file(prefix));
        let (name, witness) = (&pipeline.name, format!("witness_{}", pipeline.name));
        let tables = format!(
            "{prefix}_people, {prefix}_teams, {prefix}_tasks, {prefix}_members, {prefix}_events, \
             \"{prefix}_odd.ones\", {prefix}_wide"
        );
        let publication = format!(
            "CREATE PUBLICATION wal2graph_{name} FOR TABLE {tables} WITH (publish_via_partition_root = true)"
        );
        pipeline.sql.batch_execute(&publication).await.unwrap();
        make_slot(&pipeline.sql, &witness).await;
        let tables = "SELECT relname::text, oid, relfilenode FROM pg_class \
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1";
        let tables = pipeline.sql.query(tables, &[]).await.unwrap();
        let tables = tables.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        Scene { pipeline, prefix, witness, tables }
    }

    /// The same with another file.
    pub fn configured(self, text: &str) -> Self {
        Scene { pipeline: self.pipeline.configured(text), ..self }
    }

    /// Commits these, one after the other.
    pub async fn commit(&self, transactions: &[String]) {
        for transaction in transactions {
            let text = format!("BEGIN; {transaction}; COMMIT");
            self.pipeline.sql.batch_execute(&text).await.unwrap();
        }
    }

    /// The program before, on this pipeline.
    fn command_before(&self, program: &PathBuf, arguments: &[&str], graph: &str) -> Command {
        let mut command = Command::new(program);
        let today = self.pipeline.command(arguments);
        let url = neo4j().url();
        command
            .args(today.get_args().map(|it| if it == url.as_str() { graph.as_ref() } else { it }));
        command
    }

    /// It starts, and its graph answers slowly.
    pub async fn start_before(
        &self,
        program: &PathBuf,
        arguments: &[&str],
        slow: Network,
    ) -> Running {
        let proxy = Proxy::to(neo4j().port()).await;
        proxy.is(slow);
        let url = neo4j().url().replace(&neo4j().port().to_string(), &proxy.port.to_string());
        // The way lasts as long as the process of the test.
        std::mem::forget(proxy);
        Running(self.command_before(program, arguments, &url).spawn().expect("it starts"))
    }

    /// It runs to its end, which is a good one.
    pub async fn run_before(&self, program: &PathBuf, arguments: &[&str]) {
        let output =
            crate::support::output(self.command_before(program, arguments, &neo4j().url())).await;
        assert!(output.status.success(), "{}", log(&output));
    }

    /// The transactions since the beginning.
    pub async fn logged(&self) -> Vec<Logged> {
        let sql = format!(
            "SELECT substr(data, 1, {HEAD}) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, \
             'proto_version', '1', 'publication_names', $2)"
        );
        let publication = format!("wal2graph_{}", self.pipeline.name);
        let rows = self.pipeline.sql.query(&sql, &[&self.witness, &publication]).await.unwrap();
        let (mut all, mut has_changes) = (Vec::new(), false);
        for row in rows {
            let message: &[u8] = row.get(0);
            let number = |at: usize| i64::from_be_bytes(message[at..at + 8].try_into().unwrap());
            match message[0] {
                b'B' => has_changes = false,
                b'C' => {
                    let [commit, end] = [2, 10].map(|at| number(at).unsigned_abs());
                    all.extend(has_changes.then_some(Logged { commit, end }));
                }
                b'I' | b'U' | b'D' | b'T' => has_changes = true,
                _ => {}
            }
        }
        all
    }

    /// What this server gives, by the names that stand for it.
    pub async fn names(&self, start: u64) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        let mut name = |name: String, value: String| names.insert(format!("@{name}@"), value);
        let text = |lsn: u64| wal2graph::lsn::Lsn(lsn).to_string();
        name("pipeline".to_owned(), self.pipeline.name.clone());
        name("cluster".to_owned(), self.pipeline.cluster().await);
        name("idle0".to_owned(), start.to_string());
        name("text:idle0".to_owned(), text(start));
        for (number, it) in (1..).zip(self.logged().await) {
            for (kind, lsn) in [("commit", it.commit), ("end", it.end), ("idle", it.end)] {
                name(format!("{kind}{number}"), lsn.to_string());
                name(format!("text:{kind}{number}"), text(lsn));
            }
        }
        for (table, oid, file) in &self.tables {
            name(format!("oid:{table}"), oid.to_string());
            name(format!("file:{table}"), file.to_string());
        }
        names
    }

    /// The name of a position, as a recording has it.
    fn name_of(lsn: u64, logged: &[Logged]) -> String {
        let ended = logged.iter().filter(|it| it.end <= lsn).count();
        match logged.iter().position(|it| it.commit <= lsn && lsn <= it.end) {
            Some(at) if logged[at].commit == lsn => format!("commit{}", at + 1),
            Some(at) if logged[at].end == lsn => format!("end{}", at + 1),
            Some(_) => panic!("{lsn} is within a commit"),
            None => format!("idle{ended}"),
        }
    }

    /// The graph as it is, with names for what this server gives.
    pub async fn graph(&self) -> Value {
        let logged = self.logged().await;
        let tables = &self.tables;
        let mut graph = state::stored(&self.pipeline.name, &label(self.prefix)).await;
        for node in graph["nodes"].as_array_mut().unwrap() {
            let of_a_copy = node[0][0] == "_Wal2GraphCopy";
            let properties = node[1].as_object_mut().unwrap();
            let number = |name: String| serde_json::json!({"number": format!("@{name}@")});
            for name in ["part_commit_lsn", "replay_lsn", "lsn"] {
                let Some(lsn) = properties.get(name).and_then(Value::as_u64).filter(|it| *it > 0)
                else {
                    continue;
                };
                let is = Self::name_of(lsn, &logged);
                if name == "lsn" {
                    properties.insert("lsn_text".to_owned(), format!("@text:{is}@").into());
                }
                properties.insert(name.to_owned(), number(is));
            }
            if of_a_copy {
                for (name, kind) in [("partition", "oid"), ("relfilenode", "file")] {
                    let is = properties.get(name).and_then(Value::as_u64).filter(|it| *it > 0);
                    let Some(is) = is else { continue };
                    let of = |(_, oid, file): &&(String, u32, u32)| {
                        u64::from(if kind == "oid" { *oid } else { *file }) == is
                    };
                    let table = &tables
                        .iter()
                        .find(of)
                        .unwrap_or_else(|| panic!("{name} {is}: a table of the database"))
                        .0;
                    properties.insert(name.to_owned(), number(format!("{kind}:{table}")));
                }
            }
        }
        graph
    }

    /// Records what the program before has left, if it is to be.
    pub async fn record(&self, name: &str, mut left: Value) {
        left["transactions"] = self.logged().await.len().into();
        left["prefix"] = self.prefix.into();
        if std::env::var_os("UPDATE_GOLDEN").is_none() {
            return;
        }
        let text = lines(&left).replace(&self.pipeline.name, "@pipeline@");
        let text = text.replace(&self.pipeline.cluster().await, "@cluster@");
        fs::write(path(name), text).unwrap();
    }

    /// Makes the pipeline's slot; where it begins.
    pub async fn make_slot(&self) -> u64 {
        make_slot(&self.pipeline.sql, &format!("wal2graph_{}", self.pipeline.name)).await
    }

    /// What was recorded, as if it had been on this server. Makes the slot; `transactions` are those that it saw
    /// and those since.
    pub async fn recorded(
        &self,
        name: &str,
        transactions: &[String],
    ) -> (String, BTreeMap<String, String>) {
        let start = self.make_slot().await;
        self.commit(transactions).await;
        let mut text = fs::read_to_string(path(name)).expect("it is recorded");
        let left: Value = serde_json::from_str(&text).unwrap();
        let prefix = left["prefix"].as_str().unwrap();
        for form in [str::to_owned, str::to_uppercase, label] {
            text = text.replace(&form(prefix), &form(self.prefix));
        }
        let logged = self.logged().await.len();
        assert_eq!(left["transactions"], logged, "the recording has the same transactions");
        (text, self.names(start).await)
    }

    /// The graph of a recording.
    pub async fn restore(&self, text: &str, names: &BTreeMap<String, String>) -> Value {
        let text = names.iter().fold(text.to_owned(), |text, (name, is)| text.replace(name, is));
        let left: Value = serde_json::from_str(&text).unwrap();
        state::restore(&left).await;
        left
    }

    /// Nobody needs the second slot any more.
    pub async fn forget_log(&self) {
        let sql = "SELECT pg_drop_replication_slot($1)";
        self.pipeline.sql.query(sql, &[&self.witness]).await.unwrap();
    }

    /// Whether a query of the graph, with `P` for what labels begin with and `PIPELINE`, is true.
    pub async fn has(&self, cypher: &str) -> bool {
        let text = cypher.replace("PIPELINE", &self.pipeline.name);
        holds(&format!("RETURN {} AS yes", text.replace("P_", &label(self.prefix)))).await
    }

    /// A command of today's program, which must succeed and find nothing to warn of.
    pub async fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.pipeline.output(arguments).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &log(&output);
        println!("{arguments:?}\n{said}");
        assert!(output.status.success(), "{arguments:?}: {said}");
        for word in ["WARN", "ERROR", "FAILURE"] {
            assert!(!said.contains(word), "{arguments:?}: {said}");
        }
        output
    }

    /// The graph is what the tables are: said by queries of its own, and by `verify`.
    pub async fn is_equal(&self) {
        compare(&self.pipeline.sql, self.prefix).await;
        self.succeeds(&["verify"]).await;
        let copies = "NOT EXISTS { (:_Wal2GraphCopy {pipeline: 'PIPELINE'}) }";
        assert!(self.has(copies).await, "no copy is under way");
    }
}

/// What the labels of tables with this prefix begin with.
fn label(prefix: &str) -> String {
    let (first, rest) = prefix.split_at(1);
    first.to_uppercase() + rest
}

/// What a command has logged.
pub fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/live/upgrade");
    folder.join(format!("{name}.json"))
}

/// One entry of each list a line.
fn lines(left: &Value) -> String {
    let parts = left.as_object().unwrap().iter().map(|(name, value)| match value {
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(|it| format!("    {it}")).collect();
            format!("  \"{name}\": [\n{}\n  ]", all.join(",\n"))
        }
        value => format!("  \"{name}\": {value}"),
    });
    format!("{{\n{}\n}}\n", parts.collect::<Vec<_>>().join(",\n"))
}

/// Makes a slot; where it begins.
async fn make_slot(sql: &Client, slot: &str) -> u64 {
    let make = "SELECT (lsn - '0/0')::int8 FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    sql.query_one(make, &[&slot]).await.unwrap().get::<_, i64>(0).unsigned_abs()
}
