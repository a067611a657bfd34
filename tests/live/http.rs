//! Metrics and health of the program on real servers, while they are there and while they are not.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use neo4rs::Query;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions, Stop};

use crate::{
    exposition::read,
    support::{HELD_UP, Pipeline, client, document, graph, neo4j, new_database, postgres, unique},
};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a quiet database is looked at while others write.
const QUIET: Duration = Duration::from_secs(10);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

pub type Samples = BTreeMap<String, f64>;

/// The program with HTTP on a free port; it is killed when this is dropped.
pub struct Served {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    address: String,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        println!("{}", self.log.lock().unwrap().join("\n"));
    }
}

impl Served {
    async fn start(source: &str, graph: &str, http: &str) -> Self {
        let arguments = ["run", "--source-url", source, "--graph-url", graph];
        Self::of(&arguments, &format!("http: {{{http}}}")).await
    }

    /// A command, with a configuration file.
    pub async fn of(arguments: &[&str], file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal2graph.yaml");
        fs::write(&path, file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wal2graph"))
            .args(arguments)
            .args(["--http", "127.0.0.1:0", "-c"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().extend(line)));
        let mut served = Served { child, log, address: String::new(), _folder: folder };
        let started = Instant::now();
        while served.address.is_empty() {
            assert!(started.elapsed() < PATIENCE, "no address in the log");
            sleep(PAUSE).await;
            let log = served.log.lock().unwrap();
            let address = log.iter().find_map(|line| line.split_once("over HTTP address="));
            served.address = address.map(|(_, address)| address.to_owned()).unwrap_or_default();
        }
        served
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until the log says this.
    pub async fn until_log(&self, part: &str) {
        let started = Instant::now();
        while !self.log().contains(part) {
            assert!(started.elapsed() < PATIENCE, "the log does not say {part:?}");
            sleep(PAUSE).await;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
    }

    /// Waits until it ends. The exit code; `None` after the limit.
    pub async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            sleep(PAUSE).await;
        }
        None
    }

    /// The status and the whole response.
    async fn ask(&self, request: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.address).await.expect("HTTP answers");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("{response:?}")), response)
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n");
        let (status, response) = self.ask(&request).await;
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    async fn samples(&self) -> Samples {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200);
        read(&body)
    }

    async fn lag(&self) -> f64 {
        self.samples().await["wal2graph_lag_seconds"]
    }

    /// Waits until the metrics are so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Samples) -> bool) -> Samples {
        let started = Instant::now();
        loop {
            let samples = self.samples().await;
            if is_so(&samples) {
                return samples;
            }
            assert!(started.elapsed() < PATIENCE, "not yet {what}: {samples:#?}");
            sleep(PAUSE).await;
        }
    }

    /// Waits until `/ready` has this status and says this.
    pub async fn until_ready_says(&self, status: u16, says: &str) -> String {
        let started = Instant::now();
        loop {
            let (found, body) = self.get("/ready").await;
            if found == status && body.contains(says) {
                return body;
            }
            assert!(started.elapsed() < PATIENCE, "{found} {body}, not {status} {says}");
            sleep(PAUSE).await;
        }
    }

    /// The lag grows as time goes by, for so long.
    async fn lag_grows_for(&self, time: Duration) {
        let first = self.lag().await;
        let (started, mut last) = (Instant::now(), first);
        while started.elapsed() < time {
            sleep(Duration::from_millis(500)).await;
            let lag = self.lag().await;
            assert!(lag > last, "{lag} after {last}");
            last = lag;
        }
        let grown = last - first;
        assert!(grown > time.as_secs_f64() * 0.8, "grew by {grown} in {time:?}");
    }
}

fn is_one(samples: &Samples, series: &str) -> bool {
    samples.get(&format!("wal2graph_{series}")) == Some(&1.0)
}

fn is_caught_up(samples: &Samples) -> bool {
    is_one(samples, "state{state=\"streaming\"}") && samples["wal2graph_lag_seconds"] == 0.0
}

