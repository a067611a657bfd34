//! The program as a process: what its log and its signals meet in the world.
//!
//! No server is there, so the program waits for one, which it does until it is stopped.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A busy machine takes its time. The program's own limit is ten seconds.
const LIMIT: Duration = Duration::from_secs(60);

struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.args(["run", "--source-url", "postgres://u@127.0.0.1:1/d"]);
    command.args(["--graph-url", "bolt://127.0.0.1:1", "--http", "off", "--pipeline", "shop"]);
    command.args(arguments);
    command
}

impl Waiting {
    fn start(stderr: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        Waiting(command.stderr(stderr).spawn().expect("the program starts"))
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
    }

    /// Whether it is up after so long.
    fn lives_for(&mut self, time: Duration) -> bool {
        thread::sleep(time);
        self.0.try_wait().expect("it can be waited for").is_none()
    }

    /// The exit code; `None` after the limit.
    fn ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Signals it as soon as it handles signals, and returns the exit code.
    fn ended_by(mut self, signal: &str) -> Option<i32> {
        let handles = |status: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & (1 << 14) != 0)
        };
        let path = format!("/proc/{}/status", self.0.id());
        let began = Instant::now();
        while !std::fs::read_to_string(&path).is_ok_and(|status| handles(&status)) {
            assert!(began.elapsed() < LIMIT, "it does not handle signals");
            assert!(self.lives_for(Duration::from_millis(20)), "it ended: {:?}", self.ended());
        }
        self.signal(signal);
        self.ended()
    }
}

/// The first lines of the log.
fn lines(waiting: &mut Waiting, count: usize) -> Vec<String> {
    let stderr = waiting.0.stderr.take().expect("it is piped");
    BufReader::new(stderr).lines().take(count).map(|line| line.expect("text")).collect()
}

#[test]
fn a_log_that_nobody_reads_any_more_made_the_program_deaf_to_sigterm() {
    let mut waiting = Waiting::start(Stdio::piped(), &["--log-level", "debug"]);
    // The reader closes the pipe.
    assert_eq!(lines(&mut waiting, 1).len(), 1);
    assert!(waiting.lives_for(Duration::from_secs(2)), "it ended: {:?}", waiting.ended());
    assert_eq!(waiting.ended_by("TERM"), Some(0));
}

#[test]
fn a_full_disk_under_the_log_ended_the_program() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut waiting = Waiting::start(full, &["--log-level", "debug"]);
    assert!(waiting.lives_for(Duration::from_secs(2)), "it ended: {:?}", waiting.ended());
    assert_eq!(waiting.ended_by("TERM"), Some(0));
}

#[test]
fn a_log_pipe_that_is_stuffed_does_not_stop_the_program() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let stderr = writer.try_clone().expect("another end");
    let filling = thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
    thread::sleep(Duration::from_millis(200));
    let mut waiting = Waiting::start(stderr, &["--log-level", "debug"]);
    assert!(waiting.lives_for(Duration::from_secs(2)), "it ended: {:?}", waiting.ended());
    assert_eq!(waiting.ended_by("TERM"), Some(0));
    drop(reader);
    filling.join().expect("it ends with the reader");
}

#[test]
fn a_closed_stdout_does_not_end_a_service() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = command(&[]);
    command.stdout(writer).stderr(Stdio::null());
    let mut waiting = Waiting(command.spawn().expect("the program starts"));
    assert!(waiting.lives_for(Duration::from_secs(1)), "it ended: {:?}", waiting.ended());
    assert_eq!(waiting.ended_by("TERM"), Some(0));
}

#[test]
fn sighup_ends_the_program_like_sigterm() {
    for signal in ["HUP", "INT", "TERM"] {
        let mut waiting = Waiting::start(Stdio::null(), &[]);
        // It listens to signals from its start on, which takes a moment.
        assert!(waiting.lives_for(Duration::from_secs(2)), "it ended: {:?}", waiting.ended());
        assert_eq!(waiting.ended_by(signal), Some(0), "{signal}");
    }
}

#[test]
fn nohup_keeps_the_program_from_ending_with_its_terminal() {
    let program = command(&[]);
    let mut nohup = Command::new("nohup");
    nohup.arg(program.get_program()).args(program.get_args());
    nohup.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut waiting = Waiting(nohup.spawn().expect("nohup starts it"));
    assert!(waiting.lives_for(Duration::from_secs(2)), "it ended: {:?}", waiting.ended());
    waiting.signal("HUP");
    assert!(waiting.lives_for(Duration::from_secs(1)), "it ended: {:?}", waiting.ended());
    assert_eq!(waiting.ended_by("TERM"), Some(0));
}

#[test]
fn each_json_line_names_the_pipeline() {
    let arguments = ["--log-format", "json", "--log-level", "debug"];
    let mut waiting = Waiting::start(Stdio::piped(), &arguments);
    for line in lines(&mut waiting, 3) {
        let line: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
        assert_eq!(line["pipeline"], "shop", "{line}");
    }
}

#[test]
fn a_server_that_stays_away_is_one_line_of_the_log() {
    let mut waiting = Waiting::start(Stdio::piped(), &["--log-level", "debug"]);
    let stderr = waiting.0.stderr.take().expect("it is piped");
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let failed: Vec<String> =
        lines.filter(|line| line.contains("connecting again")).take(4).collect();
    assert!(failed[0].contains("WARN"), "{failed:?}");
    assert!(failed[1..].iter().all(|line| line.contains("DEBUG")), "{failed:?}");
}
