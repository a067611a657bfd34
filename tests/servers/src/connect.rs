//! Kafka Connect with Debezium's PostgreSQL connector and JDBC sink: one worker of its own, with its connectors.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Result,
    fetch::fetch_connect,
    java,
    process::{Process, directory, free_port, until_ready},
};

/// The versions that are used.
const KAFKA: &str = "4.1.1";
const DEBEZIUM: &str = "3.3.1.Final";

/// A worker in its own directory. Dropping this removes both.
pub struct Connect {
    port: u16,
    directory: TempDir,
    process: Process,
}

impl Connect {
    /// Starts a worker that reads JSON with schema blocks. Each connector is a list of its file's
    /// lines.
    pub fn start(brokers: &str, connectors: &[&str]) -> Result<Self> {
        let jars = fetch_connect(KAFKA, DEBEZIUM)?;
        let java = java::find(17..=u32::MAX, &format!("Kafka Connect {KAFKA}"))?;
        let (directory, port) = (directory("connect")?, free_port()?);
        let worker = format!(
            "bootstrap.servers={brokers}\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\n\
             offset.storage.file.filename={}\n\
             offset.flush.interval.ms=1000\n\
             listeners=http://127.0.0.1:{port}\n",
            directory.path().join("offsets").display()
        );
        let mut files = vec![("worker.properties".to_owned(), worker)];
        for (index, connector) in connectors.iter().enumerate() {
            files.push((format!("connector-{index}.properties"), (*connector).to_owned()));
        }
        let mut command = vec![
            java.display().to_string(),
            "-Xmx512m".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", jars.display()),
            "org.apache.kafka.connect.cli.ConnectStandalone".to_owned(),
        ];
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::write(&path, text)?;
            command.push(path.display().to_string());
        }
        let log = directory.path().join("console.log");
        let process = Process::start(&log, &command)?;
        let connect = Connect { port, directory, process };
        until_ready(&connect.process, &log, || connect.get("/connectors").is_some())?;
        Ok(connect)
    }

    /// The worker's status of a connector and its tasks, as JSON.
    pub fn status(&self, connector: &str) -> Option<String> {
        self.get(&format!("/connectors/{connector}/status"))
    }

    /// The worker's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("console.log")
    }

    /// The body of an answer with status 200.
    fn get(&self, path: &str) -> Option<String> {
        let exchange = || -> std::io::Result<String> {
            let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(socket, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }
}
