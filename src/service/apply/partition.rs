//! One partition: read, decided, claimed, applied; again when a side was away.
//!
//! ```text
//! assigned -> decided -> claimed -> pipeline ... taken away, stopped, or at its end
//!     ^                                 |
//!     +--- transient failure: a pause --+
//! ```
//!
//! A life ends for a request, too: the next one compares beside the stream.
//!
//! It lives for itself: another partition's pipeline does not stop for it, nor it for another's.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    checkpoint::{Advance, Checkpoint, Claim, Log, Position, TopicPartition},
    engine::{Engine, Limits, Portion},
    envelope::Expected,
    kafka::{
        consumer::{ConsumeError, PartitionEnd},
        offsets::Asking,
    },
    lsn::Lsn,
    mapping::Translator,
    pipeline::{
        Ended, Failure, KeptLetter, Named, Note, Observed, Pipeline, PipelineError, Reshaped,
        Status, Store, Translated, Until, Verdict,
    },
    replay::{Decision, applied_metadata, in_graph},
    service::{
        ServiceError,
        attempts::{Attempts, stopped, unless_stopped},
        facts,
        graph::{self, Graph},
        letters,
        notices::Noticing,
        watch::replaying,
    },
    topic::{
        before::LastRecords, copied::CopyWatch, ends::EndsWatch, gap::Gaps, holes::Holes,
        timeline::Timeline, transactions::Transactions,
    },
};

use super::{
    following::{self, Passing},
    gate::{Gate, Reads},
    kept, lost, promoted,
    requests::{self, Doing, Work},
    seen::Seen,
    shared::Shared,
    start::{self, Creation, Found},
    written::{Answering, Unsettled},
};

/// How often it is looked whether an idle partition ends with something that never comes.
const END_INTERVAL: Duration = Duration::from_secs(1);
/// A client to which nothing comes for so long, of what another one sees, is of no use any more.
const DEAF_AFTER: Duration = Duration::from_secs(20);
/// Clients that get no answer for so long are of no use any more, whether the broker is away or not.
const DEAF_WITHOUT_ANSWER: Duration = Duration::from_secs(60);

/// Applies the partition until it is stopped, has reached its target, or something has to be changed
/// first. While it `is_ours`: whoever went on with one that was taken away would claim it from its new
/// owner.
pub async fn live(
    shared: &Shared,
    at: &TopicPartition,
    is_ours: impl Fn() -> bool,
    stop: &watch::Receiver<bool>,
) -> Result<Ended, ServiceError> {
    let (mut attempts, mut portion, mut work) = (Attempts::default(), Portion::WHOLE, None);
    loop {
        if !is_ours() {
            return Ok(Ended::Stopped);
        }
        let started = Instant::now();
        // A life is large, and the stack of a worker is not.
        let attempt = Box::pin(attempt(shared, at, stop, &mut portion, &mut work));
        let error = match attempt.await {
            Ok(Ended::Stopped) if !*stop.borrow() => continue,
            Err(error) if error.is_of_all_partitions() => return Err(error),
            Err(error) if error.is_transient() && !*stop.borrow() && is_ours() => error,
            ended => {
                if let Err(error) = &ended
                    && !error.is_transient()
                {
                    shared.claims.tell(&shared.config, at, error).await;
                }
                return ended;
            }
        };
        let failed = attempts.failed(started, &error.to_string());
        failed.tell(Some(at), &error);
        shared.metrics.partition_waiting(at, error.to_string());
        shared.metrics.counts().retried("reconnect");
        tokio::select! {
            () = stopped(stop.clone()) => return Ok(Ended::Stopped),
            () = sleep(failed.pause) => {}
        }
    }
}

