//! Requests to compare and repair, in the partitions of `apply`.
//!
//! ```text
//! process:    every second, the requests of the graph
//! partition:  the oldest one that it has a share in, and has not done -> its turn -> the life ends
//! next life:  compares beside the stream; every second, what it finds -> the request
//! ```
//!
//! Each partition does its share for itself, wherever it is assigned, and the request is done once all have.
//! One that is taken away, or killed, begins its share again where it is assigned next. Shares that are over
//! are kept in the graph. A process has a bounded number of partitions that compare at a time: each has
//! sessions of its own in PostgreSQL.
//!
//! The stream does not depend on it: a source that is away is waited for, and a share that can not be done
//! ends the request, with the reason.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_postgres::Client;

use crate::{
    checkpoint::{Checkpoint, Claim, Log, TopicPartition},
    copy::RECONCILED,
    graph::{Key, TableIndex},
    kafka::{owned::Owned, tail, tails},
    lsn::Lsn,
    mapping::Translator,
    pipeline::{
        Failure, HeldAt, IsOwn, Lane, Letters, Named, OwnEntities, OwnRows, OwnWrites, Reported,
        Store, TableCopier,
    },
    postgres::{
        self,
        connect::sql,
        copy::{CopyReader, current_xid},
        locks::Beside,
        sources::Sources,
    },
    request::{Findings, Request, RequestId, Rows, State},
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
        others::Others,
        requests::{FOREIGN, findings, keys, over, tables_of, without},
        setup,
    },
    topic::{copied::CopyState, names::TableTopics, routing::Partitions},
};

use super::{
    looked::INTERVAL,
    share::{Elsewhere, Share, Standing},
    shared::Shared,
};

/// The pause after the source, or the topics, did not answer.
const AWAY_PAUSE: Duration = Duration::from_secs(10);
/// The limit for the last findings of a life.
const LAST_LIMIT: Duration = Duration::from_secs(5);

type Sink = <Graph as Store>::Sink;
type Reader = <Graph as Store>::Reader;
type Lanes = TableCopier<OwnRows<CopyReader>, OwnWrites<Sink>, OwnEntities<Reader>>;

/// The copier of a partition that does its share.
pub type Comparing = Share<Lanes>;

/// A share that a partition's next life does. It is the partition's turn until this is dropped.
pub struct Work {
    request: Request,
    tables: Vec<TableIndex>,
    /// The rows of the copy are before this offset.
    copied_before: u64,
    client: Client,
    turn: OwnedSemaphorePermit,
}

/// A share that is being done.
pub struct Doing {
    id: RequestId,
    all: Vec<String>,
    reported: Reported,
    expected: BTreeMap<String, u64>,
    is_kept: AtomicBool,
    /// Until it is over.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Resolves with the next share that the partition has to do, when it is its turn.
pub async fn next(shared: &Shared, at: &TopicPartition, claim: &Claim) -> Work {
    let mut open = shared.requests.open();
    loop {
        let requests = open.borrow_and_update().clone();
        for request in requests {
            let id = request.id.clone();
            match work(shared, at, request).await {
                Ok(Some(work)) => return work,
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(%at, %error, "the comparison waits");
                    sleep(AWAY_PAUSE).await;
                }
                Err(error) => failed(shared, claim, &id, &error).await,
            }
        }
        // What keeps a share from its beginning may end without a change of requests.
        let _ = timeout(INTERVAL, open.changed()).await;
    }
}

/// The share in a request, if there is one to do, once it is the partition's turn.
async fn work(
    shared: &Shared,
    at: &TopicPartition,
    request: Request,
) -> Result<Option<Work>, ServiceError> {
    let config = &shared.config;
    let log = Log::Partition(at.clone()).name();
    if is_of_other_tables(shared, &request).await {
        // The next look sees them.
        return Ok(None);
    }
    let mut tables = shares(shared, &request)?.remove(at).unwrap_or_default();
    tables.retain(|table| !shared.mapping.paused().contains(table));
    if tables.is_empty() || request.shares_over.contains(&log) {
        return Ok(None);
    }
    let turn = shared.requests.turn().await;
    // It may have changed since it was seen.
    let now = shared.graph.requests(&config.pipeline).await?;
    let is_to_do = |it: &&Request| it.state.is_open() && !it.shares_over.contains(&log);
    let Some(request) = now.iter().find(|it| it.id == request.id).filter(is_to_do).cloned() else {
        return Ok(None);
    };
    let Some(copied_before) = copied_before(shared, at).await? else { return Ok(None) };
    let client = sql(&config.source()).await?.client;
    Ok(Some(Work { request, tables, copied_before, client, turn }))
}

