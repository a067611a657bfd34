//! PostgreSQL: initdb, start, stop, kill, start again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    Result,
    fetch::fetch_postgres,
    process::{Process, directory, free_port, run, until_ready},
};

/// The directory of Debian's packages, by major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The default version: Debian 12's.
const VERSION: u32 = 15;
/// The Maven packages' versions, by major version.
const VERSIONS: [(u32, &str); 5] =
    [(14, "14.20.0"), (15, "15.15.0"), (16, "16.11.0"), (17, "17.7.0"), (18, "18.1.0")];
/// The time limit for stopping.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Options of a server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The major version: 14 to 18, or another one with an installed Debian package.
    pub version: u32,
    /// Further settings. A temporary server has logical replication by default.
    pub settings: Vec<(String, String)>,
    /// Lines put before pg_hba.conf's own.
    pub authentication: String,
    /// Files in the data directory, by name: certificates and keys.
    pub files: Vec<(String, String)>,
}

/// `POSTGRES_VERSION`, or 15. The start refuses a variable that is not a number.
impl Default for PostgresOptions {
    fn default() -> Self {
        let version = std::env::var("POSTGRES_VERSION").ok();
        PostgresOptions {
            version: version.map_or(VERSION, |version| version.parse().unwrap_or(0)),
            settings: Vec::new(),
            authentication: String::new(),
            files: Vec::new(),
        }
    }
}

/// The way to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits for clients.
    Smart,
    /// Ends clients and waits until walsenders have sent everything.
    Fast,
    /// At once, like a crash.
    Immediate,
}

/// A server in its own directory. Dropping this removes both.
pub struct Postgres {
    binaries: PathBuf,
    directory: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

impl Postgres {
    /// The major versions that the tests go through.
    pub fn supported() -> impl Iterator<Item = u32> {
        VERSIONS.into_iter().map(|(major, _)| major)
    }

    /// Brings the programs of a major version, where they are not there yet.
    pub fn fetch(version: u32) -> Result<()> {
        binaries(version).map(drop)
    }

    /// Makes a cluster and starts it.
    pub fn start(options: &PostgresOptions) -> Result<Self> {
        let binaries = binaries(options.version)?;
        let directory = directory("postgres")?;
        let data = directory.path().join("data");
        own(directory.path())?;
        let mut initdb = as_server(&binaries.join("initdb"));
        initdb.extend(
            ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "-D"].map(String::from),
        );
        initdb.push(data.display().to_string());
        run(Command::new(&initdb[0]).args(&initdb[1..]).env("LC_ALL", "C.UTF-8"))?;
        let rules = fs::read_to_string(data.join("pg_hba.conf"))?;
        fs::write(data.join("pg_hba.conf"), format!("{}\n{rules}", options.authentication))?;
        for (name, content) in &options.files {
            let path = data.join(name);
            fs::write(&path, content)?;
            run(Command::new("chmod").arg("600").arg(&path))?;
            own(&path)?;
        }
        let settings = options.settings.clone();
        let mut server =
            Postgres { binaries, directory, port: free_port()?, settings, process: None };
        server.start_again()?;
        Ok(server)
    }

