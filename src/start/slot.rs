//! The slot: what it is, and whether the changes that the graph lacks are still in it.

use std::fmt;

use crate::lsn::Lsn;

use super::{Again, Names};

/// A replication slot as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// It streams changes, not the log itself.
    pub logical: bool,
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// It goes with the session that made it.
    pub temporary: bool,
    /// It sends transactions when they are prepared.
    pub two_phase: bool,
    /// Who streams from it, or makes it.
    pub active_pid: Option<i32>,
    /// What was acknowledged. A logical slot that is being made has nothing yet.
    pub confirmed: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Why it can not be read any more, in the server's word: from PostgreSQL 17 on.
    pub invalidation: Option<String>,
    /// Standbys keep a copy of it: from PostgreSQL 17 on.
    pub failover: bool,
    /// How much more log can be written before it may be lost, in bytes.
    pub safe_bytes: Option<i64>,
    /// How much log it keeps, in bytes.
    pub retained_bytes: Option<i64>,
}

/// What can be done with a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing: it is somebody else's, and this is why.
    Foreign(Foreign),
    /// Nothing yet: a session makes it.
    BeingMade {
        /// The session's process.
        pid: Option<i32>,
    },
    /// Nothing any more.
    Lost(Lost),
    /// It can be read from here.
    Usable {
        /// What was acknowledged.
        confirmed: Lsn,
    },
}

/// Why a slot is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// It streams the log itself.
    #[error("is a physical one")]
    Physical,
    /// It speaks another protocol.
    #[error("has the plugin {0}, not pgoutput")]
    Plugin(String),
    /// Its changes are another database's.
    #[error("belongs to the database {0:?}")]
    Database(String),
    /// It goes with its session.
    #[error("is a temporary one, which goes with the session that made it")]
    Temporary,
    /// It sends what is not committed yet.
    #[error("was made with two_phase, so it sends transactions before they commit")]
    TwoPhase,
}

/// Why a slot can not be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The log that it needs was removed.
    Removed,
    /// Nobody has read it for too long.
    Idle,
    /// `wal_level` was lowered.
    WalLevel,
    /// Rows of the catalog that it needs were removed.
    Rows,
    /// Something else, in the server's word.
    Other(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Removed => {
                f.write_str("the log that it needs was removed (max_slot_wal_keep_size)")
            }
            Lost::Idle => {
                f.write_str("nobody has read it for longer than idle_replication_slot_timeout")
            }
            Lost::WalLevel => f.write_str("wal_level was lowered"),
            Lost::Rows => f.write_str("rows of the catalog that it needs were removed"),
            Lost::Other(word) => write!(f, "the server says {word}"),
        }
    }
}

impl Slot {
    /// What can be done with it, by a pipeline of this database.
    pub fn state(&self, database: &str) -> SlotState {
        let foreign = |why| SlotState::Foreign(why);
        if !self.logical {
            return foreign(Foreign::Physical);
        }
        if let Some(other) = self.database.as_ref().filter(|other| *other != database) {
            return foreign(Foreign::Database(other.clone()));
        }
        if let Some(other) = self.plugin.as_ref().filter(|plugin| *plugin != "pgoutput") {
            return foreign(Foreign::Plugin(other.clone()));
        }
        if self.temporary {
            return foreign(Foreign::Temporary);
        }
        if self.two_phase {
            return foreign(Foreign::TwoPhase);
        }
        if let Some(lost) = self.lost() {
            return SlotState::Lost(lost);
        }
        match self.confirmed {
            Some(confirmed) => SlotState::Usable { confirmed },
            None => SlotState::BeingMade { pid: self.active_pid },
        }
    }

    fn lost(&self) -> Option<Lost> {
        match self.invalidation.as_deref() {
            Some("wal_removed") => Some(Lost::Removed),
            Some("idle_timeout") => Some(Lost::Idle),
            Some("wal_level_insufficient") => Some(Lost::WalLevel),
            Some("rows_removed") => Some(Lost::Rows),
            Some(other) => Some(Lost::Other(other.to_owned())),
            None => (self.wal_status.as_deref() == Some("lost")).then_some(Lost::Removed),
        }
    }