/// The request names tables that may have come, or may have gone on after a pause, since the look at the tables. What
/// the graph is owed of a paused table waits in any case.
async fn is_of_other_tables(shared: &Shared, request: &Request) -> bool {
    let Some(seen) = &shared.seen else { return false };
    let paused = shared.mapping.paused();
    let may_differ = match tables_of(&shared.model, request) {
        Ok(_) if request.id.is_owed() => false,
        Ok(tables) => tables.iter().any(|table| paused.contains(table)),
        Err(_) => true,
    };
    may_differ && !seen.is_of_now(&shared.config).await
}

/// The tables that a request is about. Where the graph follows, one that has gone since has nothing to compare.
/// What is paused has no share in a request of somebody's. What the graph is owed of it stays open until it goes on:
/// others may know already that it does.
fn asked(shared: &Shared, request: &Request) -> Result<Vec<TableIndex>, ServiceError> {
    let Shared { model, mapping, seen, .. } = shared;
    let asked = match tables_of(model, request) {
        Err(_) if seen.is_some() => {
            let left = model.iter().filter(|(_, table)| request.tables.contains(&table.name));
            left.map(|(table, _)| table).collect()
        }
        asked => asked.map_err(ServiceError::Definite)?,
    };
    match (asked.is_empty(), request.id.is_owed()) {
        (true, _) => {
            Err(ServiceError::Definite("the mapping has none of its tables any more".to_owned()))
        }
        (false, true) => Ok(asked),
        (false, false) => {
            without(model, mapping.paused(), asked, request).map_err(ServiceError::Definite)
        }
    }
}

/// Whether a topic has a table's rows.
pub fn is_in(shared: &Shared) -> Result<impl Fn(TableIndex, &str) -> bool, ServiceError> {
    let Shared { config, mapping, topology, .. } = shared;
    let by_table = match topology.has_heartbeats() {
        true => {
            let topics = TableTopics::new(&config.kafka()?.topic, mapping.table_names());
            Some(topics.map_err(ServiceError::topic_name)?)
        }
        false => None,
    };
    Ok(move |table: TableIndex, topic: &str| match &by_table {
        None => true,
        Some(topics) => {
            let its = topics.tables.get(&mapping.columns(table).name);
            its.is_some_and(|its| its.as_str() == topic)
        }
    })
}

/// Which partition has a share in the request: the tables whose rows it has, with those that are paused.
///
/// # Errors
/// The mapping lacks a table that is asked for.
fn shares(
    shared: &Shared,
    request: &Request,
) -> Result<BTreeMap<TopicPartition, Vec<TableIndex>>, ServiceError> {
    let Shared { topology, .. } = shared;
    let asked = asked(shared, request)?;
    let is_in = is_in(shared)?;
    let partitions = topology.partitions().filter(|at| !topology.is_of_heartbeats(at));
    let of = |at: TopicPartition| {
        let tables = asked.iter().copied().filter(|table| is_in(*table, &at.topic));
        let tables: Vec<TableIndex> = tables.collect();
        (!tables.is_empty()).then_some((at, tables))
    };
    Ok(partitions.filter_map(of).collect())
}

/// An offset that the copy's rows are before. `None`: the copy is not complete in the topics. A position of
/// the source does not tell it: while the source stands still, rows of the copy are behind a heartbeat of the
/// same position.
async fn copied_before(shared: &Shared, at: &TopicPartition) -> Result<Option<u64>, ServiceError> {
    let kafka = shared.config.kafka()?;
    let has_all = |copied: &[u32]| shared.tables.oids.iter().all(|oid| copied.contains(oid));
    let Some(heartbeats) = kafka.heartbeats() else {
        let tail = tail::read(kafka).await?;
        let own = usize::try_from(at.partition).ok().and_then(|at| tail.0.get(at));
        let end = own.and_then(|own| u64::try_from(own.next).ok());
        return Ok(end.filter(|_| has_all(&tail.copied())));
    };
    let last = tails::last(kafka, heartbeats.as_str()).await?;
    let id = shared.topology.topics.get(&at.topic).and_then(|topic| topic.id);
    let end = id
        .zip(last.ends)
        .and_then(|(id, ends)| ends.of_partitions(&[(at.clone(), id)])?.first().copied());
    // A gap may be behind what the last heartbeat names.
    let now = shared.asking.log(at).await?.end;
    let is_copied = has_all(&last.copied.unwrap_or_default());
    Ok(end.filter(|_| is_copied).map(|end| end.max(now)))
}

