//! The start of a partition's reading: the program's decision, and an operator who follows its
//! advice.

use wal2graph::{
    checkpoint::{Position, TopicId},
    envelope::{DecodeOptions, Decoder},
    graph::memory::Memory,
    lsn::Lsn,
    replay::{
        self, Assigned, Beginning, Decision, GroupOffset, Identity, RecordBefore, Refusal,
        requested_metadata,
    },
    topic::{
        before::{Reached, compare, judge},
        gap::Gaps,
        holes::Holes,
    },
};

use super::{Applied, Fault, World};

impl World {
    /// Moves the checkpoint to the partition's start.
    pub fn decide(&mut self, partition: usize) -> Result<(), String> {
        let applied = self.applied[partition];
        let earliest = GroupOffset { offset: 0, metadata: String::new() };
        let decision = self.decision(partition, applied.is_reset.then_some(earliest))?;
        let refusal = match decision {
            Decision::Refuse(refusal) => refusal,
            decision => return self.follow(partition, &decision),
        };
        let is_same = applied.topic == Some(self.topic);
        match (&refusal, is_same) {
            (Refusal::Unproven { applied: offset }, true) => {
                // The operator confirms that the topic was not recreated.
                let metadata = requested_metadata("p", true);
                let confirmed = GroupOffset { offset: *offset, metadata };
                let decision = self.decision(partition, Some(confirmed))?;
                self.follow(partition, &decision)
            }
            (_, false) if self.fault == Some(Fault::OtherTopicApplied) => {
                self.applied[partition] = Applied { topic: Some(self.topic), ..Applied::default() };
                Ok(())
            }
            (Refusal::Truncated { .. } | Refusal::Replaced { .. }, true) if self.has_lost => {
                self.fill_again(partition)
            }
            (_, false) => self.fill_again(partition),
            (refusal, true) => Err(format!("{partition}: the same topic is refused: {refusal:?}")),
        }
    }

    /// The operator empties the graph, and has it filled from the topic.
    fn fill_again(&mut self, partition: usize) -> Result<(), String> {
        self.memory = Memory::default();
        self.people.give_up();
        self.holes.iter_mut().for_each(|holes| *holes = Holes::watched());
        self.gaps.iter_mut().for_each(|gaps| *gaps = Gaps::default());
        self.lives.iter_mut().for_each(|life| *life = None);
        self.applied.iter_mut().for_each(|applied| *applied = Applied::default());
        let decision = self.decision(partition, None)?;
        self.follow(partition, &decision)
    }

    fn decision(&self, partition: usize, group: Option<GroupOffset>) -> Result<Decision, String> {
        let applied = self.applied[partition];
        let named = |topic: Option<TopicId>| topic.filter(|_| self.has_ids);
        let identity = Identity::of(named(applied.topic), named(Some(self.topic)));
        let (identity, before) = match self.fault {
            Some(Fault::OtherTopicGoneOnWith) => (Identity::Same, RecordBefore::Fits),
            Some(Fault::SilenceIsAFit) if identity == Identity::Untold => {
                match self.before(partition, identity)? {
                    RecordBefore::Silent => (identity, RecordBefore::Fits),
                    before => (identity, before),
                }
            }
            _ => (identity, self.before(partition, identity)?),
        };
        let Applied { position, highest, topic, .. } = applied;
        let offset = position.lsn.0;
        Ok(replay::decide(&Assigned {
            graph: None,
            pipeline: "p",
            group,
            applied: topic.map(|_| replay::Applied { offset, highest: highest.max(offset) }),
            log: 0..self.publisher.topic[partition].len() as u64,
            beginning: Beginning::Copy,
            identity,
            before,
        }))
    }

    fn follow(&mut self, partition: usize, decision: &Decision) -> Result<(), String> {
        let topic = Some(self.topic);
        let applied = &mut self.applied[partition];
        match *decision {
            Decision::FromCheckpoint => applied.topic = topic,
            Decision::Begin { from: 0, .. } => *applied = Applied { topic, ..Applied::default() },
            Decision::Replay { from, .. } if from == applied.position.lsn.0 => {
                (applied.is_reset, applied.topic) = (false, topic);
            }
            Decision::Replay { from, until } => {
                let position = Position::at(Lsn(from));
                *applied = Applied { position, topic, highest: until, ..Applied::default() };
            }
            _ => return Err(format!("{partition}: {decision:?}")),
        }
        Ok(())
    }

    /// The evidence in the records before the checkpoint: all of them, if the brokers name no
    /// topic.
    fn before(&self, partition: usize, identity: Identity) -> Result<RecordBefore, String> {
        let Applied { position, lsn, last_change, last_record, .. } = self.applied[partition];
        let (end, log) = (position.lsn.0 as usize, &self.publisher.topic[partition]);
        if end == 0 {
            return Ok(RecordBefore::Fits);
        }
        if end > log.len() {
            return Ok(RecordBefore::Silent);
        }
        let is_there = |offset: &usize| !self.gone[partition].contains(&(*offset as u64));
        if let Some(last) = last_record.filter(|_| self.fault != Some(Fault::LostTailGoneOnWith)) {
            let offset = last.offset as usize;
            let records = (offset..end).filter(|it| is_there(it));
            let records = records.map(|it| (it as u64, log[it].clone())).collect();
            return Ok(compare(last, &records));
        }
        let start = match identity {
            Identity::Untold => 0,
            _ => end.saturating_sub(RecordBefore::LOOKED_AT as usize),
        };
        let mut decoder = Decoder::new(&self.source.catalog, DecodeOptions::default());
        let mut said = Vec::new();
        for offset in (start..end).filter(is_there) {
            decoder.record(&log[offset], &mut said).map_err(|error| error.to_string())?;
        }
        let partitions = self.lives.len() as u32;
        let reached = Reached { lsn, last_change, committed_at: None, partitions, is_ours: true };
        Ok(judge(&said, &reached, identity))
    }
}
