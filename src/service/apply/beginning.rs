//! The first records of a partition, for [`crate::topic::beginning`] to judge.

use std::ops::Range;

use crate::{
    catalog::Catalog,
    checkpoint::TopicPartition,
    kafka::{Options, Unreadable, offsets::Asking},
    replay::Beginning,
    service::ServiceError,
    topic::{
        beginning::{First, Reading, judge},
        copied::Tables,
    },
};

/// How many records are read to see what a topic begins with.
pub const FIRST_RECORDS: u64 = 16;
/// How many are looked at until one can be read.
const LOOKED_AT_MAX: u64 = 4_096;
/// How many times as many records the next look takes.
const GROWTH: u64 = 16;

/// Whether all rows that there were when the topic was made are in it, for a graph of `tables`.
pub async fn look(
    (asking, options): (&Asking, &Options),
    catalog: &Catalog,
    tables: &Tables,
    at: &TopicPartition,
    log: &Range<u64>,
) -> Result<Beginning, ServiceError> {
    let rows = options.decoding.rows.is_some();
    let reading = Reading { rows, parks: matches!(options.unreadable, Unreadable::Park(_)) };
    let mut size = FIRST_RECORDS;
    loop {
        let range = log.start..log.end.min(log.start + size);
        let records = asking.records(at, range.clone()).await?;
        let mut decoder = asking.decoder(catalog, &at.topic)?;
        let first: Vec<First> = records
            .into_iter()
            .filter_map(|(offset, record)| {
                let mut decoded = Vec::new();
                let read = decoder.record(&record, &mut decoded);
                let read = read.map(|()| decoded.pop()).transpose()?;
                Some(First { offset, record, read })
            })
            .collect();
        let is_all = range.end == log.end || size >= LOOKED_AT_MAX;
        if is_all || first.iter().any(|it| it.read.is_ok()) {
            return Ok(judge(&first, log.start, tables, reading));
        }
        size = size.saturating_mul(GROWTH);
    }
}