/// One connected life of its pipeline. `work` is the share that it does, and then that of the next one.
async fn attempt(
    shared: &Shared,
    at: &TopicPartition,
    stop: &watch::Receiver<bool>,
    portion: &mut Portion,
    work: &mut Option<Work>,
) -> Result<Ended, ServiceError> {
    let target = shared.targets.as_ref().and_then(|targets| targets.get(at).copied());
    if target == Some(0) && shared.topology.is_spread() {
        // It has no records, and so no checkpoint.
        return Ok(Ended::Reached);
    }
    let Some((checkpoint, compared)) = unless_stopped(stop, Box::pin(prepare(shared, at))).await?
    else {
        return Ok(Ended::Stopped);
    };
    shared.claims.add(at, checkpoint.epoch);
    let Shared { config, metrics, mapping, model, planner, .. } = shared;
    let copy = CopyWatch::new(shared.tables.clone());
    let (copied, named) = (copy.state(), Named::default());
    let claim = graph::claimed(config, Log::Partition(at.clone()), checkpoint.epoch);
    let log = claim.identity.log.name();
    let own = (&claim, |letter: &KeptLetter| letter.log == log);
    let letters = letters::of_log(config, &shared.graph, own, model).await?;
    let begun = match work.take() {
        None => None,
        Some(work) => {
            let of = (at, &checkpoint, &claim);
            let beginning = requests::begin(shared, of, copied.clone(), (&named, &letters), work);
            unless_stopped(stop, async { Ok(beginning.await) }).await?.flatten()
        }
    };
    let (copier, doing) = begun.unzip();
    let tables = model.iter().map(|(_, table)| table.name.as_str());
    let observer = metrics.counts().of_tables(tables);
    let translator = Noticing::new(Translator::new(mapping.clone()), shared.notices.clone());
    let of_compared = compared.clone().unwrap_or_default();
    let translator = Passing::new(translator, compared);
    let status = watch::Sender::new(graph::status_at(&checkpoint, false));
    let last_records = LastRecords::behind(checkpoint.last_record);
    let (holes, gaps) = match checkpoint.origin.system_identifier.is_empty() {
        true => (Holes::passed(), Gaps::default()),
        false => shared.missing.of(at),
    };
    gaps.read_from(checkpoint.position.lsn.0);
    let noted = (last_records.clone(), holes.clone(), gaps.clone());
    let timeline = Timeline::of(&checkpoint);
    let copy = (copy, timeline.clone());
    let mut source = reads(shared, at, &checkpoint, copy, noted, &of_compared)?;
    let end = source.end();
    tracing::info!(%at, offset = checkpoint.position.lsn.0, lsn = %checkpoint.lsn, "applying");
    if checkpoint.origin.system_identifier.is_empty() {
        metrics.partition_is_unplaced(at);
    }
    metrics.partition_connected(at, status.subscribe(), copied);
    let until = checkpoint.replaying.map(|it| it.until);
    let replaying = replaying::watch(at.clone(), status.subscribe(), until);
    let last = status.subscribe();
    let sink = shared.graph.sink(&claim, model, planner)?;
    let run = Pipeline {
        source: &mut source,
        preparer: Unsettled(Translated { translator, named, letters, finish: Graph::prepared }),
        sink: Observed { sink: Answering { sink, last_records }, observer },
        copier,
        engine: Engine::new(Limits::DEFAULT, checkpoint.position)
            .complete_through(checkpoint.lsn)
            .in_portions(*portion),
        until: target.map_or(Until::Forever, |target| Until::Applied(Lsn(target))),
        status,
    };
    let stopping = async {
        tokio::select! {
            () = stopped(stop.clone()) => {}
            // A share waits for what is published later: it is begun again.
            () = reached(last.clone(), target), if doing.is_some() => {}
            next = async {
                // Rows are in an older state while records are applied again: a share begins behind them.
                if let Some(until) = until.filter(|_| doing.is_none()) {
                    reached(last.clone(), Some(until.0)).await;
                }
                follow(shared, at, &claim, doing.as_ref()).await
            } => *work = next,
        }
    };
    let ended = tokio::select! {
        ended = run.run(stopping) => ended,
        put_back = kept::put_back(&shared.graph, &claim, last.clone()) => return Err(put_back.into()),
        error = watch_end(&shared.asking, end) => return Err(error),
        error = promoted::follow(shared, &claim, &timeline, last.clone()) => return Err(error),
    };
    if ended.is_ok() {
        promoted::note(shared, &claim, &timeline, &last).await?;
    }
    // It ends by itself with the pipeline, whose status it watches.
    let _ = replaying.await;
    *portion = last.borrow().portion;
    if let Some(doing) = doing {
        doing.finish(shared, &claim).await;
        if let Err(PipelineError::Copy(error)) = &ended
            && error.verdict() == Verdict::Stop
        {
            // The stream goes on without it.
            let error = ServiceError::Definite(error.without_values());
            requests::failed(shared, &claim, doing.id(), &error).await;
            return Ok(Ended::Stopped);
        }
    }
    if let Some(missing) = holes.met() {
        Box::pin(lost::look(shared, (at, &checkpoint), (&holes, missing))).await?;
        return Ok(Ended::Stopped);
    }
    if let Some(met) = gaps.met() {
        Box::pin(lost::unpublished(shared, (at, &checkpoint), (&gaps, met))).await?;
        return Ok(Ended::Stopped);
    }
    let ended = ended.map_err(|error| {
        if let (Some(reshaped), Some(seen)) = (error.reshaped(), &shared.seen) {
            match reshaped {
                Reshaped::Before(sent) => seen.unexplained.met(at, &sent),
                Reshaped::Since => seen.met(),
            }
            return ServiceError::Reshaped(error.to_string());
        }
        let log = Log::Partition(at.clone());
        let again = facts::again(config, Some(mapping), std::slice::from_ref(&checkpoint));
        ServiceError::from(error.about(|relation| mapping.key_columns(relation.oid), &log))
            .with(&again)
    })?;
    let is_there = target.is_some_and(|target| last.borrow().applied.lsn.0 >= target);
    let ended = if is_there && !*stop.borrow() { Ended::Reached } else { ended };
    tracing::info!(%at, reason = ?ended, "stopped");
    if ended == Ended::Reached {
        let left = following::to_compare(shared, at).await?.len();
        if left > 0 {
            tracing::warn!(
                %at,
                tables = left,
                "tables are still to be compared with the graph: that goes on while `wal2graph publish` and \
                 `wal2graph apply` run without --until"
            );
        }
    }
    Ok(ended)
}

