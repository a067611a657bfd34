//! Judges how the tables have changed since the graph was made, and what the graph needs to follow.
//!
//! ```text
//! checkpoint: TableFacts --+
//!                          +--judged--> Generation: TableFacts of now, tables to look at, why
//! catalog, mapping: Now ---+            or what stands against it
//! ```
//!
//! Nothing is guessed from the stream. The kept shape of a table shows whether its rows can have values that no
//! event has brought. If so, table and graph are compared. A table that has left the publication is frozen: its
//! rows stay as they are until it is back.

use std::collections::BTreeSet;

use crate::{
    catalog::TableName,
    checkpoint::Checkpoint,
    graph::{LeftOver, Outlines, TableIndex, model::Shape as GraphShape},
    lsn::Lsn,
    mapping::{Mapping, Names, edit::SchemaChanges},
    shown::{Shown, shown_list},
};

use super::{
    Again,
    found::Found,
    rules::{Paused, Rules},
    shape::{ReadAt, Reshaped, Shape, Standing, Trace},
    tables::{Now, TableFacts, TableIs, TablesRefusal},
};

/// The new state of the tables, and the work that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The tables as the checkpoint is to have them.
    pub facts: TableFacts,
    /// Tables whose rows are looked at.
    pub marks: Vec<Mark>,
    /// Changes that need no look at rows.
    pub free: Vec<Found>,
    /// Tables that are not published any more.
    pub frozen: Vec<TableName>,
    /// Those of them that the graph does not know to be so.
    pub newly_frozen: Vec<TableName>,
    /// Tables that are paused, with why, and whether they are since now.
    pub paused: Vec<(TableName, Paused, Since)>,
    /// Tables that are not mapped any more: their rows leave the graph.
    pub gone: Vec<TableName>,
    /// Tables that can not be mapped any more, with why.
    pub unmapped: Vec<(TableName, String)>,
    /// What the graph has of earlier mappings, and is to go.
    pub left_over: BTreeSet<LeftOver>,
    /// Tables whose key is of other columns.
    pub moved: Vec<KeyMoved>,
    /// New tables whose changes do not come.
    pub unpublished: Vec<TableName>,
}

/// Since when something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The graph knows it.
    Before,
    /// It was found now.
    Now,
}

/// A table whose key is of other columns than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMoved {
    /// The table.
    pub table: TableName,
    /// The columns that it had.
    pub was: Vec<String>,
    /// The columns that it has.
    pub is: Vec<String>,
}

/// A table whose rows are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which one, and why.
    pub found: Found,
    /// The table itself has changed. Else something around it has, or it goes on after a pause.
    pub has_changed: bool,
    /// What is looked at.
    pub look: Look,
}

/// What is looked at of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Its rows, and what the graph has of it.
    Both,
    /// Its rows: the graph has nothing of it.
    Rows,
    /// Its rows, and the nodes that others have made under its label: those that are no rows stay.
    Adopted,
    /// The rows of these partitions, of all that there are.
    Leaves(BTreeSet<u32>),
}

/// What the graph was when the tables were looked at.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The tables that it followed.
    pub facts: &'a TableFacts,
    /// The labels of its rows.
    pub labels: &'a [String],
    /// Its mapping's digest.
    pub digest: &'a str,
    /// The names that it may have.
    pub outlines: &'a Outlines,
    /// How far it is.
    pub standing: Standing,
    /// Tables of which something was sent that nobody knows the columns of, by object id.
    pub unexplained: &'a BTreeSet<u32>,
}

impl Generation {
    /// Why the graph does not follow. Nodes are found by their keys: with other ones they are other nodes,
    /// without what others have put on them.
    pub fn refused(&self, again: &Again, rules: &Rules) -> Option<TablesRefusal> {
        let found = self.stopped(rules);
        if !found.is_empty() {
            return Some(TablesRefusal::Reshaped { found, again: again.clone() });
        }
        if let Some(KeyMoved { table, was, is }) = self.moved.first().cloned() {
            return Some(TablesRefusal::KeyMoved { table, was, is, again: again.clone() });
        }
        if let Some((table, why)) = self.unmapped.first().cloned() {
            return Some(TablesRefusal::Unmapped { table, why });
        }
        let table = self.unpublished.first()?.clone();
        Some(TablesRefusal::NewUnpublished { table })
    }

    /// What has changed in tables that the graph is not to follow.
    pub fn stopped(&self, rules: &Rules) -> Vec<Found> {
        let stops = |found: &Found| rules.of(&found.table, None) == SchemaChanges::Stop;
        self.changes().filter(stops).collect()
    }

