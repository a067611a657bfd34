//! Where a publisher begins: what topic and slot say together.
//!
//! | the topic's end says | slot | then |
//! | --- | --- | --- |
//! | a position | at or behind it | from there |
//! | a position | ahead of it | a gap: stop, or say so and go on ([`super::gap`]) |
//! | a position | gone, or lost | a gap: the same |
//! | a position, but for a partition without records | at or behind it | from the slot |
//! | a position, with another number of partitions | any | stop: keys would go on in other partitions |
//! | nothing, no topic was ever written | none | make the slot, copy |
//! | nothing, no topic was ever written | there | from the slot, copy: the topic is a new one |
//! | nothing, its records are gone | any | stop: the slot does not say whether it was moved since |
//! | nothing, it was never written, but a table's topic was | any | stop: the same |
//! | nothing, of other records | any | stop |
//!
//! Records of another timeline are of the same log up to where that one ended: a standby that is promoted goes on with
//! the topics if it has everything that they have. Else it is refused, as another cluster is.
//!
//! The position of several partitions is the one that is furthest back: what the others have beyond
//! it comes twice, with the same places.

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, Table, pasteable},
    checkpoint::{Mark, Newest, TopicPartition},
    config::Config,
    envelope::{History, record_key},
    kafka::tail::{PartitionTail, Tail},
    lsn::Lsn,
    mapping::Mapping,
    postgres::{self, setup::Slot},
    service::{
        ServiceError,
        facts::{self, written},
    },
    start::{
        Again, Anew, Cluster, OriginRefusal, Refusals, SlotState, System, TopicRefusal, Written,
    },
    topic::{routing::Layout, whose::Whose},
};

use super::topics::Ends;

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
    let written = ends.written(config)?;
    check_whose(config, &written, ends, system)?;
    let tail = ends.tail();
    let (topic, anew, slot_name) = (written.position(), Anew(written), config.slot.clone());
    let has_records = |(_, it): &&(TopicPartition, &PartitionTail)| !it.is_empty;
    let partitions = ends.partitions();
    if tail.lowest().is_none()
        && let Some((at, it)) = partitions.iter().take(tail.0.len()).find(has_records)
    {
        return Err(no_position(at, it).into());
    }
    if let Some(before) = count_before(tail) {
        let (topic, count) = (config.kafka()?.topic.to_string(), tail.0.len());
        return Err(TopicRefusal::OtherCount { topic, count, before, anew }.into());
    }
    // What is of another history is not gone on with, whatever became of the slot.
    check_end(config, &anew.0, ends.beyond(), system)?;
    if tail.lowest().is_none() {
        check_new(ends, topic.clone(), &anew)?;
    }
    if let Some(SlotState::Lost(why)) = slot.map(|slot| slot.state(config.source().database())) {
        return Err(TopicRefusal::SlotLost { slot: slot_name, why, anew }.into());
    }
    // Any other slot that can not be used is refused before.
    let confirmed = slot.and_then(|slot| slot.confirmed);
    match (tail.lowest(), confirmed) {
        (Some(end), None) => Err(TopicRefusal::SlotGone { slot: slot_name, end, anew }.into()),
        (Some(end), Some(confirmed)) if confirmed > end => {
            Err(TopicRefusal::SlotAhead { slot: slot_name, confirmed, topic, end, anew }.into())
        }
        (Some(end), Some(_)) if tail.is_complete() => Ok(Start::At(end)),
        // A partition whose records are gone, or whose first was never written: nothing of it was
        // acknowledged beyond the slot.
        (_, Some(confirmed)) => Ok(Start::At(confirmed)),
        (None, None) => Ok(Start::First),
    }
}

