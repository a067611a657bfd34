//! Kafka: one broker that is its own controller, and Kafka's own command line tools.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Result, ServerError,
    fetch::fetch_kafka,
    java,
    process::{Process, directory, free_port, run, until_ready},
};

/// The version that is used unless `KAFKA_VERSION` names another.
const DEFAULT_VERSION: &str = "4.1.1";
/// How long an end may take before it is an error.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Any id will do: nobody else knows the cluster.
const CLUSTER_ID: &str = "wal2graph-tests-000000";

/// How a broker is made.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// The version: `4.1.1`.
    pub version: String,
    /// The heap, as Java's `-Xmx` has it.
    pub heap: String,
    /// Lines for server.properties; a key that is there already is replaced.
    pub properties: Vec<(String, String)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        let version = env::var("KAFKA_VERSION").unwrap_or_else(|_| DEFAULT_VERSION.to_owned());
        KafkaOptions { version, heap: "512m".to_owned(), properties: Vec::new() }
    }
}

/// A broker in a directory of its own; both go when this is dropped.
pub struct Kafka {
    options: KafkaOptions,
    jars: PathBuf,
    java: PathBuf,
    directory: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Kafka {
    /// Makes an empty broker without authentication and starts it.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        let jars = fetch_kafka(&options.version)?;
        let java = java::find(17..=u32::MAX, &format!("Kafka {}", options.version))?;
        let directory = directory("kafka")?;
        let (port, controller) = (free_port()?, free_port()?);
        let options = options.clone();
        let mut server = Kafka { options, jars, java, directory, port, process: None };
        let path = server.directory.path().join("server.properties");
        fs::write(&path, server.properties(controller))?;
        let path = path.display().to_string();
        let format = ["format", "-t", CLUSTER_ID, "-c", &path];
        run(&mut server.java("kafka.tools.StorageTool", &format))?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts the broker again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        let properties = self.directory.path().join("server.properties").display().to_string();
        let log = self.directory.path().join("console.log");
        let process = Process::start(&log, &self.command("kafka.Kafka", &[&properties]))?;
        let port = self.port;
        until_ready(&process, &log, || has_broker(port))?;
        self.process = Some(process);
        Ok(())
    }

    fn properties(&self, controller: u16) -> String {
        let (port, logs) = (self.port, self.directory.path().join("data"));
        let mut properties = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            ),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            (
                "listener.security.protocol.map",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", logs.display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
        ];
        let replaces = |key: &str| self.options.properties.iter().any(|(other, _)| other == key);
        properties.retain(|(key, _)| !replaces(key));
        let ours = properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        let named = self.options.properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        ours.chain(named).collect()
    }

    /// `127.0.0.1:PORT`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.end("KILL")
    }

    /// Stops in good order.
    pub fn stop(&mut self) -> Result<()> {
        self.end("TERM")
    }

    fn end(&mut self, signal: &str) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal(signal);
        process.wait(STOP_LIMIT)
    }

    /// Runs one of Kafka's own tools by the name of its main class; what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let brokers = self.brokers();
        let arguments = [&["--bootstrap-server", &brokers], arguments].concat();
        run(&mut self.java(class, &arguments))
    }

    /// Makes a topic; `configs` as `key=value`.
    pub fn create_topic(&self, topic: &str, partitions: u32, configs: &[&str]) -> Result<()> {
        let partitions = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", topic, "--partitions", &partitions];
        arguments.extend(configs.iter().flat_map(|config| ["--config", config]));
        self.tool("org.apache.kafka.tools.TopicCommand", &arguments).map(drop)
    }

    /// Resets a group's offsets in a topic (or `topic:partition`) with Kafka's own tool: `to` is
    /// `--to-earliest`, or `--to-offset 5`, and so on. What it printed; an error if it printed one.
    pub fn reset_offsets(&self, group: &str, topic: &str, to: &[&str]) -> Result<String> {
        let mut arguments = vec!["--group", group, "--topic", topic, "--reset-offsets"];
        arguments.extend(to);
        arguments.push("--execute");
        let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let printed = self.tool(class, &arguments)?;
        // The tool ends with 0 whatever happens.
        match printed.contains("Error:") {
            true => Err(ServerError(printed)),
            false => Ok(printed),
        }
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let command = self.command(class, arguments);
        let mut java = Command::new(&command[0]);
        java.args(&command[1..]);
        java
    }

    fn command(&self, class: &str, arguments: &[&str]) -> Vec<String> {
        let mut command = vec![
            self.java.display().to_string(),
            format!("-Xmx{}", self.options.heap),
            // Tools live for a second, brokers for a test: no time to compile them well.
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", self.jars.display()),
            class.to_owned(),
        ];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        command
    }
}

/// A metadata request is answered, and the answer names a broker: more than an open port.
fn has_broker(port: u16) -> bool {
    let exchange = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        // Metadata (3), version 1, correlation id 7, no client id, no topics.
        let request = [0, 3, 0, 1, 0, 0, 0, 7, 0xFF, 0xFF, 0, 0, 0, 0];
        socket.write_all(&(request.len() as u32).to_be_bytes())?;
        socket.write_all(&request)?;
        // Length, correlation id, number of brokers.
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(answer[8..12] != [0; 4])
    };
    exchange().unwrap_or(false)
}