    /// What has changed in the tables themselves.
    pub fn changes(&self) -> impl Iterator<Item = Found> {
        let is_around =
            |found: &Found| self.marks.iter().any(|mark| mark.found == *found && !mark.has_changed);
        let frozen = self.newly_frozen.iter().map(|table| {
            let what = "it is not in the publication any more".to_owned();
            Found { table: table.clone(), what }
        });
        self.findings().into_iter().filter(move |found| !is_around(found)).chain(frozen)
    }

    /// All that has changed, table by table.
    pub fn findings(&self) -> Vec<Found> {
        let gone = "it is gone, or not mapped any more".to_owned();
        let marks = self.marks.iter().map(|mark| mark.found.clone());
        let gone = self.gone.iter().map(|table| Found { table: table.clone(), what: gone.clone() });
        let moved = self.moved.iter().map(|moved| {
            let what = format!(
                "its primary key was ({}) and is ({})",
                shown_list(&moved.was),
                shown_list(&moved.is)
            );
            Found { table: moved.table.clone(), what }
        });
        let unmapped = self.unmapped.iter().map(|(table, why)| {
            let what = format!("it can not be mapped any more: {why}");
            Found { table: table.clone(), what }
        });
        marks.chain(self.free.iter().cloned()).chain(gone).chain(moved).chain(unmapped).collect()
    }

    /// Nodes that are made anew lose their relationships: those are another table's rows, or owned by some.
    fn mark_what_led_to_cleared(&mut self, mapping: &Mapping) {
        let cleared =
            |label: &String| self.left_over.contains(&LeftOver::Nodes { label: label.clone() });
        let model = &mapping.model;
        let is_of_cleared = |table: TableIndex| cleared(&model.node(table).label);
        let mut marks = Vec::new();
        for (index, table) in model.iter() {
            let leads_there = match &table.shape {
                GraphShape::Node(node) => node.references.iter().any(|it| is_of_cleared(it.target)),
                GraphShape::Relationship(join) => {
                    is_of_cleared(join.from) || is_of_cleared(join.to)
                }
            };
            let name = &mapping.columns(index).name;
            let is_marked = self.marks.iter().any(|mark| mark.found.table == *name);
            // One that is paused is compared once it goes on.
            if leads_there && !is_marked && !mapping.paused().contains(&index) {
                let what = "nodes that its rows lead to are made anew".to_owned();
                let found = Found { table: name.clone(), what };
                marks.push(Mark { found, has_changed: false, look: Look::Both });
            }
        }
        self.marks.extend(marks);
    }

    /// The labels whose keys are the same columns under other names.
    pub fn renamed_keys(&self, before: &TableFacts, mapping: &Mapping) -> BTreeSet<String> {
        let is_renamed = |table: &&TableIs| {
            let was = before.tables.iter().find(|it| it.oid == table.oid);
            was.is_some_and(|was| was.key != table.key)
        };
        let label = |table: &TableIs| {
            let index = mapping.table_index(&table.schema, &table.name)?;
            mapping.model.label(index).cloned()
        };
        self.facts.tables.iter().filter(is_renamed).filter_map(label).collect()
    }

    /// Whether the graph needs nothing: what has changed is of no consequence.
    pub fn is_idle(&self, before: &Before<'_>, digest: &str) -> bool {
        before.digest == digest
            && self.marks.is_empty()
            && self.free.is_empty()
            && self.gone.is_empty()
            && self.moved.is_empty()
            && self.unmapped.is_empty()
            && self.unpublished.is_empty()
            && self.newly_frozen.is_empty()
            && self.paused.iter().all(|(_, _, since)| *since == Since::Before)
    }

    /// Whether the checkpoint has it all.
    pub fn is_known(&self, before: &Before<'_>, digest: &str) -> bool {
        self.is_idle(before, digest) && *before.facts == self.facts
    }
}

/// What has changed in the tables of a checkpoint, as `facts` has them, where nothing follows it.
pub fn since(
    checkpoint: &Checkpoint,
    facts: &TableFacts,
    now: &Now,
    mapping: &Mapping,
) -> Vec<Found> {
    let before = Before {
        facts,
        outlines: &Outlines::default(),
        labels: &checkpoint.labels,
        digest: &checkpoint.mapping_digest,
        standing: Standing { applied: Lsn::ZERO, is_clean: false, by_names: false },
        unexplained: &BTreeSet::new(),
    };
    // The look was at the tables that the graph has.
    let at = ReadAt { from: Lsn::ZERO, through: Lsn::ZERO, is_locked: true };
    judge(before, now, mapping, at).findings()
}

