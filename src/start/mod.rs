//! What must be so before a pipeline starts: facts in, refusals with their fix out.
//!
//! ```text
//! postgres::setup, neo4j::schema, the checkpoint --> Facts --refusals--> run, publish: refuse, before anything is made
//!                                                                    --> check, status: say the same
//! ```
//!
//! Every command asks the same functions. So `check` has said what `run` refuses, and a refused start
//! leaves nothing behind: no publication, no slot, no checkpoint, no constraint.

pub mod again;
pub mod between;
mod difference;
pub mod following;
pub mod found;
pub mod generation;
pub mod grants;
pub mod graph;
pub mod one_file;
pub mod origin;
pub mod others;
pub mod paused;
pub mod publication;
pub mod rights;
pub mod rules;
pub mod server;
pub mod shape;
mod since;
pub mod slot;
pub mod tables;
pub mod timelines;
mod topic;

use std::fmt;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log},
    mapping::{self, Mapping},
};

pub use again::{Again, Written};
pub use between::{FromGraphRefusal, NoGraph, NoTakeOver, TakeOverRefusal};
pub use graph::{GraphRefusal, Obstacle};
pub use origin::{OriginRefusal, System};
pub use others::{Emptied, Others};
pub use publication::{Publication, PublicationRefusal};
pub use rights::{RightsRefusal, TableRights};
pub use server::{Server, ServerRefusal};
pub use slot::{Slot, SlotRefusal, SlotState};
pub use tables::{Difference, TableFacts, TablesRefusal};
pub use timelines::Timelines;
pub use topic::{Anew, Cluster, TopicRefusal};

use found::Found;
use tables::UnreadableFacts;

/// Why a pipeline can not start. The text names the cause and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server or the role can not stream.
    #[error(transparent)]
    Server(#[from] ServerRefusal),
    /// The slot can not be used.
    #[error(transparent)]
    Slot(#[from] SlotRefusal),
    /// The publication does not fit the mapping.
    #[error(transparent)]
    Publication(#[from] PublicationRefusal),
    /// The role lacks a right.
    #[error(transparent)]
    Rights(#[from] RightsRefusal),
    /// The source's history is not the graph's.
    #[error(transparent)]
    Origin(#[from] OriginRefusal),
    /// The tables are not those that the graph followed.
    #[error(transparent)]
    Tables(#[from] TablesRefusal),
    /// A table can not be mapped: the text says what to do.
    #[error(transparent)]
    Mapping(#[from] mapping::Refusal),
    /// The graph does not fit.
    #[error(transparent)]
    Graph(#[from] GraphRefusal),
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Refusal::Graph(obstacle.into())
    }
}

impl Refusal {
    /// What is wrong, and what to do about it: nothing, where it goes away by itself.
    pub fn parts(&self) -> (String, Option<String>) {
        let fix = match self {
            Refusal::Server(refusal) => refusal.fix(),
            Refusal::Slot(refusal) => refusal.fix(),
            Refusal::Publication(refusal) => refusal.fix(),
            Refusal::Rights(refusal) => refusal.fix(),
            Refusal::Origin(refusal) => refusal.fix(),
            Refusal::Tables(refusal) => refusal.fix(),
            Refusal::Mapping(_) => String::new(),
            Refusal::Graph(refusal) => refusal.fix(),
        };
        let text = self.to_string();
        let what = text.strip_suffix(&fix).unwrap_or(&text).trim_end_matches([':', '.', ' ']);
        (what.to_owned(), (!fix.is_empty()).then_some(fix))
    }

    /// Whether it may go away by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Refusal::Slot(SlotRefusal::BeingMade { .. }))
    }
}

/// Everything that stands against a start. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// This alone.
    pub fn of(refusal: impl Into<Refusal>) -> Self {
        Refusals(vec![refusal.into()])
    }

    /// An error if there is any.
    pub fn check(refusals: Vec<Refusal>) -> Result<(), Refusals> {
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(Refusals(refusals)),
        }
    }

    /// With what is in the way besides.
    pub fn and(mut self, others: impl IntoIterator<Item = Refusal>) -> Self {
        self.0.extend(others);
        self
    }

    /// Whether nothing but the slot stands against it: its changes are lost, and a new slot helps.
    pub fn are_of_a_lost_slot(&self) -> bool {
        self.0.iter().all(|it| matches!(it, Refusal::Slot(slot) if slot.is_lost()))
    }

    /// Whether all of it may go away by itself.
    pub fn is_transient(&self) -> bool {
        self.0.iter().all(Refusal::is_transient)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [only] => write!(f, "{only}"),
            all => {
                write!(f, "{} things stand against a start:", all.len())?;
                all.iter().try_for_each(|refusal| write!(f, "\n  - {refusal}"))
            }
        }
    }
}

/// What a pipeline is called, and what it makes in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The pipeline.
    pub pipeline: String,
    /// Its slot.
    pub slot: String,
    /// Its publication.
    pub publication: String,
    /// The database's, as the URL has it.
    pub database: String,
}

/// What is known before a start.
pub struct Facts<'a> {
    /// The pipeline's names.
    pub names: &'a Names,
    /// The server and the role.
    pub server: &'a Server,
    /// Where the server's log is, as it was after the checkpoint was read: a pipeline that runs moves
    /// that on. `None` for a standby.
    pub system: Option<&'a System>,
    /// The slot, if there is one.
    pub slot: Option<&'a Slot>,
    /// The publication, if there is one.
    pub publication: Option<&'a Publication>,
    /// What the role may do with the mapped tables.
    pub tables: &'a [TableRights],
    /// The tables and what they become, if they can be mapped.
    pub mapped: Option<(&'a Catalog, &'a Mapping)>,
    /// What the tables of the first checkpoint are now, if it says which they were.
    pub tables_now: Option<&'a tables::Now>,
    /// What the graph was made from: one for each log of this pipeline, none before its first start.
    pub checkpoints: &'a [Checkpoint],
    /// The graph follows a topic, so the slot's position says nothing of it.
    pub through_topic: bool,
    /// The graph follows what changes in tables and mapping.
    pub follows: bool,
    /// What a copy again takes.
    pub again: &'a Again,
}

