//! The shape of a table: everything but its rows that decides what the graph has of them.
//!
//! ```text
//! catalog --Trace--+
//!                  +--> Shape, kept with the checkpoint -- compared with the one of now --> Reshaped
//! mapping --form---+
//! ```
//!
//! An ALTER TABLE sends no event for the rows that it changes. A Relation message does not show all of it,
//! and comes only with the next row. So the catalog's own marks are kept: a column's number and the
//! transaction that wrote its row in `pg_attribute`, the file, the partitions and the labels of enums.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{lsn::Lsn, mapping::TableForm};

/// What the catalog has of a table, for its shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its columns.
    pub columns: Vec<ColumnTrace>,
    /// How many columns it has had.
    pub numbers: i16,
    /// The file that has its rows; 0: it has none itself.
    pub file: u32,
    /// Its partitions with rows: the object id, and what changes when one is attached again or gets
    /// another file.
    pub leaves: BTreeMap<u32, String>,
    /// Those without a row.
    pub empty_leaves: BTreeSet<u32>,
    /// The labels of the enums that its columns have, by object id.
    pub labels: BTreeMap<u32, String>,
    /// The attributes of the composite types that its columns have, by the type's object id.
    pub composites: BTreeMap<u32, String>,
    /// The transaction that wrote its row type: another one after another name or schema.
    pub named_by: u32,
}

/// What the catalog has of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnTrace {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: i16,
    /// Its type's object id.
    pub type_oid: u32,
    /// The transaction that wrote its definition.
    pub xmin: u32,
    /// Rows that were there before it have a value of it, which no event has brought.
    pub has_default: bool,
}

/// A table's shape, as a checkpoint keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// What the mapping makes of the table, but for its properties.
    form: String,
    /// The columns that become something.
    columns: BTreeMap<String, ColumnShape>,
    /// How many columns it has had.
    numbers: i16,
    /// See [`Trace::file`].
    file: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    leaves: BTreeMap<u32, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<u32, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    composites: BTreeMap<u32, String>,
    /// See [`Trace::named_by`]; 0: an earlier build has not kept it.
    #[serde(default)]
    named_by: u32,
    /// The columns that the stream has sent.
    sent: Vec<(String, u32)>,
    /// The columns that it sent before, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<Earlier>,
    /// Its columns have changed before this position for the last time.
    #[serde(default)]
    changed_at: u64,
    /// The next new column needs a look at the rows: a change of this table had columns that no look has seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_uncertain: bool,
}

/// The columns of a table in the generation before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The columns.
    pub sent: Vec<(String, u32)>,
    /// Changes that committed before this position may have them.
    pub before: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ColumnShape {
    /// What the mapping makes of it beside key and references; empty: nothing.
    form: String,
    number: i16,
    type_oid: u32,
    xmin: u32,
}

/// How the shape of a table has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reshaped {
    /// Its rows are to be looked at; why.
    Rows(String),
    /// The rows of these new partitions are to be looked at.
    Leaves(BTreeSet<u32>),
    /// No row is to be looked at; why.
    Free(String),
    /// Nothing has changed that matters.
    Same,
}

/// Where in the log a new shape was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    /// What commits from here on is of this shape, or of a later one.
    pub from: Lsn,
    /// Everything of earlier shapes is before this.
    pub through: Lsn,
    /// The tables were locked meanwhile, so no change of one was on its way.
    pub is_locked: bool,
}

/// How a table comes into the publication, as far as that says what it may have missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesBy {
    /// By its name: it can not have been UNLOGGED meanwhile.
    Name,
    /// By its schema alone: it may have been in another one.
    Schema,
    /// With all tables.
    All,
}

/// What is known of the graph where shapes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The graph has everything through this position.
    pub applied: Lsn,
    /// Nothing of an earlier mapping is left in it.
    pub is_clean: bool,
    /// Changes name table and columns, and not which ones they are: what had another name for a while was passed over.
    pub by_names: bool,
}

impl Shape {
    /// Of a table.
    pub fn new(trace: &Trace, form: &TableForm, mapped: &[String], sent: &[(String, u32)]) -> Self {
        let shape = |column: &ColumnTrace| ColumnShape {
            form: form.properties.get(&column.name).cloned().unwrap_or_default(),
            number: column.number,
            type_oid: column.type_oid,
            xmin: column.xmin,
        };
        let columns = trace.columns.iter().filter(|column| mapped.contains(&column.name));
        Shape {
            form: form.whole.clone(),
            columns: columns.map(|column| (column.name.clone(), shape(column))).collect(),
            numbers: trace.numbers,
            file: trace.file,
            leaves: trace.leaves.clone(),
            labels: trace.labels.clone(),
            composites: trace.composites.clone(),
            named_by: trace.named_by,
            sent: sent.to_vec(),
            ..Shape::default()
        }
    }

    /// The columns of the generation before.
    pub fn earlier(&self) -> Option<&Earlier> {
        self.earlier.as_ref()
    }

    /// Of two shapes of a table, the later one has more of it.
    pub fn age(&self) -> (u64, i16) {
        (self.changed_at, self.numbers)
    }

    /// The partitions that have rows.
    pub fn leaves(&self) -> impl Iterator<Item = u32> {
        self.leaves.keys().copied()
    }

    /// Whether the mapping makes the same of both, as far as they have the same columns.
    pub fn has_form_of(&self, other: &Shape) -> bool {
        let is_same = |(name, column): (&String, &ColumnShape)| {
            other.columns.get(name).is_some_and(|it| it.form == column.form)
        };
        self.form == other.form
            && self.columns.len() == other.columns.len()
            && self.columns.iter().all(is_same)
    }

