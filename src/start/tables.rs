//! The tables as they are while the graph follows them, kept with the checkpoint.
//!
//! ```text
//! postgres::tables --> Now --+
//!                            +--differences--> none: go on        some: begin anew
//! checkpoint --> TableFacts -+                                       +--> kept in TableFacts::seen
//! ```
//!
//! A name does not say which table or column it is, and a publication that has a table now may not have had it
//! a moment ago. Object ids and column numbers say so: PostgreSQL gives none of them twice. The row of
//! `pg_publication_rel` is a new one each time a table comes into a publication, so it also stands for the row
//! filter and the column list. What has no such trace (the operations, a partition's replica identity) is seen
//! only while it is wrong. So every difference that was seen is kept, also after it is undone.
//!
//! Owners, files, statistics and the names of constraints are no part of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{TableName, definition::Definition},
    checkpoint::Checkpoint,
    mapping::{Kept, Mapping, Names, identify_by, scalar},
    shown::{Shown, shown_list},
};

pub use super::difference::Difference;

use super::{
    Again,
    found::{Found, listed},
    rules::{Paused, Pauses},
    shape::{ComesBy, Shape, Trace},
};

/// The form of the text. Another one is not understood.
const VERSION: u32 = 1;

/// The mapped tables, and how they are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    version: u32,
    /// The publication; `None` if there was none.
    pub publication: Option<PublicationIs>,
    /// The tables that are there.
    pub tables: Vec<TableIs>,
    /// What was different since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Difference>,
}

/// Which publication it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationIs {
    /// Its name.
    pub name: String,
    /// Its object id.
    pub oid: u32,
    /// The transaction that has altered it last, by its row in the catalog; `None`: an earlier build has not kept it.
    /// Other tables in it do not alter it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altered_by: Option<u32>,
}

/// Which table it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableIs {
    /// Its schema, as the mapping has it.
    pub schema: String,
    /// Its name, as the mapping has it.
    pub name: String,
    /// Its object id.
    pub oid: u32,
    /// The numbers of the mapped columns, by name.
    pub columns: BTreeMap<String, i16>,
    /// The columns of its key.
    pub key: Vec<String>,
    /// How it comes into the publication. None: it does not.
    pub by: Vec<Way>,
    /// What decides the form of its rows; `None`: an earlier build has kept nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// What the catalog had of it; `None`: an earlier build has kept nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Definition>,
    /// The names that inference has given it; `None`: an earlier build has kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
    /// Its rows are not written, since it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// How a table comes into a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It has all tables.
    All,
    /// By this row of `pg_publication_rel`.
    Table(u32),
    /// By this row of `pg_publication_namespace`, which is its schema's.
    Schema(u32),
}

/// What the source says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Publication and tables.
    pub facts: TableFacts,
    /// What the catalog has of each of the tables, for its shape.
    pub traces: Vec<Trace>,
    /// It is a standby, which may say what was.
    pub in_recovery: bool,
    /// The publication has INSERT, UPDATE, DELETE and TRUNCATE.
    pub all_operations: bool,
    /// The replica identities of partitions that are columns: one partition for each set of columns.
    pub identities: Vec<PartitionIdentity>,
    /// Tables that are there and are not mapped for what they are, by object id: why, with the fix.
    pub unmapped: BTreeMap<u32, String>,
    /// Tables that are paused. They are not looked at.
    pub paused: Pauses,
}

impl Now {
    /// The same of these tables alone, by object id.
    pub fn of(&self, tables: &BTreeSet<u32>) -> Now {
        let mut now = self.clone();
        let all = take(&mut now.facts.tables).into_iter().zip(take(&mut now.traces));
        (now.facts.tables, now.traces) =
            all.filter(|(table, _)| tables.contains(&table.oid)).unzip();
        now.paused.retain(|oid, _| tables.contains(oid));
        now
    }
}

/// What the replica identity of a partition carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionIdentity {
    /// The object id of the topmost table above it.
    pub root: u32,
    /// The partition.
    pub partition: TableName,
    /// The columns.
    pub columns: Vec<String>,
}

/// A table that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: TableName,
    /// Its object id: where nothing has the name, it is the table with this one.
    pub oid: u32,
    /// The columns that are mapped.
    pub columns: Vec<String>,
    /// The columns of its key.
    pub key: Vec<String>,
}

/// The text is no [`TableFacts`] of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint's table_facts are not of this build")]
pub struct UnreadableFacts;

