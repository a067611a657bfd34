//! The status as text for people.

use std::{fmt, time::Duration};

use crate::{
    health::budget::roughly,
    report::{Copied, Lag, Partition, Positions, Replaying, Slot, Stopped},
    shown::{Shown, on_one_line},
};

use super::Status;

fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        writeln!(f, "pipeline      {}: {}", report.pipeline, report.state)?;
        slot(report.slot.as_ref(), f)?;
        if let Some(topic) = &self.topic {
            topic.partitions.iter().try_for_each(|it| partition(it, f))?;
            if let Some(waiting) = topic.dead_letters {
                writeln!(f, "dead letters  {waiting}")?;
            }
        }
        self.positions(f)?;
        if let Some(Copied { rows, ranges_done, ranges, current, .. }) = &report.copy {
            let current = current.as_deref().unwrap_or("the last changes");
            writeln!(
                f,
                "copy          {rows} rows, {ranges_done} of {ranges} ranges done, at {current}"
            )?;
        }
        for request in report.requests.iter().flatten() {
            writeln!(f, "request       {request}")?;
        }
        writeln!(f, "placeholders  {}", or_unknown(report.placeholders))?;
        if report.incomplete != Some(0) {
            writeln!(f, "incomplete    {}", or_unknown(report.incomplete))?;
        }
        if let Some(rows) = report.dead_letter_rows.filter(|rows| *rows > 0) {
            writeln!(f, "set aside     {rows} rows: `wal2graph dead-letters list` shows them")?;
        }
        self.tables(f)?;
        writeln!(f, "mapping       {}", or_unknown(report.mapping_digest.as_ref()))?;
        for Stopped { log, at, because } in report.stopped.iter().flatten() {
            writeln!(f, "stopped       at {at}, reading {log}: {because}")?;
        }
        if let Some(what) = &report.from_before {
            writeln!(f, "warning       {what}. `wal2graph check` says what to do")?;
        }
        let mut refused = report.refused.iter().flatten();
        refused.try_for_each(|refusal| writeln!(f, "refused       {refusal}"))
    }
}

impl Status {
    fn positions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Positions { source, applied, acknowledged, part, .. } = &self.report.positions;
        writeln!(f, "source        {}", or_unknown(source.as_ref()))?;
        if !self.is_unplaced {
            writeln!(f, "graph         {}", or_unknown(applied.as_ref()))?;
        }
        if let Some((commit, events)) = part {
            writeln!(f, "              and {events} changes of the transaction at {commit}")?;
        }
        writeln!(f, "acknowledged  {}", or_unknown(acknowledged.as_ref()))?;
        match &self.report.lag {
            Lag { applied_bytes: Some(bytes), seconds: Some(seconds), .. } => {
                writeln!(f, "lag           {bytes} bytes, {seconds:.1} s")
            }
            Lag { records: Some(records), .. } if self.is_unplaced => {
                let waited = self.topic.as_ref().and_then(|topic| topic.waited());
                writeln!(f, "lag           {records} records, {:.1} s", waited.unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in self.report.frozen.iter().flatten() {
            writeln!(f, "frozen        {}: it is not in the publication", Shown(table))?;
        }
        for table in self.report.new_tables.iter().flatten() {
            writeln!(f, "new table     {table}")?;
        }
        for (table, paused) in &self.report.paused {
            writeln!(f, "paused        {}: {}", Shown(table), on_one_line(&paused.to_string()))?;
        }
        Ok(())
    }
}

fn slot(slot: Option<&Slot>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(slot) = slot else { return writeln!(f, "slot          there is none") };
    let (name, status) = (or_unknown(slot.name.as_ref()), or_unknown(slot.wal_status.as_ref()));
    write!(f, "slot          {name}, {status}")?;
    if let Some(pid) = slot.active_pid {
        write!(f, ", streamed by process {pid}")?;
    }
    if let Some(bytes) = slot.retained_bytes {
        write!(f, ", retains {bytes} bytes")?;
    }
    if let Some(bytes) = slot.safe_bytes {
        write!(f, ", safe for {bytes} more")?;
    }
    let safe = slot.safe_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
    if let Some(time) = safe {
        write!(f, ", which take about {}", roughly(time))?;
    }
    writeln!(f)
}

fn partition(at: &Partition, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Partition { topic, partition, applied, .. } = at;
    let applied = or_unknown(*applied);
    write!(f, "topic         {topic}, partition {partition}: applied to offset {applied}")?;
    if let (Some(end), Some(lag)) = (at.end, at.lag) {
        write!(f, " of {end}, {lag} behind")?;
    }
    if let Some(seconds) = at.lag_seconds.filter(|seconds| *seconds > 0.0) {
        write!(f, " for {seconds:.1} s")?;
    }
    writeln!(f)?;
    match &at.replaying {
        Some(Replaying { until, lsn }) => {
            writeln!(f, "replaying     to offset {until}; again at {lsn}")
        }
        None => Ok(()),
    }
}