/// The tables of a graph that is made now.
pub fn first(now: &Now, mapping: &Mapping) -> TableFacts {
    let shaped = now.facts.tables.iter().zip(&now.traces).map(|(table, trace)| {
        let index = mapping.table_index(&table.schema, &table.name);
        let shape = index.map(|index| shape(trace, mapping, index));
        let definition = mapping.definition(table.oid).cloned();
        let names = mapping.names(table.oid).cloned().or(Some(Names::default()));
        TableIs { shape, definition, names, ..table.clone() }
    });
    TableFacts::new(now.facts.publication.clone(), shaped.collect())
}

fn shape(trace: &Trace, mapping: &Mapping, table: TableIndex) -> Shape {
    let columns = mapping.columns(table);
    let names: Vec<String> = columns.columns.iter().map(|it| it.name.clone()).collect();
    Shape::new(trace, &mapping.form(table), &names, &columns.sent)
}

/// Judges what the mapping's tables have become.
pub fn judge(before: Before<'_>, now: &Now, mapping: &Mapping, at: ReadAt) -> Generation {
    let mut generation = Generation {
        facts: TableFacts::new(now.facts.publication.clone(), Vec::new()),
        marks: Vec::new(),
        free: Vec::new(),
        frozen: Vec::new(),
        newly_frozen: Vec::new(),
        paused: Vec::new(),
        gone: Vec::new(),
        unmapped: Vec::new(),
        left_over: BTreeSet::new(),
        moved: Vec::new(),
        unpublished: Vec::new(),
    };
    let lost = before.facts.lost(now);
    for (table, trace) in now.facts.tables.iter().zip(&now.traces) {
        let name = table.table_name();
        let one = One { before, mapping, trace, lost: lost.get(&table.shown()), at };
        let (is, verdict) = one.judge(table);
        let found = |what: String| Found { table: name.clone(), what };
        match verdict {
            Verdict::Same => {}
            Verdict::Free(what) => generation.free.push(found(what)),
            Verdict::Look(what, look) => {
                generation.marks.push(Mark { found: found(what), has_changed: true, look });
            }
            Verdict::Again(what) => {
                let (found, look) = (found(what), Look::Both);
                generation.marks.push(Mark { found, has_changed: false, look });
            }
        }
        let moved = before.facts.key_moved(table, mapping);
        generation.moved.extend(moved.filter(|moved| !one.were_relationships(moved, table)));
        let is_new = || !before.facts.tables.iter().any(|it| it.oid == is.oid);
        match is.by.is_empty() {
            true if is_new() => generation.unpublished.push(name),
            true => {
                let is_known =
                    |it: &TableIs| it.by.is_empty() && it.table_name() == table.table_name();
                if !before.facts.tables.iter().any(is_known) {
                    generation.newly_frozen.push(name.clone());
                }
                generation.frozen.push(name);
            }
            false => {}
        }
        generation.facts.tables.push(is);
    }
    for was in &before.facts.tables {
        let Some(paused) = now.paused.get(&was.oid) else { continue };
        let is_known = was.paused.as_ref() == Some(paused);
        let since = if is_known { Since::Before } else { Since::Now };
        generation.paused.push((was.table_name(), paused.clone(), since));
        generation.facts.tables.push(TableIs { paused: Some(paused.clone()), ..was.clone() });
    }
    let is_paused = |was: &&TableIs| now.paused.contains_key(&was.oid);
    for was in before.facts.gone(&now.facts).into_iter().filter(|was| !is_paused(was)) {
        match now.unmapped.get(&was.oid) {
            Some(why) => generation.unmapped.push((was.table_name(), why.clone())),
            None => generation.gone.push(was.table_name()),
        }
    }
    let renamed = generation.renamed_keys(before.facts, mapping);
    generation.left_over =
        before.outlines.clone().and(&mapping.model, &renamed).left_over().into_iter().collect();
    let kept = mapping.labels();
    let gone = before.labels.iter().filter(|label| !kept.contains(label));
    generation.left_over.extend(gone.map(|label| LeftOver::Nodes { label: label.clone() }));
    generation.mark_what_led_to_cleared(mapping);
    generation
}

enum Verdict {
    Same,
    Free(String),
    Look(String, Look),
    /// Its rows are to be looked at, and it is as it was.
    Again(String),
}

/// One table of the mapping.
struct One<'a> {
    before: Before<'a>,
    mapping: &'a Mapping,
    trace: &'a Trace,
    /// Why changes of it may be lost.
    lost: Option<&'a String>,
    at: ReadAt,
}

