//! Records of one partition become the events of a source, transaction by transaction.
//!
//! ```text
//! offset, record --Decoder--> Decoded --+-- place: Begin Change* Commit, ended by `tx_end`, or by
//!                                       |   a heartbeat behind it
//!                                       +-- read, or without a place: a transaction of its own
//!                                       +-- heartbeat, tombstone, message: Keepalive
//!                                       +-- seen before: dropped
//! ```
//!
//! A position is an offset: that of a transaction's first record where it begins, the one after its
//! last record where it ends. So reading again from any end gives the same events again.
//!
//! Of a topic with many partitions, or of several topics, each record is a transaction of its own
//! ([`Transactions::each_alone`]): what belongs together is spread, and order is kept for each key
//! only. Its changes are stamped with where they stand in the source's log, for truncates. What comes
//! again after a restart is applied again, in its order, and ends the same: an earlier state is only
//! ever followed by the later ones.
//!
//! A publisher that was interrupted publishes again from its last complete transaction. Such records
//! are known by (`commit_lsn`, `event_index`), which grow in everything that was not there before.
//! A row that was read (op `r`) comes again only late, from a publisher that is gone: it was read at a
//! position that the partition has left behind, by a position that is named, or by a later change.
//! The memory of it begins with the LSN that the graph reached, and ends with a reset to an earlier
//! offset: then what comes is to be applied, whatever was applied before.

use std::collections::BTreeSet;

use crate::{
    catalog::TableName,
    change::{Begin, Change, Commit, Event, Timestamp},
    checkpoint::Origin,
    envelope::{Decoded, Decoder, History, Place, Record, Source},
    lsn::{Lsn, Stamp},
};

use super::{
    copied::CopyWatch,
    ends::EndsWatch,
    timeline::{Standing, Timeline},
    whose::Publisher,
};

pub use super::refused::RecordError;

/// Makes events of a partition's records, in their order.
#[derive(Debug)]
pub struct Transactions {
    decoder: Decoder,
    origin: Origin,
    /// Records of transactions that ended at or before this LSN were seen.
    through: Lsn,
    /// The last record that was not dropped: its place, and which part of its change it is.
    last: Option<(Lsn, u64, u64)>,
    /// Each record is a transaction.
    each_alone: bool,
    open: Option<Open>,
    /// Where the records begin that the decoder holds.
    held_at: Option<u64>,
    duplicates: u64,
    /// Tables that the source does not have, and those of them that nobody has taken yet.
    foreign: BTreeSet<TableName>,
    new_foreign: Vec<TableName>,
    decoded: Vec<Decoded>,
    copy: Option<CopyWatch>,
    heartbeats: Option<EndsWatch>,
    publisher: Publisher,
    timeline: Timeline,
    /// Somebody else's topic has other partitions beside this one: how many in all.
    beside: Option<u32>,
}

/// The transaction whose records arrive.
#[derive(Debug)]
struct Open {
    begin: Begin,
    /// Its place in the source's log.
    commit_lsn: Lsn,
    /// A record behind its first was passed over: that may have been its last one.
    passed_over: bool,
}

impl Transactions {
    /// For a partition that is read on from where the graph is complete through `reached`: zero at
    /// the beginning of a topic, and of a replay.
    pub fn new(decoder: Decoder, origin: Origin, reached: Lsn) -> Self {
        Transactions {
            timeline: Timeline::at(origin.timeline),
            decoder,
            origin,
            through: reached,
            last: None,
            each_alone: false,
            open: None,
            held_at: None,
            duplicates: 0,
            foreign: BTreeSet::new(),
            new_foreign: Vec::new(),
            decoded: Vec::new(),
            copy: None,
            heartbeats: None,
            publisher: Publisher::default(),
            beside: None,
        }
    }

    /// The same, of this database.
    pub fn of_database(self, database: &str) -> Self {
        Transactions { publisher: Publisher::on(database), ..self }
    }

    /// The same, and on which timeline its records are is told.
    pub fn on(self, timeline: Timeline) -> Self {
        Transactions { timeline, ..self }
    }

    /// The same, and what the records say of the copy is told.
    pub fn telling(self, copy: CopyWatch) -> Self {
        Transactions { copy: Some(copy), ..self }
    }

    /// The same of a topic that has heartbeats alone, and what they say of other topics is told.
    pub fn of_heartbeats(self, heartbeats: EndsWatch) -> Self {
        Transactions { heartbeats: Some(heartbeats), ..self }
    }