    /// The same as the successor of `before`: it remembers the columns of that.
    pub fn following(mut self, before: &Shape, at: ReadAt) -> Self {
        let numbers = |shape: &Shape| {
            let numbers = shape.columns.iter().map(|(name, it)| (name.clone(), it.number));
            numbers.collect::<BTreeMap<_, _>>()
        };
        let is_other = self.sent != before.sent
            || self.numbers != before.numbers
            || numbers(&self) != numbers(before);
        self.changed_at = if is_other { at.through.0 } else { before.changed_at };
        self.earlier = match self.sent == before.sent {
            true => before.earlier.clone(),
            false => Some(Earlier { sent: before.sent.clone(), before: at.from.0 }),
        };
        self
    }

    /// The next new column needs a look at the rows.
    pub fn uncertain(self) -> Self {
        Shape { is_uncertain: true, ..self }
    }

    /// How `now` differs. `trace` is what the catalog has of it. `by`: how the table comes into the
    /// publication.
    pub fn compared(
        &self,
        now: &Shape,
        trace: &Trace,
        standing: Standing,
        by: ComesBy,
    ) -> Reshaped {
        if self.form != now.form {
            return Reshaped::Rows("what its rows are in the graph has changed".to_owned());
        }
        for (oid, label) in &self.labels {
            if now.labels.get(oid).is_some_and(|is| is != label) {
                return Reshaped::Rows(format!("the enum value {label:?} was renamed"));
            }
        }
        for (oid, attributes) in &self.composites {
            if now.composites.get(oid).is_some_and(|is| is != attributes) {
                let what = "the attributes of a composite type have changed";
                return Reshaped::Rows(what.to_owned());
            }
        }
        let is_rewritten = self.file != now.file;
        if is_rewritten && by != ComesBy::Name {
            return Reshaped::Rows("its rows are in another file".to_owned());
        }
        let is_renamed = self.named_by != 0 && self.named_by != now.named_by;
        if is_renamed && standing.by_names {
            return Reshaped::Rows("it may have had another name".to_owned());
        }
        // Elsewhere its changes were not published.
        if is_renamed && by == ComesBy::Schema {
            return Reshaped::Rows("it may have been in another schema".to_owned());
        }
        let mut free = Vec::new();
        for (name, was) in &self.columns {
            let Some(is) = now.columns.get(name) else {
                free.push(format!("the column {name:?} is gone"));
                continue;
            };
            let what = match () {
                () if is.number != was.number => "is another one",
                () if is.type_oid != was.type_oid => "has another type",
                () if is.form != was.form => "becomes something else",
                // ALTER COLUMN ... TYPE ... USING leaves the type as it was, perhaps, and rewrites the table.
                () if is.xmin != was.xmin && (is_rewritten || self.has_lost_leaf(now)) => {
                    "may have other values"
                }
                () if is.xmin != was.xmin && standing.by_names => "may have had another name",
                () => continue,
            };
            return Reshaped::Rows(format!("the column {name:?} {what}"));
        }
        for name in now.columns.keys().filter(|name| !self.columns.contains_key(*name)) {
            let added = format!("the column {name:?} was added");
            match self.is_plain(now, trace, name, standing) {
                true => free.push(added),
                false => return Reshaped::Rows(added),
            }
        }
        self.compared_leaves(now, trace).unwrap_or(match free.is_empty() {
            true => Reshaped::Same,
            false => Reshaped::Free(free.join("; ")),
        })
    }

    /// A new partition may have come with rows. One that has gone, or has another file, may have lost some.
    fn compared_leaves(&self, now: &Shape, trace: &Trace) -> Option<Reshaped> {
        if self.has_lost_leaf(now) {
            return Some(Reshaped::Rows("one of its partitions is another one".to_owned()));
        }
        let new = self.new_leaves(now, trace);
        (!new.is_empty()).then_some(Reshaped::Leaves(new))
    }

    /// A partition has gone, was attached again or has another file.
    fn has_lost_leaf(&self, now: &Shape) -> bool {
        self.leaves.iter().any(|(oid, was)| now.leaves.get(oid) != Some(was))
    }

    /// The new partitions with rows. What comes into an empty one from now on is streamed.
    fn new_leaves(&self, now: &Shape, trace: &Trace) -> BTreeSet<u32> {
        let is_new =
            |oid: &&u32| !self.leaves.contains_key(oid) && !trace.empty_leaves.contains(oid);
        now.leaves.keys().filter(is_new).copied().collect()
    }

    /// Whether all rows have NULL in a new column, but for those that an event of it has named.
    ///
    /// A dropped column of that name may have left a value in the graph, or bring one with an event that is
    /// still to come. A column that had another name for a while was sent under that.
    fn is_plain(&self, now: &Shape, trace: &Trace, name: &str, standing: Standing) -> bool {
        let column = trace.columns.iter().find(|column| column.name == name);
        let is_new = column.is_some_and(|it| it.number > self.numbers && !it.has_default);
        let new = trace.columns.iter().filter(|column| column.number > self.numbers);
        let has_no_gap = i64::from(now.numbers) - i64::from(self.numbers) == new.count() as i64;
        is_new
            && has_no_gap
            && standing.is_clean
            && !self.is_uncertain
            && self.file == now.file
            && !self.has_lost_leaf(now)
            && self.new_leaves(now, trace).is_empty()
            && standing.applied >= Lsn(self.changed_at)
    }
}
