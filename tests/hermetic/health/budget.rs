//! The log that the slot keeps, and the end that is told.

use std::time::Duration;

use wal2graph::{
    change::Timestamp,
    health::{
        Look, State,
        budget::{Bytes, Growth, Spent, WalBudget, roughly, safe_time},
    },
    lsn::Lsn,
    metrics::{Metrics, SlotLook, SourceLook, now},
};

use super::LIMITS;
use crate::exposition::read;

fn at(second: i64, flushed: u64) -> Look {
    Look { at: Timestamp { unix_micros: second * 1_000_000 }, flushed: Lsn(flushed) }
}

#[test]
fn the_budget_warns_once_each_time_it_is_exceeded_and_ends_above_the_second_limit() {
    let budget = WalBudget { warn: Some(Bytes(10)), stop: Some(Bytes(20)) };
    let mut warned = false;
    let judged =
        [5, 10, 11, 15, 20, 9, 8, 12, 21].map(|bytes| budget.judge(Bytes(bytes), &mut warned));
    let (same, much) = (Spent::AsBefore, Spent::Much(Bytes(10)));
    let again = Spent::LittleAgain;
    let end = Spent::TooMuch(Bytes(20));
    assert_eq!(judged, [same, same, much, same, same, again, same, much, end]);
    let none = WalBudget::default();
    assert!(!none.is_set() && none.judge(Bytes(u64::MAX), &mut warned) != end);
}

#[test]
fn the_time_until_the_slot_is_lost_goes_by_the_growth_of_the_last_minutes() {
    let mut growth = Growth::default();
    growth.looked(at(0, 1_000));
    growth.looked(at(2, 1_200));
    assert_eq!(growth.rate(), None, "two seconds say nothing");
    growth.looked(at(10, 2_000));
    assert_eq!(growth.rate(), Some(100.0));
    assert_eq!(safe_time(Some(60_000), growth.rate()), Some(Duration::from_secs(600)));
    assert_eq!(safe_time(Some(-5), growth.rate()), Some(Duration::ZERO), "it is beyond the limit");
    assert_eq!(safe_time(None, growth.rate()), None, "there is no limit");
    // What is older than five minutes does not count.
    growth.looked(at(305, 2_000));
    growth.looked(at(320, 2_000));
    assert_eq!((growth.rate(), safe_time(Some(1), growth.rate())), (Some(0.0), None));
    // Another server has taken over, with a shorter log.
    growth.looked(at(330, 500));
    assert_eq!(growth.rate(), None);
}

#[test]
fn sizes_and_times_are_said_as_people_say_them() {
    let sizes = [Bytes(7), Bytes(1536), Bytes(5 << 20), Bytes(21 << 30), Bytes(3 << 40)];
    let said = sizes.map(|bytes| bytes.to_string());
    assert_eq!(said, ["7 bytes", "1.5 KiB", "5.0 MiB", "21.0 GiB", "3.0 TiB"]);
    let times = [5, 600, 7_200, 400_000].map(Duration::from_secs).map(roughly);
    assert_eq!(times, ["5 s", "10 min", "2 h", "4 days"]);
}

#[test]
fn the_time_until_the_slot_is_lost_is_served_once_it_is_known() {
    let metrics = Metrics::new("shop", LIMITS);
    let look = |seconds: i64, flushed| {
        let slot = SlotLook { safe_bytes: Some(50_000), ..SlotLook::default() };
        let at = Timestamp { unix_micros: now().unix_micros + seconds * 1_000_000 };
        SourceLook { at, flushed: Lsn(flushed), slot: Some(slot) }
    };
    metrics.looked_at_source(Some(look(-20, 1_000)));
    let series = "wal2graph_slot_safe_seconds";
    assert!(!read(&metrics.text(now())).contains_key(series));
    metrics.looked_at_source(Some(look(0, 3_000)));
    let seconds = read(&metrics.text(now()))[series];
    assert!((490.0..510.0).contains(&seconds), "{seconds}: 100 bytes a second, 50,000 left");
}

#[test]
fn a_program_that_stays_after_its_end_is_alive_not_ready_and_says_why() {
    let metrics = Metrics::new("shop", LIMITS);
    metrics.stopped("the slot is gone. To go on, `wal2graph repair --new-slot`".to_owned());
    let snapshot = metrics.snapshot(now());
    assert!(matches!(&snapshot.facts.state, State::Stopped { why } if why.contains("gone")));
    assert!(snapshot.facts.is_alive());
    let reasons = snapshot.facts.unready(&LIMITS);
    let said: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("stopped: the slot is gone"), "{said:?}");
    let samples = read(&metrics.text(now()));
    assert_eq!(samples["wal2graph_state{state=\"stopped\"}"], 1.0);
    assert_eq!(samples["wal2graph_state{state=\"streaming\"}"], 0.0);
    let last = snapshot.last_error.unwrap();
    assert!(last.text.contains("--new-slot") && !last.is_transient);
}