    /// The same for one of several partitions that are applied side by side. `last` is the last
    /// change that was applied: reading may begin within a transaction.
    pub fn each_alone(decoder: Decoder, origin: Origin, reached: Lsn, last: Option<Stamp>) -> Self {
        let last = last.and_then(Stamp::change).map(|(commit_lsn, index)| (commit_lsn, index, 0));
        let transactions = Transactions::new(decoder.apart(), origin, reached);
        Transactions { each_alone: true, last, ..transactions }
    }

    /// The same of a topic with so many partitions whose publisher sends a truncate to one of them alone.
    pub fn of_several(self, partitions: u32) -> Self {
        Transactions { beside: (partitions > 1).then_some(partitions), ..self }
    }

    /// How many records were dropped, because they were seen before.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The tables of skipped records: the source does not have them. Each table comes once.
    pub fn take_foreign_tables(&mut self) -> Vec<TableName> {
        std::mem::take(&mut self.new_foreign)
    }

    /// Takes the record at `offset` and adds what it says to `events`.
    ///
    /// # Errors
    /// It can not be applied, and nothing after it may be.
    pub fn record(
        &mut self,
        offset: u64,
        record: &Record,
        events: &mut Vec<Event>,
    ) -> Result<(), RecordError> {
        // Before the decoder takes it: what it holds stays where it is.
        self.publisher.check(record)?;
        let mut decoded = std::mem::take(&mut self.decoded);
        self.decoder.record(record, &mut decoded)?;
        if let (Some(copy), Some(own)) = (&self.copy, decoded.last()) {
            copy.record(offset + 1, record, own);
        }
        if let (Some(heartbeats), Some(own)) = (&self.heartbeats, decoded.last()) {
            if !matches!(own, Decoded::Heartbeat { history: Some(_), .. }) {
                return Err(RecordError::NoHeartbeat);
            }
            heartbeats.record(offset + 1, record, own);
        }
        let own = decoded.len().saturating_sub(1);
        let began = self.held_at.take().unwrap_or(offset);
        for (index, said) in decoded.drain(..).enumerate() {
            // What comes before this record's own was held, and ends where this record begins.
            let end = if index < own { offset } else { offset + 1 };
            self.said(Span { began, end }, said, events)?;
        }
        self.decoded = decoded;
        if self.decoder.is_holding() {
            self.held_at = Some(began);
        }
        Ok(())
    }

    /// The record at `offset`, which [`Transactions::record`] could not read, is done with: what is
    /// behind it may be applied. If it was the last of a transaction, that ends where the next one
    /// begins.
    pub fn pass_over(&mut self, offset: u64, events: &mut Vec<Event>) {
        if let Some(open) = &mut self.open {
            open.passed_over = true;
        }
        self.pass(Span { began: offset, end: offset + 1 }, events);
    }

    /// Where the records begin that are not applied until what ends them comes.
    pub fn unfinished(&self) -> Option<u64> {
        let open = self.open.as_ref().map(|open| open.begin.commit_lsn.0);
        open.or(self.held_at)
    }

    /// There are no records between two offsets: the position moves, between transactions.
    pub fn pass_empty(&self, from: u64, to: u64, events: &mut Vec<Event>) {
        self.pass(Span { began: from, end: to }, events);
    }