impl One<'_> {
    fn judge(&self, table: &TableIs) -> (TableIs, Verdict) {
        let is_of = |it: &&TableIs| it.oid == table.oid;
        let Some((shape, look)) = self.mapped(table) else {
            return (table.clone(), Verdict::Same);
        };
        let before = self.before.facts.tables.iter().find(is_of);
        let (shape, verdict) = match before {
            Some(before) => self.compared(before, table, shape, look),
            None => {
                let is_named = |it: &&TableIs| it.table_name() == table.table_name();
                let what = match self.before.facts.tables.iter().find(is_named) {
                    Some(_) => "it is another table of this name than before",
                    None => "it is new",
                };
                (shape, Verdict::Look(what.to_owned(), look))
            }
        };
        let shape = if self.at.is_locked { shape } else { shape.uncertain() };
        let verdict = match (before.is_some_and(|it| it.paused.is_some()), verdict) {
            (true, Verdict::Same) => Verdict::Again("it was paused, and goes on".to_owned()),
            (true, Verdict::Free(what) | Verdict::Look(what, _)) => Verdict::Look(what, Look::Both),
            (_, verdict) => verdict,
        };
        let definition = self.mapping.definition(table.oid).cloned();
        let names = self.mapping.names(table.oid).cloned().or(Some(Names::default()));
        (TableIs { shape: Some(shape), definition, names, ..table.clone() }, verdict)
    }

    /// Whether the key has its columns in another order only, and no node has it: the rows were relationships, whose
    /// ends were in that order.
    fn were_relationships(&self, moved: &KeyMoved, table: &TableIs) -> bool {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<String>>();
        let index = self.mapping.table_index(&table.schema, &table.name);
        let label = index.and_then(|index| self.mapping.model.label(index));
        set(&moved.was) == set(&moved.is)
            && label.is_some_and(|label| !self.before.labels.contains(label))
    }

    /// The table's shape, and the look that it needs if it is new.
    fn mapped(&self, table: &TableIs) -> Option<(Shape, Look)> {
        let index = self.mapping.table_index(&table.schema, &table.name)?;
        let shape = shape(self.trace, self.mapping, index);
        // A relationship has no label of its own.
        let label = self.mapping.model.label(index);
        let is_known = label.is_none_or(|label| self.before.labels.contains(label));
        Some((shape, if is_known { Look::Both } else { Look::Rows }))
    }

    fn compared(
        &self,
        before: &TableIs,
        table: &TableIs,
        shape: Shape,
        look: Look,
    ) -> (Shape, Verdict) {
        let Some(was) = &before.shape else {
            // An earlier build has kept the digest of all tables.
            let verdict = match self.before.digest == self.mapping.digest() {
                true => self
                    .of_changes(before, table)
                    .map_or(Verdict::Same, |what| Verdict::Look(what, Look::Both)),
                false => {
                    Verdict::Look("what its rows are in the graph has changed".to_owned(), look)
                }
            };
            return (shape, verdict);
        };
        let reshaped = was.compared(&shape, self.trace, self.before.standing, table.comes_by());
        let shape = shape.following(was, self.at);
        if before.table_name() != table.table_name() {
            let what = format!("it was called {}", Shown(&before.shown()));
            return (shape, Verdict::Look(what, look));
        }
        if self.before.unexplained.contains(&table.oid) {
            let what = "changes came with columns that no look has seen".to_owned();
            return (shape.uncertain(), Verdict::Again(what));
        }
        if let Some(what) = self.of_changes(before, table) {
            return (shape, Verdict::Look(what, Look::Both));
        }
        let verdict = match reshaped {
            Reshaped::Same => Verdict::Same,
            Reshaped::Free(what) => Verdict::Free(what),
            Reshaped::Rows(what) => Verdict::Look(what, look),
            Reshaped::Leaves(leaves) => {
                Verdict::Look("it has new partitions".to_owned(), Look::Leaves(leaves))
            }
        };
        (shape, verdict)
    }

    /// Why changes of the table may not have come.
    fn of_changes(&self, before: &TableIs, table: &TableIs) -> Option<String> {
        if let Some(lost) = self.lost {
            return Some(lost.clone());
        }
        let is_same = before.by.iter().any(|way| table.by.contains(way));
        let has_come = !is_same && !table.by.is_empty();
        has_come.then(|| {
            "it has come into the publication, or its row filter or column list has changed"
                .to_owned()
        })
    }
}
