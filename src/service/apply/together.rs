//! The partitions of one member: begun as they are assigned, ended as they are taken away.
//!
//! ```text
//! assignment --> begin, end --> tasks, one a partition --> ended
//!                                                           stopped, or taken away: fine
//!                                                           all at their targets, others' too: the end
//!                                                           a definite failure: the end of all
//! ```
//!
//! A partition that is taken away may be applied by another member before the task here has ended.
//! That is no danger: its epoch is claimed then, and what is still written here is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    checkpoint::TopicPartition,
    kafka::consumer::Assignment,
    pipeline::{Ended, Failure, PipelineError, Store, Verdict},
    service::{ServiceError, attempts::stopped},
};

use super::{
    files, following, partition,
    shared::Shared,
    topology::{self, looked_at},
};

/// How long nothing is assigned before that is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// A member that leaves before it has joined is one for its whole session to the group, which waits for it.
const JOINING: Duration = Duration::from_secs(15);
/// How often it is looked whether others have applied the rest.
const REST_INTERVAL: Duration = Duration::from_millis(300);
/// A writer that was fenced learns within this time that it has lost its partition, unless the one
/// who fenced it is of another group.
const FENCED_PATIENCE: Duration = Duration::from_secs(15);

/// How a partition's task ended.
struct Done {
    at: TopicPartition,
    number: u64,
    ended: Result<Ended, ServiceError>,
}

/// A partition's task, which stops when this is set.
struct Running {
    number: u64,
    stop: watch::Sender<bool>,
}

/// All of them.
pub struct Together {
    shared: Arc<Shared>,
    assignment: watch::Receiver<Assignment>,
    tasks: JoinSet<Done>,
    running: BTreeMap<TopicPartition, Running>,
    reached: BTreeSet<TopicPartition>,
}

impl Together {
    /// Nothing is applied yet.
    pub fn new(shared: Shared) -> Self {
        Together {
            assignment: shared.member.assignment(),
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            reached: BTreeSet::new(),
        }
    }

    /// Applies what is assigned, until it is stopped, all of it has reached its target, or a failure
    /// concerns all. Then everything is at rest, and the group is left.
    pub async fn run(mut self, stop: &watch::Receiver<bool>) -> Result<Ended, ServiceError> {
        let ended = self.follow(stop).await;
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        while let Some(done) = self.tasks.join_next().await {
            if let Ok(Done { at, ended: Err(error), .. }) = done {
                tracing::debug!(%at, %error, "stopped");
            }
        }
        for at in self.running.keys().chain(&self.reached) {
            self.shared.metrics.partition_gone(at);
        }
        if let Some(shared) = Arc::into_inner(self.shared) {
            shared.member.close().await;
        }
        ended
    }

    async fn follow(&mut self, stop: &watch::Receiver<bool>) -> Result<Ended, ServiceError> {
        let shared = self.shared.clone();
        let kafka = shared.config.kafka()?;
        let changed = topology::changed(kafka, &shared.asking, &shared.topology);
        let reshaped = following::changed(&shared);
        let (idle, joining) = (sleep(PATIENCE), sleep(JOINING));
        let overtaken = files::overtaken(&shared);
        tokio::pin!(changed, reshaped, overtaken, idle, joining);
        let mut has_joined = false;
        let (mut is_told, mut told) = (false, false);
        loop {
            self.adapt();
            if is_told && self.running.is_empty() && self.has_none() {
                shared.metrics.standby(self.why_idle());
            }
            let rest = self.has_reached_its_own() || told && self.has_none_to_reach();
            tokio::select! {
                () = stopped(stop.clone()) => return Ok(Ended::Stopped),
                error = shared.member.failed() => return Err(looked_at(error.into())),
                error = &mut changed => return Err(error),
                error = &mut overtaken => return Err(error),
                () = &mut joining, if !has_joined => has_joined = true,
                _ = &mut reshaped, if has_joined => {
                    let what = "the tables, the publication or the mapping have changed";
                    return Err(ServiceError::Reshaped(what.to_owned()));
                }
                _ = self.assignment.changed() => (has_joined, is_told) = (true, true),
                Some(done) = self.tasks.join_next() => {
                    let done = done.map_err(PipelineError::Bug)?;
                    self.ended(done)?;
                }
                () = sleep(REST_INTERVAL), if rest => {
                    if self.is_others().await? && self.is_everything_applied().await? {
                        return Ok(Ended::Reached);
                    }
                }
                () = &mut idle, if !told => {
                    told = true;
                    self.tell_idle();
                }
            }
        }
    }

