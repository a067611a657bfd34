//! Whether a record that is put back does good: it can be read now, and nothing newer has been
//! applied since.
//!
//! ```text
//! record --Decoder--> still no envelope, or nothing for the graph: refused
//!                     one of `publish`, which is applied once: refused, for a replay
//!                     a change --what is behind it in its partition--> the same row, or its table emptied: asks
//! ```
//!
//! Rows are compared, and the bytes of keys too: a connector may write the key of a row in another form later, or none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{ControlFlow, Range},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    catalog::TableName,
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

use super::touched::{Keys, TouchedRow};

/// Reads records as the next `apply` would.
pub struct Judge {
    /// Of each topic.
    decoders: BTreeMap<String, Decoder>,
    database: String,
    keys: Arc<Keys>,
    /// The partitions that `publish` has written, and which topic the graph has them of.
    ours: BTreeMap<TopicPartition, Option<TopicId>>,
    pipeline: String,
}

/// What a record would do to the graph.
pub struct Effect {
    key: Option<Bytes>,
    rows: BTreeSet<TouchedRow>,
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
        let decoder = |topic: &String| {
            let decoder = options.decoding.decoder(&catalog, topic)?;
            Ok((topic.clone(), decoder.apart().with_keys(&found_by)))
        };
        let decoders = topics.iter().map(decoder).collect::<Result<_, NoRows>>();
        let decoders = decoders.map_err(|why| ServiceError::Definite(why.to_string()))?;
        Ok(Judge {
            decoders,
            database,
            keys: Arc::new(Keys::new(found_by)),
            ours: ours.collect(),
            pipeline: config.pipeline.clone(),
        })
    }

    /// What `apply` would do with a record that stood at `place`.
    ///
    /// # Errors
    /// Why putting it back does no good.
    pub fn examine(&self, place: &Place, record: &Record) -> Result<Effect, String> {
        let Some(decoder) = self.decoder_of(&place.at) else {
            let (pipeline, topic) = (&self.pipeline, &place.at.topic);
            return Err(format!("the pipeline {pipeline} does not read the topic {topic}"));
        };
        let rows = self.rows(decoder, place, record)?;
        Ok(Effect { key: record.key.clone(), rows })
    }

    /// A search in a partition for what is newer.
    pub fn search(&self, shelf: &Shelf, at: &TopicPartition, now: Now) -> Search {
        let (letters, decoder) = (shelf.letters().clone(), self.decoder_of(at));
        Search { letters, decoder, keys: self.keys.clone(), sought: Vec::new(), now }
    }

    /// `None`: the topic is not read.
    fn decoder_of(&self, at: &TopicPartition) -> Option<Decoder> {
        let database = Some(self.database.clone());
        let is_ours = self.ours.contains_key(at);
        let expected = Expected { database, is_ours, ..Expected::default() };
        Some(self.decoders.get(&at.topic)?.clone().expecting(expected))
    }

    /// The rows that it changes, or why putting it back does no good.
    fn rows(
        &self,
        mut decoder: Decoder,
        place: &Place,
        record: &Record,
    ) -> Result<BTreeSet<TouchedRow>, String> {
        let mut said = Vec::new();
        decoder
            .record(record, &mut said)
            .map_err(|error| format!("it would be a dead letter again: {error}"))?;
        decoder.flush(&mut said);
        for decoded in &said {
            let source = match decoded {
                Decoded::Change { source, .. } | Decoded::Read { source, .. } => source,
                Decoded::Foreign { schema, table, .. } => {
                    return Err(format!("the source has no table {schema}.{table}: drop it"));
                }
                _ => continue,
            };
            if source.history.is_some() {
                return Err(self.by_replay(place));
            }
        }
        let rows = self.keys.touched(&said);
        match rows.is_empty() {
            true => Err("it changes no row: drop it".to_owned()),
            false => Ok(rows),
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

/// Looks for what was applied behind dead letters of a partition and is newer.
pub struct Search {
    letters: Letters,
    decoder: Option<Decoder>,
    keys: Arc<Keys>,
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
        let index = SoughtBy::new(&self.sought);
        let done = shelf.asking().visit(at, range, self, move |search, found| {
            search.take(&found, &index);
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

    fn take(&mut self, found: &Found, index: &SoughtBy) {
        let Found { offset, record, .. } = found;
        let mut said = Vec::new();
        if let Some(decoder) = &mut self.decoder {
            // A record that can not be read counts by the bytes of its key.
            let _ = decoder.record(record, &mut said);
            decoder.flush(&mut said);
        }
        if matches!(said[..], [Decoded::Tombstone]) {
            return;
        }
        let rows = self.keys.touched(&said);
        let mut newer: BTreeMap<usize, &'static str> = BTreeMap::new();
        let of_key = record.key.as_ref().and_then(|key| index.by_key.get(key));
        for it in of_key.into_iter().flatten().chain(rows.iter().flat_map(|row| index.of(row))) {
            newer.insert(*it, "its row has changed since,");
        }
        for table in rows.iter().filter(|row| row.is_whole_table()).map(|row| &row.table) {
            let of_table = index.by_table.get(table).into_iter().flatten();
            for it in of_table {
                newer.insert(*it, "its table was emptied since,");
            }
        }
        let digest = Digest::of(record);
        for (it, what) in newer {
            let Sought { place, newer, .. } = &mut self.sought[it];
            let (at, topic_id) = (place.at.clone(), self.now.topic);
            let own = Place { at, offset: *offset, topic_id };
            // A letter that waits was not applied. A record that was put back may be older than the letter.
            let is_older = self.letters.is_waiting(&own) || self.letters.was_before(place, digest);
            if *offset > place.offset && !is_older {
                newer.get_or_insert((*offset, what));
            }
        }
    }
}

/// The letters by key bytes, row and table: a newer record has one of these in common with its letter.
#[derive(Default)]
struct SoughtBy {
    by_key: HashMap<Bytes, Vec<usize>>,
    by_row: HashMap<TouchedRow, Vec<usize>>,
    by_table: HashMap<TableName, Vec<usize>>,
}

impl SoughtBy {
    fn new(sought: &[Sought]) -> Self {
        let mut by = SoughtBy::default();
        for (index, Sought { effect, .. }) in sought.iter().enumerate() {
            if let Some(key) = &effect.key {
                by.by_key.entry(key.clone()).or_default().push(index);
            }
            for row in &effect.rows {
                by.by_row.entry(row.clone()).or_default().push(index);
                by.by_table.entry(row.table.clone()).or_default().push(index);
            }
        }
        by
    }

    /// Those that a record with this row may be newer than.
    fn of(&self, row: &TouchedRow) -> impl Iterator<Item = &usize> {
        let unknown = TouchedRow::unknown(row.table.clone());
        let of_row = match row.is_unknown() {
            true => self.by_table.get(&row.table),
            false => self.by_row.get(row),
        };
        let of_unknown = self.by_row.get(&unknown);
        of_row.into_iter().chain(of_unknown).flatten()
    }
}
