//! Where a publisher begins: what topic and slot say together.
//!
//! | the topic's end says | slot | then |
//! | --- | --- | --- |
//! | a position | at or behind it | from there |
//! | a position | ahead of it | a gap: stop |
//! | a position | gone, or lost | a gap: stop |
//! | a position, but for a partition without records | at or behind it | from the slot |
//! | a position, with another number of partitions | any | stop: keys would go on in other partitions |
//! | nothing, it is empty | none | make the slot, copy |
//! | nothing, it is empty | there | from the slot, copy: what was published before is gone with its topic |
//! | nothing, of other records | any | stop |
//!
//! The position of several partitions is the one that is furthest back: what the others have beyond
//! it comes twice, with the same places.

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, Table, pasteable},
    checkpoint::Newest,
    config::Config,
    envelope::{History, record_key},
    kafka::{
        TopicName,
        routing::Layout,
        tail::{PartitionTail, Tail},
    },
    lsn::Lsn,
    postgres::{self, setup::Slot},
    service::{ServiceError, facts::written},
    start::{Again, OriginRefusal, Refusals, System},
};

use super::topics::Ends;

/// What follows where a topic is made again.
pub const GRAPHS_STOP: &str =
    "An `apply` that has read the old one stops then: it fills an empty graph from the new one";

/// Where a publisher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this position.
    At(Lsn),
    /// At the beginning: there is no slot yet.
    First,
}

/// Decides; an error says what to do. The slot is older than the topics' ends, and those are older than
/// what the source says: a publisher that runs moves all of them on.
pub fn decide(
    config: &Config,
    ends: &Ends,
    slot: Option<&Slot>,
    system: &System,
) -> Result<Start, ServiceError> {
    check_whose(config, ends.all(), system)?;
    let tail = ends.tail();
    let topic = &written(config)?.position();
    let name = &config.slot;
    let again = anew(config)?;
    let stop = |text: String| Err(ServiceError::Definite(text));
    if tail.0.iter().any(|partition| !partition.is_empty && partition.end_lsn.is_none()) {
        return stop(format!(
            "the topic {topic} has records, and none of them says where it is: somebody else writes to it. Name \
             another topic (kafka.topic)"
        ));
    }
    if let Some(before) = count_before(tail) {
        return Err(other_count(config, &config.kafka()?.topic, tail.0.len(), before)?);
    }
    if slot.is_some_and(|slot| slot.wal_status.as_deref() == Some("lost")) {
        return stop(format!(
            "the slot {name} is lost (max_slot_wal_keep_size): SELECT pg_drop_replication_slot('{name}'), and {again}"
        ));
    }
    // A slot that can not be used is refused before.
    let confirmed = slot.and_then(|slot| slot.confirmed);
    check_end(config, ends.beyond(), system)?;
    match (tail.lowest(), confirmed) {
        (Some(end), None) => stop(format!(
            "the slot {name} is gone, and with it the changes since {end}. To go on, {again}"
        )),
        (Some(end), Some(confirmed)) if confirmed > end => stop(format!(
            "the slot {name} is at {confirmed}, ahead of the topic {topic} at {end}: the changes between are gone \
             (the slot was re-created or advanced, or records were deleted). To go on, {again}"
        )),
        (Some(end), Some(_)) if tail.is_complete() => Ok(Start::At(end)),
        // A partition whose records are gone, or whose first was never written: nothing of it was
        // acknowledged beyond the slot.
        (_, Some(confirmed)) => Ok(Start::At(confirmed)),
        (None, None) => Ok(Start::First),
    }
}

/// The newest transaction that the topics have something of, if the publisher begins at their end and
/// knows it. Empty topics have none.
pub fn newest(config: &Config, ends: &Ends, start: Start) -> Option<Newest> {
    match start {
        Start::First => Some(Newest::Nothing),
        Start::At(_) if ends.all().all(|it| it.is_empty) => Some(Newest::Nothing),
        // Where each table has a topic, the last heartbeat names it. The topics may have more than that:
        // the publisher publishes it again, and `check_end` sees that the source still has it.
        Start::At(_) if ends.tail().is_complete() => {
            ends.tail().newest_through(&config.publication)
        }
        // What other partitions have beyond the slot's position is published again.
        Start::At(_) => None,
    }
}