/// Resolves once the graph has everything before the target, if there is one.
async fn reached(mut status: watch::Receiver<Status>, target: Option<u64>) {
    let Some(target) = target else { return std::future::pending().await };
    let is_gone = status.wait_for(|status| status.applied.lsn.0 >= target).await.is_err();
    if is_gone {
        std::future::pending().await
    }
}

/// Resolves when the life has to end for a request: with the next share, or without one if somebody has
/// ended the request that it works on.
async fn follow(
    shared: &Shared,
    at: &TopicPartition,
    claim: &Claim,
    doing: Option<&Doing>,
) -> Option<Work> {
    if let Some(doing) = doing
        && !doing.keep(shared, claim).await
    {
        return None;
    }
    Some(requests::next(shared, at, claim).await)
}

/// What is read of the partition, from its checkpoint on. `copy` learns whether the copy has come. `compared` are the
/// tables that it still has to compare.
fn reads(
    shared: &Shared,
    at: &TopicPartition,
    checkpoint: &Checkpoint,
    (copy, timeline): (CopyWatch, Timeline),
    noted: (LastRecords, Holes, Gaps),
    compared: &BTreeSet<u32>,
) -> Result<Reads, ServiceError> {
    let Shared { config, mapping, .. } = shared;
    let reached = start::reached(checkpoint);
    let origin = checkpoint.origin.clone();
    let expected = Expected {
        database: Some(shared.database.clone()),
        is_ours: !origin.system_identifier.is_empty(),
        publisher: checkpoint.publisher.clone(),
        cluster: shared.tables.cluster.clone(),
        is_spread: origin.system_identifier.is_empty() && checkpoint.partitions > 1,
    };
    let decoder = shared.asking.decoder(&shared.catalog, &at.topic)?;
    let decoder = decoder.expecting(expected).with_keys(&mapping.found_by());
    let decoder = decoder.passing_over(mapping.paused_tables()).comparing(compared);
    let decoder = match shared.seen.as_ref().and_then(Seen::compares_from) {
        Some(from) => decoder.as_catalog_from(from, mapping.published_tables()),
        None => decoder,
    };
    let transactions = match shared.topology.is_spread() {
        true => Transactions::each_alone(decoder, origin, reached, checkpoint.last_change),
        false => Transactions::new(decoder, origin, reached),
    };
    let transactions = transactions.of_database(&shared.database).on(timeline);
    let transactions = match checkpoint.origin.system_identifier.is_empty() {
        true => transactions.of_several(checkpoint.partitions),
        false => transactions,
    };
    let is_of_heartbeats = shared.topology.is_of_heartbeats(at);
    // Heartbeats say which tables are there, and no topic of a table's has any.
    let transactions = match shared.topology.has_heartbeats() && !is_of_heartbeats {
        true => transactions,
        false => transactions.telling(copy),
    };
    let said = EndsWatch::new(shared.topology.spoken_of());
    let transactions = match is_of_heartbeats {
        true => transactions.of_heartbeats(said.clone()),
        false => transactions,
    };
    let metadata = applied_metadata(&config.pipeline, checkpoint.epoch);
    let metadata = in_graph(metadata, shared.graph_id.as_deref());
    let from = checkpoint.position.lsn.0;
    let source = shared.member.read(at, from, transactions, noted, metadata);
    Ok(match is_of_heartbeats {
        true => Reads::Heartbeats(Box::new(Gate::new(config, source, said, reached)?)),
        false => Reads::Rows(source),
    })
}