    /// Begins what is new, and stops what went.
    fn adapt(&mut self) {
        let assignment = self.assignment.borrow_and_update().clone();
        for (at, running) in &self.running {
            if assignment.get(at) != Some(&running.number) && !running.stop.send_replace(true) {
                tracing::info!(%at, "the group took the partition away");
            }
        }
        for at in self.reached.iter().filter(|at| !assignment.contains_key(*at)) {
            self.shared.metrics.partition_gone(at);
        }
        for (at, number) in assignment {
            if self.running.contains_key(&at) || self.reached.contains(&at) {
                continue;
            }
            let (stop, stopping) = watch::channel(false);
            self.running.insert(at.clone(), Running { number, stop });
            let (shared, assignment) = (self.shared.clone(), self.assignment.clone());
            self.tasks.spawn(async move {
                let is_ours = || assignment.borrow().get(&at) == Some(&number);
                let ended = partition::live(&shared, &at, is_ours, &stopping).await;
                let is_fenced = |error: &ServiceError| error.verdict() == Verdict::Fenced;
                if ended.as_ref().is_err_and(is_fenced) {
                    let mut assignment = assignment.clone();
                    let lost = assignment.wait_for(|it| it.get(&at) != Some(&number));
                    // Whether it is lost or not is looked at in any case.
                    let _ = timeout(FENCED_PATIENCE, lost).await;
                }
                Done { at, number, ended }
            });
        }
    }

    /// A failure of a partition that is still ours is one of all.
    fn ended(&mut self, done: Done) -> Result<(), ServiceError> {
        let Done { at, number, ended } = done;
        self.running.remove(&at);
        let is_ours = self.assignment.borrow().get(&at) == Some(&number);
        match ended {
            Ok(Ended::Reached) => {
                self.reached.insert(at);
                return Ok(());
            }
            Ok(Ended::Stopped) => {}
            Err(error) if is_ours => {
                self.shared.metrics.partition_gone(&at);
                return Err(looked_at(error));
            }
            Err(error) => tracing::info!(%at, %error, "the partition was taken away"),
        }
        self.shared.metrics.partition_gone(&at);
        Ok(())
    }

    /// Every partition that is ours has reached its target, if it has one.
    fn has_reached_its_own(&self) -> bool {
        let assignment = self.assignment.borrow();
        self.shared.targets.is_some()
            && !assignment.is_empty()
            && assignment.keys().all(|at| self.reached.contains(at))
    }

    /// There are targets, and other members of the group have all partitions, as it seems.
    fn has_none_to_reach(&self) -> bool {
        self.shared.targets.is_some() && self.has_none()
    }

    /// The group has given it no partition.
    fn has_none(&self) -> bool {
        self.assignment.borrow().is_empty()
    }

    /// Something is ours, or others are known to be in the group: without any, a partition that is still
    /// to be assigned may have to be replayed.
    async fn is_others(&self) -> Result<bool, ServiceError> {
        if !self.has_none() {
            return Ok(true);
        }
        Ok(self.shared.asking.members().await?.is_some_and(|members| members > 1))
    }

    /// Every partition has, whoever has applied it. A checkpoint beyond the topic's end proves nothing: the topic has
    /// lost its last records, and the member that gets the partition refuses it.
    async fn is_everything_applied(&self) -> Result<bool, ServiceError> {
        let Shared { config, graph, targets, asking, .. } = &*self.shared;
        let checkpoints = graph.positions(&config.pipeline).await?;
        let applied = |at: &TopicPartition| {
            let its = checkpoints.iter().find(|it| it.partition() == Some(at));
            its.map_or(0, |it| it.position.lsn.0)
        };
        let by_others = targets.iter().flatten().filter(|(at, _)| !self.reached.contains(*at));
        for (at, target) in by_others {
            let applied = applied(at);
            if applied < *target || applied > asking.log(at).await?.end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tell_idle(&self) {
        if self.has_none() {
            tracing::info!("standby: {}", self.why_idle());
        }
    }

    fn why_idle(&self) -> String {
        let group = self.shared.config.kafka().map_or("", |kafka| &kafka.group);
        format!("other members of the group {group} have all partitions")
    }
}
