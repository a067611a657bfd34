//! What a graph keeps of pipelines beside their rows: checkpoints and the progress of copies.

use std::collections::{BTreeMap, BTreeSet};

use wal2graph::{
    checkpoint::{
        Advance, Checkpoint, Claim, Claims, Epoch, Identity, Log, NewCheckpoint, Newest, Position,
        Replaying, Stopped, TopicId, TopicPartition,
    },
    copy::{Progress, RECONCILED},
    lsn::Lsn,
    pipeline::{NextShape, Note},
    request::{Findings, Purpose, Request, RequestId, State},
};

/// Checkpoints by pipeline and log, progress by pipeline.
#[derive(Default)]
pub struct Records {
    checkpoints: BTreeMap<(String, String), Checkpoint>,
    progress: BTreeMap<String, Vec<Progress>>,
    requests: BTreeMap<String, Vec<Request>>,
    /// The request that was concluded last.
    concluded: Option<RequestId>,
    /// The shares of requests, by pipeline and request, then by log.
    shares: BTreeMap<(String, RequestId), BTreeMap<String, Findings>>,
}

/// Why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another writer has claimed the checkpoint, or the checkpoint is at an unexpected position.
    Fenced,
    /// The checkpoint is at an older state than its writer left it in, or gone.
    PutBack,
}

impl Records {
    pub fn all(&self, pipeline: &str) -> Vec<Checkpoint> {
        let of_pipeline = self.checkpoints.iter().filter(|((name, _), _)| name == pipeline);
        let mut all: Vec<_> = of_pipeline.map(|(_, checkpoint)| checkpoint.clone()).collect();
        all.sort_by_key(|it| (it.partition().is_none(), it.partition().cloned()));
        all
    }

    pub fn of_everybody(&self) -> Vec<(String, Checkpoint)> {
        let pipelines: BTreeSet<_> = self.checkpoints.keys().map(|(name, _)| name).collect();
        let of = |name: &String| {
            self.all(name).into_iter().map(|it| (name.clone(), it)).collect::<Vec<_>>()
        };
        pipelines.into_iter().flat_map(of).collect()
    }

    /// The claims hold: nobody has claimed one of these checkpoints since.
    pub fn hold(&self, pipeline: &str, claims: Claims<'_>) -> Result<(), Refused> {
        let found = self.all(pipeline);
        let found: Vec<_> = found.iter().map(|it| (it.origin.log.name(), it.epoch)).collect();
        if claims.hold(&found) { Ok(()) } else { Err(Refused::Fenced) }
    }

    /// The checkpoints and the progress go, unless there are others than the claimed ones.
    pub fn forget(&mut self, pipeline: &str, claims: &[Claim]) -> Result<(), Refused> {
        if !self.all(pipeline).is_empty() {
            self.hold(pipeline, Claims::All(claims))?;
        }
        self.checkpoints.retain(|(name, _), _| name != pipeline);
        self.progress.remove(pipeline);
        self.requests.remove(pipeline);
        Ok(())
    }

    pub fn one(&self, of: &Identity) -> Option<&Checkpoint> {
        self.checkpoints.get(&key(of))
    }

    pub fn progress(&self, pipeline: &str) -> &[Progress] {
        self.progress.get(pipeline).map_or(&[], Vec::as_slice)
    }

    pub fn progress_mut(&mut self, pipeline: &str) -> &mut Vec<Progress> {
        self.progress.entry(pipeline.to_owned()).or_default()
    }

    pub fn create(&mut self, pipeline: &str, new: &NewCheckpoint, copy: &[Progress]) -> bool {
        let of = Identity { pipeline: pipeline.to_owned(), log: new.origin.log.clone() };
        if self.one(&of).is_some() {
            return false;
        }
        self.checkpoints.insert(key(&of), made(new, Epoch(0)));
        self.progress_mut(pipeline).extend_from_slice(copy);
        sort(self.progress_mut(pipeline));
        true
    }