/// Passes what a partition ends with and never brings: markers of transactions and what compaction has
/// taken. Else the graph would seem to lack it for ever. Resolves once the partition has lost what was read of it, or
/// once its records do not come: librdkafka keeps silent about both.
async fn watch_end(asking: &Asking, end: PartitionEnd) -> ServiceError {
    let (mut before, mut waits_since, mut silent_since) = (None, None, None);
    loop {
        sleep(END_INTERVAL).await;
        let next = end.next();
        if before.replace(next) != Some(next) || end.is_full() {
            waits_since = None;
            continue;
        }
        // The member waits for a broker that is away. One that came back with an older state answers new clients alone.
        let Ok(log) = asking.log(end.at()).await else {
            let since = *silent_since.get_or_insert_with(Instant::now);
            if since.elapsed() > DEAF_WITHOUT_ANSWER {
                return ServiceError::Deaf(format!(
                    "nobody has told where {} ends for {} seconds: connecting again",
                    end.at(),
                    DEAF_WITHOUT_ANSWER.as_secs()
                ));
            }
            continue;
        };
        silent_since = None;
        if next > log.end {
            let (at, read, end) = (end.at().clone(), next, log.end);
            return ConsumeError::Truncated { at, read, end }.into();
        }
        let is_behind = next >= log.start && next < log.end;
        match is_behind.then_some(asking.is_empty(end.at(), next..log.end).await) {
            Some(Ok(true)) => end.pass(next, log.end),
            Some(Ok(false)) => {
                let since = *waits_since.get_or_insert_with(Instant::now);
                if since.elapsed() > DEAF_AFTER && end.next() == next {
                    return ServiceError::Deaf(format!(
                        "{} has records from offset {next} on, and none came for {} seconds: connecting again",
                        end.at(),
                        DEAF_AFTER.as_secs()
                    ));
                }
            }
            Some(Err(_)) | None => {}
        }
    }
}

