//! A source that can be restored to an older state.

use std::{path::PathBuf, process::Command};

use wal2graph_servers::{Postgres, PostgresOptions, Stop};

/// A separate server. While it is stopped, its data can be saved and restored.
pub struct Restorable {
    /// The server.
    pub server: Postgres,
    /// The directory of its data.
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

    /// Saves its current data.
    pub fn keep(&mut self) {
        self.server.stop(Stop::Fast).unwrap();
        copy(&self.data, &self.kept);
        self.server.start_again().unwrap();
    }

    /// Restores the saved data.
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
