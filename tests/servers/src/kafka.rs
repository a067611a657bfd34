//! Kafka: one broker that is its own controller, and Kafka's own command line tools.

mod options;

use std::{
    fs,
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
    process::{Process, directory, run, until_ready},
};

use options::Node;
pub use options::{KafkaOptions, Secured};

/// The time limit for stopping.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Any id works: the cluster is private.
const CLUSTER_ID: &str = "wal2graph-tests-000000";

/// A broker in its own directory. Dropping this removes both.
pub struct Kafka {
    options: KafkaOptions,
    jars: PathBuf,
    java: PathBuf,
    directory: TempDir,
    node: Node,
    process: Option<Process>,
}

impl Kafka {
    /// Creates an empty broker without authentication and starts it.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        let mut brokers = Kafka::start_cluster(1, options)?;
        brokers.pop().ok_or_else(|| ServerError("there is no broker".to_owned()))
    }

    /// The same for a cluster. Each broker is a controller, too.
    pub fn start_cluster(size: usize, options: &KafkaOptions) -> Result<Vec<Self>> {
        let nodes = Node::cluster(size)?.into_iter();
        let mut brokers: Vec<Kafka> =
            nodes.map(|node| Kafka::prepare(options, node)).collect::<Result<_>>()?;
        // No broker is ready before most of them are running.
        brokers.iter_mut().try_for_each(Kafka::launch)?;
        brokers.iter().try_for_each(Kafka::until_ready)?;
        Ok(brokers)
    }

    fn prepare(options: &KafkaOptions, node: Node) -> Result<Self> {
        let jars = fetch_kafka(&options.version)?;
        let java = java::find(17..=u32::MAX, &format!("Kafka {}", options.version))?;
        let directory = directory("kafka")?;
        let options = options.clone();
        let server = Kafka { options, jars, java, directory, node, process: None };
        let path = server.directory.path().join("server.properties");
        fs::write(&path, server.properties())?;
        let path = path.display().to_string();
        let mut format = vec!["format".to_owned(), "-t".to_owned(), CLUSTER_ID.to_owned()];
        format.extend(["-c".to_owned(), path]);
        if let Some(secured) = &server.options.secured {
            fs::write(server.store(), format!("{}{}", secured.key, secured.certificate))?;
            let scram = |(name, password): &(String, String)| {
                let user = format!("SCRAM-SHA-512=[name={name},password={password}]");
                ["--add-scram".to_owned(), user]
            };
            format.extend(secured.users.iter().flat_map(scram));
        }
        let format: Vec<&str> = format.iter().map(String::as_str).collect();
        run(&mut server.java("kafka.tools.StorageTool", &format))?;
        Ok(server)
    }

    /// Starts the broker again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()?;
        self.until_ready()
    }

    /// Lets files grow from the next start on.
    pub fn give_room(&mut self) {
        self.options.file_kib_max = None;
    }

    fn launch(&mut self) -> Result<()> {
        let properties = self.directory.path().join("server.properties").display().to_string();
        let mut command = self.command("kafka.Kafka", &[&properties]);
        if let Some(kib) = self.options.file_kib_max {
            let limited = format!("ulimit -f {}; exec \"$@\"", kib * 2);
            let shell = ["sh", "-c", &limited, "sh"].map(str::to_owned);
            command.splice(0..0, shell);
        }
        self.process = Some(Process::start(&self.log(), &command)?);
        Ok(())
    }

    fn until_ready(&self) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let port = self.node.port;
        until_ready(process, &self.log(), || has_broker(port))
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("console.log")
    }

    /// Sends its process a signal.
    pub fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    /// Whether its process runs.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(Process::runs)
    }

    fn properties(&self) -> String {
        let Node { id, port, controller, voters, replicas, .. } = &self.node;
        let logs = self.directory.path().join("data");
        let (mut listeners, mut protocols) = (String::new(), String::new());
        let mut of_secured = Vec::new();
        if let Some(secured) = &self.options.secured {
            listeners = format!(",SECURED://127.0.0.1:{}", self.node.secured_port);
            protocols = ",SECURED:SASL_SSL".to_owned();
            of_secured = secured.properties(&self.store());
        }
        let mut properties = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            (
                "listeners",
                format!(
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}"
                ),
            ),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}{listeners}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", voters.clone()),
            (
                "listener.security.protocol.map",
                format!("CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}"),
            ),
            ("log.dirs", logs.display().to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
        ];
        properties.extend(of_secured);
        let replaces = |key: &str| self.options.properties.iter().any(|(other, _)| other == key);
        properties.retain(|(key, _)| !replaces(key));
        let ours = properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        let named = self.options.properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        ours.chain(named).collect()
    }

    /// The directory with the broker's certificate and key.
    fn store(&self) -> PathBuf {
        self.directory.path().join("broker.pem")
    }

    /// `127.0.0.1:PORT`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.node.port)
    }

    /// The same for clients that log in. Without [`KafkaOptions::secured`] the port has no
    /// listener.
    pub fn secured_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.node.secured_port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// Its number in the cluster, from 1.
    pub fn id(&self) -> usize {
        self.node.id
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.end("KILL")
    }

    /// Loses the records of a partition from this offset on, and those in a batch with it: what was not on disk when
    /// the machine of a broker that was killed lost its power.
    pub fn lose(&self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        let folder = self.directory.path().join(format!("data/{topic}-{partition}"));
        let path = folder.join("00000000000000000000.log");
        let log = fs::read(&path)?;
        let (mut at, mut rest) = (0, &log[..]);
        while let Some((last, length)) = batch(rest)
            && last < offset
        {
            at += length as u64;
            rest = &rest[length.min(rest.len())..];
        }
        fs::File::options().write(true).open(&path)?.set_len(at)?;
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            // The broker makes them again.
            if path.extension().is_some_and(|it| it != "log" && it != "metadata") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
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

    /// Runs one of Kafka's own tools by the name of its main class, and returns its output.
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

    /// Resets a group's offsets in a topic (or `topic:partition`) with Kafka's own tool. `to` is
    /// `--to-earliest`, `--to-offset 5` and so on. Returns the tool's output, as an error if it
    /// contains one.
    pub fn reset_offsets(&self, group: &str, topic: &str, to: &[&str]) -> Result<String> {
        let mut arguments = vec!["--group", group, "--topic", topic, "--reset-offsets"];
        arguments.extend(to);
        arguments.push("--execute");
        let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let printed = self.tool(class, &arguments)?;
        // The tool always exits with 0.
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
            // A tool runs for a second, a broker for a test: optimising compilation does not pay.
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

/// The last offset and the length of a log's first batch; `None` behind the last one.
fn batch(log: &[u8]) -> Option<(u64, usize)> {
    let base = u64::from_be_bytes(log.get(..8)?.try_into().ok()?);
    let length = u32::from_be_bytes(log.get(8..12)?.try_into().ok()?);
    let last = u32::from_be_bytes(log.get(23..27)?.try_into().ok()?);
    (length > 0).then_some((base + u64::from(last), 12 + length as usize))
}

/// Whether the port answers a metadata request with a broker, which is more than an open port.
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
