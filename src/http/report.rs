//! `/status`: what the program knows of itself, as a [`Report`].

use std::collections::BTreeMap;

use crate::{
    health::State,
    metrics::{PartitionLag, Snapshot},
    report::{Activity, Lag, LastError, Partition, Planning, Positions, Report, Slot},
};

/// What a snapshot says, and what its tables do.
pub fn report(snapshot: &Snapshot, tables: BTreeMap<String, Activity>) -> Report {
    let facts = &snapshot.facts;
    let reasons = facts.unready(&snapshot.limits);
    let planning = facts.planning.map(|planning| Planning {
        statements: planning.statements,
        seconds: planning.time.as_secs_f64(),
    });
    Report {
        version: env!("CARGO_PKG_VERSION"),
        pipeline: snapshot.pipeline.clone(),
        state: (&facts.state).into(),
        waiting_for: match &facts.state {
            State::Waiting { why } | State::Standby { why } => Some(why.clone()),
            _ => None,
        },
        stopped_because: match &facts.state {
            State::Stopped { why } => Some(why.clone()),
            _ => None,
        },
        stopped: None,
        last_error: snapshot.last_error.as_ref().map(|last| LastError {
            at: last.at.shown(),
            error: last.text.clone(),
            transient: last.is_transient,
        }),
        ready: Some(reasons.is_empty()),
        unready: Some(reasons.iter().map(ToString::to_string).collect()),
        refused: None,
        positions: positions(snapshot),
        lag: lag(snapshot),
        slot: slot(snapshot),
        copy: snapshot.copy.clone(),
        requests: snapshot.requests.clone(),
        placeholders: snapshot.graph.and_then(|graph| graph.placeholders),
        incomplete: snapshot.graph.and_then(|graph| graph.incomplete),
        dead_letters: snapshot.dead_letters,
        dead_letter_rows: snapshot.dead_letter_rows,
        partitions: snapshot.partitions.iter().map(partition).collect(),
        members: None,
        rebalances: snapshot.rebalances,
        from_before: None,
        paused: snapshot.paused.clone(),
        frozen: None,
        new_tables: None,
        tables: Some(tables),
        checks: snapshot.checks.as_ref().map(|checks| checks.findings.clone()),
        checked_at: snapshot.checks.as_ref().map(|checks| checks.at.shown()),
        planning,
        changes_at_once: snapshot.changes_at_once,
        mapping_digest: None,
        epoch: None,
    }
}

fn positions(snapshot: &Snapshot) -> Positions {
    let (facts, source) = (&snapshot.facts, snapshot.source.as_ref());
    // The zero of what names none is no position.
    let positions = facts.positions.as_ref().filter(|_| facts.unplaced.is_none());
    let slot = source.and_then(|source| source.slot.as_ref());
    Positions {
        source: source.map(|source| source.flushed.to_string()),
        received: positions.map(|positions| positions.received.to_string()),
        applied: positions.map(|positions| positions.applied.to_string()),
        acknowledged: slot.and_then(|slot| slot.acknowledged).map(|lsn| lsn.to_string()),
        part: None,
    }
}

fn lag(snapshot: &Snapshot) -> Lag {
    let (lag, partitions) = (snapshot.facts.lag(), &snapshot.partitions);
    let records = partitions.iter().map(PartitionLag::records).sum();
    Lag {
        seconds: lag.time.map(|time| time.as_secs_f64()),
        received_bytes: lag.received_bytes,
        applied_bytes: lag.applied_bytes,
        bytes: lag.applied_bytes,
        acknowledged_bytes: snapshot.unacknowledged_bytes(),
        records: if partitions.is_empty() { None } else { records },
    }
}

fn slot(snapshot: &Snapshot) -> Option<Slot> {
    let slot = snapshot.source.as_ref()?.slot.as_ref()?;
    Some(Slot {
        name: slot.name.clone(),
        active_pid: slot.active_pid,
        wal_status: slot.status.clone(),
        retained_bytes: slot.retained_bytes,
        safe_bytes: slot.safe_bytes,
        safe_seconds: snapshot.slot_safe_for.map(|time| time.as_secs_f64()),
    })
}

fn partition(lag: &PartitionLag) -> Partition {
    Partition {
        topic: lag.at.topic.clone(),
        partition: lag.at.partition,
        applied: lag.applied,
        end: lag.end,
        lag: lag.records(),
        lag_seconds: Some(lag.time.as_secs_f64()),
        replaying: None,
    }
}
