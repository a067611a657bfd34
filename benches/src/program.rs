//! The measured program: a process, with its clock, its memory and its processor time.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;

use crate::{Result, lab::Lab};

/// The interval of samples of memory and processor time.
const LOOK: Duration = Duration::from_millis(10);
/// Linux counts processor time in hundredths of a second.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// A pipeline by its names.
pub struct Pipeline<'a> {
    pub lab: &'a Lab,
    pub database: &'a str,
    pub name: String,
    pub publication: String,
}

/// The cost of a run to a position.
pub struct Taken {
    /// From the start of the stream until everything is applied.
    pub work: Duration,
    pub cost: Cost,
}

/// The cost of a process.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub processor_seconds: f64,
    pub memory_peak_mib: f64,
}

/// A running program.
pub struct Running {
    child: Child,
    lines: Receiver<(Instant, String)>,
    cost: Cost,
    log: Vec<String>,
    _file: Option<NamedTempFile>,
}

impl<'a> Pipeline<'a> {
    /// The pipeline that owns its publication.
    pub fn new(lab: &'a Lab, database: &'a str) -> Self {
        let name = database.to_owned();
        Pipeline { lab, database, publication: format!("wal2graph_{name}"), name }
    }

    /// The name of its slot.
    pub fn slot(&self) -> String {
        format!("wal2graph_{}", self.name)
    }

    /// Starts `run` with more arguments.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        self.command("run", arguments)
    }

    /// Starts a command with more arguments.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Result<Running> {
        let name = command;
        let file = NamedTempFile::new()?;
        let text = format!(
            "pipeline: {}\nsource:\n  url: {}\n  publication: {}\ngraph:\n  url: {}\n",
            self.name,
            self.lab.postgres.url(self.database),
            self.publication,
            self.lab.neo4j.url()
        );
        fs::write(file.path(), text)?;
        let mut command = Command::new(&self.lab.program);
        command.args([name, "-c"]).arg(file.path()).args(arguments);
        let mut running = Running::start(command)?;
        running._file = Some(file);
        Ok(running)
    }

    /// `run --until current`.
    pub fn catch_up(&self) -> Result<Taken> {
        let mut running = self.start(&["--until", "current"])?;
        let started = running.wait_for("streaming")?;
        let ended = running.wait_for("stopped")?;
        Ok(Taken { work: ended - started, cost: running.end()? })
    }
}

impl Running {
    /// Starts the program, which logs JSON.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .args(["--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no log")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                // The receiver may be gone.
                let _ = sender.send((Instant::now(), line));
            }
        });
        Ok(Running { child, lines, cost: Cost::default(), log: Vec::new(), _file: None })
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended successfully. Returns the remaining log lines with their times.
    pub fn finish(mut self) -> Result<Vec<(Instant, String)>> {
        self.end()?;
        Ok(self.lines.iter().collect())
    }

    /// Waits for this message in the log, and returns its time.
    pub fn wait_for(&mut self, message: &str) -> Result<Instant> {
        loop {
            self.look();
            match self.lines.recv_timeout(LOOK) {
                Ok((at, line)) => {
                    let found = says(&line, message);
                    self.log.push(line);
                    if found {
                        return Ok(at);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(_) => {
                    return Err(
                        format!("it ended without {message:?}:\n{}", self.log.join("\n")).into()
                    );
                }
            }
        }
    }

    /// Its cost so far.
    pub fn look(&mut self) -> Cost {
        let folder = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
        self.cost.memory_peak_mib = self.cost.memory_peak_mib.max(kib.unwrap_or(0.0) / 1024.0);
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
        // The name in parentheses may contain anything. User and system time are the 12th and 13th
        // field after it.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = after_name.split(' ').skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
        let seconds = ticks.sum::<f64>() / TICKS_PER_SECOND;
        self.cost.processor_seconds = self.cost.processor_seconds.max(seconds);
        self.cost
    }

    /// Waits until it has ended, well.
    pub fn end(&mut self) -> Result<Cost> {
        loop {
            self.look();
            if let Some(status) = self.child.try_wait()? {
                return match status.success() {
                    true => Ok(self.cost),
                    false => {
                        self.log.extend(self.lines.iter().map(|(_, line)| line));
                        Err(format!("{status}:\n{}", self.log.join("\n")).into())
                    }
                };
            }
            thread::sleep(LOOK);
        }
    }

    /// SIGTERM, and its end.
    pub fn terminate(&mut self) -> Result<Cost> {
        self.look();
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.end()
    }
}

/// The processor seconds that the whole machine has used, or been refused, since its start.
pub fn machine_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all =
        stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no processor")?;
    // user, nice, system, idle, waiting for a disk, interrupts (two kinds), taken by the host.
    let ticks = all.split_whitespace().take(8).enumerate().filter(|(at, _)| ![3, 4].contains(at));
    let ticks: Vec<f64> = ticks.map(|(_, it)| it.parse()).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// Whether a line of the log has this message.
pub fn says(line: &str, message: &str) -> bool {
    line.contains(&format!("\"message\":\"{message}\""))
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