    /// Starts the cluster again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        let socket_directory = self.directory.path().display().to_string();
        let mut settings: Vec<(String, String)> = [
            ("wal_level", "logical"),
            ("fsync", "off"),
            ("max_wal_senders", "50"),
            ("max_replication_slots", "500"),
            ("max_connections", "200"),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", socket_directory.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        settings.extend(self.settings.clone());
        let mut command = as_server(&self.binaries.join("postgres"));
        command.extend(["-D".to_owned(), self.directory.path().join("data").display().to_string()]);
        command.extend(["-p".to_owned(), self.port.to_string()]);
        for (name, value) in settings {
            command.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let log = self.directory.path().join("log");
        let process = Process::start(&log, &command)?;
        until_ready(&process, &log, || self.answers(process.id))?;
        self.process = Some(process);
        Ok(())
    }

    /// Makes a standby of a copy of this server's data, and starts it. Both stop for that. It reads the log through
    /// the physical slot `standby`, which has to be there, and copies failover slots.
    pub fn standby(&mut self) -> Result<Self> {
        self.stop(Stop::Fast)?;
        let directory = directory("postgres")?;
        let [from, to] = [&self.directory, &directory].map(|it| it.path().join("data"));
        run(Command::new("cp").arg("-a").args([&from, &to]))?;
        fs::write(to.join("standby.signal"), "")?;
        // A copy of the physical slot, and of others: a standby has its own.
        run(Command::new("find").arg(to.join("pg_replslot")).args(["-mindepth", "1", "-delete"]))?;
        own(directory.path())?;
        self.start_again()?;
        let source = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let mut settings = self.settings.clone();
        let of_standby = [
            ("primary_conninfo", source.as_str()),
            ("primary_slot_name", "standby"),
            ("hot_standby_feedback", "on"),
            ("wal_receiver_status_interval", "1s"),
            ("wal_retrieve_retry_interval", "200ms"),
            ("sync_replication_slots", "on"),
        ];
        settings.extend(of_standby.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let binaries = self.binaries.clone();
        let mut standby =
            Postgres { binaries, directory, port: free_port()?, settings, process: None };
        standby.start_again()?;
        Ok(standby)
    }

    /// Whether a log-in is possible.
    fn answers(&self, process: u32) -> bool {
        let mut ready = Command::new(self.binaries.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        match ready.status() {
            Ok(status) => status.success(),
            // The Maven packages lack pg_isready. The server writes its state into its pid file,
            // which a killed server leaves behind.
            Err(_) => {
                let path = self.directory.path().join("data/postmaster.pid");
                let text = fs::read_to_string(path).unwrap_or_default();
                let mut lines = text.lines().map(str::trim);
                lines.next() == Some(process.to_string().as_str())
                    && lines.any(|line| line == "ready")
            }
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The directory of the unix socket.
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops the server, and returns how long that took.
    pub fn stop(&mut self, how: Stop) -> Result<Duration> {
        let started = Instant::now();
        if let Some(process) = self.process.take() {
            process.signal(match how {
                Stop::Smart => "TERM",
                Stop::Fast => "INT",
                Stop::Immediate => "QUIT",
            });
            process.wait(STOP_LIMIT)?;
        }
        Ok(started.elapsed())
    }

    /// kill -9 of the postmaster; its children end by themselves.
    pub fn kill(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal("KILL");
        process.wait(STOP_LIMIT)?;
        // A new postmaster refuses to start while an old child still has the shared memory.
        let data = self.directory.path().join("data").display().to_string();
        let _ = Command::new("pkill").args(["-9", "-f", &format!("postgres.*{data}")]).status();
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }
}

fn debian(version: u32) -> PathBuf {
    Path::new(DEBIAN).join(version.to_string()).join("bin")
}

fn binaries(version: u32) -> Result<PathBuf> {
    let package = VERSIONS.iter().find(|(major, _)| *major == version);
    let installed = debian(version);
    match package {
        Some((major, package)) if *major != VERSION || !installed.join("postgres").exists() => {
            Ok(fetch_postgres(package)?.join("bin"))
        }
        None if !installed.join("postgres").exists() => crate::error(format!(
            "PostgreSQL {version}: 14 to 18 are fetched, others must be in {}",
            installed.display()
        )),
        _ => Ok(installed),
    }
}

/// The server refuses to run as root, so root runs it as another user.
fn as_server(program: &Path) -> Vec<String> {
    let mut command = Vec::new();
    if is_root() {
        let user = server_user();
        let drop_to = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"];
        command.extend(drop_to.map(String::from));
    }
    command.push(program.display().to_string());
    command
}

fn own(path: &Path) -> Result<()> {
    if is_root() {
        run(Command::new("chown").arg("-R").arg(server_user()).arg(path))?;
    }
    Ok(())
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn server_user() -> &'static str {
    match run(Command::new("id").args(["-u", "postgres"])) {
        Ok(_) => "postgres",
        Err(_) => "daemon",
    }
}

/// A client tool from PostgreSQL 15's package, such as `pgbench`: the Maven packages have none.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = debian(VERSION).join(name);
    match path.exists() {
        true => Ok(path),
        false => crate::error(format!("{name} is missing: apt-get install postgresql-15")),
    }
}