/// Decides from where it is read, and claims it there. Returns the tables that the partition has to compare, where the
/// graph follows them.
async fn prepare(
    shared: &Shared,
    at: &TopicPartition,
) -> Result<(Checkpoint, Option<BTreeSet<u32>>), ServiceError> {
    let Shared { config, catalog, tables, asking, graph, mapping, seen, .. } = shared;
    let found = Found::look(config, catalog, tables, asking, graph, at).await?;
    let decision = found.decided(config);
    if let Some(checkpoint) = &found.checkpoint
        && (seen.is_none() || checkpoint.table_facts.is_none())
    {
        start::check_checkpoint(config, mapping, checkpoint)?;
    }
    if let Decision::Begin { from, unshown } = decision {
        following::was_published(config, seen.as_ref()).await?;
        let (topic, history) = (found.topic, found.history.as_ref());
        Box::pin(lost::begins(shared, at, history)).await?;
        let facts = seen.as_ref().map(|seen| following::first_of(shared, seen, at)).transpose()?;
        let facts = facts.map(|facts| facts.text());
        let creation =
            Creation { config, catalog, mapping, facts, asking, graph, at, topic, history };
        creation.create(&found.log, from).await?;
        if let Some(unshown) = unshown {
            tracing::warn!("{}", unshown.text(at));
        }
    }
    if let Decision::Refuse(refusal) = decision {
        let log = Log::Partition(at.clone());
        let now = graph.checkpoint(&graph::identity(config, log)).await?;
        if now != found.checkpoint {
            // What was read of it may be half of one state and half of the next.
            return Err(ServiceError::NotYet(format!(
                "the instance that had {at} before still writes"
            )));
        }
        return Err(ServiceError::Definite(found.refused(
            config,
            (catalog, mapping),
            at,
            &refusal,
        )?));
    }
    if let (Decision::Replay { .. }, Some(checkpoint)) = (&decision, &found.checkpoint) {
        // Before the reset is kept: a kill in between costs a comparison, and nothing else.
        Box::pin(lost::replays(shared, (at, checkpoint))).await?;
    }
    let claimed = claim_and_reset(shared, at, &decision).await?;
    if claimed.topic_id.is_none()
        && let Some(id) = found.topic.id
    {
        let claim = graph::claimed(config, Log::Partition(at.clone()), claimed.epoch);
        graph.note(&claim, Note::Topic(id)).await?;
    }
    if !claimed.origin.system_identifier.is_empty() {
        shared.topology.check_compaction_of(config.kafka()?, &at.topic).await?;
    }
    super::files::goes_over(shared, at, &claimed).await?;
    let compared = match seen {
        Some(seen) => Some(Box::pin(following::agreed(shared, seen, at, &claimed)).await?),
        None => {
            following::ask_again(shared, at, &graph.requests(&config.pipeline).await?).await?;
            None
        }
    };
    Ok((claimed, compared))
}

/// Claims the partition's checkpoint, and moves it to where the offsets were reset to. The group's
/// offset follows once the pipeline runs; if it does not come to that, the reset still stands there,
/// and is found again.
async fn claim_and_reset(
    shared: &Shared,
    at: &TopicPartition,
    decision: &Decision,
) -> Result<Checkpoint, ServiceError> {
    let config = &shared.config;
    let identity = graph::identity(config, Log::Partition(at.clone()));
    let claimed = graph::claim(&shared.graph, &identity, None).await?;
    let now = claimed.position.lsn;
    let (to, until) = match decision {
        Decision::Replay { from, until } => (Lsn(*from), Lsn(*until).max(now)),
        Decision::Skip { skipped } => (Lsn(skipped.end), Lsn(skipped.end)),
        _ => return Ok(claimed),
    };
    let (from, to) = (claimed.position, Position::at(to));
    if to.lsn > from.lsn {
        tracing::warn!(%at, from = now.0, to = to.lsn.0, "skipping records, as confirmed");
    } else {
        tracing::info!(
            %at,
            from = to.lsn.0,
            until = until.0,
            "the offsets were reset: applying records again"
        );
    }
    if from == to {
        return Ok(claimed);
    }
    let advance = Advance {
        from,
        to,
        source_lsn: Lsn::ZERO,
        committed_at: None,
        last_change: None,
        last_record: None,
        newest: None,
    };
    let claim = Claim { identity, epoch: claimed.epoch };
    let reset = shared.graph.reset(&claim, &advance, until).await;
    reset.map_err(ServiceError::of_write)?;
    let checkpoint = shared.graph.checkpoint(&claim.identity).await?;
    checkpoint.ok_or_else(|| ServiceError::NotYet("the checkpoint is gone".to_owned()))
}
