//! Whether a record that is put back does good: it can be read now, and nothing newer has been
//! applied since.
//!
//! ```text
//! record --Decoder--> still no envelope, or nothing for the graph: refused
//!                     one of `publish`, which is applied once: refused, for a replay
//!                     a change --what is behind it in its partition--> the same key, or its table emptied: asks
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{ControlFlow, Range},
};

use bytes::Bytes;

use crate::{
    change::Change,
    checkpoint::{TopicId, TopicPartition},
    config::Config,
    dead_letters::{Digest, Letters, Place},
    envelope::{Decoded, Decoder, Expected, NoRows, Record},
    kafka::{dead_letters::Shelf, offsets::Found},
    pipeline::Store,
    postgres,
    service::{
        ServiceError,
        graph::{Wait, open},
        mapping, read_catalog,
    },
};

/// Reads records as the next `apply` would.
pub struct Judge {
    decoder: Decoder,
    /// Of topics that have rows without envelopes.
    of_rows: BTreeMap<String, Decoder>,
    database: String,
    topics: BTreeSet<String>,
    /// The partitions that `publish` has written, and which topic the graph has them of.
    ours: BTreeMap<TopicPartition, Option<TopicId>>,
    pipeline: String,
}

/// A table's schema and name.
type Table = (String, String);

/// What a record would do to the graph.
pub struct Effect {
    key: Option<Bytes>,
    /// The tables of its rows.
    tables: BTreeSet<Table>,
}

impl Judge {
    /// Looks at the source's catalog and at the graph's checkpoints.
    pub async fn new(config: &Config) -> Result<Self, ServiceError> {
        let (sql, catalog) = read_catalog(config).await?;
        let found_by = mapping(config, &catalog)?.found_by();
        let options = config.kafka()?;
        let database = postgres::setup::server(&sql.client).await?.database;
        let graph = open(config, Wait::Usual)?;
        let checkpoints = graph.checkpoints(&config.pipeline).await?;
        let read = checkpoints.iter().filter_map(|it| Some(it.partition()?.topic.clone()));
        let topics: BTreeSet<String> = match options.is_by_table() || options.pattern.is_some() {
            // The checkpoints of the graph name them.
            true => read.collect(),
            false => options.topic_names().map(str::to_owned).collect(),
        };
        let ours = checkpoints.iter().filter(|it| !it.origin.system_identifier.is_empty());
        let ours = ours.filter_map(|it| Some((it.partition()?.clone(), it.topic_id)));
        let of_rows = match options.decoding.rows {
            None => BTreeMap::new(),
            Some(_) => {
                let decoder = |topic: &str| {
                    let decoder = options.decoding.decoder(&catalog, topic)?;
                    Ok((topic.to_owned(), decoder.with_keys(&found_by)))
                };
                let decoders =
                    topics.iter().map(String::as_str).map(decoder).collect::<Result<_, NoRows>>();
                decoders.map_err(|why| ServiceError::Definite(why.to_string()))?
            }
        };
        Ok(Judge {
            decoder: Decoder::new(&catalog, options.decoding.values).apart().with_keys(&found_by),
            of_rows,
            database,
            topics,
            ours: ours.collect(),
            pipeline: config.pipeline.clone(),
        })
    }

    /// What `apply` would do with a record that stood at `place`.
    ///
    /// # Errors
    /// Why putting it back does no good.
    pub fn examine(&self, place: &Place, record: &Record) -> Result<Effect, String> {
        if !self.topics.contains(&place.at.topic) {
            let (pipeline, topic) = (&self.pipeline, &place.at.topic);
            return Err(format!("the pipeline {pipeline} does not read the topic {topic}"));
        }
        let tables = self.tables(place, record)?;
        Ok(Effect { key: record.key.clone(), tables })
    }

    /// A search in a partition for what is newer.
    pub fn search(&self, shelf: &Shelf, at: &TopicPartition, now: Now) -> Search {
        let (letters, decoder) = (shelf.letters().clone(), self.decoder_of(at));
        let tombstones_count = self.of_rows.contains_key(&at.topic);
        Search { letters, decoder, tombstones_count, sought: Vec::new(), now }
    }

    fn decoder_of(&self, at: &TopicPartition) -> Decoder {
        let database = Some(self.database.clone());
        let is_ours = self.ours.contains_key(at);
        let expected = Expected { database, is_ours, ..Expected::default() };
        let decoder = self.of_rows.get(&at.topic).unwrap_or(&self.decoder);
        decoder.clone().expecting(expected)
    }

    /// The tables that it changes, or why putting it back does no good.
    fn tables(&self, place: &Place, record: &Record) -> Result<BTreeSet<Table>, String> {
        let mut said = Vec::new();
        let mut decoder = self.decoder_of(&place.at);
        decoder
            .record(record, &mut said)
            .map_err(|error| format!("it would be a dead letter again: {error}"))?;
        decoder.flush(&mut said);
        let mut tables = BTreeSet::new();
        for decoded in &said {
            let source = match decoded {
                Decoded::Change { source, change } => {
                    tables.extend(tables_of(change));
                    source
                }
                Decoded::Read { source, relation, .. } => {
                    tables.insert((relation.schema.clone(), relation.name.clone()));
                    source
                }
                Decoded::Foreign { schema, table, .. } => {
                    return Err(format!("the source has no table {schema}.{table}: drop it"));
                }
                _ => continue,
            };
            if source.history.is_some() {
                return Err(self.by_replay(place));
            }
        }
        match tables.is_empty() {
            true => Err("it changes no row: drop it".to_owned()),
            false => Ok(tables),
        }
    }

