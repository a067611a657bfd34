//! Passwords in files that are replaced while the program runs, before and after the server's own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use neo4rs::Query;
use tempfile::TempDir;
use tokio_postgres::Client;
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions};

use crate::support::{Pipeline, Running, eventually, neo4j, until};

/// All of them are longer than Neo4j's shortest, and in no other text.
const PASSWORDS: [&str; 4] =
    ["first-pa55word", "second-pa55word", "third-pa55word", "wrong-pa55word"];

/// `run` with a file and a secret beside it.
struct Rotating {
    folder: TempDir,
}

impl Rotating {
    /// `text` is the file, with the secret's path where it says `SECRET`.
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rotating = Rotating { folder };
        let text = text.replace("SECRET", &format!("${{file:{}}}", rotating.secret()));
        fs::write(rotating.path("wal2graph.yaml"), text).unwrap();
        rotating
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn secret(&self) -> String {
        self.path("secret")
    }

    /// Puts a secret into the file, as an agent does.
    fn put(&self, secret: &str) {
        fs::write(self.path("next"), format!("{secret}\n")).unwrap();
        fs::rename(self.path("next"), self.secret()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
        command.args(arguments).args(["-c", &self.path("wal2graph.yaml"), "--log-level", "debug"]);
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    fn start(&self) -> Running {
        Running(self.command(&["run"]).spawn().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(Path::new(&self.path("log"))).unwrap_or_default()
    }

    /// A first start with a secret that is wrong ends, and says so.
    async fn ends_at_first(&self, said: &str) {
        self.put("wrong-pa55word");
        let mut running = self.start();
        let code = running.ended(Duration::from_secs(120)).await;
        assert!(code == Some(1) && self.log().contains(said), "{code:?}: {}", self.log());
        assert!(!self.log().contains("tried again for"), "{}", self.log());
    }

    /// It is refused, names the file, and does not end.
    async fn is_refused(&self, times: usize) {
        let named = format!("each time with what {} has then", self.secret());
        let warned = || {
            let log = self.log();
            let lines = log.lines().filter(|line| line.contains("WARN") && line.contains(&named));
            lines.count()
        };
        until("the refusal is a warning that names the file", async || warned() >= times).await;
    }

    /// It ends well, and has said no secret.
    async fn ends_well(&self, mut running: Running) {
        assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0), "{}", self.log());
        for password in PASSWORDS {
            assert!(!self.log().contains(password), "{}", self.log());
        }
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        let log = self.log();
        let lines = log.lines().filter(|line| !line.contains("DEBUG"));
        println!("{}", lines.collect::<Vec<_>>().join("\n"));
    }
}

async fn row(label: &str, id: i32) {
    let there = format!("RETURN EXISTS {{ (:{label} {{id: {id}}}) }} AS yes");
    eventually(&format!("row {id} of {label}"), &there).await;
}

async fn insert(sql: &Client, table: &str, id: i32) {
    sql.batch_execute(&format!("INSERT INTO {table} VALUES ({id})")).await.unwrap();
}

#[tokio::test]
async fn a_rotated_password_of_the_source_ended_the_program() {
    let options = PostgresOptions {
        authentication: "host all rotated 127.0.0.1/32 scram-sha-256".to_owned(),
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&options).unwrap_or_else(|error| panic!("{error}"));
    let schema = "CREATE TABLE rotated_rows (id int PRIMARY KEY); INSERT INTO rotated_rows VALUES (1); \
        CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'first-pa55word'";
    let pipeline = Pipeline::on(&server, "rotated", schema).await;
    let rotating = Rotating::new(&format!(
        "source: {{url: 'postgres://rotated:SECRET@127.0.0.1:{}/{}'}}\ngraph: {{url: '{}'}}\nhttp: {{listen: off}}\n",
        server.port(),
        pipeline.name,
        neo4j().url()
    ));
    rotating.ends_at_first("Check the user and the password in the source URL").await;
    rotating.put("first-pa55word");
    let running = rotating.start();
    row("RotatedRow", 1).await;
    let sql = &pipeline.sql;
    let password = async |new: &str| {
        sql.batch_execute(&format!("ALTER ROLE rotated PASSWORD '{new}'")).await.unwrap();
    };
    let disconnect = async || {
        let all =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'";
        sql.batch_execute(all).await.unwrap();
    };
    // The server's first, then the file.
    password("second-pa55word").await;
    disconnect().await;
    rotating.is_refused(1).await;
    rotating.put("second-pa55word");
    insert(sql, "rotated_rows", 2).await;
    row("RotatedRow", 2).await;
    // The file first, then the server's.
    rotating.put("third-pa55word");
    disconnect().await;
    rotating.is_refused(2).await;
    password("third-pa55word").await;
    insert(sql, "rotated_rows", 3).await;
    row("RotatedRow", 3).await;
    rotating.ends_well(running).await;
}

/// A Neo4j that asks for a password, and somebody who may change it.
struct Guarded {
    server: Neo4j,
    password: &'static str,
}

impl Guarded {
    async fn start() -> Self {
        let options = Neo4jOptions {
            heap: "512m".to_owned(),
            authenticates: true,
            ..Neo4jOptions::default()
        };
        let server = Neo4j::start(&options).unwrap_or_else(|error| panic!("{error}"));
        let mut guarded = Guarded { server, password: "neo4j" };
        guarded.changes("first-pa55word").await;
        guarded
    }