    fn said(
        &mut self,
        span: Span,
        said: Decoded,
        events: &mut Vec<Event>,
    ) -> Result<(), RecordError> {
        match said {
            Decoded::Change { source, change } => self.change(span, &source, Some(change), events),
            Decoded::Foreign { source, schema, table } => {
                let table = TableName { schema, name: table };
                if self.foreign.insert(table.clone()) {
                    self.new_foreign.push(table);
                }
                self.change(span, &source, None, events)
            }
            Decoded::Message { source } | Decoded::PassedOver { source }
                if source.place.is_some() =>
            {
                self.change(span, &source, None, events)
            }
            Decoded::Read { source, relation, row, .. } => {
                self.check(&source, source.lsn, span)?;
                let is_ours = source.history.is_some();
                if is_ours && source.lsn.is_some_and(|lsn| self.is_left_behind(lsn)) {
                    self.duplicates += 1;
                    self.pass(span, events);
                    return Ok(());
                }
                let begin = Begin {
                    xid: 0,
                    commit_lsn: Lsn(span.began),
                    committed_at: Timestamp::default(),
                    stamp: self.stamp(source.lsn.map(Stamp::of_read)),
                };
                let change = Change::Insert { relation, new: row };
                self.alone(span, begin, Lsn::ZERO, Some(change), events);
                Ok(())
            }
            Decoded::Heartbeat { end_lsn, history, .. } => {
                self.check_history(history.as_deref(), end_lsn, span)?;
                match end_lsn {
                    // An earlier one is a publisher's that went back, or the graph is ahead of the topic.
                    Some(end) if end < self.through => self.pass(span, events),
                    // The open transaction has all its changes: only its last part had none.
                    Some(end) if self.open.as_ref().is_some_and(|it| it.commit_lsn < end) => {
                        self.end(span, end, events);
                    }
                    end => {
                        self.through = self.through.max(end.unwrap_or_default());
                        self.pass(span, events);
                    }
                }
                Ok(())
            }
            Decoded::Tombstone
            | Decoded::Transaction
            | Decoded::Message { .. }
            | Decoded::PassedOver { .. } => {
                self.pass(span, events);
                Ok(())
            }
            Decoded::Reshaped { table } => Err(RecordError::Reshaped { table }),
            Decoded::Held | Decoded::Cut { .. } => Ok(()),
        }
    }

    /// The partition has what comes after this position. Of one whose topic has no heartbeats, only changes
    /// say so.
    fn is_left_behind(&self, lsn: Lsn) -> bool {
        let is_changed_since = |(commit, _, _): (Lsn, u64, u64)| commit >= lsn;
        lsn < self.through || (self.each_alone && self.last.is_some_and(is_changed_since))
    }

    /// A record of a transaction; `None` where it brings nothing for the graph.
    fn change(
        &mut self,
        span: Span,
        source: &Source,
        change: Option<Change>,
        events: &mut Vec<Event>,
    ) -> Result<(), RecordError> {
        self.check(source, source.place.as_ref().map(|place| place.commit_lsn), span)?;
        let Some(place) = &source.place else {
            if let (Some(partitions), Some(Change::Truncate { relations })) = (self.beside, &change)
                && let Some(table) = relations.first()
            {
                let table = TableName::new(&table.schema, &table.name);
                return Err(RecordError::TruncateOfOne { table, partitions });
            }
            let begin = Begin {
                xid: source.xid.unwrap_or_default(),
                commit_lsn: Lsn(span.began),
                committed_at: source.at.unwrap_or_default(),
                stamp: self.stamp(source.lsn.map(|lsn| Stamp::of_change(lsn, 0))),
            };
            self.alone(span, begin, Lsn::ZERO, change, events);
            return Ok(());
        };
        let at = (place.commit_lsn, place.event_index, self.part_of(source));
        if place.commit_lsn < self.through || self.last.is_some_and(|last| at <= last) {
            self.seen(span, place, events);
            return Ok(());
        }
        if self.each_alone {
            self.last = Some(at);
            let end = place.end.unwrap_or_default();
            let stamp = Stamp::of_change(place.commit_lsn, place.event_index);
            let begin = Begin {
                xid: place.xid,
                commit_lsn: Lsn(span.began),
                committed_at: place.committed_at,
                stamp: Some(stamp),
            };
            self.alone(span, begin, end, change, events);
            self.through = self.through.max(end);
            return Ok(());
        }
        self.end_passed_over(span, place.commit_lsn, events);
        match &self.open {
            Some(open) if open.commit_lsn == place.commit_lsn => {}
            Some(open) => {
                let (open, found) = (open.commit_lsn, place.commit_lsn);
                return Err(RecordError::NoEnd { open, found });
            }
            None => {
                let (xid, committed_at) = (place.xid, place.committed_at);
                let begin = Begin { xid, commit_lsn: Lsn(span.began), committed_at, stamp: None };
                events.push(Event::Begin(begin));
                let commit_lsn = place.commit_lsn;
                self.open = Some(Open { begin, commit_lsn, passed_over: false });
            }
        }
        self.last = Some(at);
        events.extend(change.map(Event::Change));
        if let Some(end) = place.end {
            self.end(span, end, events);
        }
        Ok(())
    }

    /// A record that came before. It may be the first that names its transaction's end: whoever
    /// published it before had cut the transaction into parts, and did not come to the last one.
    fn seen(&mut self, span: Span, place: &Place, events: &mut Vec<Event>) {
        self.duplicates += 1;
        let is_open = self.open.as_ref().is_some_and(|it| it.commit_lsn == place.commit_lsn);
        match place.end {
            Some(end) if is_open => self.end(span, end, events),
            // All of its transaction is in the graph.
            _ if place.commit_lsn < self.through => self.pass(span, events),
            end => {
                self.through = self.through.max(end.unwrap_or_default());
                self.pass_alone(span, events);
            }
        }
    }

