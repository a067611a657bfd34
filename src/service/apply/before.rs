//! The records before the checkpoint: whether they are those that were applied.

use std::ops::Range;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, TopicPartition},
    envelope::{Decoded, Decoder, Record},
    kafka::offsets::Asking,
    replay::{Identity, RecordBefore},
    service::ServiceError,
    topic::before::{Reached, compare, judge},
};

/// How many times as many records the next look takes.
const GROWTH: u64 = 16;

/// Looks at a few records where the brokers say that it is the same topic, else at as many as it takes
/// until one can be compared.
pub async fn look(
    asking: &Asking,
    catalog: &Catalog,
    at: &TopicPartition,
    checkpoint: &Checkpoint,
    identity: Identity,
    log: &Range<u64>,
    reads_several: bool,
) -> Result<RecordBefore, ServiceError> {
    let offset = checkpoint.position.lsn.0;
    if offset == 0 {
        return Ok(RecordBefore::Fits);
    }
    let is_there = (log.start + 1..=log.end).contains(&offset);
    if !is_there || matches!(identity, Identity::Another { .. }) {
        return Ok(RecordBefore::Silent);
    }
    let answer = of_last(asking, at, checkpoint, log).await?;
    if answer != RecordBefore::Silent {
        return Ok(answer);
    }
    let mut reached = Reached::of(checkpoint);
    if reads_several {
        // Several topics are like several partitions of one.
        reached.partitions = reached.partitions.max(2);
    }
    let mut size = RecordBefore::LOOKED_AT;
    loop {
        let start = offset.saturating_sub(size).max(log.start);
        let records = asking.records(at, start..offset).await?;
        let said = said(&mut asking.decoder(catalog, &at.topic)?, records.into_values());
        let before = judge(&said, &reached, identity);
        let is_all = start == log.start || size >= RecordBefore::LOOKED_AT_MAX;
        if before != RecordBefore::Silent || identity == Identity::Same || is_all {
            return Ok(before);
        }
        size = size.saturating_mul(GROWTH).min(RecordBefore::LOOKED_AT_MAX);
    }
}

/// What the last record before the checkpoint answers: it is there, or another one is, or it is gone, or not known.
pub async fn of_last(
    asking: &Asking,
    at: &TopicPartition,
    checkpoint: &Checkpoint,
    log: &Range<u64>,
) -> Result<RecordBefore, ServiceError> {
    let Some(last) = checkpoint.last_record else { return Ok(RecordBefore::Silent) };
    let (start, offset) = (last.offset.max(log.start), checkpoint.position.lsn.0);
    if start >= offset || offset > log.end {
        return Ok(RecordBefore::Silent);
    }
    let records = asking.records(at, start..offset).await?;
    Ok(compare(last, &records))
}

/// What records say, in their order.
pub fn said(decoder: &mut Decoder, records: impl Iterator<Item = Record>) -> Vec<Decoded> {
    let mut decoded = Vec::new();
    for record in records {
        // One that can not be read says nothing here: it is told of when it is applied.
        let _ = decoder.record(&record, &mut decoded);
    }
    decoded
}