/// Checks that no topic was ever written. Deletes may be missing behind records that are gone: a copy
/// there would be taken for their continuation.
fn check_new(ends: &Ends, topic: String, anew: &Anew) -> Result<(), ServiceError> {
    if ends.tail().0.iter().any(PartitionTail::was_written) {
        return Err(TopicRefusal::Emptied { topic, anew: anew.clone() }.into());
    }
    let Some((other, _)) = ends.written_table() else { return Ok(()) };
    // It is nobody's to delete who publishes this pipeline.
    let partitions = ends.partitions();
    let is_others = |(at, it): &&(TopicPartition, &PartitionTail)| {
        at.topic == other && !it.is_empty && it.history.is_none()
    };
    if let Some((at, it)) = partitions.iter().find(is_others) {
        return Err(no_position(at, it).into());
    }
    let other = other.to_owned();
    Err(TopicRefusal::Remains { topic, other, anew: anew.clone() }.into())
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

/// A partition has records, and none of them says where it is.
fn no_position(at: &TopicPartition, tail: &PartitionTail) -> TopicRefusal {
    TopicRefusal::NoPosition { at: at.clone(), offset: tail.stray.unwrap_or(tail.next - 1) }
}

/// The newest transaction that the topics have something of beyond where the publisher begins, if their heartbeats are
/// of this publication. It is published again, or the source is not the one that it was.
pub fn ahead(config: &Config, ends: &Ends, start: Start, slot: Option<&Slot>) -> Option<Mark> {
    let Start::At(at) = start else { return None };
    let is_shown =
        |tail: &PartitionTail| tail.publication.as_ref().is_none_or(|it| *it == config.publication);
    let marks = ends.all().filter_map(|tail| tail.furthest);
    // What the slot has confirmed does not come again.
    let from = slot.and_then(|slot| slot.confirmed).map_or(at, |confirmed| at.max(confirmed));
    let newest = marks.filter(|mark| mark.commit_lsn >= from).max();
    newest.filter(|_| ends.tail().0.iter().all(is_shown))
}

/// Checks that records are of this pipeline, of this database, of its history, and read through its slot. Those of
/// others between ours keep nobody from going on behind them.
fn check_whose(
    config: &Config,
    written: &Written,
    ends: &Ends,
    system: &System,
) -> Result<(), ServiceError> {
    let partitions = ends.partitions();
    let is_ours = partitions.iter().any(|(_, tail)| tail.last.is_some());
    let others = partitions.iter().filter_map(|(at, tail)| Some((at, tail.other.as_ref()?)));
    if let Some((at, (offset, other))) = others.into_iter().next().filter(|_| !is_ours) {
        return Err(of_others(config, at, *offset, other).into());
    }
    check_history(written, ends, system)?;
    let slots = partitions.iter().filter_map(|(at, tail)| Some((at, tail.slot.as_ref()?)));
    if let Some((at, other)) = slots.into_iter().find(|(_, slot)| **slot != config.slot) {
        let (topic, other, own) = (at.topic.clone(), other.clone(), config.slot.clone());
        return Err(TopicRefusal::OtherSlot { topic, other, own }.into());
    }
    Ok(())
}

/// Checks that the source's log has everything that records of another history are of.
fn check_history(written: &Written, ends: &Ends, system: &System) -> Result<(), ServiceError> {
    let partitions = ends.partitions();
    let made = partitions.iter().filter_map(|(at, tail)| Some((at, tail, tail.history.as_ref()?)));
    for (at, tail, history) in made {
        // Rows of a copy are in one topic, and another one may have the heartbeat that says of when they are.
        let through = tail.beyond().unwrap_or_default().max(ends.read_through());
        let is_same = history.system_identifier == system.identifier;
        if !is_same || !system.leads_on_from(history.timeline, Some(through)) {
            let (topic, other) = (at.topic.clone(), cluster_of(history));
            let own = cluster_of(&history_of(system));
            let ended = system.before.ended(history.timeline).filter(|_| is_same);
            let anew = Anew(written.clone());
            let refusal =
                TopicRefusal::OtherHistory { topic, other, own, ended, at: through, anew };
            return Err(refusal.into());
        }
    }
    Ok(())
}

/// Which timeline of the cluster the topics have records of, if that is another one than the source's.
pub fn timeline_before(ends: &Ends, system: &System) -> Option<i64> {
    let histories = ends.all().filter_map(|tail| tail.history.as_ref());
    let of_cluster = histories.filter(|it| it.system_identifier == system.identifier);
    of_cluster.map(|it| it.timeline).find(|timeline| *timeline != system.timeline)
}

/// The same with the timelines before its own, where the topics have records of another one.
pub async fn with_timelines(
    config: &Config,
    ends: &Ends,
    system: System,
) -> Result<System, ServiceError> {
    match timeline_before(ends, &system) {
        Some(_) => facts::timelines(config, system).await,
        None => Ok(system),
    }
}

/// Logs that the topics go over to another timeline.
pub fn tell_promotion(ends: &Ends, system: &System) {
    let Some(before) = timeline_before(ends, system) else { return };
    let begins = system.before.ended(before).map(tracing::field::display);
    let now = system.timeline;
    tracing::info!(
        before,
        now,
        begins,
        "the source was promoted: its log is the topic's, and goes on"
    );
}

/// The topic is somebody else's.
fn of_others(config: &Config, at: &TopicPartition, offset: i64, other: &Whose) -> TopicRefusal {
    let at = at.clone();
    match (&other.pipeline, &other.database) {
        (Some(pipeline), _) if *pipeline != config.pipeline => {
            let (other, own) = (pipeline.clone(), config.pipeline.clone());
            TopicRefusal::OtherPipeline { at, offset, other, own }
        }
        (_, database) => {
            let other = database.clone().unwrap_or_default();
            let own = config.source().database().to_owned();
            TopicRefusal::OtherDatabase { at, offset, other, own }
        }
    }
}

/// Logs the records at the ends that the publisher goes on behind, though it did not write them.
pub fn tell_strangers(ends: &Ends) {
    for (at, tail) in ends.partitions() {
        let other = tail.other.as_ref().map(|(offset, _)| *offset);
        let Some(offset) = tail.stray.max(other).filter(|offset| Some(*offset) > tail.last) else {
            continue;
        };
        tracing::warn!(
            "the record at offset {offset} of {at} is somebody else's: publishing goes on behind it. `wal2graph \
             apply` says what it makes of it, and how it is passed over"
        );
    }
}

fn cluster_of(history: &History) -> Cluster {
    Cluster { identifier: history.system_identifier.clone(), timeline: history.timeline }
}

/// The history that the source's records are of.
pub fn history_of(system: &System) -> History {
    History { system_identifier: system.identifier.clone(), timeline: system.timeline }
}

/// Checks that no topic is further than the source has been.
fn check_end(
    config: &Config,
    written: &Written,
    beyond: Option<Lsn>,
    system: &System,
) -> Result<(), ServiceError> {
    let again = Again::Topic { topics: written.clone(), slot: config.slot.clone() };
    match beyond.filter(|at| !system.has_been_at(*at)) {
        None => Ok(()),
        Some(at) => {
            let ends_before = OriginRefusal::EndsBefore { end: system.flushed, at, again };
            Err(ServiceError::Start(Refusals::of(ends_before)))
        }
    }
}

/// What it takes to publish everything again.
pub fn again(config: &Config, mapping: Option<&Mapping>) -> Result<Again, ServiceError> {
    Ok(Again::Topic { topics: written(config, mapping)?, slot: config.slot.clone() })
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
    Err(TopicRefusal::Keyless {
        topic: config.kafka()?.topic.to_string(),
        tables: keyless.join(", "),
        publication: pasteable(&config.publication),
    }
    .into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::gap::Behind, *};
    use crate::{
        cli::Global,
        kafka::tails::Tails,
        start::{Timelines, slot::Lost},
    };

    fn system(timeline: i64) -> System {
        System {
            identifier: "7".to_owned(),
            timeline,
            flushed: Lsn(100),
            before: Default::default(),
        }
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

    fn decided(
        end: Option<u64>,
        is_empty: bool,
        slot: Option<Slot>,
    ) -> Result<Start, Box<TopicRefusal>> {
        let config = config();
        let partition = PartitionTail { is_empty, ..tail_at(end) };
        decided_of(&config, &[partition], slot)
    }

    fn tail_at(end: Option<u64>) -> PartitionTail {
        let (is_empty, end_lsn) = (end.is_none(), end.map(Lsn));
        let (history, last) = (end.map(|_| history_of(&system(1))), end.map(|_| 3));
        PartitionTail { is_empty, end_lsn, history, last, ..PartitionTail::default() }
    }

    fn decided_of(
        config: &Config,
        partitions: &[PartitionTail],
        slot: Option<Slot>,
    ) -> Result<Start, Box<TopicRefusal>> {
        let ends = Ends::Of(TOPIC.to_owned(), Tail(partitions.to_vec()));
        decide(config, &ends, slot.as_ref(), &system(1)).map_err(refusal)
    }

    fn refusal(error: ServiceError) -> Box<TopicRefusal> {
        match error {
            ServiceError::Topic(refusal) => refusal,
            other => panic!("{other}"),
        }
    }

    const TOPIC: &str = "wal2graph.d";

    fn anew() -> Anew {
        Anew(Written::One("wal2graph.d".to_owned()))
    }

    #[test]
    fn every_row_of_the_table() {
        let reserved = |lsn| Some(slot(lsn, "reserved"));
        assert_eq!(decided(Some(50), false, reserved(50)), Ok(Start::At(Lsn(50))));
        assert_eq!(decided(Some(50), false, reserved(40)), Ok(Start::At(Lsn(50))));
        assert_eq!(decided(None, true, None), Ok(Start::First));
        assert_eq!(decided(None, true, reserved(40)), Ok(Start::At(Lsn(40))));
        let (topic, name, end) = ("wal2graph.d".to_owned(), "wal2graph_d".to_owned(), Lsn(50));
        let confirmed = Lsn(60);
        let ahead = TopicRefusal::SlotAhead {
            slot: name.clone(),
            confirmed,
            topic: topic.clone(),
            end,
            anew: anew(),
        };
        assert_eq!(decided(Some(50), false, reserved(60)), Err(Box::new(ahead)));
        let gone = TopicRefusal::SlotGone { slot: name.clone(), end, anew: anew() };
        assert_eq!(decided(Some(50), false, None), Err(Box::new(gone)));
        let lost = TopicRefusal::SlotLost { slot: name, why: Lost::Removed, anew: anew() };
        assert_eq!(decided(Some(50), false, Some(slot(40, "lost"))), Err(Box::new(lost)));
        for slot in [reserved(40), None] {
            let nowhere = decided(None, false, slot).unwrap_err();
            assert!(matches!(*nowhere, TopicRefusal::NoPosition { .. }), "{nowhere}");
        }
    }

    #[test]
    fn a_topic_that_was_written_is_no_new_one_whatever_the_slot_says() {
        let topic = || "wal2graph.d".to_owned();
        let emptied = PartitionTail { next: 25, ..tail_at(None) };
        let refused = Err(Box::new(TopicRefusal::Emptied { topic: topic(), anew: anew() }));
        let slots = [None, Some(slot(40, "reserved")), Some(slot(100, "reserved"))];
        for slot in slots {
            let decided = |tails: &[PartitionTail]| decided_of(&config(), tails, slot.clone());
            assert_eq!(decided(std::slice::from_ref(&emptied)), refused);
            assert_eq!(
                decided(&[emptied.clone(), tail_at(None)]),
                refused,
                "one of two partitions"
            );
        }
        let there = PartitionTail { next: 25, ..tail_at(Some(50)) };
        let filled_again = decided_of(&config(), &[there, emptied], Some(slot(40, "reserved")));
        assert_eq!(filled_again, Ok(Start::At(Lsn(40))), "the other one says where it is");
    }

    #[test]
    fn tables_topics_that_were_written_need_their_heartbeats() {
        let decided = |heartbeats: PartitionTail, table: PartitionTail, slot: Option<Slot>| {
            let topics = [("t".to_owned(), vec![table])].into();
            let ends =
                Ends::OfAll(TOPIC.to_owned(), Tails { heartbeats: Tail(vec![heartbeats]), topics });
            decide(&config(), &ends, slot.as_ref(), &system(1)).map_err(refusal)
        };
        let new = || tail_at(None);
        let written = PartitionTail { next: 25, ..tail_at(Some(50)) };
        let emptied = PartitionTail { next: 25, ..tail_at(None) };
        let (topic, other) = ("wal2graph.d".to_owned(), "t".to_owned());
        let remains = TopicRefusal::Remains { topic, other, anew: anew() };
        for slot in [None, Some(slot(40, "reserved"))] {
            let refused = Err(Box::new(remains.clone()));
            assert_eq!(decided(new(), written.clone(), slot.clone()), refused);
            assert_eq!(decided(new(), emptied.clone(), slot.clone()), refused);
            let refused = decided(emptied.clone(), written.clone(), slot).unwrap_err();
            assert!(matches!(*refused, TopicRefusal::Emptied { .. }), "{refused}");
        }
        assert_eq!(decided(new(), new(), None), Ok(Start::First));
        let at = |lsn| Ok(Start::At(Lsn(lsn)));
        assert_eq!(decided(new(), new(), Some(slot(40, "reserved"))), at(40));
        let ends_empty = decided(written.clone(), emptied, Some(slot(40, "reserved")));
        assert_eq!(ends_empty, at(50), "heartbeats say where all are");
        let of_others = PartitionTail { history: None, end_lsn: None, ..written };
        let error = decided(new(), of_others, None).unwrap_err().to_string();
        assert!(error.contains("somebody else") && !error.contains("delete"), "{error}");
    }

    #[test]
    fn another_history_is_no_continuation() {
        let config = config();
        let ends = Ends::Of(TOPIC.to_owned(), Tail(vec![tail_at(Some(50))]));
        let slot = slot(40, "reserved");
        let cluster = |timeline| Cluster { identifier: "7".to_owned(), timeline };
        let (topic, other, own) = ("wal2graph.d".to_owned(), cluster(1), cluster(2));
        let (ended, at) = (None, Lsn(50));
        let refused = TopicRefusal::OtherHistory { topic, other, own, ended, at, anew: anew() };
        assert_eq!(
            decide(&config, &ends, Some(&slot), &system(2)).map_err(refusal),
            Err(Box::new(refused))
        );
    }

    /// `fork` is where the source's timeline begins.
    fn decided_after_a_promotion(
        tails: &[PartitionTail],
        fork: &str,
    ) -> Result<Start, Box<TopicRefusal>> {
        let before = Timelines::parse(&format!("1\t{fork}\tno recovery target specified\n"));
        let promoted = System { before, ..system(2) };
        let ends = Ends::Of(TOPIC.to_owned(), Tail(tails.to_vec()));
        decide(&config(), &ends, Some(&slot(40, "reserved")), &promoted).map_err(refusal)
    }

    #[test]
    fn a_topic_goes_on_after_a_promotion_that_lost_nothing_of_it() {
        let at_50 = Ok(Start::At(Lsn(50)));
        let topic = || tail_at(Some(50));
        assert_eq!(decided_after_a_promotion(&[topic()], "0/32"), at_50, "the fork is at 50");
        let lacks = |tails: &[PartitionTail], fork: &str| {
            let error = decided_after_a_promotion(tails, fork).unwrap_err();
            assert!(matches!(*error, TopicRefusal::OtherHistory { .. }), "{error}");
            error.to_string()
        };
        let said = lacks(&[topic()], "0/31");
        assert!(
            said.contains("the new timeline begins at 0/31, and the topic is at 0/32"),
            "{said}"
        );
        // The begin of a transaction, and rows of a copy, are of what comes behind the position.
        let begun = PartitionTail { last_commit: Some(Lsn(50)), ..topic() };
        assert_eq!(decided_after_a_promotion(std::slice::from_ref(&begun), "0/33"), at_50);
        lacks(&[begun], "0/32");
        let copied = |lsn| PartitionTail { read_through: Some(Lsn(lsn)), ..topic() };
        assert_eq!(decided_after_a_promotion(&[copied(60)], "0/3C"), at_50);
        let said = lacks(&[topic(), copied(60)], "0/3B");
        assert!(said.contains("and the topic is at 0/3C"), "{said}");
        // One partition has gone over already, and is further.
        let history = Some(history_of(&system(2)));
        let over = PartitionTail { history, ..tail_at(Some(90)) };
        assert_eq!(decided_after_a_promotion(&[topic(), over.clone()], "0/32"), at_50);
        lacks(&[topic(), over], "0/31");
    }

    #[test]
    fn a_source_whose_log_ends_before_the_topic_was_put_back() {
        let ends = Ends::Of(TOPIC.to_owned(), Tail(vec![tail_at(Some(101))]));
        let slot = slot(40, "reserved");
        let error = decide(&config(), &ends, Some(&slot), &system(1)).unwrap_err().to_string();
        assert!(error.contains("put back to an older state") && error.contains("delete the topic"));
    }

    #[test]
    fn only_changes_that_the_slot_has_lost_are_gone_on_behind() {
        let ends = |end| Ends::Of(TOPIC.to_owned(), Tail(vec![tail_at(end), tail_at(end)]));
        let behind = |ends: &Ends, slot: Option<Slot>, timeline| {
            let error = decide(&config(), ends, slot.as_ref(), &system(timeline)).unwrap_err();
            Behind::of(&error, ends).map(|it| (it.start(), it.gap(Lsn(70)).map(|gap| gap.from)))
        };
        let (topic, new) = (ends(Some(50)), ends(None));
        let lost = || Some(slot(40, "lost"));
        let begins_at = |lsn| Some((Start::At(Lsn(lsn)), Some(Lsn(50))));
        for (slot, start) in [(None, 50), (lost(), 50), (Some(slot(60, "reserved")), 60)] {
            assert_eq!(behind(&topic, slot.clone(), 1), begins_at(start), "{slot:?}");
            assert_eq!(behind(&topic, slot.clone(), 2), None, "another history: {slot:?}");
            assert_eq!(behind(&ends(Some(101)), slot.clone(), 1), None, "an older state: {slot:?}");
        }
        assert_eq!(behind(&new, lost(), 1), Some((Start::First, None)), "nothing was published");
        let emptied = PartitionTail { next: 25, ..tail_at(None) };
        let emptied = Ends::Of(TOPIC.to_owned(), Tail(vec![emptied]));
        assert_eq!(behind(&emptied, lost(), 1), None, "nobody knows how far it was");
    }

    fn whose(pipeline: &str, database: &str) -> Whose {
        Whose { pipeline: Some(pipeline.to_owned()), database: Some(database.to_owned()) }
    }

    #[test]
    fn a_topic_of_another_pipeline_or_database_is_never_advised_to_be_deleted() {
        let config = config();
        let of = |pipeline: &str, database: &str| {
            let other = Some((41, whose(pipeline, database)));
            let tail = PartitionTail { is_empty: false, next: 42, other, ..tail_at(None) };
            decided_of(&config, &[tail], None).unwrap_err().to_string()
        };
        let error = of("other", "d");
        assert!(error.contains("belongs to the pipeline \"other\"") && !error.contains("delete"));
        assert!(error.contains("offset 41 of partition 0 of wal2graph.d"), "{error}");
        let error = of(&config.pipeline, "other");
        assert!(error.contains("rows of the database \"other\"") && !error.contains("delete"));
        let slot = Some("its_own".to_owned());
        let through = PartitionTail { slot, ..tail_at(Some(50)) };
        let error = decided_of(&config, &[through], None).unwrap_err().to_string();
        assert!(error.contains("through the slot \"its_own\"") && !error.contains("delete"));
    }

    /// Heartbeats name the newest transaction before their position alone.
    #[test]
    fn what_topics_have_beyond_the_last_heartbeat_has_to_come_again() {
        let config = config();
        let mark = |commit: u64| Mark { commit_lsn: Lsn(commit), ..Mark::default() };
        let table = |commit| PartitionTail { furthest: Some(mark(commit)), ..tail_at(None) };
        let ahead = |heartbeat: PartitionTail, commits: [u64; 2], start| {
            let topics = [("t".to_owned(), commits.map(table).to_vec())].into();
            let tails = Tails { heartbeats: Tail(vec![heartbeat]), topics };
            super::ahead(
                &config,
                &Ends::OfAll(TOPIC.to_owned(), tails),
                start,
                Some(&slot(40, "reserved")),
            )
        };
        let at = Start::At(Lsn(50));
        assert_eq!(ahead(tail_at(Some(50)), [49, 48], at), None, "the heartbeat speaks of them");
        assert_eq!(ahead(tail_at(Some(50)), [60, 70], at), Some(mark(70)));
        assert_eq!(ahead(tail_at(Some(50)), [60, 70], Start::First), None);
        let publication = Some("other".to_owned());
        let other = PartitionTail { publication, ..tail_at(Some(50)) };
        assert_eq!(ahead(other, [60, 70], at), None, "this publication may leave it out");
    }

    #[test]
    fn records_of_others_between_ours_do_not_stop_the_publisher() {
        let stray = PartitionTail { next: 9, stray: Some(8), ..tail_at(Some(50)) };
        let other = Some((8, whose("other", "d")));
        let foreign = PartitionTail { next: 9, other, ..tail_at(Some(50)) };
        let gone = PartitionTail { is_empty: false, next: 9, stray: Some(8), ..tail_at(None) };
        let slot = || Some(slot(40, "reserved"));
        let decided = |tails: &[PartitionTail]| decided_of(&config(), tails, slot());
        assert_eq!(decided(&[stray]), Ok(Start::At(Lsn(50))));
        assert_eq!(decided(&[foreign]), Ok(Start::At(Lsn(50))));
        let of_two = decided(&[tail_at(Some(50)), gone.clone()]);
        assert_eq!(of_two, Ok(Start::At(Lsn(40))), "as one whose records are gone");
        let (at, offset) = (TopicPartition { topic: TOPIC.to_owned(), partition: 0 }, 8);
        let alone = Err(Box::new(TopicRefusal::NoPosition { at, offset }));
        assert_eq!(decided(&[gone]), alone, "the topic, the partition and the offset");
    }

    #[test]
    fn the_last_heartbeat_names_the_newest_transaction_of_all_topics() {
        let config = config();
        let newest = |heartbeats: PartitionTail, table: PartitionTail, start| {
            let topics = [("t".to_owned(), vec![table])].into();
            let ends =
                Ends::OfAll(TOPIC.to_owned(), Tails { heartbeats: Tail(vec![heartbeats]), topics });
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
        let ends = Ends::OfAll(
            TOPIC.to_owned(),
            Tails { heartbeats: Tail(vec![heartbeat]), topics: topics.into() },
        );
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
        let refused = |ends: &[Option<u64>], confirmed| at(ends, 2, confirmed).unwrap_err();
        let ahead = refused(&[Some(60), Some(50)], 55);
        assert!(matches!(*ahead, TopicRefusal::SlotAhead { end: Lsn(50), .. }), "{ahead}");
        let other = refused(&[Some(50), Some(50), None], 50);
        assert!(matches!(*other, TopicRefusal::OtherCount { count: 3, before: 2, .. }), "{other}");
    }
}