    pub fn renew(
        &mut self,
        from: &Identity,
        as_read: &Checkpoint,
        new: &NewCheckpoint,
        progress: &[Progress],
    ) -> bool {
        if !is_as_read(self.one(from), as_read) {
            return false;
        }
        self.checkpoints.remove(&key(from));
        let of = Identity { pipeline: from.pipeline.clone(), log: new.origin.log.clone() };
        self.checkpoints.insert(key(&of), made(new, Epoch(as_read.epoch.0 + 1)));
        *self.progress_mut(&from.pipeline) = progress.to_vec();
        sort(self.progress_mut(&from.pipeline));
        true
    }

    pub fn claim(&mut self, of: &Identity, publication: Option<&str>) -> Option<Checkpoint> {
        let checkpoint = self.checkpoints.get_mut(&key(of))?;
        checkpoint.epoch.0 += 1;
        checkpoint.stopped = None;
        if publication.is_some() && checkpoint.publication.as_deref() != publication {
            checkpoint.newest = None;
            checkpoint.publication = publication.map(str::to_owned);
        }
        Some(checkpoint.clone())
    }

    pub fn note(&mut self, claim: &Claim, note: Note<'_>) -> bool {
        let Some(checkpoint) = self.under(claim) else { return false };
        match note {
            Note::Topic(id) => checkpoint.topic_id = Some(id),
            Note::Timeline(timeline) => checkpoint.origin.timeline = timeline,
            Note::Tables(facts) => checkpoint.table_facts = Some(facts.to_owned()),
            Note::Outlines { outlines, labels } => {
                checkpoint.outlines = Some(outlines.to_owned());
                checkpoint.labels = labels.to_vec();
            }
            Note::File(file) => checkpoint.mapping_file = Some(file.to_owned()),
            Note::Stopped(because) => {
                let (because, at) = (because.to_owned(), Default::default());
                checkpoint.stopped = Some(Stopped { because, at });
            }
        }
        true
    }

    pub fn follow(&mut self, claim: &Claim, next: NextShape<'_>) -> bool {
        let Some(checkpoint) = self.under(claim) else { return false };
        checkpoint.mapping_digest = next.digest.to_owned();
        checkpoint.labels = next.labels.to_vec();
        checkpoint.table_facts = Some(next.facts.to_owned());
        checkpoint.outlines = Some(next.outlines.to_owned());
        if let Some(progress) = next.progress {
            *self.progress_mut(&claim.identity.pipeline) = progress.to_vec();
        }
        true
    }

