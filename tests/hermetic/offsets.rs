//! The start of a partition's reading: the table of all cases, and the proof that nothing is lost.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use wal2graph::{
    checkpoint::{Epoch, TopicId, TopicPartition},
    lsn::Lsn,
    replay::{
        Applied, Assigned, Beginning, Decision, GroupOffset, Identity, Mark, RecordBefore, Refill,
        Refusal, Unshown, Ways, applied_metadata, decide, in_graph, requested_metadata,
    },
};

const LOG: std::ops::Range<u64> = 100..900;

fn ours() -> String {
    applied_metadata("shop", Epoch(7))
}

fn group(offset: u64, metadata: impl Into<String>) -> Option<GroupOffset> {
    Some(GroupOffset { offset, metadata: metadata.into() })
}

fn at(offset: u64) -> Option<Applied> {
    Some(Applied { offset, highest: offset })
}

fn assigned(group: Option<GroupOffset>, applied: Option<Applied>) -> Assigned<'static> {
    Assigned {
        pipeline: "shop",
        graph: Some("g1"),
        group,
        applied,
        log: LOG,
        beginning: Beginning::Partial,
        identity: Identity::Untold,
        before: RecordBefore::Fits,
    }
}

fn with_copy(assigned: Assigned<'static>) -> Assigned<'static> {
    Assigned { beginning: Beginning::Copy, ..assigned }
}

fn begin(from: u64) -> Decision {
    Decision::Begin { from, unshown: None }
}

#[test]
fn metadata_is_short_and_names_pipeline_and_epoch() {
    assert_eq!(ours(), "wal2graph/1/shop/7");
    let longest = applied_metadata(&"p".repeat(53), Epoch(i64::MAX));
    assert!(longest.len() < 100, "{longest}");
}

#[test]
fn without_a_group_offset_the_checkpoint_decides() {
    assert_eq!(decide(&assigned(None, at(500))), Decision::FromCheckpoint);
}

#[test]
fn with_nothing_at_all_it_begins_where_a_copy_begins_and_nowhere_else() {
    let nothing = assigned(None, None);
    let refused = Decision::Refuse(Refusal::NoCopy { from: 100, start: 100 });
    assert_eq!(decide(&nothing), refused);
    assert_eq!(decide(&with_copy(nothing)), begin(100));
}

#[test]
fn a_crash_redelivers_from_the_checkpoint_whatever_the_group_says() {
    for committed in [100, 499, 500, 501, 900] {
        let crashed = assigned(group(committed, ours()), at(500));
        assert_eq!(decide(&crashed), Decision::FromCheckpoint, "{committed}");
    }
}

#[test]
fn a_topic_that_is_not_what_was_applied_stops() {
    for group in [None, group(500, ours())] {
        let (expected, found) = (Mark::Lsn(Lsn(7)), Mark::Lsn(Lsn(9)));
        let other = RecordBefore::Other { expected, found };
        let re_created = Assigned { before: other, ..assigned(group.clone(), at(500)) };
        let refusal = Refusal::OtherRecords { applied: 500, expected, found };
        assert_eq!(decide(&re_created), Decision::Refuse(refusal));
        let before = RecordBefore::Replaced { offset: 499 };
        let lost = Assigned { before, ..assigned(group.clone(), at(500)) };
        let refusal = Refusal::Replaced { applied: 500, offset: 499 };
        assert_eq!(decide(&lost), Decision::Refuse(refusal));
        let gap = decide(&assigned(group.clone(), at(99)));
        assert_eq!(gap, Decision::Refuse(Refusal::Gap { missing: 99..100 }));
        let truncated = decide(&assigned(group, at(901)));
        assert_eq!(truncated, Decision::Refuse(Refusal::Truncated { applied: 901, end: 900 }));
    }
}

const ANOTHER: Identity = Identity::Another { was: TopicId(1), is: TopicId(2) };

#[test]
fn a_topic_that_was_made_again_is_refused_where_its_offsets_and_records_look_right() {
    let refused =
        Decision::Refuse(Refusal::OtherTopic { applied: 500, was: TopicId(1), is: TopicId(2) });
    for before in [RecordBefore::Fits, RecordBefore::Silent] {
        for group in [None, group(500, ours()), group(300, ""), group(500, "")] {
            let made_again = Assigned { before, identity: ANOTHER, ..assigned(group, at(500)) };
            assert_eq!(decide(&made_again), refused, "{made_again:?}");
        }
    }
}

#[test]
fn no_confirmation_makes_another_topic_the_one_that_was_applied() {
    let (expected, found) = (Mark::Lsn(Lsn(7)), Mark::Lsn(Lsn(9)));
    let other = RecordBefore::Other { expected, found };
    for offset in [100, 500, 600] {
        let confirmed = || assigned(group(offset, requested_metadata("shop", true)), at(500));
        for assigned in [
            Assigned { identity: ANOTHER, ..confirmed() },
            Assigned { before: other, ..confirmed() },
            Assigned { applied: at(901), ..confirmed() },
        ] {
            let decision = decide(&assigned);
            assert!(matches!(decision, Decision::Refuse(_)), "{assigned:?}: {decision:?}");
        }
    }
}

#[test]
fn silence_is_no_fit_where_nobody_names_the_topic() {
    let silent = |group, identity| {
        decide(&Assigned { before: RecordBefore::Silent, identity, ..assigned(group, at(500)) })
    };
    let unproven = Decision::Refuse(Refusal::Unproven { applied: 500 });
    assert_eq!(silent(None, Identity::Untold), unproven);
    assert_eq!(silent(group(500, ours()), Identity::Untold), unproven);
    assert_eq!(silent(None, Identity::Same), Decision::FromCheckpoint);
    // The advice in the text.
    let confirmed = group(500, requested_metadata("shop", true));
    let goes_on = Decision::Replay { from: 500, until: 500 };
    assert_eq!(silent(confirmed, Identity::Untold), goes_on);
}

#[test]
fn identities_are_compared_only_where_both_are_known() {
    let [one, two] = [1, 2].map(|id| Some(TopicId(id)));
    assert_eq!(Identity::of(one, one), Identity::Same);
    assert_eq!(Identity::of(one, two), ANOTHER);
    for (was, is) in [(one, None), (None, one), (None, None)] {
        assert_eq!(Identity::of(was, is), Identity::Untold);
    }
}

#[test]
fn a_topic_id_is_written_as_kafka_writes_it() {
    let id = TopicId(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
    assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
    assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(id));
    assert!("ASNFZ4mrze".parse::<TopicId>().is_err());
}

fn ways() -> Ways {
    let refill = Refill::Ours { again: "REFILL".to_owned(), republish: "REPUBLISH".to_owned() };
    let another = "Another graph: `kafka.group: h`".to_owned();
    Ways { refill, another, group: "g".to_owned(), brokers: "b:1".to_owned() }
}

#[test]
fn where_somebody_else_publishes_no_refusal_promises_a_copy() {
    let partition = TopicPartition { topic: "t".to_owned(), partition: 3 };
    let refill = Refill::Others { again: "SNAPSHOT".to_owned(), republish: "ANEW".to_owned() };
    let ways = Ways { refill, ..ways() };
    let text = |refusal: Refusal| refusal.text(&partition, &ways);
    let made_again = Refusal::OtherTopic { applied: 3, was: TopicId(1), is: TopicId(2) };
    assert!(text(made_again).ends_with("To go on with it, SNAPSHOT"));
    assert!(text(Refusal::Gap { missing: 1..2 }).ends_with("To go on, SNAPSHOT"));
    let no_copy = text(Refusal::NoCopy { from: 3, start: 2 });
    assert!(no_copy.contains("execute-snapshot") && no_copy.ends_with("ANEW"), "{no_copy}");
}

#[test]
fn every_command_of_a_refusal_names_the_partition_and_none_leaves_deleted_rows_unsaid() {
    let partition = TopicPartition { topic: "t".to_owned(), partition: 3 };
    let mark = Mark::Lsn(Lsn(1));
    for refusal in [
        Refusal::NoCopy { from: 3, start: 2 },
        Refusal::Unreadable { offset: 3, why: "WHY".to_owned() },
        Refusal::OthersGroup { other: "other".to_owned(), committed: 3 },
        Refusal::GraphEmptied { committed: 3 },
        Refusal::Gap { missing: 1..2 },
        Refusal::ReplayGap { missing: 1..2 },
        Refusal::OtherTopic { applied: 3, was: TopicId(1), is: TopicId(2) },
        Refusal::Truncated { applied: 3, end: 2 },
        Refusal::OtherRecords { applied: 3, expected: mark, found: mark },
        Refusal::Replaced { applied: 3, offset: 2 },
        Refusal::Unproven { applied: 3 },
        Refusal::WouldSkip { skipped: 1..2 },
        Refusal::BeyondEnd { offset: 3, end: 2 },
    ] {
        let text = refusal.text(&partition, &ways());
        for command in text.split("wal2graph replay").skip(1) {
            // An emptied graph has nothing of any partition.
            let is_of_all = matches!(refusal, Refusal::GraphEmptied { .. });
            assert!(is_of_all || command.contains("--partition t/3"), "{text}");
        }
        let is_other = text.contains("made again");
        assert!(!is_other || text.contains("deleted in between"), "{text}");
        assert!(!is_other || text.ends_with("REFILL"), "{text}");
        // Rows that the source has deleted stay only after a confirmation.
        if let Refusal::Gap { .. } = refusal {
            assert!(!text.contains("--yes") && text.ends_with("REPUBLISH\nThen REFILL"), "{text}");
        }
    }
}

#[test]
fn at_the_edges_of_the_log_nothing_is_missing() {
    for edge in [LOG.start, LOG.end] {
        assert_eq!(decide(&assigned(None, at(edge))), Decision::FromCheckpoint);
    }
}

#[test]
fn an_emptied_graph_is_refused_until_the_offsets_are_reset() {
    let emptied = with_copy(assigned(group(500, ours()), None));
    assert_eq!(decide(&emptied), Decision::Refuse(Refusal::GraphEmptied { committed: 500 }));
    let reset = with_copy(assigned(group(100, ""), None));
    assert_eq!(decide(&reset), begin(100));
}

#[test]
fn a_reset_behind_the_checkpoint_is_obeyed() {
    for metadata in ["", "someone else's", "wal2graph/1/shop/replay"] {
        for from in [100, 300, 500] {
            let reset = decide(&assigned(group(from, metadata), at(500)));
            assert_eq!(reset, Decision::Replay { from, until: 500 }, "{metadata}");
        }
    }
    // Records before the log's start are gone; those after it are applied.
    let reset = decide(&assigned(group(3, ""), at(500)));
    assert_eq!(reset, Decision::Replay { from: 100, until: 500 });
}

#[test]
fn a_reset_during_a_replay_keeps_the_highest_offset() {
    let replaying = Some(Applied { offset: 300, highest: 700 });
    let again = decide(&assigned(group(200, ""), replaying));
    assert_eq!(again, Decision::Replay { from: 200, until: 700 });
    let ahead = decide(&assigned(group(400, ""), replaying));
    assert_eq!(ahead, Decision::Refuse(Refusal::WouldSkip { skipped: 300..400 }));
}

#[test]
fn a_reset_that_would_skip_is_refused_until_it_is_confirmed() {
    for metadata in [String::new(), requested_metadata("shop", false)] {
        let skipping = decide(&assigned(group(600, metadata), at(500)));
        assert_eq!(skipping, Decision::Refuse(Refusal::WouldSkip { skipped: 500..600 }));
    }
    let confirmed = group(600, requested_metadata("shop", true));
    assert_eq!(decide(&assigned(confirmed, at(500))), Decision::Skip { skipped: 500..600 });
}

#[test]
fn a_group_that_another_pipeline_uses_is_refused_and_no_reset() {
    let metadata = [
        applied_metadata("other", Epoch(7)),
        requested_metadata("other", false),
        requested_metadata("other", true),
    ];
    for metadata in metadata {
        for (offset, applied) in [(100, None), (100, at(500)), (500, at(500)), (600, at(500))] {
            let anothers = with_copy(assigned(group(offset, metadata.clone()), applied));
            let (other, committed) = ("other".to_owned(), offset);
            let refused = Decision::Refuse(Refusal::OthersGroup { other, committed });
            assert_eq!(decide(&anothers), refused, "{metadata} {offset} {applied:?}");
        }
    }
    let text = Refusal::OthersGroup { other: "other".to_owned(), committed: 5 };
    let text = text.text(&TopicPartition { topic: "t".to_owned(), partition: 0 }, &ways());
    assert!(text.contains("kafka.group") && text.contains("\"other\""), "{text}");
    assert!(text.ends_with("--delete-offsets --group g --topic t"), "a renamed one: {text}");
}

/// A second graph with a copied file was filled by a reset of the group's offsets, and each of both got the changes of
/// half of the partitions.
#[test]
fn a_group_that_fills_another_graph_is_refused_and_no_reset() {
    let metadata = [ours(), requested_metadata("shop", false), requested_metadata("shop", true)];
    for metadata in metadata {
        let of = |graph| in_graph(metadata.clone(), graph);
        for (offset, applied) in [(100, None), (100, at(500)), (500, at(500)), (600, at(500))] {
            let assigned = |graph| with_copy(assigned(group(offset, of(graph)), applied));
            let refused = Decision::Refuse(Refusal::OtherGraph { committed: offset });
            assert_eq!(decide(&assigned(Some("g2"))), refused, "{metadata} {offset} {applied:?}");
            // An earlier build named none.
            assert_eq!(decide(&assigned(Some("g1"))), decide(&assigned(None)));
            let unknown = Assigned { graph: None, ..assigned(Some("g2")) };
            assert_eq!(decide(&unknown), decide(&assigned(None)), "the product does not tell");
        }
    }
    let at = TopicPartition { topic: "t".to_owned(), partition: 0 };
    let text = Refusal::OtherGraph { committed: 5 }.text(&at, &ways());
    assert!(text.contains("`kafka.group: h`"), "{text}");
    assert!(text.ends_with("--delete-offsets --group g --topic t"), "a restored one: {text}");
    let text = Refusal::GraphEmptied { committed: 5 }.text(&at, &ways());
    assert!(text.contains("`kafka.group: h`"), "{text}");
    assert!(text.ends_with(": wal2graph replay --from earliest"), "all partitions: {text}");
}

#[test]
fn a_topic_that_shows_no_snapshot_fills_an_empty_graph_with_a_warning() {
    for unshown in [Unshown::Change, Unshown::Rows] {
        let beginning = Beginning::Unshown(unshown);
        let begins =
            |group| decide(&Assigned { beginning: beginning.clone(), ..assigned(group, None) });
        let begin = Decision::Begin { from: 100, unshown: Some(unshown) };
        assert_eq!(begins(None), begin);
        assert_eq!(begins(group(100, requested_metadata("shop", false))), begin);
        let refused = Decision::Refuse(Refusal::NoCopy { from: 101, start: 100 });
        assert_eq!(begins(group(101, "")), refused);
    }
}

#[test]
fn a_topic_whose_first_record_can_not_be_read_is_refused_for_that() {
    let beginning = Beginning::Unreadable { offset: 102, why: "it is none".to_owned() };
    let begins =
        |group| decide(&Assigned { beginning: beginning.clone(), ..assigned(group, None) });
    let unreadable = Refusal::Unreadable { offset: 102, why: "it is none".to_owned() };
    assert_eq!(begins(None), Decision::Refuse(unreadable.clone()));
    assert_eq!(begins(group(100, "")), Decision::Refuse(unreadable.clone()));
    let text = unreadable.text(&TopicPartition { topic: "t".to_owned(), partition: 3 }, &ways());
    assert!(text.contains("it is none") && text.contains("kafka.unreadable: park"), "{text}");
    assert!(!text.contains("delete"), "{text}");
    // The advice in the text.
    let passed = group(103, requested_metadata("shop", true));
    assert!(text.contains("--from offset 103 --partition t/3 --yes"), "{text}");
    assert_eq!(begins(passed), begin(103));
}

#[test]
fn records_that_were_to_be_applied_again_and_are_gone_were_said_to_be_never_applied() {
    let interrupted = Some(Applied { offset: 50, highest: 500 });
    let refusal = Refusal::ReplayGap { missing: 50..100 };
    for group in [None, group(50, ours()), group(100, requested_metadata("shop", false))] {
        assert_eq!(decide(&assigned(group, interrupted)), Decision::Refuse(refusal.clone()));
    }
    let text = refusal.text(&TopicPartition { topic: "t".to_owned(), partition: 3 }, &ways());
    assert!(text.contains("--from offset 100 --partition t/3 --yes"), "{text}");
    // The advice in the text.
    let confirmed = group(100, requested_metadata("shop", true));
    let replay = Decision::Replay { from: 100, until: 500 };
    assert_eq!(decide(&assigned(confirmed, interrupted)), replay);
    // Beyond what was applied nothing may be missing.
    let beyond = Some(Applied { offset: 50, highest: 99 });
    let refused = Decision::Refuse(Refusal::Gap { missing: 50..100 });
    assert_eq!(decide(&assigned(None, beyond)), refused);
}

#[test]
fn a_gap_is_never_passed_over_whatever_is_confirmed() {
    let refused = Decision::Refuse(Refusal::Gap { missing: 50..100 });
    for confirmed in [false, true] {
        for offset in [100, 300] {
            let reset = group(offset, requested_metadata("shop", confirmed));
            assert_eq!(decide(&assigned(reset, at(50))), refused);
        }
    }
    // A graph emptied as advised is filled from a topic with a copy.
    let emptied = with_copy(assigned(group(100, requested_metadata("shop", false)), None));
    assert_eq!(decide(&emptied), begin(100));
}

#[test]
fn a_re_created_topic_is_applied_only_to_an_emptied_graph() {
    let earliest = |confirmed| group(100, requested_metadata("shop", confirmed));
    let refused = decide(&assigned(earliest(false), at(5_000)));
    assert_eq!(refused, Decision::Refuse(Refusal::Truncated { applied: 5_000, end: 900 }));
    let confirmed = decide(&assigned(earliest(true), at(5_000)));
    assert_eq!(confirmed, Decision::Refuse(Refusal::Truncated { applied: 5_000, end: 900 }));
    // A graph emptied as advised is filled from it.
    let emptied = with_copy(assigned(earliest(false), None));
    assert_eq!(decide(&emptied), begin(100));
}

#[test]
fn a_reset_of_an_empty_graph_begins_with_the_copy_or_is_confirmed() {
    let middle = with_copy(assigned(group(300, ""), None));
    assert_eq!(decide(&middle), Decision::Refuse(Refusal::NoCopy { from: 300, start: 100 }));
    let confirmed = assigned(group(300, requested_metadata("shop", true)), None);
    assert_eq!(decide(&confirmed), begin(300));
}

#[test]
fn an_offset_beyond_the_log_is_refused() {
    for applied in [None, at(500)] {
        let beyond = decide(&assigned(group(901, requested_metadata("shop", true)), applied));
        assert_eq!(beyond, Decision::Refuse(Refusal::BeyondEnd { offset: 901, end: 900 }));
    }
}

fn any_assigned() -> impl Strategy<Value = Assigned<'static>> {
    let metadata = prop::sample::select(vec![
        String::new(),
        "x".to_owned(),
        ours(),
        requested_metadata("shop", false),
        requested_metadata("shop", true),
    ]);
    let group = prop::option::of((0u64..30, metadata));
    let applied = prop::option::of((0u64..30, 0u64..10));
    let identity = prop::sample::select(vec![Identity::Same, Identity::Untold, ANOTHER]);
    let beginning = prop::sample::select(vec![
        Beginning::Copy,
        Beginning::NoRows,
        Beginning::Unshown(Unshown::Change),
        Beginning::Partial,
        Beginning::Unreadable { offset: 5, why: String::new() },
    ]);
    (group, applied, 0u64..20, 0u64..20, beginning, 0..3, identity).prop_map(
        |(group, applied, start, length, beginning, before, identity)| Assigned {
            pipeline: "shop",
            graph: None,
            group: group.map(|(offset, metadata)| GroupOffset { offset, metadata }),
            applied: applied.map(|(offset, more)| Applied { offset, highest: offset + more }),
            log: start..start + length,
            beginning,
            identity,
            before: match before {
                0 => RecordBefore::Fits,
                1 => RecordBefore::Silent,
                _ => RecordBefore::Other { expected: Mark::Lsn(Lsn(1)), found: Mark::Lsn(Lsn(2)) },
            },
        },
    )
}

