//! Where a partition is read from: the table of all cases, and that nothing is lost.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use wal2graph::{
    checkpoint::Epoch,
    lsn::Lsn,
    replay::{
        Applied, Assigned, Decision, GroupOffset, RecordBefore, Refusal, applied_metadata, decide,
        requested_metadata,
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
        group,
        applied,
        log: LOG,
        begins_with_copy: false,
        before: RecordBefore::Fits,
    }
}

fn with_copy(assigned: Assigned<'static>) -> Assigned<'static> {
    Assigned { begins_with_copy: true, ..assigned }
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
    assert_eq!(decide(&with_copy(nothing)), Decision::Begin { from: 100 });
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
        let other = RecordBefore::Other { expected: Lsn(7), found: Lsn(9) };
        let re_created = Assigned { before: other, ..assigned(group.clone(), at(500)) };
        let refusal = Refusal::OtherRecords { applied: 500, expected: Lsn(7), found: Lsn(9) };
        assert_eq!(decide(&re_created), Decision::Refuse(refusal));
        let gap = decide(&assigned(group.clone(), at(99)));
        assert_eq!(gap, Decision::Refuse(Refusal::Gap { missing: 99..100 }));
        let truncated = decide(&assigned(group, at(901)));
        assert_eq!(truncated, Decision::Refuse(Refusal::Truncated { applied: 901, end: 900 }));
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
    assert_eq!(decide(&reset), Decision::Begin { from: 100 });
}

#[test]
fn a_reset_behind_the_checkpoint_is_obeyed() {
    for metadata in ["", "someone else's", "wal2graph/1/shop/replay", "wal2graph/1/other/7"] {
        for from in [100, 300, 500] {
            let reset = decide(&assigned(group(from, metadata), at(500)));
            assert_eq!(reset, Decision::Replay { from, until: 500 }, "{metadata}");
        }
    }
    // What is before the log is not there any more; what is after was applied.
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
    assert_eq!(decide(&assigned(confirmed, at(500))), Decision::Skip { to: 600 });
    let anothers = group(600, requested_metadata("other", true));
    let refused = Decision::Refuse(Refusal::WouldSkip { skipped: 500..600 });
    assert_eq!(decide(&assigned(anothers, at(500))), refused);
}

#[test]
fn a_gap_can_be_passed_over_only_when_it_is_confirmed() {
    let earliest = |confirmed| group(100, requested_metadata("shop", confirmed));
    let refused = decide(&assigned(earliest(false), at(50)));
    assert_eq!(refused, Decision::Refuse(Refusal::WouldSkip { skipped: 50..100 }));
    assert_eq!(decide(&assigned(earliest(true), at(50))), Decision::Skip { to: 100 });
}

#[test]
fn a_re_created_topic_is_applied_only_when_it_is_confirmed() {
    let earliest = |confirmed| group(100, requested_metadata("shop", confirmed));
    let refused = decide(&assigned(earliest(false), at(5_000)));
    assert_eq!(refused, Decision::Refuse(Refusal::Truncated { applied: 5_000, end: 900 }));
    let confirmed = decide(&assigned(earliest(true), at(5_000)));
    assert_eq!(confirmed, Decision::Replay { from: 100, until: 900 });
}

#[test]
fn a_reset_of_an_empty_graph_begins_with_the_copy_or_is_confirmed() {
    let middle = with_copy(assigned(group(300, ""), None));
    assert_eq!(decide(&middle), Decision::Refuse(Refusal::NoCopy { from: 300, start: 100 }));
    let confirmed = assigned(group(300, requested_metadata("shop", true)), None);
    assert_eq!(decide(&confirmed), Decision::Begin { from: 300 });
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
    (group, applied, 0u64..20, 0u64..20, any::<bool>(), 0..3).prop_map(
        |(group, applied, start, length, begins_with_copy, before)| Assigned {
            pipeline: "shop",
            group: group.map(|(offset, metadata)| GroupOffset { offset, metadata }),
            applied: applied.map(|(offset, more)| Applied { offset, highest: offset + more }),
            log: start..start + length,
            begins_with_copy,
            before: match before {
                0 => RecordBefore::Fits,
                1 => RecordBefore::Silent,
                _ => RecordBefore::Other { expected: Lsn(1), found: Lsn(2) },
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
            Decision::Begin { from } | Decision::Replay { from, .. } => *from,
            Decision::Skip { to } => *to,
            Decision::Refuse(_) => return Ok(()),
        };
        prop_assert!(assigned.log.contains(&read_from) || read_from == assigned.log.end);
        let confirmed = requested_metadata("shop", true);
        if assigned.group.as_ref().is_some_and(|group| group.metadata == confirmed) {
            return Ok(());
        }
        match assigned.applied {
            // Everything before the checkpoint was applied, in this topic.
            Some(applied) => {
                prop_assert!(read_from <= applied.offset);
                let other = matches!(assigned.before, RecordBefore::Other { .. });
                prop_assert!(!other);
            }
            // Nothing was: only a copy stands for what is before it.
            None => prop_assert!(assigned.begins_with_copy && read_from == assigned.log.start),
        }
    }

    #[test]
    fn a_replay_ends_where_the_graph_was(assigned in any_assigned()) {
        if let Decision::Replay { from, until } = decide(&assigned) {
            let applied = assigned.applied.unwrap();
            prop_assert!(from <= applied.offset && until <= applied.highest);
            prop_assert!(until <= assigned.log.end);
        }
    }
}