    /// Records of `publish` are known by their place, and what was passed over counts as seen.
    fn by_replay(&self, place: &Place) -> String {
        let TopicPartition { topic, partition } = &place.at;
        let now = self.ours.get(&place.at).copied().flatten();
        if matches!((place.topic_id, now), (Some(was), Some(is)) if was != is) {
            return format!(
                "it is a record of `wal2graph publish`, and {topic} was made again since, with a copy of the tables: \
                 wal2graph dead-letters drop {}",
                place.whole_name()
            );
        }
        format!(
            "it is a record of `wal2graph publish`, which counts as applied. Stop `wal2graph apply`, and let it apply \
             the topic again from there: wal2graph replay --from offset {} --partition {topic}/{partition}; then drop \
             it: wal2graph dead-letters drop {}",
            place.offset,
            place.whole_name()
        )
    }
}

fn tables_of(change: &Change) -> Vec<Table> {
    let relations = match change {
        Change::Insert { relation, .. }
        | Change::Update { relation, .. }
        | Change::Delete { relation, .. } => std::slice::from_ref(relation),
        Change::Truncate { relations } => relations,
        Change::Message { .. } => &[],
    };
    relations.iter().map(|it| (it.schema.clone(), it.name.clone())).collect()
}

/// Looks for what was applied behind dead letters of a partition and is newer.
pub struct Search {
    letters: Letters,
    decoder: Decoder,
    /// A record without a value is a delete.
    tombstones_count: bool,
    sought: Vec<Sought>,
    now: Now,
}

/// A partition as it is now.
pub struct Now {
    /// Which topic it is of.
    pub topic: Option<TopicId>,
    /// The records that it has.
    pub log: Range<u64>,
}

/// A change, and what is newer, if that was found.
struct Sought {
    index: usize,
    place: Place,
    effect: Effect,
    newer: Option<(u64, &'static str)>,
}

impl Search {
    /// Looks for what is newer than this one, too; or why nothing can tell.
    pub fn add(&mut self, index: usize, place: &Place, effect: Effect) -> Option<String> {
        let (behind, topic) = (place.offset + 1, &place.at.topic);
        let Range { start, end } = self.now.log;
        let is_other =
            matches!((place.topic_id, self.now.topic), (Some(was), Some(is)) if was != is);
        if is_other || end < behind {
            return Some(format!("{topic} was made again: what its rows are now is not known"));
        }
        if start > behind {
            return Some(format!(
                "the records of {} before offset {start} are gone, and its row may have changed in them",
                place.at
            ));
        }
        if effect.key.is_none() {
            let why = "it has no key, so whether its row has changed since is not known";
            return Some(why.to_owned());
        }
        self.sought.push(Sought { index, place: place.clone(), effect, newer: None });
        None
    }

    /// Reads what is behind the first of them, once for all; what is newer, by their index.
    pub async fn run(
        self,
        shelf: &Shelf,
        at: &TopicPartition,
    ) -> Result<Vec<(usize, String)>, ServiceError> {
        let Some(first) = self.sought.iter().map(|it| it.place.offset).min() else {
            return Ok(Vec::new());
        };
        let range = first + 1..self.now.log.end;
        let by_key = by_key(&self.sought);
        let done = shelf.asking().visit(at, range, self, move |search, found| {
            search.take(&found, &by_key);
            ControlFlow::Continue(())
        });
        let said = |it: Sought| {
            let (offset, what) = it.newer?;
            let why = format!(
                "{what} at offset {offset} of {}: the graph would go back to what was before",
                it.place.at
            );
            Some((it.index, why))
        };
        Ok(done.await?.sought.into_iter().filter_map(said).collect())
    }

    fn take(&mut self, found: &Found, by_key: &HashMap<Bytes, Vec<usize>>) {
        let Found { offset, record, .. } = found;
        if record.value.is_none() && !self.tombstones_count {
            return;
        }
        match &record.key {
            Some(key) => {
                let Some(places) = by_key.get(key) else { return };
                let digest = Digest::of(record);
                for index in places {
                    let Sought { place, newer, .. } = &mut self.sought[*index];
                    let (at, topic_id) = (place.at.clone(), self.now.topic);
                    let own = Place { at, offset: *offset, topic_id };
                    // What waits itself was not applied; what was put back may be from before it.
                    let is_older =
                        self.letters.is_waiting(&own) || self.letters.was_before(place, digest);
                    if *offset > place.offset && !is_older {
                        newer.get_or_insert((*offset, "its row has changed since,"));
                    }
                }
            }
            None => {
                let emptied = emptied(&mut self.decoder, record);
                for Sought { place, effect, newer, .. } in &mut self.sought {
                    if *offset > place.offset && !effect.tables.is_disjoint(&emptied) {
                        newer.get_or_insert((*offset, "its table was emptied since,"));
                    }
                }
            }
        }
    }
}

/// Where the changes of a key are.
fn by_key(sought: &[Sought]) -> HashMap<Bytes, Vec<usize>> {
    let mut by_key: HashMap<Bytes, Vec<usize>> = HashMap::new();
    for (index, it) in sought.iter().enumerate() {
        if let Some(key) = &it.effect.key {
            by_key.entry(key.clone()).or_default().push(index);
        }
    }
    by_key
}

/// The tables that a record empties. One that can not be read empties none.
fn emptied(decoder: &mut Decoder, record: &Record) -> BTreeSet<Table> {
    let mut said = Vec::new();
    let _ = decoder.record(record, &mut said);
    let emptied = said.iter().filter_map(|decoded| match decoded {
        Decoded::Change { change: change @ Change::Truncate { .. }, .. } => Some(tables_of(change)),
        _ => None,
    });
    emptied.flatten().collect()
}