#[tokio::test]
async fn every_page_tells_of_a_real_run() {
    let schema = "CREATE TABLE ht_days (id int PRIMARY KEY, at timestamp, name text); \
        INSERT INTO ht_days SELECT g, now(), repeat(md5(g::text), 8) FROM generate_series(1, 40000) g; \
        INSERT INTO ht_days VALUES (0, 'infinity', '')";
    let pipeline = Pipeline::new("http", schema).await;
    let source = postgres().url(&pipeline.name);
    let served = Served::start(&source, &neo4j().url(), "ready_lag: 20s").await;
    let copying = served.until_ready_says(503, "copying: not all rows").await;
    assert!(is_one(&served.samples().await, "state{state=\"copying\"}"), "{copying}");
    served.until_ready_says(200, "ready").await;
    let changes = "INSERT INTO ht_days VALUES (-1, 'infinity', ''); UPDATE ht_days SET name = 'n' WHERE id < 4; \
        DELETE FROM ht_days WHERE id = 5";
    pipeline.sql.batch_execute(changes).await.unwrap();
    let deleted = "changes_total{op=\"delete\",table=\"public.ht_days\"}";
    served.until("the delete", |samples| is_one(samples, deleted)).await;
    served.until("caught up", is_caught_up).await;
    // The last look at the source may be from before the slot was made.
    let reserved = "slot_status{status=\"reserved\"}";
    let samples =
        served.until("seen", |samples| is_caught_up(samples) && is_one(samples, reserved)).await;
    for (series, value) in [
        ("changes_total{op=\"insert\",table=\"public.ht_days\"}", 1.0),
        ("changes_total{op=\"update\",table=\"public.ht_days\"}", 5.0),
        // Copied once, inserted once, and sent again with two of the updates.
        ("unmapped_values_total{column=\"at\",table=\"public.ht_days\"}", 4.0),
        ("copy_rows_total{table=\"public.ht_days\"}", 40_001.0),
        ("copy_rows_expected{table=\"public.ht_days\"}", 40_001.0),
        ("slot_status{status=\"none\"}", 0.0),
        ("lag_bytes{stage=\"received\"}", 0.0),
    ] {
        let found = samples.get(&format!("wal2graph_{series}"));
        assert_eq!(found, Some(&value), "{series} in {samples:#?}");
    }
    assert!(samples["wal2graph_commit_to_graph_seconds_count"] >= 1.0);
    assert_eq!(samples["wal2graph_placeholders"], 0.0, "those of other tests do not count");
    assert!(samples["wal2graph_slot_retained_bytes"] >= 0.0);
    let (status, json) = served.get("/status").await;
    let json = document::status(&json);
    assert_eq!((status, &json["state"], &json["ready"]), (200, &"streaming".into(), &true.into()));
    assert_eq!(json["pipeline"], pipeline.name.as_str());
    assert_eq!(json["copy"]["tables"]["public.ht_days"]["rows"], 40_001);
    let (status, html) = served.get("/").await;
    assert!(status == 200 && html.contains(&pipeline.name) && html.contains("streaming"), "{html}");
    for part in ["Lag of the graph", "<td>public.ht_days", "HtDay</text>", "reserved"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "nothing is fetched from elsewhere"
    );
    assert_eq!(json["tables"]["public.ht_days"]["changes"], 7, "{json}");
    assert_eq!(served.get("/live").await, (200, "alive\n".to_owned()));
    requests_are_bounded(&served).await;
}

async fn requests_are_bounded(served: &Served) {
    assert_eq!(served.get("/nope").await.0, 404);
    let (status, response) =
        served.ask("POST /ready HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").await;
    assert!(status == 405 && response.to_lowercase().contains("allow: get, head"), "{response}");
    let (status, response) =
        served.ask("HEAD / HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").await;
    assert!(status == 200 && response.ends_with("\r\n\r\n"), "{response}");
    let long = "x".repeat(15 << 10);
    let request = format!("GET / HTTP/1.1\r\nHost: w\r\nA: {long}\r\nB: {long}\r\n\r\n");
    assert_eq!(served.ask(&request).await.0, 431);
    // Idle sockets silence nobody: the oldest one goes.
    let mut idle = Vec::new();
    for _ in 0..70 {
        idle.push(TcpStream::connect(&served.address).await.unwrap());
        assert_eq!(served.get("/live").await.0, 200);
    }
}