/// Begins a share in a life that has claimed its checkpoint. `None`: it can not be done, and the request
/// says why.
pub async fn begin(
    shared: &Shared,
    (at, checkpoint, claim): (&TopicPartition, &Checkpoint, &Claim),
    copied: CopyState,
    known: (&Named, &Letters),
    work: Work,
) -> Option<(Comparing, Doing)> {
    let (id, purpose, count) = (work.request.id.clone(), work.request.purpose, work.tables.len());
    match prepare(shared, (at, checkpoint, claim), copied, known, work).await {
        Ok(begun) => {
            let purpose = purpose.name();
            tracing::info!(%at, purpose, tables = count, "comparing the graph with the tables");
            Some(begun)
        }
        Err(error) if error.is_transient() => {
            tracing::warn!(%at, %error, "the comparison waits");
            None
        }
        Err(error) => {
            failed(shared, claim, &id, &error).await;
            None
        }
    }
}

async fn prepare(
    shared: &Shared,
    (at, checkpoint, claim): (&TopicPartition, &Checkpoint, &Claim),
    copied: CopyState,
    (named, letters): (&Named, &Letters),
    Work { request, tables, copied_before, client, turn }: Work,
) -> Result<(Comparing, Doing), ServiceError> {
    let Shared { config, catalog, mapping, model, graph, planner, topology, .. } = shared;
    check_source(shared, &checkpoint.origin.system_identifier, &client).await?;
    let count = count_at(shared, at);
    let owned = owned(shared, at, &tables)?;
    let partition = at.partition;
    let is_own: IsOwn = Arc::new(move |table: TableIndex, key: &Key| {
        owned.partition_of(table, key) == Some(partition)
    });
    let mut sizes = setup::sizes(&client, catalog, mapping).await?;
    sizes.retain(|(table, _)| tables.contains(table));
    let all = shares(shared, &request)?.into_keys().map(|at| Log::Partition(at).name()).collect();
    let expected = sizes.iter().map(|(table, size)| {
        (model.table(*table).name.clone(), size.rows / u64::from(count.max(1)))
    });
    let expected = expected.collect();
    let beside = Beside::new(sql(&config.source()).await?.client);
    beside.guard(sql(&config.source()).await?.client);
    let translator = Translator::new(mapping.clone());
    let sources = Sources::new(catalog, &translator);
    // An earlier instance may have applied what still ends now.
    let ended_before = current_xid(&client).await?;
    let notices = shared.notices.clone();
    let reader = CopyReader::new(client, beside, sources, translator.clone()).await?;
    let reader = reader.telling(Arc::new(move |met| notices.tell(met)));
    let lane =
        Lane { reader, writer: graph.sink(claim, model, planner)?, graph: graph.reader(model)? };
    let held_at = HeldAt::default();
    let names = model.iter().map(|(table, named)| (named.name.clone(), table)).collect();
    let lane = lane.of_own(&is_own, &held_at, &Arc::new(names));
    if let Some(Rows::Dropped { dropped }) = &request.rows {
        let own = letters.among(dropped);
        graph.remove_letters(&config.pipeline, Some(claim), &own).await?;
        letters.forget(&own);
    }
    let keys = keys(request.rows.as_ref(), &tables, &translator, letters);
    let keys = keys.map(|mut keys| {
        keys.retain(|(table, key)| is_own(*table, key));
        keys
    });
    let progress = match &keys {
        None => setup::new_progress(model, &sizes, 1, |_| RECONCILED.to_vec()),
        Some(_) => tables.iter().map(|table| over(&model.table(*table).name)).collect(),
    };
    let blocks = sizes.iter().map(|(table, size)| (*table, size.chunk_blocks)).collect();
    let reported = Reported::of(tables.iter().copied());
    Others::look(graph, &config.pipeline).await?.spare(model, &reported);
    let copier = TableCopier::new(model.clone(), vec![lane], blocks, ended_before, progress);
    let copier = copier.setting_aside(letters.clone());
    let copier = copier.passing_over(mapping.paused().clone());
    let copier = copier.reconciling(request.purpose, named.clone(), reported.clone(), keys);
    let elsewhere = match topology.has_heartbeats() {
        true => {
            let pipeline = config.pipeline.clone();
            Some(Elsewhere { graph: open(config, Wait::Usual)?, pipeline })
        }
        false => None,
    };
    let standing = Standing::new(checkpoint, copied, topology.is_spread());
    let standing = standing.after(Lsn(copied_before));
    let share = Share::new(copier, standing, held_at, elsewhere);
    let (id, is_kept) = (request.id, AtomicBool::new(false));
    let turn = Mutex::new(Some(turn));
    Ok((share, Doing { id, all, reported, expected, is_kept, turn }))
}