    fn connection(&self, database: &str) -> Connection {
        let (password, database) = (self.password.to_owned(), Some(database.to_owned()));
        let options = Options { password, database, ..Options::open(self.server.url()) };
        Connection::new(&options, ANSWER_LIMIT).unwrap()
    }

    async fn changes(&mut self, password: &'static str) {
        let change = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new";
        let change =
            Query::new(change.to_owned()).param("old", self.password).param("new", password);
        until("the password is changed", async || {
            let changed = self.connection("system").run(change.clone()).await;
            changed.inspect_err(|error| println!("{error}")).is_ok()
        })
        .await;
        self.password = password;
    }

    async fn row(&self, id: i32) {
        let there = format!("RETURN EXISTS {{ (:RotatedThing {{id: {id}}}) }} AS yes");
        until("the row is there", async || {
            let rows = self.connection("neo4j").rows(Query::new(there.clone())).await;
            rows.is_ok_and(|rows| rows[0].get::<bool>("yes").unwrap_or(false))
        })
        .await;
    }

    /// All connections are lost.
    fn restart(&mut self) {
        self.server.stop().unwrap();
        self.server.start_again().unwrap();
    }
}

#[tokio::test]
async fn a_rotated_password_of_the_graph_ended_the_program() {
    let mut graph = Guarded::start().await;
    let schema =
        "CREATE TABLE rotated_things (id int PRIMARY KEY); INSERT INTO rotated_things VALUES (1)";
    let pipeline = Pipeline::new("rotatedgraph", schema).await;
    let rotating = Rotating::new(&format!(
        "source: {{url: '{}'}}\ngraph: {{url: '{}', password: 'SECRET'}}\nhttp: {{listen: off}}\n",
        pipeline.source_url,
        graph.server.url()
    ));
    rotating.ends_at_first("unauthorized").await;
    rotating.put("first-pa55word");
    let running = rotating.start();
    graph.row(1).await;
    // The server's first, then the file.
    graph.changes("second-pa55word").await;
    graph.restart();
    rotating.is_refused(1).await;
    rotating.put("second-pa55word");
    insert(&pipeline.sql, "rotated_things", 2).await;
    graph.row(2).await;
    // The file first, then the server's: until then, the client connects again with what it was made with.
    rotating.put("third-pa55word");
    graph.restart();
    graph.changes("third-pa55word").await;
    graph.restart();
    insert(&pipeline.sql, "rotated_things", 3).await;
    graph.row(3).await;
    rotating.ends_well(running).await;
}
