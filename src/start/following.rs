//! How a graph goes from one shape of its tables to the next: what is kept, what is owed, what the stream may send.
//!
//! ```text
//! claimed checkpoint --step--> Generation, and Next if the graph does not have it yet
//! progress that is left --owed--> progress of the next shape
//! shapes that were met --followed--> Followed: what the translator takes
//! ```
//!
//! `run` does this with a server and a graph, the simulation with a model of both.

use std::collections::BTreeSet;

use crate::{
    change::Sent,
    checkpoint::Checkpoint,
    copy::{Progress, RECONCILED},
    graph::{Model, Outlines, Pass, TableIndex},
    lsn::Lsn,
    mapping::{Followed, Known, Mapping},
};

use super::{
    found::Found,
    generation::{Before, Generation, Look, judge},
    rules::Rules,
    shape::{ReadAt, Standing},
    tables::{Difference, Now, TableFacts},
};

/// Earlier shapes that the stream has shown.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// Of tables to look at: the form that their changes had.
    unexplained: Vec<Sent>,
    /// The same, once the graph knows that these tables need a comparison.
    known: Vec<Known>,
}

impl Shapes {
    /// A change came in a form that no look has seen.
    pub fn met(&mut self, sent: Sent) {
        self.unexplained.push(sent);
    }

    /// The tables that such changes were of.
    pub fn unexplained(&self) -> BTreeSet<u32> {
        self.unexplained.iter().map(|sent| sent.oid).collect()
    }

    /// The graph knows it: changes from before may come again.
    pub fn is_kept(&mut self, at: ReadAt) {
        let kept = std::mem::take(&mut self.unexplained);
        self.known.extend(kept.into_iter().map(|sent| Known { sent, before: at.from }));
    }

    /// The shapes that changes may have in a life that begins with these tables.
    pub fn followed(&self, facts: &TableFacts, at: ReadAt) -> Followed {
        let mut known = self.known.clone();
        let earlier = facts.tables.iter().filter_map(|table| {
            let earlier = table.shape.as_ref()?.earlier()?;
            let (columns, identity) = (earlier.sent.clone(), table.key.clone());
            let sent = Sent { oid: table.oid, columns, identity, leaf: None };
            Some(Known { sent, before: Lsn(earlier.before) })
        });
        known.extend(earlier);
        let leaves = facts.tables.iter().map(|table| {
            let leaves = table.shape.as_ref().map(|shape| shape.leaves().collect());
            (table.oid, leaves.unwrap_or_default())
        });
        let paused = facts.tables.iter().filter(|table| table.paused.is_some());
        let paused = paused.map(|table| table.oid).collect();
        Followed { from: at.from, known, leaves: leaves.collect(), paused }
    }
}

/// What a checkpoint says of the graph.
pub fn before<'a>(
    checkpoint: &'a Checkpoint,
    (facts, outlines): (&'a TableFacts, &'a Outlines),
    unexplained: &'a BTreeSet<u32>,
) -> Before<'a> {
    Before {
        facts,
        outlines,
        labels: &checkpoint.labels,
        digest: &checkpoint.mapping_digest,
        standing: Standing {
            applied: checkpoint.position.lsn,
            is_clean: outlines.left_over().is_empty(),
            by_names: false,
        },
        unexplained,
    }
}

/// What a checkpoint has to know before the graph gets a row of the next shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The mapping's digest.
    pub digest: String,
    /// The labels that rows have, or have had.
    pub labels: Vec<String>,
    /// [`TableFacts`].
    pub facts: String,
    /// [`Outlines`].
    pub outlines: String,
}

/// The next shape of the tables that a claimed checkpoint follows; `None`: the checkpoint has it all.
pub fn step(
    claimed: &Checkpoint,
    facts: &TableFacts,
    (mapping, now, at): (&Mapping, &Now, ReadAt),
    unexplained: &BTreeSet<u32>,
) -> (Generation, Option<Next>) {
    let had = claimed.outlines.as_deref().map(Outlines::parse).unwrap_or_default();
    step_from(before(claimed, (facts, &had), unexplained), (mapping, now, at))
}

/// The same from what a checkpoint says.
pub fn step_from(
    before: Before<'_>,
    (mapping, now, at): (&Mapping, &Now, ReadAt),
) -> (Generation, Option<Next>) {
    let digest = mapping.digest();
    let generation = judge(before, now, mapping, at);
    if generation.is_known(&before, &digest) {
        return (generation, None);
    }
    let renamed = generation.renamed_keys(before.facts, mapping);
    let outlines = before.outlines.clone().and(&mapping.model, &renamed).text();
    let labels: BTreeSet<String> =
        mapping.labels().into_iter().chain(before.labels.to_vec()).collect();
    let labels = labels.into_iter().collect();
    let facts = generation.facts.text();
    (generation, Some(Next { digest, labels, facts, outlines }))
}