    /// The end of the open transaction was in a record that was passed over, if another one begins.
    /// Where it was is not known; that it was behind the commit is.
    fn end_passed_over(&mut self, next: Span, commit_lsn: Lsn, events: &mut Vec<Event>) {
        if let Some(open) = &self.open
            && open.passed_over
            && open.commit_lsn != commit_lsn
        {
            let (before, end) = (Span { end: next.began, ..next }, open.commit_lsn);
            self.end(before, end, events);
        }
    }

    /// The open transaction ends at an LSN.
    fn end(&mut self, span: Span, end: Lsn, events: &mut Vec<Event>) {
        let Some(Open { begin, .. }) = self.open.take() else { return };
        let Begin { commit_lsn, committed_at, .. } = begin;
        let end_lsn = Lsn(span.end);
        events.push(Event::Commit(Commit { commit_lsn, end_lsn, source_lsn: end, committed_at }));
        self.through = self.through.max(end);
    }

    /// What stamps a change, where stamps are written.
    fn stamp(&self, stamp: Option<Stamp>) -> Option<Stamp> {
        stamp.filter(|_| self.each_alone)
    }

    /// Parts that were joined are one.
    fn part_of(&self, source: &Source) -> u64 {
        if self.each_alone { source.part } else { 0 }
    }

    /// A transaction of one change. Where it names no position of the source's, the last one that was
    /// named holds: it comes into the checkpoint with this one. Between the records of a transaction
    /// that its publisher did not finish, it keeps its place.
    fn alone(
        &self,
        span: Span,
        begin: Begin,
        source_lsn: Lsn,
        change: Option<Change>,
        events: &mut Vec<Event>,
    ) {
        let change = change.map(Event::Change);
        if self.open.is_some() {
            events.extend(change);
            return;
        }
        let Begin { commit_lsn, committed_at, .. } = begin;
        let (end_lsn, source_lsn) = (Lsn(span.end), source_lsn.max(self.through));
        events.push(Event::Begin(begin));
        events.extend(change);
        events.push(Event::Commit(Commit { commit_lsn, end_lsn, source_lsn, committed_at }));
    }

    /// Nothing for the graph: only the position moves, between transactions.
    fn pass(&self, span: Span, events: &mut Vec<Event>) {
        if self.open.is_none() && !self.decoder.is_holding() {
            let (wal_end, source_lsn) = (Lsn(span.end), self.through);
            events.push(Event::Keepalive { wal_end, source_lsn, reply_requested: false });
        }
    }

    /// What was seen before moves the position where there is no transaction to keep together: it may
    /// be the last that the partition has.
    fn pass_alone(&self, span: Span, events: &mut Vec<Event>) {
        if self.each_alone {
            self.pass(span, events);
        }
    }

    fn check(&self, source: &Source, at: Option<Lsn>, span: Span) -> Result<(), RecordError> {
        self.check_history(source.history.as_deref(), at, span)
    }

    /// Debezium's own records name no history, so there is none to compare. One of an earlier timeline is passed over
    /// where it says nothing new: a publisher that was killed had it on its way.
    fn check_history(
        &self,
        history: Option<&History>,
        at: Option<Lsn>,
        span: Span,
    ) -> Result<(), RecordError> {
        let Some(history) = history else { return Ok(()) };
        let (origin, History { system_identifier, timeline }) = (&self.origin, history);
        let is_seen = || at.is_some_and(|at| at < self.through);
        if *system_identifier == origin.system_identifier
            && (self.timeline.record(history, span.end) == Standing::GoesOn || is_seen())
        {
            return Ok(());
        }
        if origin.system_identifier.is_empty() {
            let (found, found_timeline) = (system_identifier.clone(), *timeline);
            return Err(RecordError::SourceUnnamed { found, found_timeline });
        }
        Err(RecordError::OtherHistory {
            expected: origin.system_identifier.clone(),
            expected_timeline: origin.timeline,
            found: system_identifier.clone(),
            found_timeline: *timeline,
        })
    }
}

/// The offsets of what was said: that of its first record, and the one after its last.
#[derive(Clone, Copy)]
struct Span {
    began: u64,
    end: u64,
}
