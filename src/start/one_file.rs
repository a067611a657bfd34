//! Members of a group apply one mapping.
//!
//! ```text
//! partition 0   file A since 9:00 | file B since 9:20          a member that began with another file has it
//! partition 1   file A since 9:00                              the member with A: overtaken
//! ```
//!
//! Each partition goes over to another mapping by itself. A member that keeps the file of before would write rows
//! under the names of before for ever. So a partition's checkpoint has the digest of the file that its rows are made
//! by, and since when. A member that finds a later file than its own, while others run, writes nothing.

use std::{fmt, str::FromStr};

use crate::{
    change::Timestamp,
    checkpoint::{Checkpoint, Log},
};

/// Which file a partition's rows are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// The digest of what the file says of the mapping.
    pub digest: String,
    /// Since when.
    pub since: Timestamp,
}

impl FileMark {
    /// That of a checkpoint; `None` if an earlier build has claimed it last, or somebody edited it.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        checkpoint.mapping_file.as_deref()?.parse().ok()
    }
}

impl fmt::Display for FileMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.digest, self.since.unix_micros)
    }
}

/// The text names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFileMark;

impl FromStr for FileMark {
    type Err = NoFileMark;

    fn from_str(text: &str) -> Result<Self, NoFileMark> {
        let (digest, since) = text.split_once(' ').ok_or(NoFileMark)?;
        let unix_micros = since.parse().map_err(|_| NoFileMark)?;
        Ok(FileMark { digest: digest.to_owned(), since: Timestamp { unix_micros } })
    }
}

/// Another member has gone over to a later file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    /// The partition.
    pub log: Log,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another member of the group has another mapping in its file, and {} has gone over to it at {}. All \
             members need the same file: start this one with that of the others; or stop the others, and this one \
             goes on with its own",
            self.log,
            self.since.shown()
        )
    }
}

/// Since when partitions have the rows of this file; `None` if none has.
pub fn since(digest: &str, checkpoints: &[Checkpoint]) -> Option<Timestamp> {
    let marks = checkpoints.iter().filter_map(FileMark::of);
    marks.filter(|mark| mark.digest == digest).map(|mark| mark.since).max()
}

/// The partition that has gone over to a later file than the one that is followed since then.
pub fn overtaken(digest: &str, since: Timestamp, checkpoints: &[Checkpoint]) -> Option<Overtaken> {
    let marks = checkpoints.iter().filter_map(|it| Some((it, FileMark::of(it)?)));
    let later = marks.filter(|(_, mark)| mark.digest != digest && mark.since > since);
    let (checkpoint, mark) = later.max_by_key(|(_, mark)| mark.since)?;
    Some(Overtaken { log: checkpoint.origin.log.clone(), since: mark.since })
}
