//! Rows that the graph refuses: shown, put into the graph by a comparison with their tables, or given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{
    checkpoint::complete_through,
    cli::Chosen,
    config::Config,
    pipeline::{KeptChange, KeptLetter, Store},
    request,
    service::{
        ServiceError, following,
        graph::{Graph, Wait, open},
        looked::Followed,
        read_catalog,
    },
    shown::Shown,
};

use super::{
    super::{print, print_json, reconcile},
    time,
};

/// So often rows are put back that were set aside meanwhile.
const ROUNDS: usize = 10;

/// The letters of rows as they were when the command began.
pub struct Rows<'a> {
    config: &'a Config,
    graph: Graph,
    letters: Vec<KeptLetter>,
}

/// A letter as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    table: String,
    /// The row's key as people read it.
    key: String,
    pub time: Option<String>,
    reason: String,
    /// How many changes of the row are set aside.
    changes: u64,
    /// How often the graph has refused it.
    attempts: u64,
}

/// A letter whole.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    listed: Listed,
    error: &'a str,
    updated: Option<String>,
    last: Option<Last<'a>>,
}

#[derive(Serialize)]
struct Last<'a> {
    operation: &'a str,
    at: &'a str,
    values: Map<String, Json>,
}

impl<'a> Rows<'a> {
    pub async fn open(config: &'a Config) -> Result<Self, ServiceError> {
        config.graph()?;
        let graph = open(config, Wait::Usual)?;
        let letters = graph.letters(&config.pipeline).await?;
        Ok(Rows { config, graph, letters })
    }

    pub fn list(&self) -> Vec<Listed> {
        self.letters.iter().map(Listed::of).collect()
    }

    /// Prints one whole.
    pub fn show(&self, name: &str, json: bool) -> Result<(), ServiceError> {
        let named = Chosen { names: vec![name.to_owned()], all: false };
        for letter in self.chosen(&named)? {
            let whole = Whole::of(letter);
            match json {
                true => print_json(&whole)?,
                false => print(&whole.to_string())?,
            }
        }
        Ok(())
    }

    /// Has the rows compared with their tables, and written. With all of them, also those that come meanwhile: a
    /// row that was mended by another key waits under that, too.
    pub async fn retry(&self, chosen: &Chosen) -> Result<(), ServiceError> {
        let mut waiting: BTreeMap<String, KeptLetter> =
            self.chosen(chosen)?.into_iter().map(|it| (it.name.clone(), it.clone())).collect();
        let mut refused = 0;
        for _ in 0..ROUNDS {
            let letters: Vec<&KeptLetter> = waiting.values().collect();
            let (mapped, unmapped) = self.by_mapping(letters).await?;
            for letter in &unmapped {
                refused += 1;
                print(&format!("{}: {}", letter.name, not_mapped(letter)))?;
            }
            let names = names_of(&mapped);
            self.ask(&mapped, request::Rows::Retried { retried: names.clone() }).await?;
            let now = self.graph.letters(&self.config.pipeline).await?;
            let (again, new): (Vec<_>, Vec<_>) =
                now.into_iter().partition(|letter| waiting.contains_key(&letter.name));
            for name in names.iter().filter(|name| !again.iter().any(|it| it.name == **name)) {
                print(&format!("{name}: the graph has it as its table has it"))?;
            }
            let mut next = BTreeMap::new();
            for letter in again {
                let is_new = |before: &KeptLetter| letter.attempts > before.attempts;
                match waiting.get(&letter.name).is_some_and(is_new) {
                    true => {
                        refused += 1;
                        print(&format!("{}: still refused: {}", letter.name, letter.error))?;
                    }
                    // It was set aside again, behind another one.
                    false => drop(next.insert(letter.name.clone(), letter)),
                }
            }
            match chosen.all {
                true => next.extend(new.into_iter().map(|letter| (letter.name.clone(), letter))),
                false if !new.is_empty() => {
                    print(&format!(
                        "{} more came meanwhile: retry --all takes them, too",
                        new.len()
                    ))?;
                }
                false => {}
            }
            next.retain(|name, _| !unmapped.iter().any(|letter| letter.name == *name));
            waiting = next;
            if waiting.is_empty() {
                break;
            }
        }
        match refused + waiting.len() {
            0 => Ok(()),
            1 => Err(ServiceError::Definite("1 dead letter still waits".to_owned())),
            more => Err(ServiceError::Definite(format!("{more} dead letters still wait"))),
        }
    }

