//! Neo4j Community: fetch, start, kill, start again.

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
    Result,
    fetch::fetch_neo4j,
    java,
    process::{Process, directory, free_port, run, until_ready},
};

/// The default version; `NEO4J_VERSION` overrides it.
const DEFAULT_VERSION: &str = "5.26.28";
/// The time limit for stopping.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Neo4jOptions {
    /// The version: `5.26.28`, `2026.07.1`.
    pub version: String,
    /// The heap, as in Java's `-Xmx`.
    pub heap: String,
    /// The page cache, as in Neo4j's setting.
    pub page_cache: String,
    /// Further lines of its configuration.
    pub settings: Vec<String>,
    /// How Java compiles it.
    pub compiled: Compiled,
    /// It asks for a password. The first one is `neo4j`, and has to be changed.
    pub authenticates: bool,
}

/// How Java compiles a server while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// For a life of minutes: little is compiled, and that at once. What a test has Neo4j plan
    /// takes a quarter less of a processor so.
    Quickly,
    /// As it is in production.
    Well,
}

impl Default for Neo4jOptions {
    fn default() -> Self {
        let version = env::var("NEO4J_VERSION").unwrap_or_else(|_| DEFAULT_VERSION.to_owned());
        Neo4jOptions {
            version,
            heap: "1g".to_owned(),
            page_cache: "256m".to_owned(),
            settings: Vec::new(),
            compiled: Compiled::Quickly,
            authenticates: false,
        }
    }
}

/// A server in its own directory. Dropping this removes both.
pub struct Neo4j {
    options: Neo4jOptions,
    jars: PathBuf,
    java: PathBuf,
    directory: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Neo4j {
    /// Creates an empty database and starts it.
    pub fn start(options: &Neo4jOptions) -> Result<Self> {
        let jars = fetch_neo4j(&options.version)?;
        let versions = if is_calendar_version(&options.version) { 21..=u32::MAX } else { 17..=21 };
        let java = java::find(versions, &format!("Neo4j {}", options.version))?;
        let directory = directory("neo4j")?;
        let port = free_port()?;
        let (home, page_cache) = (directory.path().display(), &options.page_cache);
        let authenticates = options.authenticates;
        let mut conf = format!(
            "server.default_listen_address=127.0.0.1\n\
             server.bolt.enabled=true\n\
             server.bolt.listen_address=127.0.0.1:{port}\n\
             server.http.enabled=false\n\
             server.https.enabled=false\n\
             dbms.security.auth_enabled={authenticates}\n\
             dbms.usage_report.enabled=false\n\
             server.memory.pagecache.size={page_cache}\n"
        );
        for line in &options.settings {
            conf += &format!("{line}\n");
        }
        for name in ["data", "logs", "run", "import", "plugins"] {
            fs::create_dir(directory.path().join(name))?;
            conf += &format!("server.directories.{name}={home}/{name}\n");
        }
        fs::create_dir(directory.path().join("conf"))?;
        fs::write(directory.path().join("conf/neo4j.conf"), conf)?;
        let options = options.clone();
        let mut server = Neo4j { options, jars, java, directory, port, process: None };
        server.start_again()?;
        Ok(server)
    }

    /// Starts the database again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        let home = self.directory.path().display();
        let main = match is_calendar_version(&self.options.version) {
            true => "org.neo4j.server.Neo4jCommunity",
            false => "org.neo4j.server.CommunityEntryPoint",
        };
        let mut command =
            vec![self.java.display().to_string(), format!("-Xmx{}", self.options.heap)];
        let opened = ["java.nio", "java.io", "sun.nio.ch", "java.util.concurrent", "java.lang"];
        command
            .extend(opened.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
        if self.options.compiled == Compiled::Quickly {
            // A suite's queries compile to more code than these compilers keep by default: Java then throws it
            // away, and compiles it again.
            let quickly =
                ["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m", "-XX:+UseSerialGC"];
            command.extend(quickly.map(str::to_owned));
        }
        command.extend([
            "--enable-native-access=ALL-UNNAMED".to_owned(),
            "-Dio.netty.tryReflectionSetAccessible=true".to_owned(),
            "-Dlog4j2.disable.jmx=true".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", self.jars.display()),
            main.to_owned(),
            format!("--home-dir={home}"),
            format!("--config-dir={home}/conf"),
            "--console-mode".to_owned(),
        ]);
        let log = self.directory.path().join("console.log");
        let process = Process::start(&log, &command)?;
        let (port, authenticates) = (self.port, self.options.authenticates);
        until_ready(&process, &log, || speaks_bolt(port, authenticates))?;
        self.process = Some(process);
        Ok(())
    }

    /// `bolt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("bolt://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.id)
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    /// From now on none of its files grows beyond this many bytes, as on a disk that is full; `None`: they may again.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let (id, limit) =
            (process.id.to_string(), bytes.map_or("unlimited".into(), |it| it.to_string()));
        // The hard limit stays, so that no right is needed to lift the soft one.
        run(Command::new("prlimit").args(["--pid", &id, &format!("--fsize={limit}:")])).map(drop)
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
}

/// Versions since 2025 have year and month as their name, and need a newer Java.
fn is_calendar_version(version: &str) -> bool {
    version.starts_with("20")
}

/// Whether the port answers a handshake and a HELLO, which is more than an open port.
fn speaks_bolt(port: u16, authenticates: bool) -> bool {
    let exchange = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        // Magic, then one proposed version (4.4) and three empty ones.
        socket
            .write_all(&[0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        let mut version = [0; 4];
        socket.read_exact(&mut version)?;
        // HELLO {user_agent: "w", scheme: "none"} as one chunk.
        let mut hello = vec![0xB1, 0x01, 0xA2, 0x8A];
        hello.extend(b"user_agent\x81w\x86scheme\x84none");
        socket.write_all(&(hello.len() as u16).to_be_bytes())?;
        socket.write_all(&hello)?;
        socket.write_all(&[0, 0])?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer)?;
        // Without a password it may be refused.
        const SUCCESS: u8 = 0x70;
        const FAILURE: u8 = 0x7F;
        Ok(answer[3] == SUCCESS || (authenticates && answer[3] == FAILURE))
    };
    exchange().unwrap_or(false)
}
