//! The program as a process, with its own database and pipeline.

use std::{
    ffi::OsStr,
    fs,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tokio_postgres::Client;
use wal2graph_servers::Postgres;

use super::{client, graph, neo4j, new_database_on, postgres, unique};

/// The time limit for a program that ends by itself, on a busy machine.
const RUN_LIMIT: Duration = Duration::from_secs(600);

/// A database, a pipeline with its name, and the program.
pub struct Pipeline {
    /// The name of the database and the pipeline, and the slot's suffix.
    pub name: String,
    /// A client of the database.
    pub sql: Client,
    /// The database's URL, as the superuser.
    pub source_url: String,
    /// The configuration file, if it has one.
    file: Option<String>,
}

impl Pipeline {
    /// Creates a database with `schema`. No other test may have the same table names, because
    /// labels come from them.
    pub async fn new(name: &str, schema: &str) -> Self {
        Self::on(postgres(), name, schema).await
    }

    /// The same on another server than the suite's.
    pub async fn on(server: &Postgres, name: &str, schema: &str) -> Self {
        let name = new_database_on(server, name).await;
        let source_url = server.url(&name);
        let sql = client(&source_url).await;
        sql.batch_execute(schema).await.expect("the schema is made");
        Pipeline::of(name, sql, source_url)
    }

    /// The same with a database that exists already.
    pub fn of(name: String, sql: Client, source_url: String) -> Self {
        Pipeline { name, sql, source_url, file: None }
    }

    /// The same, with `schema_changes: stop`.
    pub fn stopping(self) -> Self {
        self.configured("schema_changes: stop")
    }

    /// The same, with a configuration file that says this.
    pub fn configured(self, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}.yaml", unique("file")));
        std::fs::write(&path, text).expect("a file can be written");
        let path = path.to_str().expect("a path in UTF-8").to_owned();
        Pipeline { file: Some(path), ..self }
    }

    /// The arguments with its file, unless they name one.
    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        if let Some(file) = self.file.as_ref().filter(|_| !arguments.contains(&"-c")) {
            all.extend(["-c".to_owned(), file.clone()]);
        }
        all
    }

    /// The program with this pipeline's URLs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        program(&self.arguments(arguments), &self.source_url, &neo4j().url())
    }

    /// The same with the log-in of another role.
    pub fn command_as(&self, role: &str, arguments: &[&str]) -> Command {
        let source = self.source_url.replace("postgres@", &format!("{role}@"));
        program(&self.arguments(arguments), &source, &neo4j().url())
    }

    /// Runs it to its end.
    pub async fn output(&self, arguments: &[&str]) -> Output {
        self.output_with_graph(arguments, &neo4j().url()).await
    }

    /// The same with another address of the suite's Neo4j.
    pub async fn output_with_graph(&self, arguments: &[&str], graph: &str) -> Output {
        output(program(&self.arguments(arguments), &self.source_url, graph)).await
    }

    /// Runs `run --until current`, which must succeed. Then the graph has everything committed
    /// before.
    pub async fn catch_up(&self) {
        let output = self.output(&["run", "--until", "current"]).await;
        let log = String::from_utf8_lossy(&output.stderr);
        // Appears if the test fails later.
        println!("{log}");
        assert!(output.status.success(), "{log}");
    }

    /// Starts `run` and leaves it running.
    pub fn start(&self) -> Running {
        self.start_with(&[])
    }

    /// The same, with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Running {
        self.start_logging(&[&["run"], arguments].concat(), Stdio::null())
    }

    /// Starts it with these arguments and leaves it running. Its log goes to `log`.
    pub fn start_logging(&self, arguments: &[&str], log: impl Into<Stdio>) -> Running {
        let child = self.command(arguments).stderr(log).spawn();
        Running(child.expect("the program starts"))
    }

    /// The identifier of the source's cluster.
    pub async fn cluster(&self) -> String {
        let sql = "SELECT system_identifier::text FROM pg_control_system()";
        self.sql.query_one(sql, &[]).await.expect("the server answers").get(0)
    }

    /// The checkpoint's and the slot's positions. The checkpoint must never be behind.
    pub async fn positions(&self) -> (Option<u64>, Option<u64>) {
        // Reads the slot first: it may only move towards the checkpoint in between.
        let sql = "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots WHERE slot_name = $1";
        let slot = format!("wal2graph_{}", self.name);
        let row = self.sql.query_opt(sql, &[&slot]).await.expect("the server answers");
        let confirmed = row.and_then(|row| row.get::<_, Option<i64>>(0));
        let checkpoint = wal2graph::neo4j::checkpoint::read(&graph(), &self.name).await;
        let applied = checkpoint.expect("the graph answers").map(|it| it.lsn.0);
        (applied, confirmed.map(i64::unsigned_abs))
    }
}

pub fn program(arguments: &[impl AsRef<OsStr>], source: &str, graph: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.args(arguments);
    command.args(["--source-url", source, "--graph-url", graph]);
    command
}

/// Runs a program to its end, within [`RUN_LIMIT`].
pub async fn output(mut command: Command) -> Output {
    let [out, log] = [(), ()].map(|()| tempfile::NamedTempFile::new().expect("a file"));
    command.stdout(out.reopen().expect("it is there"));
    command.stderr(log.reopen().expect("it is there"));
    let mut running = Running(command.spawn().expect("the program starts"));
    let status = running.status(RUN_LIMIT).await;
    let [stdout, stderr] = [out, log].map(|file| fs::read(file.path()).expect("it can be read"));
    match status {
        Some(status) => Output { status, stdout, stderr },
        None => panic!("no end after {RUN_LIMIT:?}:\n{}", String::from_utf8_lossy(&stderr)),
    }
}

/// A running program. Dropping this kills it.
pub struct Running(pub Child);

impl Running {
    /// kill -9.
    pub fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
    }

    /// Sends SIGTERM. Returns the exit code; `None` after the limit.
    pub async fn terminate(&mut self, limit: Duration) -> Option<i32> {
        self.signal("TERM");
        self.ended(limit).await
    }

    /// Waits until it ends by itself. Returns the exit code; `None` after the limit.
    pub async fn ended(&mut self, limit: Duration) -> Option<i32> {
        self.status(limit).await.and_then(|status| status.code())
    }

    /// The same, as the system reports it: a process that a signal has ended has no exit code.
    pub async fn status(&mut self, limit: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