    pub fn hand_over(
        &mut self,
        from: &Identity,
        as_read: &Checkpoint,
        to: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> bool {
        if !is_as_read(self.one(from), as_read) {
            return false;
        }
        let Some(mut checkpoint) = self.checkpoints.remove(&key(from)) else { return false };
        checkpoint.epoch.0 += 1;
        checkpoint.origin.log = Log::Partition(to.clone());
        checkpoint.position = Position::at(Lsn::ZERO);
        (checkpoint.partitions, checkpoint.topic_id) = (1, topic_id);
        (checkpoint.newest, checkpoint.publication, checkpoint.table_facts) = (None, None, None);
        let of = Identity { pipeline: from.pipeline.clone(), log: checkpoint.origin.log.clone() };
        self.checkpoints.insert(key(&of), checkpoint);
        true
    }

    /// The compare-and-set.
    pub fn advance(&mut self, claim: &Claim, advance: &Advance) -> Result<(), Refused> {
        let checkpoint = self.checkpoints.get_mut(&key(&claim.identity));
        let checkpoint = checkpoint.ok_or(Refused::PutBack)?;
        match (checkpoint.epoch, checkpoint.position) == (claim.epoch, advance.from) {
            true => {}
            false if checkpoint.is_older_than(claim.epoch, &advance.from) => {
                return Err(Refused::PutBack);
            }
            false => return Err(Refused::Fenced),
        }
        let Advance { to, source_lsn, .. } = *advance;
        checkpoint.position = to;
        checkpoint.committed_at = advance.committed_at.or(checkpoint.committed_at);
        if let Log::Slot(_) = claim.identity.log {
            (checkpoint.lsn, checkpoint.newest) = (to.lsn, advance.newest);
            return Ok(());
        }
        checkpoint.last_change = advance.last_change.or(checkpoint.last_change);
        checkpoint.last_record = advance.last_record;
        checkpoint.lsn = checkpoint.lsn.max(source_lsn);
        if let Some(replaying) = &mut checkpoint.replaying
            && source_lsn > Lsn::ZERO
        {
            replaying.source_lsn = source_lsn;
        }
        checkpoint.replaying = checkpoint.replaying.filter(|it| to.lsn < it.until);
        Ok(())
    }

    pub fn reset(&mut self, claim: &Claim, advance: &Advance, until: Lsn) -> Result<(), Refused> {
        self.advance(claim, advance)?;
        if let Some(checkpoint) = self.under(claim) {
            checkpoint.last_change = None;
            let is_again = checkpoint.position.lsn < until;
            checkpoint.replaying = is_again.then_some(Replaying { until, source_lsn: Lsn::ZERO });
        }
        Ok(())
    }

    pub fn requests(&self, pipeline: &str) -> &[Request] {
        self.requests.get(pipeline).map_or(&[], Vec::as_slice)
    }

    pub fn ask(&mut self, pipeline: &str, request: &Request) {
        let requests = self.requests.entry(pipeline.to_owned()).or_default();
        if !requests.iter().any(|it| it.id == request.id) {
            requests.push(request.clone());
        }
    }

    pub fn take_up(&mut self, claim: &Claim, id: &RequestId, progress: &[Progress]) -> bool {
        if self.under(claim).is_none() {
            return false;
        }
        let pipeline = claim.identity.pipeline.clone();
        let Some(request) = self.request(&pipeline, id).filter(|it| it.state.is_open()) else {
            return false;
        };
        request.state = State::Running;
        let all = self.progress_mut(&pipeline);
        all.retain(|range| !RECONCILED.contains(&range.pass));
        all.extend_from_slice(progress);
        sort(all);
        true
    }

    pub fn answer(
        &mut self,
        claim: &Claim,
        id: &RequestId,
        state: &State,
        findings: &Findings,
    ) -> bool {
        if self.under(claim).is_none() {
            return false;
        }
        let request = self.request(&claim.identity.pipeline, id);
        let is_answered = |it: &&mut Request| it.state.is_open() || it.state == State::Done;
        let Some(request) = request.filter(is_answered) else { return false };
        if request.state.is_open() {
            request.state = state.clone();
        }
        request.findings = findings.clone();
        true
    }

    pub fn answer_share(
        &mut self,
        claim: &Claim,
        id: &RequestId,
        all: &[String],
        findings: &Findings,
    ) -> bool {
        if self.under(claim).is_none() {
            return false;
        }
        let key = (claim.identity.pipeline.clone(), id.clone());
        let request = self.request(&key.0, id).filter(|it| it.state.is_open());
        if request.is_none() {
            return false;
        }
        let shares = self.shares.entry(key).or_default();
        let share = shares.entry(claim.identity.log.name()).or_default();
        if !share.is_over {
            share.clone_from(findings);
        }
        let over = shares.iter().filter(|(_, share)| share.is_over);
        let over: BTreeSet<String> = over.map(|(log, _)| log.clone()).collect();
        let together = Findings::together(shares.values());
        let is_done = all.iter().all(|log| over.contains(log));
        let Some(request) = self.request(&claim.identity.pipeline, id) else { return false };
        (request.findings, request.shares_over) = (together, over);
        request.state = if is_done { State::Done } else { State::Running };
        true
    }

    pub fn cancel(&mut self, pipeline: &str, id: &RequestId) -> bool {
        let Some(request) = self.request(pipeline, id).filter(|it| it.state.is_open()) else {
            return false;
        };
        request.state = State::Cancelled;
        true
    }

    pub fn conclude(&mut self, pipeline: &str, id: &RequestId, findings: &Findings) {
        let Some(own) = self.request(pipeline, id).filter(|it| it.state == State::Done) else {
            return;
        };
        (own.findings, own.rows) = (findings.clone(), None);
        self.shares.remove(&(pipeline.to_owned(), id.clone()));
        let before = self.concluded.replace(id.clone());
        if let Some(before) = before.filter(|it| it != id) {
            self.withdraw(pipeline, &before);
        }
    }

    pub fn withdraw(&mut self, pipeline: &str, id: &RequestId) {
        self.requests.entry(pipeline.to_owned()).or_default().retain(|it| it.id != *id);
    }

    /// The passes have settled: a repair that runs is done.
    pub fn settle(&mut self, pipeline: &str) {
        self.progress_mut(pipeline).clear();
        let running = self.requests.entry(pipeline.to_owned()).or_default().iter_mut();
        let is_running =
            |it: &&mut Request| it.state == State::Running && it.purpose == Purpose::Repair;
        running.filter(is_running).for_each(|request| request.state = State::Done);
    }

    fn request(&mut self, pipeline: &str, id: &RequestId) -> Option<&mut Request> {
        let requests = self.requests.get_mut(pipeline)?;
        requests.iter_mut().find(|request| request.id == *id)
    }

    /// Nobody has claimed the checkpoint since, nor restored the graph to before it was.
    pub fn holds(&self, claim: &Claim) -> Result<(), Refused> {
        match self.one(&claim.identity) {
            Some(checkpoint) if checkpoint.epoch == claim.epoch => Ok(()),
            Some(checkpoint) if checkpoint.epoch > claim.epoch => Err(Refused::Fenced),
            _ => Err(Refused::PutBack),
        }
    }

    /// The checkpoint, if nobody has claimed it since.
    fn under(&mut self, claim: &Claim) -> Option<&mut Checkpoint> {
        self.checkpoints.get_mut(&key(&claim.identity)).filter(|it| it.epoch == claim.epoch)
    }
}

/// The checkpoint that a pipeline begins with.
fn made(new: &NewCheckpoint, epoch: Epoch) -> Checkpoint {
    let is_slot = matches!(new.origin.log, Log::Slot(_));
    Checkpoint {
        position: Position::at(new.start),
        lsn: if is_slot { new.start } else { Lsn::ZERO },
        replaying: None,
        last_change: None,
        last_record: None,
        newest: is_slot.then_some(Newest::Nothing),
        publication: new.publication.clone(),
        epoch,
        committed_at: None,
        updated_at: Default::default(),
        origin: new.origin.clone(),
        partitions: new.partitions,
        topic_id: new.topic_id,
        publisher: new.publisher.clone(),
        is_whole: new.is_whole,
        mapping_digest: new.mapping_digest.clone(),
        labels: new.labels.clone(),
        table_facts: new.table_facts.clone(),
        outlines: new.outlines.clone(),
        mapping_file: None,
        stopped: None,
    }
}

/// Nobody has written since it was read.
fn is_as_read(now: Option<&Checkpoint>, as_read: &Checkpoint) -> bool {
    now.is_some_and(|it| (it.epoch, it.lsn) == (as_read.epoch, as_read.lsn))
}

/// In the order of work.
pub fn sort(progress: &mut [Progress]) {
    progress.sort_by(|a, b| (a.pass, &a.table, a.part).cmp(&(b.pass, &b.table, b.part)));
}

fn key(of: &Identity) -> (String, String) {
    (of.pipeline.clone(), of.log.name())
}