/// Checks that the records are of this pipeline, of this database, and of its history.
fn check_whose<'a>(
    config: &Config,
    tails: impl IntoIterator<Item = &'a PartitionTail>,
    system: &System,
) -> Result<(), ServiceError> {
    let history = &history_of(system);
    let topic = &written(config)?.position();
    let again = anew(config)?;
    let stop = |text: String| Err(ServiceError::Definite(text));
    let tails: Vec<&PartitionTail> = tails.into_iter().collect();
    let of_others = |of: fn(&PartitionTail) -> Option<&String>, own: &str| {
        tails.iter().filter_map(|tail| of(tail)).find(|it| *it != own).cloned()
    };
    if let Some(other) = of_others(|it| it.publisher.as_ref(), &config.pipeline) {
        return stop(format!(
            "the topic {topic} belongs to the pipeline {other:?}, and this one is {:?}. Name another topic \
             (kafka.topic); or, if it is the same pipeline, keep its name",
            config.pipeline
        ));
    }
    if let Some(other) = of_others(|it| it.database.as_ref(), config.source.database()) {
        return stop(format!(
            "the topic {topic} has rows of the database {other:?}, and the source is {:?}. Name another topic \
             (kafka.topic)",
            config.source.database()
        ));
    }
    let others = tails.iter().filter_map(|partition| partition.history.as_ref());
    if let Some(other) = others.into_iter().find(|other| *other != history) {
        return stop(format!(
            "the topic {topic} has the history of the cluster {} on timeline {}, the source is {} on timeline {}: it \
             was restored, failed over, or is another one. To go on, {again}",
            other.system_identifier, other.timeline, history.system_identifier, history.timeline
        ));
    }
    Ok(())
}

/// What it takes to publish everything again, in words.
fn anew(config: &Config) -> Result<String, ServiceError> {
    Ok(format!(
        "delete {} (or name another one with kafka.topic) and publish again: it begins with a copy of the tables. \
         {GRAPHS_STOP}",
        written(config)?
    ))
}

/// The error of a topic with another number of partitions than when it was written.
pub fn other_count(
    config: &Config,
    topic: &TopicName,
    count: usize,
    before: usize,
) -> Result<ServiceError, ServiceError> {
    Ok(ServiceError::Definite(format!(
        "the topic {topic} has {count} partitions, and had {before} when it was written last: keys would go on in \
         other partitions, out of order. To go on, {}",
        anew(config)?
    )))
}

/// The history that the source's records are of.
pub fn history_of(system: &System) -> History {
    History { system_identifier: system.identifier.clone(), timeline: system.timeline }
}

/// Checks that no topic is further than the source has been.
fn check_end(config: &Config, beyond: Option<Lsn>, system: &System) -> Result<(), ServiceError> {
    let again = again(config)?;
    match beyond.filter(|at| !system.has_been_at(*at)) {
        None => Ok(()),
        Some(at) => {
            let ends_before = OriginRefusal::EndsBefore { end: system.flushed, at, again };
            Err(ServiceError::Start(Refusals::of(ends_before)))
        }
    }
}

/// What it takes to publish everything again.
pub fn again(config: &Config) -> Result<Again, ServiceError> {
    Ok(Again::Topic { topics: written(config)?, slot: config.slot.clone() })
}

/// Over how many partitions keys were spread, if that is not how many there are.
fn count_before(tail: &Tail) -> Option<usize> {
    let said = tail.0.iter().filter(|it| it.copied.is_some());
    let mut counts = said.map(|it| it.partitions.unwrap_or(1));
    counts.find(|count| *count != tail.0.len())
}