    /// Gives them up: the rows stay as they are in the graph, and later changes of them are written again.
    pub async fn drop(&self, chosen: &Chosen) -> Result<(), ServiceError> {
        let all = self.chosen(chosen)?;
        let names = names_of(&all);
        let (mapped, unmapped) = self.by_mapping(all).await?;
        let has_checkpoint =
            complete_through(&self.graph.positions(&self.config.pipeline).await?).is_some();
        if has_checkpoint {
            self.ask(&mapped, request::Rows::Dropped { dropped: names_of(&mapped) }).await?;
        }
        let without_pipeline = if has_checkpoint { names_of(&unmapped) } else { names.clone() };
        if !without_pipeline.is_empty() {
            self.graph.remove_letters(&self.config.pipeline, None, &without_pipeline).await?;
        }
        names.iter().try_for_each(|name| print(&format!("{name}: dropped")))
    }

    /// Asks the pipeline, and waits until it is done.
    async fn ask(&self, letters: &[&KeptLetter], rows: request::Rows) -> Result<(), ServiceError> {
        if letters.is_empty() {
            return Ok(());
        }
        let tables: BTreeSet<String> = letters.iter().map(|it| it.table.clone()).collect();
        reconcile::of_rows(self.config, &self.graph, tables.into_iter().collect(), rows).await
    }

    /// Those whose tables are mapped, and the others.
    async fn by_mapping<'l>(
        &self,
        letters: Vec<&'l KeptLetter>,
    ) -> Result<(Vec<&'l KeptLetter>, Vec<&'l KeptLetter>), ServiceError> {
        let (sql, catalog) = read_catalog(self.config).await?;
        let tables = following::tables(self.config, &sql.client, catalog).await?;
        let Followed { mapping, .. } = tables.followed;
        let mapping = mapping?;
        let is_mapped = |letter: &&KeptLetter| {
            mapping.model.iter().any(|(_, table)| table.name == letter.table)
        };
        Ok(letters.into_iter().partition(is_mapped))
    }

    /// Those that are named. Each name must be one's.
    fn chosen(&self, chosen: &Chosen) -> Result<Vec<&KeptLetter>, ServiceError> {
        let is_there = |name: &&String| self.letters.iter().any(|it| it.name == **name);
        if let Some(unknown) = chosen.names.iter().find(|name| !is_there(name)) {
            return Err(ServiceError::Usage(super::unknown(unknown)));
        }
        let is_chosen = |letter: &&KeptLetter| chosen.all || chosen.names.contains(&letter.name);
        Ok(self.letters.iter().filter(is_chosen).collect())
    }
}

fn names_of(letters: &[&KeptLetter]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter.name.clone()).collect()
}

fn not_mapped(letter: &KeptLetter) -> String {
    let (table, name) = (Shown(&letter.table), &letter.name);
    format!("the mapping has no table {table} any more: wal2graph dead-letters drop {name}")
}

impl Listed {
    fn of(letter: &KeptLetter) -> Self {
        Listed {
            name: letter.name.clone(),
            table: letter.table.clone(),
            key: letter.shown_key.clone(),
            time: time(letter.at),
            reason: match letter.reason.as_str() {
                "" => "it takes or leaves the key of a row that waits".to_owned(),
                reason => reason.to_owned(),
            },
            changes: letter.changes,
            attempts: letter.attempts,
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listed { table, key, reason, changes, .. } = self;
        write!(f, "{} ({key}): ", Shown(table))?;
        match changes {
            0 | 1 => {}
            changes => write!(f, "{changes} changes; ")?,
        }
        f.write_str(reason)
    }
}

impl<'a> Whole<'a> {
    fn of(letter: &'a KeptLetter) -> Self {
        let last = letter.last.as_ref().map(|KeptChange { operation, place, values }| Last {
            operation,
            at: place,
            values: serde_json::from_str(values).unwrap_or_default(),
        });
        let updated = time(letter.updated_at);
        Whole { listed: Listed::of(letter), error: &letter.error, updated, last }
    }
}

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Whole { listed, error, updated, last } = self;
        let or_none = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        writeln!(f, "name      {}", listed.name)?;
        writeln!(f, "row       {} ({})", Shown(&listed.table), listed.key)?;
        writeln!(f, "since     {}", or_none(&listed.time))?;
        writeln!(f, "updated   {}", or_none(updated))?;
        writeln!(f, "changes   {}", listed.changes)?;
        writeln!(f, "attempts  {}", listed.attempts)?;
        writeln!(f, "reason    {}", listed.reason)?;
        if !error.is_empty() {
            writeln!(f, "error     {error}")?;
        }
        if let Some(Last { operation, at, values }) = last {
            writeln!(f, "last      {operation} at {at}")?;
            for (name, value) in values {
                writeln!(f, "value     {}: {value}", Shown(name))?;
            }
        }
        Ok(())
    }
}