/// Why the graph can not go on with the tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TablesRefusal {
    /// They are not those that it followed, or their changes did not all come.
    #[error("{}. {}", listed(.differences), self.fix())]
    Different {
        /// What is different.
        differences: Vec<Difference>,
        /// What a copy again takes.
        again: Again,
    },
    /// They have another shape, and the graph is not to follow.
    #[error("the tables have changed: {}. {}", listed(.found), self.fix())]
    Reshaped {
        /// What has changed.
        found: Vec<Found>,
        /// What a copy again takes.
        again: Again,
    },
    /// The key of one has other columns.
    #[error(
        "the key of the table {table} was ({}) and is ({}): nodes are found by their key, so all of its nodes would \
         be made anew, without what others have put on them. {}",
        shown_list(.was), shown_list(.is), self.fix()
    )]
    KeyMoved {
        /// The table.
        table: TableName,
        /// The columns that it had.
        was: Vec<String>,
        /// The columns that it has.
        is: Vec<String>,
        /// What a copy again takes.
        again: Again,
    },
    /// A table is there, and its rows can not be found any more.
    #[error("the table {table} can not be mapped any more: {why}. {}", self.fix())]
    Unmapped {
        /// The table.
        table: TableName,
        /// Why, with the fix.
        why: String,
    },
    /// A table that the file names is new, and its changes do not come.
    #[error("the file names the table {table}, which is not in the publication. {}", self.fix())]
    NewUnpublished {
        /// The table.
        table: TableName,
    },
    /// What the checkpoint says of them can not be read.
    #[error(
        "`table_facts` of the checkpoint can not be read: a later build wrote it, or somebody edited it. {}",
        self.fix()
    )]
    Unreadable {
        /// What a copy again takes.
        again: Again,
    },
}

impl TablesRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            TablesRefusal::Different { again, .. } => format!("To go on, {again}"),
            TablesRefusal::Reshaped { again, .. } => {
                let pause = meanwhile(again);
                let who = if *again == Again::FromTables { "run" } else { "apply" };
                format!(
                    "{pause}Without `schema_changes: stop` in the file, `{who}` follows. Or {again}"
                )
            }
            TablesRefusal::KeyMoved { table, was, again, .. } => format!(
                "{}To keep them, if these columns are still there: {}, and set `key: [{}]` for the table. To go on \
                 with the new key, {again}",
                meanwhile(again),
                identify_by(table, was),
                was.iter().map(|name| scalar(name)).collect::<Vec<_>>().join(", ")
            ),
            TablesRefusal::Unmapped { table, .. } => format!(
                "To take its rows out of the graph instead, with what others have put on them, set `skip: true` for \
                 {} in the file",
                Shown(&table.in_file())
            ),
            TablesRefusal::NewUnpublished { table } => format!(
                "ALTER PUBLICATION ... ADD TABLE ONLY {}, as the publication's owner; or take the table out of the \
                 file",
                table.pasteable()
            ),
            TablesRefusal::Unreadable { again } => format!("Use that build, or {again}"),
        }
    }
}

/// What lets the program go on with all other tables. No graph follows topics of somebody else's.
fn meanwhile(again: &Again) -> &'static str {
    match again {
        Again::FromOthers(_) => "",
        _ => {
            "`schema_changes: pause` for a table that has changed lets all others go on meanwhile. "
        }
    }
}

impl TableFacts {
    /// Of these tables.
    pub fn new(publication: Option<PublicationIs>, tables: Vec<TableIs>) -> Self {
        TableFacts { version: VERSION, publication, tables, seen: Vec::new() }
    }

    /// Reads the text of a checkpoint.
    pub fn parse(text: &str) -> Result<Self, UnreadableFacts> {
        let facts: TableFacts = serde_json::from_str(text).map_err(|_| UnreadableFacts)?;
        if facts.version == VERSION { Ok(facts) } else { Err(UnreadableFacts) }
    }

    /// The text that a checkpoint keeps.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }

    /// The same, with everything that is different, or was.
    pub fn having_seen(&self, differences: &[Difference]) -> Self {
        TableFacts { seen: differences.to_vec(), ..self.clone() }
    }

    /// Adds the names that the graph has.
    pub fn keep_names(&self, kept: &mut Kept) {
        for table in &self.tables {
            kept.add(table.oid, table.shown(), table.names.clone());
        }
    }

    /// The tables that are paused, by name.
    pub fn paused(&self) -> BTreeMap<String, Paused> {
        let paused = |table: &TableIs| Some((table.shown(), table.paused.clone()?));
        self.tables.iter().filter_map(paused).collect()
    }

    /// What checkpoints have of their tables, as far as they say it.
    pub fn of_all(checkpoints: &[Checkpoint]) -> Vec<Self> {
        let kept = checkpoints.iter().filter_map(|it| it.table_facts.as_deref());
        kept.filter_map(|text| TableFacts::parse(text).ok()).collect()
    }

    /// The tables that are paused, by name, as all checkpoints of a graph have them. One that goes on under another
    /// name is not: the topics of its old name keep their checkpoints.
    pub fn paused_in(all: &[TableFacts]) -> BTreeMap<String, Paused> {
        let tables = || all.iter().flat_map(|facts| &facts.tables);
        let goes_on = |table: &TableIs| {
            let is_followed = |it: &TableIs| it.oid == table.oid && it.paused.is_none();
            tables().any(|it| is_followed(it) && it.table_name() != table.table_name())
        };
        let paused = tables().filter(|table| !goes_on(table));
        paused.filter_map(|table| Some((table.shown(), table.paused.clone()?))).collect()
    }