/// How many partitions the topic has.
fn count_at(shared: &Shared, at: &TopicPartition) -> u32 {
    shared.topology.topics.get(&at.topic).map_or(1, |topic| topic.partitions)
}

/// Which partition has a key of these tables.
///
/// # Errors
/// A key does not tell it.
pub fn owned(
    shared: &Shared,
    at: &TopicPartition,
    tables: &[TableIndex],
) -> Result<Owned, ServiceError> {
    let Shared { catalog, mapping, .. } = shared;
    let partitions = Partitions::new(count_at(shared, at) as usize).unwrap_or(Partitions::ONE);
    let owned = Owned::new(catalog, mapping, tables, partitions);
    owned.map_err(|error| ServiceError::Definite(error.to_string()))
}

/// The source that is read is the database cluster that is published.
pub async fn check_source(
    shared: &Shared,
    published: &str,
    client: &Client,
) -> Result<(), ServiceError> {
    let definite = |text: String| Err(ServiceError::Definite(text));
    if published.is_empty() || shared.config.kafka()?.are_foreign {
        return definite(FOREIGN.to_owned());
    }
    if postgres::setup::server(client).await?.in_recovery {
        return definite(
            "the source of `wal2graph apply` is a standby, which does not show what is committed on the server that is \
             published: set source.url to that server, and start `wal2graph apply` again"
                .to_owned(),
        );
    }
    match postgres::setup::cluster(client).await? {
        Some(cluster) if cluster == published => Ok(()),
        Some(cluster) => definite(format!(
            "the source of `wal2graph apply` is database cluster {cluster}, and the topic is published from \
             {published}: set source.url to that one, and start `wal2graph apply` again"
        )),
        None => definite(
            "the role of `wal2graph apply` may not ask which database cluster its source is: GRANT EXECUTE ON FUNCTION \
             pg_control_system() to it"
                .to_owned(),
        ),
    }
}

/// The share that a life does has failed for good: so has the request.
pub async fn failed(shared: &Shared, claim: &Claim, id: &RequestId, error: &ServiceError) {
    let why = error.for_the_graph();
    tracing::warn!(request = %id, why, "a request can not be done");
    let (state, none) = (State::Failed(why), Findings::default());
    if let Err(error) = shared.graph.answer(claim, id, &state, &none).await {
        tracing::warn!(%error, request = %id, "that is not kept yet");
    }
}

impl Doing {
    /// Which request it is a share of.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Keeps what is found, until the share is over. False: somebody has ended the request.
    pub async fn keep(&self, shared: &Shared, claim: &Claim) -> bool {
        let mut kept = None;
        let mut graph = None;
        loop {
            let findings = self.findings(shared);
            // Each look shows whether the request is still wanted.
            let answered = match graph.take().map_or_else(|| open(&shared.config, Wait::Usual), Ok)
            {
                Ok(open) => {
                    let answered = match kept.as_ref() == Some(&findings) {
                        true => self.is_wanted(&open, &claim.identity.pipeline).await,
                        false => open.answer_share(claim, &self.id, &self.all, &findings).await,
                    };
                    graph = Some(open);
                    answered.map_err(ServiceError::from)
                }
                Err(error) => Err(error),
            };
            match answered {
                Ok(true) if findings.is_over => {
                    self.is_kept.store(true, Ordering::Relaxed);
                    self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return true;
                }
                Ok(true) => kept = Some(findings),
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(%error, request = %self.id, "the findings are not kept yet");
                }
            }
            sleep(INTERVAL).await;
        }
    }

    async fn is_wanted(
        &self,
        graph: &Graph,
        pipeline: &str,
    ) -> Result<bool, crate::pipeline::StoreError> {
        let requests = graph.requests(pipeline).await?;
        Ok(requests.iter().any(|it| it.id == self.id && it.state.is_open()))
    }

    /// The life has ended: keeps the last findings, if the share is over.
    pub async fn finish(&self, shared: &Shared, claim: &Claim) {
        let findings = self.findings(shared);
        if !findings.is_over || self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let keeping = shared.graph.answer_share(claim, &self.id, &self.all, &findings);
        if let Ok(Err(error)) = timeout(LAST_LIMIT, keeping).await {
            tracing::warn!(%error, request = %self.id, "the last findings are not kept");
        }
    }

    fn findings(&self, shared: &Shared) -> Findings {
        findings(&self.reported.get(), &shared.model, |table| self.expected.get(table).copied())
    }
}
