//! A server process that ends with its parent.
//!
//! ```text
//! we --pipe--> sh: starts the server, waits for the pipe's end, kills the server, removes its directory
//! ```
//!
//! The pipe closes when we end for any reason. (A death signal would not work: Linux ties it to the
//! thread that started the process, and tests' threads end before the process does.)

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Result, ServerError, error};

/// The time limit until a server is ready.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Prints the server's process id, then waits for the pipe's end.
const WATCHDOG: &str = r#"
log=$1; shift
"$@" >>"$log" 2>&1 </dev/null &
server=$!
echo $server
cat >/dev/null
kill -9 $server 2>/dev/null
wait $server
"#;

/// A running server and its watchdog.
pub struct Process {
    watchdog: Child,
    /// The server's own process id.
    pub id: u32,
}

impl Process {
    /// Starts a server whose output goes to `log`.
    pub fn start(log: &Path, command: &[String]) -> Result<Self> {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = watchdog.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let id = line.trim().parse().map_err(|_| ServerError("no process id".to_owned()))?;
        Ok(Process { watchdog, id })
    }

    /// Whether the server runs.
    pub fn runs(&self) -> bool {
        // A process that has ended but was not waited for is still in /proc, as a zombie.
        fs::read_to_string(format!("/proc/{}/stat", self.id))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Sends a signal to the server.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        // It may be gone already.
        let _ = kill.args(["-s", name, &self.id.to_string()]).stderr(Stdio::null()).status();
    }

    /// Waits until the server has ended.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while self.runs() {
            if started.elapsed() > limit {
                return error(format!("process {} did not end in {limit:?}", self.id));
            }
            sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("KILL");
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A temporary directory, removed when dropped. Also removes leftovers of killed processes.
pub fn directory(kind: &str) -> Result<TempDir> {
    let prefix = format!("wal2graph-{kind}-");
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Leftovers of another user are theirs to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{prefix}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until `ready` returns true. The error has the end of the log.
pub fn until_ready(process: &Process, log: &Path, ready: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !ready() {
        let ended = !process.runs();
        if ended || started.elapsed() > READY_LIMIT {
            let what = if ended { "ended before it was ready" } else { "is not ready" };
            return error(format!("the server {what}. Its log ends:\n{}", tail(log)));
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Runs a command to its end. The error has its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output = output.map_err(|cause| ServerError(format!("{command:?}: {cause}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => {
            let errors = String::from_utf8_lossy(&output.stderr);
            error(format!("{command:?} failed:\n{text}{errors}"))
        }
    }
}