impl Facts<'_> {
    /// Everything in source and checkpoint that stands against a start.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut found: Vec<Refusal> =
            server::judge(self.server).into_iter().map(Into::into).collect();
        if self.server.in_recovery {
            // Its slots and its log are not the primary's.
            return found;
        }
        found.extend(self.of_history());
        found.extend(self.of_tables().map(Refusal::from));
        let unusable =
            self.slot.and_then(|slot| slot.unusable(self.names, &self.server.database, self.again));
        let is_usable = unusable.is_none();
        found.extend(unusable.map(Refusal::from));
        let Some((catalog, mapping)) = self.mapped else { return found };
        let digest = mapping.digest();
        let followed = self.followed();
        let is_other = |checkpoint: &Checkpoint| checkpoint.mapping_digest != digest;
        if followed.is_none() && !self.topic_is_followed() && self.checkpoints.iter().any(is_other)
        {
            let (what, again) = (self.changes(mapping), self.again.clone());
            found.push(GraphRefusal::MappingChanged { what, again }.into());
        }
        if mapping.model.tables.is_empty() {
            found.push(PublicationRefusal::NoTables.into());
            return found;
        }
        let wanted =
            publication::Wanted { names: self.names, catalog, mapping, server: self.server };
        // A slot is older than what was out of the publication.
        let has_slot = self.slot.is_some() && !self.has_foreign_slot();
        let is_started = !self.checkpoints.is_empty() || has_slot;
        // Where the checkpoint shows that something is missing, a copy again stands above.
        let follows = self.follows && !self.through_topic;
        let is_unknown = is_started && !follows && self.differences().is_empty();
        let started = is_unknown.then_some(self.again);
        match self.publication {
            Some(publication) => {
                let mut refusals = wanted.refusals(publication, started);
                // A table may be out of it for a while, and new ones are judged apart.
                let is_of_tables =
                    |it: &PublicationRefusal| matches!(it, PublicationRefusal::Tables { .. });
                refusals.retain(|it| followed.is_none() || !is_of_tables(it));
                found.extend(refusals.into_iter().map(Refusal::from));
            }
            // Without a usable slot the one that is made is younger than the publication.
            None if self.slot.is_some() && is_usable => found.push(
                PublicationRefusal::Gone {
                    name: self.names.publication.clone(),
                    again: self.again.clone(),
                }
                .into(),
            ),
            // Somebody else publishes to the topic.
            None if self.through_topic => {}
            None => {
                let lacks = rights::to_publish(self.server, self.tables, &wanted.create_sql());
                found.extend(lacks.map(Refusal::from));
            }
        }
        if self.checkpoints.is_empty() {
            let to_read = rights::to_read(self.server, self.tables);
            found.extend(to_read.into_iter().map(Refusal::from));
        }
        found
    }

    /// The tables as the graph's checkpoint has them, if this is their source: nothing may be kept of
    /// the tables of another one, which somebody named by mistake.
    fn tables_before(&self) -> Option<Result<TableFacts, UnreadableFacts>> {
        let is_other = |it: &Refusal| matches!(it, Refusal::Origin(_) | Refusal::Graph(_));
        if self.through_topic
            || self.server.in_recovery
            || self.has_foreign_slot()
            || self.of_history().iter().any(is_other)
        {
            return None;
        }
        self.checkpoints.first()?.table_facts.as_deref().map(TableFacts::parse)
    }

    /// The tables that the graph follows through what changes in them.
    fn followed(&self) -> Option<TableFacts> {
        self.tables_before().filter(|_| self.follows).and_then(Result::ok)
    }

    /// The partitions of a topic follow what changes: `apply` looks at the tables itself.
    fn topic_is_followed(&self) -> bool {
        self.through_topic
            && self.follows
            && self.checkpoints.iter().all(|checkpoint| checkpoint.table_facts.is_some())
    }

    /// Everything that is different in the tables, or was.
    pub fn differences(&self) -> Vec<Difference> {
        match (self.tables_before(), self.tables_now) {
            (Some(Ok(before)), Some(now)) => before.differences(now),
            _ => Vec::new(),
        }
    }

    /// What has changed in tables and mapping, as far as the checkpoint tells.
    fn changes(&self, mapping: &Mapping) -> Vec<String> {
        let (Some(Ok(facts)), Some(now), Some(checkpoint)) =
            (self.tables_before(), self.tables_now, self.checkpoints.first())
        else {
            return Vec::new();
        };
        let mut found = generation::since(checkpoint, &facts, now, mapping);
        let is_new = |oid: u32| !facts.tables.iter().any(|table| table.oid == oid);
        let new = mapping.tables.iter().filter(|table| is_new(table.oid));
        found.extend(
            new.map(|table| Found { table: table.name.clone(), what: "it is new".to_owned() }),
        );
        found.iter().map(ToString::to_string).collect()
    }

    /// Whether the tables are those that the graph followed.
    fn of_tables(&self) -> Option<TablesRefusal> {
        let again = self.again.clone();
        if let Some(Err(UnreadableFacts)) = self.tables_before() {
            return Some(TablesRefusal::Unreadable { again });
        }
        let mut differences = match (self.followed(), self.tables_now) {
            (Some(before), Some(now)) => before.blocking(now),
            _ => self.differences(),
        };
        if self.publication.is_none() && self.slot.is_some() && self.mapped.is_some() {
            // That it is gone is said of the publication.
            differences.retain(|it| !matches!(it, Difference::Publication { is: None, .. }));
        }
        if !differences.is_empty() {
            return Some(TablesRefusal::Different { differences, again });
        }
        let found = self.not_followed();
        (!found.is_empty()).then_some(TablesRefusal::Reshaped { found, again })
    }

    /// What has changed in the tables, and is not to be followed. Of another mapping, the digest tells.
    fn not_followed(&self) -> Vec<Found> {
        let (Some(Ok(facts)), Some(now), Some(checkpoint), Some((_, mapping))) =
            (self.tables_before(), self.tables_now, self.checkpoints.first(), self.mapped)
        else {
            return Vec::new();
        };
        match self.follows || checkpoint.mapping_digest != mapping.digest() {
            true => Vec::new(),
            false => generation::since(checkpoint, &facts, now, mapping),
        }
    }

    /// Whether the slot of that name is somebody else's.
    fn has_foreign_slot(&self) -> bool {
        let state = self.slot.map(|slot| slot.state(&self.server.database));
        matches!(state, Some(SlotState::Foreign(_)))
    }

    /// Whether the source's history is the graph's, and the slot has kept it.
    fn of_history(&self) -> Vec<Refusal> {
        if let Some(system) = self.system {
            let judged = |checkpoint| origin::judge(checkpoint, system, self.again);
            if let Some(refusal) = self.checkpoints.iter().find_map(judged) {
                // Another history has other slots.
                return vec![refusal.into()];
            }
        }
        // How far the topic is from the slot is the publisher's.
        let Some(checkpoint) = self.checkpoints.first().filter(|_| !self.through_topic) else {
            return Vec::new();
        };
        if let Some(at) = checkpoint.partition() {
            return vec![GraphRefusal::OfTopic { topic: at.topic.clone() }.into()];
        }
        let log = Log::Slot(self.names.slot.clone());
        if checkpoint.origin.log != log {
            let (other, log) = (checkpoint.origin.log.to_string(), log.to_string());
            return vec![GraphRefusal::OtherLog { other, log, again: self.again.clone() }.into()];
        }
        let at = checkpoint.position.lsn;
        if self.has_foreign_slot() {
            // Nothing else is said of it: how far it is has no meaning here.
            return Vec::new();
        }
        let behind = slot::behind(self.slot, at, self.names, self.again);
        behind.map(Refusal::from).into_iter().collect()
    }
}