#[tokio::test]
async fn a_quiet_database_shows_no_lag_whatever_others_write() {
    let pipeline = Pipeline::new("quiet", "CREATE TABLE qt_things (id int PRIMARY KEY)").await;
    let other = client(&postgres().url(&new_database("noisy").await)).await;
    other.batch_execute("CREATE TABLE noise (n int)").await.unwrap();
    let source = postgres().url(&pipeline.name);
    let served = Served::start(&source, &neo4j().url(), "").await;
    served.until("caught up", is_caught_up).await;
    let started = Instant::now();
    let mut lags = Vec::new();
    while started.elapsed() < QUIET {
        let noise = "INSERT INTO noise SELECT generate_series(1, 100)";
        other.batch_execute(noise).await.unwrap();
        lags.push((started.elapsed(), served.lag().await));
        sleep(PAUSE).await;
    }
    // A look may come just before the stream names the position; it never adds up.
    let adds_up = |(at, lag): &(Duration, f64)| *at > QUIET / 2 && *lag >= at.as_secs_f64();
    let ends = lags.iter().any(|(at, lag)| *at > QUIET / 2 && *lag == 0.0);
    assert!(ends && !lags.iter().any(adds_up), "{lags:?}");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn lag_grows_while_the_graph_is_away_and_goes_when_it_is_back() {
    let options = Neo4jOptions { heap: "512m".to_owned(), ..Neo4jOptions::default() };
    let mut own = Neo4j::start(&options).unwrap_or_else(|error| panic!("{error}"));
    let pipeline = Pipeline::new("graphless", "CREATE TABLE gl_things (id int PRIMARY KEY)").await;
    let source = postgres().url(&pipeline.name);
    let served = Served::start(&source, &own.url(), "ready_lag: 2s").await;
    served.until("caught up", is_caught_up).await;
    served.until_ready_says(200, "ready").await;
    own.stop().unwrap();
    pipeline.sql.batch_execute("INSERT INTO gl_things VALUES (1)").await.unwrap();
    let committed = Instant::now();
    served.until("seen", |samples| samples["wal2graph_lag_seconds"] > 0.0).await;
    served.lag_grows_for(Duration::from_secs(5)).await;
    served.until_ready_says(503, "behind: ").await;
    // While it is still written again and again the loop streams; then it gives up and connects.
    served.until("waiting", |samples| is_one(samples, "state{state=\"waiting\"}")).await;
    pipeline.sql.batch_execute("INSERT INTO gl_things VALUES (2)").await.unwrap();
    served.lag_grows_for(Duration::from_secs(5)).await;
    let samples = served
        .until("more log", |samples| {
            samples.get("wal2graph_lag_bytes{stage=\"applied\"}").is_some_and(|bytes| *bytes > 0.0)
        })
        .await;
    let since = committed.elapsed().as_secs_f64();
    assert!(served.lag().await >= since, "{since} s: {samples:#?}");
    assert!(samples["wal2graph_retries_total{reason=\"lost\"}"] > 0.0);
    assert!(samples["wal2graph_retries_total{reason=\"reconnect\"}"] > 0.0);
    assert!(!samples.contains_key("wal2graph_placeholders"), "not known");
    served.until_ready_says(503, "not connected: ").await;
    assert_eq!(served.get("/live").await.0, 200, "waiting is work");
    own.start_again().unwrap();
    served.until("caught up", is_caught_up).await;
    served.until_ready_says(200, "ready").await;
    let samples = served.samples().await;
    // The counters were not begun again.
    assert_eq!(samples["wal2graph_changes_total{op=\"insert\",table=\"public.gl_things\"}"], 2.0);
    assert!(samples["wal2graph_retries_total{reason=\"reconnect\"}"] > 0.0);
}

/// `/ready` said 200 for as long as nothing was to be written.
#[tokio::test]
async fn an_idle_pipeline_was_ready_while_the_graph_was_dead() {
    let options = Neo4jOptions { heap: "512m".to_owned(), ..Neo4jOptions::default() };
    let mut own = Neo4j::start(&options).unwrap_or_else(|error| panic!("{error}"));
    let pipeline = Pipeline::new("graphdead", "CREATE TABLE gd_things (id int PRIMARY KEY)").await;
    let source = postgres().url(&pipeline.name);
    let served = Served::start(&source, &own.url(), "ready_lag: 600s").await;
    served.until("caught up", is_caught_up).await;
    served.until_ready_says(200, "ready").await;
    let (is_there, is_away) = ("connected{side=\"graph\"}", 0.0);
    assert!(is_one(&served.samples().await, is_there));
    own.signal("STOP");
    let why = served.until_ready_says(503, "the graph has not answered for").await;
    assert!(why.contains("127.0.0.1:") && why.contains("no answer for"), "{why}");
    let samples = served.samples().await;
    assert_eq!(samples[&format!("wal2graph_{is_there}")], is_away);
    assert!(is_one(&samples, "connected{side=\"source\"}"));
    own.signal("CONT");
    served.until_ready_says(200, "ready").await;
    own.kill().unwrap();
    served.until_ready_says(503, "the graph has not answered for").await;
    assert_eq!(served.get("/live").await.0, 200);
    own.start_again().unwrap();
    served.until_ready_says(200, "ready").await;
}

#[tokio::test]
async fn lag_grows_while_the_source_is_away_and_goes_when_it_is_back() {
    let mut own = Postgres::start(&PostgresOptions::default()).unwrap_or_else(|it| panic!("{it}"));
    let name = unique("sourceless");
    let admin = client(&own.url("postgres")).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let table = "CREATE TABLE sl_things (id int PRIMARY KEY)";
    client(&own.url(&name)).await.batch_execute(table).await.unwrap();
    let served = Served::start(&own.url(&name), &neo4j().url(), "ready_lag: 4s").await;
    // A look from before the slot was made calls the slot unknown too.
    let reserved = "slot_status{status=\"reserved\"}";
    served.until("seen", |samples| is_caught_up(samples) && is_one(samples, reserved)).await;
    served.until_ready_says(200, "ready").await;
    let took = own.stop(Stop::Fast).unwrap();
    assert!(took < HELD_UP, "the server is kept from stopping: {took:?}");
    let unknown = "slot_status{status=\"unknown\"}";
    let samples = served.until("unknown", |samples| is_one(samples, unknown)).await;
    for name in ["lag_bytes", "slot_retained_bytes", "slot_safe_bytes"] {
        let name = format!("wal2graph_{name}");
        assert!(!samples.keys().any(|series| series.starts_with(&name)), "{name} is not known");
    }
    served.lag_grows_for(Duration::from_secs(6)).await;
    let why = served.until_ready_says(503, "behind: ").await;
    assert!(why.contains("not connected: "), "{why}");
    assert!(is_one(&served.samples().await, "state{state=\"waiting\"}"));
    own.start_again().unwrap();
    let row = "INSERT INTO sl_things VALUES (1)";
    client(&own.url(&name)).await.batch_execute(row).await.unwrap();
    // The last look at the source may be from before the insert.
    let inserted = "changes_total{op=\"insert\",table=\"public.sl_things\"}";
    served.until("the insert", |samples| is_one(samples, inserted)).await;
    served.until("caught up", is_caught_up).await;
    assert_eq!(served.until_ready_says(200, "ready").await, "ready\n");
    served.until("seen", |samples| is_caught_up(samples) && is_one(samples, reserved)).await;
}

#[tokio::test]
async fn ready_fails_when_there_is_work_and_the_graph_does_not_take_it() {
    let pipeline = Pipeline::new("stuck", "CREATE TABLE st_things (id int PRIMARY KEY)").await;
    let source = postgres().url(&pipeline.name);
    let served = Served::start(&source, &neo4j().url(), "progress_timeout: 2s").await;
    served.until("caught up", is_caught_up).await;
    let connection = graph();
    let mut transaction = connection.begin().await.unwrap();
    let lock = "MATCH (c:_Wal2GraphCheckpoint {pipeline: $name}) SET c._lock = null RETURN c.epoch AS epoch";
    let lock = Query::new(lock.to_owned()).param("name", pipeline.name.as_str());
    assert_eq!(transaction.rows(lock).await.unwrap().len(), 1);
    pipeline.sql.batch_execute("INSERT INTO st_things VALUES (1)").await.unwrap();
    let why = served.until_ready_says(503, "stuck: there is work").await;
    assert!(!why.contains("not connected"), "{why}");
    assert_eq!(served.get("/live").await.0, 200);
    transaction.rollback().await;
    served.until_ready_says(200, "ready").await;
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_run_only_if_it_was_named() {
    let pipeline = Pipeline::new("ports", "CREATE TABLE pt_things (id int PRIMARY KEY)").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let named = pipeline.output(&["run", "--until", "current", "--http", &address]).await;
    let log = String::from_utf8_lossy(&named.stderr).into_owned();
    assert_eq!(named.status.code(), Some(2), "{log}");
    assert!(
        log.contains(&format!("HTTP can not listen on {address}")) && log.contains("--http"),
        "{log}"
    );
    // If it is taken already, by another test's program, that is as good.
    let _default = TcpListener::bind("127.0.0.1:8080");
    let default = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&default.stderr).into_owned();
    assert!(default.status.success() && log.contains("metrics and health are not served"), "{log}");
    let off = pipeline.output(&["run", "--until", "current", "--http", "off"]).await;
    let log = String::from_utf8_lossy(&off.stderr).into_owned();
    assert!(off.status.success() && !log.contains("HTTP"), "{log}");
}