    /// Why it can not be used, if it can not.
    pub fn unusable(&self, names: &Names, database: &str, again: &Again) -> Option<SlotRefusal> {
        let slot = names.slot.clone();
        match self.state(database) {
            SlotState::Usable { .. } => None,
            SlotState::BeingMade { pid } => Some(SlotRefusal::BeingMade { slot, pid }),
            SlotState::Lost(why) => Some(SlotRefusal::Lost { slot, why, again: again.past_gap() }),
            SlotState::Foreign(why) => {
                Some(SlotRefusal::Foreign { slot, why, database: database.to_owned() })
            }
        }
    }
}

/// Why a slot can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotRefusal {
    /// It is somebody else's.
    #[error("the slot {slot} {why}, and this pipeline reads the database {database:?}: {}", self.fix())]
    Foreign {
        /// The slot.
        slot: String,
        /// Why it is no slot of this pipeline.
        why: Foreign,
        /// The database that is read.
        database: String,
    },
    /// A session makes it.
    #[error(
        "the slot {slot} is being made{}: it is waited for, until the transactions that run there now have ended",
        .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    BeingMade {
        /// The slot.
        slot: String,
        /// The session's process.
        pid: Option<i32>,
    },
    /// It can not be read any more.
    #[error("the slot {slot} is lost: {why}. {}", self.fix())]
    Lost {
        /// The slot.
        slot: String,
        /// Why.
        why: Lost,
        /// What a copy again takes.
        again: Again,
    },
    /// There is none any more.
    #[error("the slot {slot} is gone, and with it the changes since {since}. {}", self.fix())]
    Gone {
        /// The slot.
        slot: String,
        /// Where the graph is.
        since: Lsn,
        /// What a copy again takes.
        again: Again,
    },
    /// It has let go of changes that the graph lacks.
    #[error(
        "the slot {slot} is at {confirmed}, ahead of the graph at {at}: the changes between are gone (the slot was \
         made again or advanced, or the graph was restored). {}",
        self.fix()
    )]
    Ahead {
        /// The slot.
        slot: String,
        /// What was acknowledged.
        confirmed: Lsn,
        /// Where the graph is.
        at: Lsn,
        /// What a copy again takes.
        again: Again,
    },
}

impl SlotRefusal {
    /// Whether changes that the graph lacks are lost with it.
    pub fn is_lost(&self) -> bool {
        match self {
            SlotRefusal::Lost { .. } | SlotRefusal::Gone { .. } | SlotRefusal::Ahead { .. } => true,
            SlotRefusal::Foreign { .. } | SlotRefusal::BeingMade { .. } => false,
        }
    }

    /// What to do: its text ends with it. Empty where nothing is to be done.
    pub fn fix(&self) -> String {
        match self {
            SlotRefusal::Foreign { .. } => "see that the source's URL names the right database, or name another \
                slot with source.slot, which `wal2graph run` makes. The slot that is there may be in use: leave it"
                .to_owned(),
            SlotRefusal::BeingMade { .. } => String::new(),
            SlotRefusal::Lost { again, .. }
            | SlotRefusal::Gone { again, .. }
            | SlotRefusal::Ahead { again, .. } => format!("To go on, {again}"),
        }
    }
}

/// Whether the slot still has everything behind a position.
pub fn behind(slot: Option<&Slot>, at: Lsn, names: &Names, again: &Again) -> Option<SlotRefusal> {
    let name = names.slot.clone();
    let Some(slot) = slot else {
        return Some(SlotRefusal::Gone { slot: name, since: at, again: again.clone() });
    };
    let confirmed = slot.confirmed.filter(|lsn| *lsn > at && slot.logical)?;
    Some(SlotRefusal::Ahead { slot: name, confirmed, at, again: again.clone() })
}