/// The tables of a model that are looked at in its next shape. A first copy that is under way goes on as a
/// comparison, which sees the rows that it has written.
pub fn looks(model: &Model, left: &[Progress], generation: &Generation) -> Vec<(TableIndex, Look)> {
    let of_name = |name: &str| model.iter().find(|(_, table)| table.name == name);
    let mut looks: Vec<(TableIndex, Look)> = Vec::new();
    for mark in &generation.marks {
        let name = mark.found.table.in_file();
        // What was to be looked at before is not less now.
        let look = match left.iter().any(|range| range.table == name && !range.done) {
            true => Look::Both,
            false => mark.look.clone(),
        };
        looks.extend(of_name(&name).map(|(table, _)| (table, look)));
    }
    if left.iter().any(|range| !range.compares()) {
        let unfinished = left.iter().filter(|range| !range.done);
        let tables: BTreeSet<&str> = unfinished.map(|range| range.table.as_str()).collect();
        for (table, _) in tables.into_iter().filter_map(of_name) {
            if !looks.iter().any(|(it, _)| *it == table) {
                looks.push((table, Look::Both));
            }
        }
    }
    looks
}

/// The work that stays where nothing is looked at; `None`: all that is left. A table that is not mapped any more, or is
/// paused, has no work.
pub fn kept(
    model: &Model,
    paused: &BTreeSet<TableIndex>,
    left: &[Progress],
) -> Option<Vec<Progress>> {
    let kept = of_followed(model, paused, left.to_vec());
    (kept.len() < left.len()).then_some(kept)
}

/// The work of tables whose rows are written.
pub fn of_followed(
    model: &Model,
    paused: &BTreeSet<TableIndex>,
    left: Vec<Progress>,
) -> Vec<Progress> {
    let followed = model.iter().filter(|(table, _)| !paused.contains(table));
    let names: BTreeSet<&String> = followed.map(|(_, table)| &table.name).collect();
    left.into_iter().filter(|range| names.contains(&range.table)).collect()
}

/// The passes of a look.
pub fn passes(look: &Look) -> Vec<Pass> {
    match look {
        Look::Both | Look::Adopted => RECONCILED.to_vec(),
        Look::Rows | Look::Leaves(_) => vec![Pass::Rows],
    }
}

/// The work that is left, and `new`: the work that the looks take. A table that is looked at again begins again.
pub fn owed(
    model: &Model,
    left: Vec<Progress>,
    looks: &[(TableIndex, Look)],
    new: Vec<Progress>,
) -> Vec<Progress> {
    let is_of = |(table, _): &&(TableIndex, Look), name: &str| model.table(*table).name == name;
    let look_at = |name: &str| looks.iter().find(|look| is_of(look, name)).map(|(_, look)| look);
    let is_mapped = |name: &str| model.iter().any(|(_, table)| table.name == name);
    let is_kept = |range: &Progress| {
        range.compares() && is_mapped(&range.table) && look_at(&range.table).is_none()
    };
    let mut progress: Vec<Progress> = left.into_iter().filter(is_kept).collect();
    progress.extend(new.into_iter().map(|range| {
        let done = match look_at(&range.table) {
            Some(Look::Leaves(leaves)) => !range.partition.is_some_and(|it| leaves.contains(&it)),
            _ => range.done,
        };
        let spares = look_at(&range.table) == Some(&Look::Adopted);
        Progress { done, is_owed: true, spares, ..range }
    }));
    progress.sort_by(|a, b| (a.pass, &a.table, a.part).cmp(&(b.pass, &b.table, b.part)));
    progress
}

/// How the tables of a life are watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The tables.
    pub facts: TableFacts,
    /// The labels of the graph's rows.
    pub labels: Vec<String>,
    /// The mapping's digest.
    pub digest: String,
    /// The graph follows what changes.
    pub follows: bool,
    /// See [`Standing::by_names`].
    pub by_names: bool,
    /// What the file says of tables that change.
    pub rules: Rules,
}

/// Why changed tables end a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The next one follows.
    Follow,
    /// Somebody has to put something right first.
    Blocked(Vec<Difference>),
    /// It is not to follow: what has changed.
    Stop(Vec<Found>),
}

impl Watched {
    /// Whether what a look has found ends the life. If not, the next look is compared with this one.
    pub fn changed(&mut self, now: &Now, mapping: &Mapping, at: ReadAt) -> Option<Changed> {
        let differences = match self.follows {
            true => self.facts.blocking(now),
            false => self.facts.differences(now),
        };
        if !differences.is_empty() {
            return Some(Changed::Blocked(differences));
        }
        let before = Before {
            facts: &self.facts,
            labels: &self.labels,
            digest: &self.digest,
            outlines: &Outlines::default(),
            // Only whether anything is new matters here.
            standing: Standing { applied: Lsn::ZERO, is_clean: false, by_names: self.by_names },
            unexplained: &BTreeSet::new(),
        };
        let generation = judge(before, now, mapping, at);
        let stopped = generation.stopped(&self.rules);
        match (generation.is_idle(&before, &mapping.digest()), self.follows) {
            (true, _) => {}
            (false, true) if stopped.is_empty() => return Some(Changed::Follow),
            (false, true) => return Some(Changed::Stop(stopped)),
            (false, false) => return Some(Changed::Stop(generation.findings())),
        }
        self.facts = generation.facts;
        None
    }
}
