//! A source that is put back to an older state.

use std::{path::PathBuf, process::Command};

use wal2graph_servers::{Postgres, PostgresOptions, Stop};

/// A server of its own, whose data can be kept and put back while it is stopped.
pub struct Restorable {
    /// The server.
    pub server: Postgres,
    /// Where its data is.
    pub data: PathBuf,
    kept: PathBuf,
}

impl Restorable {
    /// A new server.
    pub fn start() -> Self {
        let server = Postgres::start(&PostgresOptions::default()).unwrap();
        let folder = server.socket_directory().to_owned();
        Restorable { server, kept: folder.join("kept"), data: folder.join("data") }
    }

    /// Keeps its data as it is now.
    pub fn keep(&mut self) {
        self.server.stop(Stop::Fast).unwrap();
        copy(&self.data, &self.kept);
        self.server.start_again().unwrap();
    }

    /// Puts back what was kept.
    pub fn put_back(&mut self) {
        self.server.stop(Stop::Fast).unwrap();
        std::fs::remove_dir_all(&self.data).unwrap();
        copy(&self.kept, &self.data);
        self.server.start_again().unwrap();
    }
}

fn copy(from: &PathBuf, to: &PathBuf) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}
