//! Log lines on their way to stderr.
//!
//! ```text
//! whoever logs --line--> a bounded queue --> one thread --> stderr
//!                          (full: the line is dropped and counted)
//! ```
//!
//! Nobody waits for stderr, and no error of it ends anything: the reader may be gone, the disk full, the
//! pipe stuffed. Lines are lost then, and their number is told once stderr takes lines again.

use std::{
    io::{self, IsTerminal, Write, stderr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::cli::{Global, LogFormat};

/// The lines that wait for stderr at most.
const LINES_MAX: usize = 8_192;
/// How long the program's end waits for the last lines.
const LAST_LINES_LIMIT: Duration = Duration::from_secs(1);

/// The way to the thread that writes.
static QUEUE: OnceLock<SyncSender<Queued>> = OnceLock::new();
/// The pipeline's name, as JSON.
static PIPELINE: OnceLock<String> = OnceLock::new();

enum Queued {
    Line(Vec<u8>),
    /// Whoever asked is told that all lines before are written.
    Written(SyncSender<()>),
}

/// Each part of a filter has a level. Without one, a misspelt level would be the name of something that logs nothing.
fn has_levels(filter: &str) -> bool {
    filter.split(',').all(|part| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok())
}

/// Logs to stderr from now on.
pub fn start(global: &Global) -> Result<(), String> {
    let wrong = |why: &str| format!("--log-level {:?}: {why}", global.log_level);
    if !has_levels(&global.log_level) {
        return Err(wrong(
            "expected off, error, warn, info, debug or trace, or a filter as wal2graph=debug,info",
        ));
    }
    let filter =
        EnvFilter::try_new(&global.log_level).map_err(|error| wrong(&error.to_string()))?;
    // The driver logs every connection it makes.
    let filter = ["neo4rs=warn", "tokio_postgres=warn"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let (queue, lines) = sync_channel(LINES_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = lost.clone();
    let writing = move || write_all(&lines, &counted, stderr());
    let thread = thread::Builder::new().name("log".to_owned()).spawn(writing);
    thread.map_err(|error| format!("there is no thread for the log: {error}"))?;
    let _ = QUEUE.set(queue.clone());
    let format = global.log_format;
    let lines = Lines { queue, lost, format };
    // What a line can not be made of is not told to stderr past the queue.
    let layer = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let in_colour = stderr().is_terminal() && wants_colour();
            layer.with_writer(lines).with_ansi(in_colour).with_target(false).init()
        }
        LogFormat::Json => layer.with_writer(lines).json().init(),
    }
    Ok(())
}

/// `NO_COLOR`, if it is not empty, switches colours off: <https://no-color.org>.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Names the pipeline in all lines of JSON that follow.
pub fn of_pipeline(name: &str) {
    let _ = PIPELINE.set(serde_json::Value::from(name).to_string());
}

/// Waits until all lines so far are written, for a second at most.
pub fn finish() {
    let (written, told) = sync_channel(1);
    let asked = QUEUE.get().is_some_and(|queue| queue.try_send(Queued::Written(written)).is_ok());
    if asked {
        let _ = told.recv_timeout(LAST_LINES_LIMIT);
    }
}

fn write_all(queue: &Receiver<Queued>, lost: &AtomicU64, mut out: impl Write) {
    while let Ok(queued) = queue.recv() {
        match queued {
            Queued::Written(asked) => drop(asked.try_send(())),
            Queued::Line(line) => match out.write_all(&line).and_then(|()| out.flush()) {
                Ok(()) => {
                    let lines = lost.swap(0, Ordering::Relaxed);
                    if lines > 0 {
                        tracing::warn!(lines, "log lines are lost: stderr did not take them");
                    }
                }
                Err(_) => drop(lost.fetch_add(1, Ordering::Relaxed)),
            },
        }
    }
}

/// Puts lines into the queue.
struct Lines {
    queue: SyncSender<Queued>,
    lost: Arc<AtomicU64>,
    format: LogFormat,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

impl Write for &Lines {
    /// Takes a whole event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = match self.format {
            LogFormat::Text => indented(event),
            LogFormat::Json => named(event, PIPELINE.get().map(String::as_str)),
        };
        match self.queue.try_send(Queued::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The event so that none looks like two: a name of the source may hold the end of a line. What
/// follows one within an event is indented, and a carriage return is shown as what it is.
fn indented(event: &[u8]) -> Vec<u8> {
    let (text, end) = match event.strip_suffix(b"\n") {
        Some(text) => (text, &b"\n"[..]),
        None => (event, &b""[..]),
    };
    let mut line = Vec::with_capacity(event.len());
    for byte in text {
        match byte {
            b'\n' => line.extend(b"\n    "),
            b'\r' => line.extend(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line.extend(end);
    line
}

/// The object with the pipeline's name in front.
fn named(event: &[u8], pipeline: Option<&str>) -> Vec<u8> {
    match (event.strip_prefix(b"{"), pipeline) {
        (Some(rest), Some(name)) => [b"{\"pipeline\":", name.as_bytes(), b",", rest].concat(),
        _ => event.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_was_the_name_of_something_that_logs_nothing() {
        for right in ["info", "WARN", "off", "wal2graph=debug,info", "wal2graph::neo4j=trace"] {
            assert!(has_levels(right), "{right}");
        }
        for wrong in ["lots", "info,lots", "wal2graph"] {
            assert!(!has_levels(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_line_end_in_a_name_made_a_log_line_of_its_own() {
        let event = b"WARN public.a\n2026-11-28T00:00:00Z  INFO forged\r is left out\n";
        let expected = b"WARN public.a\n    2026-11-28T00:00:00Z  INFO forged\\r is left out\n";
        assert_eq!(indented(event), expected);
    }

    #[test]
    fn a_json_line_names_the_pipeline_once_it_is_known() {
        let event = b"{\"level\":\"INFO\"}\n";
        assert_eq!(named(event, None), event);
        let line = named(event, Some("\"shop\""));
        assert_eq!(line, b"{\"pipeline\":\"shop\",\"level\":\"INFO\"}\n");
    }

    /// Takes nothing.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_finds_no_room_is_counted_and_nobody_waits() {
        let (queue, waiting) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines { queue, lost: lost.clone(), format: LogFormat::Text };
        for _ in 0..3 {
            assert_eq!((&lines).write(b"line\n").unwrap_or(0), 5);
        }
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        drop(lines);
        write_all(&waiting, &lost, Full);
        assert_eq!(lost.load(Ordering::Relaxed), 3);
    }
}