    /// What has to be looked at to compare.
    pub fn wanted(&self) -> Vec<Wanted> {
        let wanted = |table: &TableIs| Wanted {
            name: table.table_name(),
            oid: table.oid,
            columns: table.columns.keys().cloned().collect(),
            key: table.key.clone(),
        };
        self.tables.iter().map(wanted).collect()
    }

    /// What is different now, and what was since.
    pub fn differences(&self, now: &Now) -> Vec<Difference> {
        let mut found = self.seen.clone();
        if now.in_recovery {
            return found;
        }
        let mut add = |difference: Difference| {
            found.retain(|it| !it.is_undone_by(&difference));
            if !found.contains(&difference) {
                found.push(difference);
            }
        };
        let is_same_publication = self.publication_differences(now, &mut add);
        for before in &self.tables {
            let named = |it: &&TableIs| (&it.schema, &it.name) == (&before.schema, &before.name);
            match now.facts.tables.iter().find(named) {
                Some(table) => {
                    before.differences(table, is_same_publication, &mut add);
                }
                None => add(Difference::Unpublished { table: before.shown(), is_back: false }),
            }
            // Another table may have its name now.
            if let Some(table) = now.facts.tables.iter().find(|it| it.oid == before.oid) {
                before.identity_differences(table, &now.identities, &mut add);
            }
        }
        found
    }

    /// Whether it is the publication that it was. Another one that is named in the configuration is
    /// taken as it is.
    fn publication_differences(&self, now: &Now, add: &mut impl FnMut(Difference)) -> bool {
        let is = now.facts.publication.as_ref();
        if let Some(PublicationIs { name, .. }) = is.filter(|_| !now.all_operations) {
            add(Difference::Operations { publication: name.clone() });
        }
        let Some(PublicationIs { name, oid: was, altered_by }) = &self.publication else {
            return false;
        };
        let publication = name.clone();
        match is {
            None => add(Difference::Publication { publication, was: *was, is: None }),
            Some(is)
                if is.oid == *was && altered_by.is_some_and(|it| is.altered_by != Some(it)) =>
            {
                add(Difference::Altered { publication: is.name.clone() });
                return true;
            }
            Some(is) if is.oid != *was && is.name == *name => {
                add(Difference::Publication { publication, was: *was, is: Some(is.oid) });
            }
            Some(is) => return is.oid == *was,
        }
        false
    }
}

impl TableIs {
    /// How it comes into the publication.
    pub fn comes_by(&self) -> ComesBy {
        let is_by_schema = |way: &Way| matches!(way, Way::Schema(_));
        match self.by.as_slice() {
            by if by.iter().any(|way| matches!(way, Way::Table(_))) => ComesBy::Name,
            [_, ..] if self.by.iter().all(is_by_schema) => ComesBy::Schema,
            _ => ComesBy::All,
        }
    }

    /// Its name.
    pub fn table_name(&self) -> TableName {
        TableName::new(self.schema.clone(), self.name.clone())
    }

    /// Its name in texts that are kept.
    pub fn shown(&self) -> String {
        self.table_name().in_file()
    }

    fn differences(
        &self,
        now: &TableIs,
        is_same_publication: bool,
        add: &mut impl FnMut(Difference),
    ) {
        if now.oid != self.oid {
            add(Difference::OtherTable { table: self.shown(), was: self.oid, is: now.oid });
            return;
        }
        for (column, was) in &self.columns {
            // A column that is not there is another mapping.
            let Some(is) = now.columns.get(column).filter(|is| *is != was) else { continue };
            let (table, column) = (self.shown(), column.clone());
            add(Difference::OtherColumn { table, column, was: *was, is: *is });
        }
        if is_same_publication && !self.by.iter().any(|way| now.by.contains(way)) {
            add(Difference::Unpublished { table: self.shown(), is_back: !now.by.is_empty() });
        }
    }

    /// pgoutput shows the root's replica identity, and sends what the partition's carries.
    fn identity_differences(
        &self,
        now: &TableIs,
        identities: &[PartitionIdentity],
        add: &mut impl FnMut(Difference),
    ) {
        // A column that has another name is the same one.
        let is_now = |name: &String| {
            let number = self.columns.get(name)?;
            now.columns.iter().find(|(_, is)| *is == number).map(|(name, _)| name)
        };
        let key: Vec<&String> = self.key.iter().map(|name| is_now(name).unwrap_or(name)).collect();
        for identity in identities.iter().filter(|it| it.root == now.oid) {
            if key.iter().all(|column| identity.columns.contains(column)) {
                continue;
            }
            let (table, partition) = (self.shown(), identity.partition.in_file());
            add(Difference::Identity { table, partition, columns: identity.columns.clone() });
        }
    }
}

impl Wanted {
    /// The tables of a mapping.
    pub fn of(mapping: &Mapping) -> Vec<Self> {
        let wanted = mapping.followed_tables().map(|(_, table)| Wanted {
            name: table.name.clone(),
            oid: table.oid,
            columns: table.columns.iter().map(|column| column.name.clone()).collect(),
            key: mapping.key_columns(table.oid).unwrap_or_default(),
        });
        wanted.collect()
    }
}