proptest! {
    #[test]
    fn nothing_that_was_never_applied_is_lost_unless_it_is_confirmed(assigned in any_assigned()) {
        let decision = decide(&assigned);
        let read_from = match &decision {
            Decision::FromCheckpoint => assigned.applied.unwrap().offset,
            Decision::Begin { from, .. } | Decision::Replay { from, .. } => *from,
            Decision::Skip { skipped } => skipped.end,
            Decision::Refuse(_) => return Ok(()),
        };
        prop_assert!(assigned.log.contains(&read_from) || read_from == assigned.log.end);
        if assigned.applied.is_some() {
            let is_other = matches!(assigned.before, RecordBefore::Other { .. });
            prop_assert!(!is_other && assigned.identity != ANOTHER);
        }
        let confirmed = requested_metadata("shop", true);
        if assigned.group.as_ref().is_some_and(|group| group.metadata == confirmed) {
            return Ok(());
        }
        match assigned.applied {
            // Everything before the checkpoint was applied, from this topic.
            Some(applied) => {
                prop_assert!(read_from <= applied.offset);
                let shown = assigned.identity == Identity::Same || assigned.before == RecordBefore::Fits;
                prop_assert!(shown);
            }
            // Nothing was applied: only a copy replaces the records before the start.
            None => {
                let may_lack = matches!(assigned.beginning, Beginning::Partial | Beginning::Unreadable { .. });
                prop_assert!(!may_lack && read_from == assigned.log.start);
            }
        }
    }

    #[test]
    fn a_replay_ends_where_the_graph_was(assigned in any_assigned()) {
        if let Decision::Replay { from, until } = decide(&assigned) {
            let applied = assigned.applied.unwrap();
            // What was to be applied again may be gone: it was applied once.
            let is_gone = applied.offset < assigned.log.start && from <= applied.highest;
            prop_assert!(from <= applied.offset || is_gone);
            prop_assert!(until <= applied.highest && until <= assigned.log.end);
        }
    }
}