/// Keys say which of several partitions a record goes to. Mapped tables have one.
pub async fn check_keys(
    config: &Config,
    client: &Client,
    catalog: &Catalog,
    layout: &Layout,
) -> Result<(), ServiceError> {
    let publication = postgres::setup::publication(client, &config.publication).await?;
    let published = publication.map(|it| it.tables).unwrap_or_default();
    let tables = published.iter().filter_map(|name| catalog.table(name));
    let is_spread = |table: &&Table| layout.partitions_of(table.oid).is_some_and(|it| !it.is_one());
    let keyless: Vec<String> = tables
        .filter(is_spread)
        .filter(|table| record_key(table).is_none())
        .map(|table| table.name.pasteable())
        .collect();
    if keyless.is_empty() {
        return Ok(());
    }
    let keyless = keyless.join(", ");
    Err(ServiceError::Definite(format!(
        "the topic {} has several partitions, and records of {keyless} have no key that says to which they go. Add a \
         primary key, or ALTER PUBLICATION {} DROP TABLE {keyless}, or name a topic of one partition (kafka.topic)",
        config.kafka()?.topic,
        pasteable(&config.publication)
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{cli::Global, kafka::tails::Tails};

    fn system(timeline: i64) -> System {
        System { identifier: "7".to_owned(), timeline, flushed: Lsn(100) }
    }

    fn slot(confirmed: u64, status: &str) -> Slot {
        let wal_status = Some(status.to_owned());
        Slot { logical: true, confirmed: Some(Lsn(confirmed)), wal_status, ..Slot::default() }
    }

    fn config() -> Config {
        let flags = Global {
            source_url: Some("postgres://u@h/d".to_owned()),
            brokers: Some("b:1".to_owned()),
            ..Global::default()
        };
        Config::load(&flags, &|_| None).unwrap()
    }

    fn decided(end: Option<u64>, is_empty: bool, slot: Option<Slot>) -> Result<Start, String> {
        let config = config();
        let partition = PartitionTail { is_empty, ..tail_at(end) };
        decided_of(&config, &[partition], slot)
    }

    fn tail_at(end: Option<u64>) -> PartitionTail {
        let (is_empty, end_lsn) = (end.is_none(), end.map(Lsn));
        let history = end.map(|_| history_of(&system(1)));
        PartitionTail { is_empty, end_lsn, history, ..PartitionTail::default() }
    }

    fn decided_of(
        config: &Config,
        partitions: &[PartitionTail],
        slot: Option<Slot>,
    ) -> Result<Start, String> {
        let ends = Ends::Of(Tail(partitions.to_vec()));
        decide(config, &ends, slot.as_ref(), &system(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_row_of_the_table() {
        let reserved = |lsn| Some(slot(lsn, "reserved"));
        assert_eq!(decided(Some(50), false, reserved(50)), Ok(Start::At(Lsn(50))));
        assert_eq!(decided(Some(50), false, reserved(40)), Ok(Start::At(Lsn(50))));
        assert_eq!(decided(None, true, None), Ok(Start::First));
        assert_eq!(decided(None, true, reserved(40)), Ok(Start::At(Lsn(40))));
        for (end, is_empty, slot, said) in [
            (Some(50), false, reserved(60), "ahead of the topic"),
            (Some(50), false, None, "is gone"),
            (Some(50), false, Some(slot(40, "lost")), "pg_drop_replication_slot"),
            (None, false, reserved(40), "somebody else"),
            (None, false, None, "somebody else"),
        ] {
            let error = decided(end, is_empty, slot).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn another_history_is_no_continuation() {
        let config = config();
        let ends = Ends::Of(Tail(vec![tail_at(Some(50))]));
        let slot = slot(40, "reserved");
        let error = decide(&config, &ends, Some(&slot), &system(2)).unwrap_err().to_string();
        assert!(error.contains("timeline 1") && error.contains("timeline 2"), "{error}");
    }

    #[test]
    fn a_source_whose_log_ends_before_the_topic_was_put_back() {
        let error = decided(Some(101), false, Some(slot(40, "reserved"))).unwrap_err();
        assert!(error.contains("put back to an older state") && error.contains("delete the topic"));
    }

    #[test]
    fn a_topic_of_another_pipeline_or_database_is_never_advised_to_be_deleted() {
        let config = config();
        let of = |publisher: &str, database: &str| {
            let tail = PartitionTail {
                publisher: Some(publisher.to_owned()),
                database: Some(database.to_owned()),
                ..tail_at(Some(50))
            };
            decided_of(&config, &[tail], None).unwrap_err()
        };
        let error = of("other", "d");
        assert!(error.contains("belongs to the pipeline \"other\"") && !error.contains("delete"));
        let error = of(&config.pipeline, "other");
        assert!(error.contains("rows of the database \"other\"") && !error.contains("delete"));
        assert!(of(&config.pipeline, "d").contains("is gone"));
    }

    #[test]
    fn the_last_heartbeat_names_the_newest_transaction_of_all_topics() {
        let config = config();
        let newest = |heartbeats: PartitionTail, table: PartitionTail, start| {
            let topics = [("t".to_owned(), vec![table])].into();
            let ends = Ends::OfAll(Tails { heartbeats: Tail(vec![heartbeats]), topics });
            super::newest(&config, &ends, start).map(|newest| newest.to_string())
        };
        let at = Start::At(Lsn(50));
        let heartbeat = PartitionTail {
            newest: "0/8 7 900".parse().ok(),
            publication: Some(config.publication.clone()),
            ..tail_at(Some(50))
        };
        let beyond = PartitionTail { last_commit: Some(Lsn(70)), ..PartitionTail::default() };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(newest(heartbeat.clone(), tail_at(None), at), said("0/8 7 900"));
        assert_eq!(newest(heartbeat.clone(), beyond.clone(), at), said("0/8 7 900"));
        let other = PartitionTail { publication: Some("other".to_owned()), ..heartbeat.clone() };
        assert_eq!(newest(other, tail_at(None), at), None, "another publication");
        assert_eq!(newest(tail_at(None), beyond.clone(), at), None, "no heartbeat speaks of them");
        assert_eq!(newest(tail_at(None), tail_at(None), at), said("nothing"));
        assert_eq!(newest(tail_at(None), tail_at(None), Start::First), said("nothing"));

        let topics =
            [("t".to_owned(), vec![PartitionTail { last_commit: Some(Lsn(100)), ..beyond }])];
        let ends = Ends::OfAll(Tails { heartbeats: Tail(vec![heartbeat]), topics: topics.into() });
        let slot = slot(40, "reserved");
        let error = decide(&config, &ends, Some(&slot), &system(1)).unwrap_err().to_string();
        assert!(error.contains("put back to an older state"), "records behind the log: {error}");
    }

    #[test]
    fn several_partitions_are_where_the_last_of_them_is() {
        let at = |ends: &[Option<u64>], counted: usize, confirmed| {
            let partition = |end: &Option<u64>| PartitionTail {
                copied: end.map(|_| Vec::new()),
                partitions: Some(counted),
                ..tail_at(*end)
            };
            let partitions: Vec<_> = ends.iter().map(partition).collect();
            decided_of(&config(), &partitions, Some(slot(confirmed, "reserved")))
        };
        assert_eq!(at(&[Some(60), Some(50)], 2, 40), Ok(Start::At(Lsn(50))));
        assert_eq!(at(&[Some(60), None], 2, 40), Ok(Start::At(Lsn(40))), "one has no records");
        assert_eq!(at(&[None, None], 2, 40), Ok(Start::At(Lsn(40))));
        assert!(at(&[Some(60), Some(50)], 2, 55).unwrap_err().contains("ahead of the topic"));
        assert!(at(&[Some(50), Some(50), None], 2, 50).unwrap_err().contains("had 2 when"));
    }
}
