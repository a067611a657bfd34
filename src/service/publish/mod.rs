//! `publish`: the tables, then what changes in them, to a topic; connects again when a side was
//! away.
//!
//! ```text
//! catalog -> topic -> tail: where the topic is -> slot held there -> tail again -> pipeline
//!    ^       (first start: publication, slot)                                         |
//!    +------- transient failure: let go of everything, wait, again -------------------+
//! ```
//!
//! It is the pipeline of `run` with another sink. There is no checkpoint beside the records: how far
//! the topic is, its end says. The slot is held before the end is read for good, so that no other
//! publisher can move it any more.

mod acknowledge;
mod ahead;
pub mod before;
mod copy;
mod from_graph;
pub mod gap;
mod loosened;
mod reshaped;
pub mod start;
mod still;
pub mod topics;
mod whose;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    catalog::Catalog,
    checkpoint::Position,
    cli::{PublishArgs, UntilArg},
    config::Config,
    engine::{Engine, Limits},
    envelope::{Encoder, History, Names},
    graph::drawn::Drawing,
    kafka::{
        Ack,
        encode::{Encoding, Reached, heartbeat},
        identity::Described,
        offsets::Asking,
        producer::Producer,
        topic,
    },
    lsn::Lsn,
    mapping::Mapping,
    metrics::{Copying, Metrics, TableCounts, now},
    pipeline::{Ended, Observed, Pipeline, Status, Until},
    postgres::{
        self,
        connect::{Sql, sql},
        replication,
        rows::TableReader,
        unsent::Whole,
    },
    start::{Again, PublicationRefusal, Refusal, Refusals, Slot, System},
    topic::copied::Told,
};

use super::{
    ServiceError,
    apply::topology::{self, Topology},
    attempts::{self, Service, stopped, unless_stopped},
    following::{self, while_reshaped},
    left_out::LeftOut,
    looked::{Known, Looked},
    run::target,
    setup,
    slot::{Held, hold_slot},
    trace,
    watch::{serve, topics as looks},
};

use acknowledge::Acknowledging;
use copy::RowCopier;
use gap::Behind;
use still::{Heartbeats, Telling};
use topics::{Ends, Wanted};

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &PublishArgs) -> Result<(), ServiceError> {
    if config.kafka()?.ack == Ack::Graph {
        config.graph()?;
    }
    if config.kafka()?.pattern.is_some() {
        return Err(ServiceError::Usage(
            "kafka.topics_pattern is for `apply`, and for topics that somebody else publishes: remove it to publish"
                .to_owned(),
        ));
    }
    if config.kafka()?.are_foreign {
        return Err(ServiceError::Usage(
            "kafka.topics is for `apply`, and for topics that somebody else publishes. `publish` writes a topic of its \
             own: to publish, remove kafka.topics, and name that topic with kafka.topic, or leave it to the default"
                .to_owned(),
        ));
    }
    if args.from_graph && config.kafka()?.is_by_table() {
        return Err(ServiceError::Usage(
            "--from-graph: a graph of `run` goes over to one topic. Set kafka.topics_by: pipeline, or publish without \
             --from-graph: the topics then begin with a copy of the tables"
                .to_owned(),
        ));
    }
    let metrics = Arc::new(Metrics::new(&config.pipeline, config.http.limits));
    let mut serving = serve::start(config, &metrics).await?;
    if !serving.is_empty() {
        let kafka = config.kafka()?;
        let topic = kafka.heartbeats().unwrap_or_else(|| kafka.topic.clone()).to_string();
        let (_, named) = watch::channel(vec![topic]);
        serving.spawn(looks::at_topics(config.clone(), named, metrics.clone()));
    }
    let (from_graph, renews) = (args.from_graph, AtomicBool::new(args.new_slot));
    let (metrics, left_out, written) = (metrics.clone(), LeftOut::default(), Mutex::default());
    let known = Mutex::default();
    let publish =
        Publish { config, metrics: metrics.clone(), written, from_graph, renews, left_out, known };
    let ends = args.until.is_some();
    let mut until = args.until;
    let attempt = async |stop: &watch::Receiver<bool>| {
        let ended = while_reshaped(async || publish.attempt(&mut until, stop).await).await;
        gap::looked_at(config, ended).await.map_err(topology::looked_at)
    };
    // A publisher has no checkpoint to take down why it ends.
    let service = Service { config, metrics: &metrics, holds_slot: true, ends };
    service.live(attempt, async |_| {}).await
}

/// The topics are looked at before the slot is held.
const WRITTEN: &str = "another publisher has just written to the topic";

/// What lasts from one connected life to the next.
struct Publish<'a> {
    config: &'a Config,
    metrics: Arc<Metrics>,
    /// The topics that a life before has written to: if one is gone, its records are.
    written: Mutex<BTreeMap<String, Described>>,
    /// A new topic begins where the graph is.
    from_graph: bool,
    /// The command says to go on behind a slot that is lost, and no life has begun since.
    renews: AtomicBool,
    left_out: LeftOut,
    /// The object ids of the tables that the life before has published.
    known: Mutex<Option<BTreeSet<u32>>>,
}

/// Everything that a life needs, connected.
struct Ready {
    source: Acknowledging<Whole<replication::Stream>>,
    encoding: Encoding,
    sink: Observed<Telling, TableCounts>,
    copier: Option<RowCopier>,
    watched: Option<Copying>,
    position: Lsn,
    engine: Engine,
    until: Until,
    asking: Asking,
    topology: Topology,
    again: Again,
    mapping: Arc<Mapping>,
    trace: String,
    /// Kept open for as long as the pipeline runs.
    _sql: Arc<tokio_postgres::Client>,
    _following: JoinSet<()>,
}

impl Publish<'_> {
    /// One connected life of the pipeline.
    async fn attempt(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let Some(mut ready) = unless_stopped(stop, self.prepare(until, stop)).await? else {
            return Ok(Ended::Stopped);
        };
        let (position, copying) = (ready.position, ready.copier.is_some());
        tracing::info!(%position, copying, "publishing");
        let status = watch::Sender::new(Status {
            received: position,
            complete: position,
            applied: Position::at(position),
            committed_at: Some(now()),
            copying,
            ..Status::default()
        });
        self.metrics.connected(status.subscribe(), ready.watched);
        let stopped = stopped(stop.clone());
        let (asking, topology) = (ready.asking, ready.topology);
        let ended = attempts::on_a_worker(async move {
            let run = Pipeline {
                source: &mut ready.source,
                preparer: ready.encoding,
                sink: ready.sink,
                copier: ready.copier,
                engine: ready.engine,
                until: ready.until,
                status,
            };
            let ended = run.run(stopped).await;
            ready.source.into_inner().into_inner().close().await;
            ended
        });
        let again = ready.again;
        let (config, follows) = (self.config, following::follows(self.config));
        let trace = if follows { ready.trace.clone() } else { String::new() };
        let reshaped = reshaped::changed(config, ready.mapping, ready.trace, &self.left_out);
        let ended = tokio::select! {
            ended = ended => ended.map_err(|error| ServiceError::from(error).with(&again)),
            error = topology::changed(self.config.kafka()?, &asking, &topology) => Err(error),
            () = reshaped, if follows => {
                Err(ServiceError::Reshaped("the tables have changed".to_owned()))
            }
        };
        let ended = trace::as_it_is(config, &trace, ended).await?;
        tracing::info!(reason = ?ended, "stopped");
        Ok(ended)
    }

    async fn prepare(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ready, ServiceError> {
        let (config, kafka) = (self.config, self.config.kafka()?);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = match known {
            None if following::follows(config) => reshaped::copied(kafka).await?,
            known => known,
        };
        let known = known.map(Known::of_all);
        let looked = loosened::look(config, known.as_ref(), &self.left_out).await?;
        let Looked { sql: Sql { client, .. }, catalog, mapping, trace, .. } = looked;
        let mapping = mapping?;
        self.left_out.tell(&mapping);
        let looked = super::facts::Source::look(config, &client, Some(&mapping)).await?;
        let again = start::again(config, Some(&mapping))?;
        let nothing = super::facts::Made::nothing();
        let mut refusals = looked.facts(Some((&catalog, &mapping)), &nothing, &again).refusals();
        if known.is_some() {
            // The rows of a table that has left the publication stay as they are.
            refusals.retain(|refusal| {
                let is_left =
                    matches!(refusal, Refusal::Publication(PublicationRefusal::Tables { .. }));
                if is_left {
                    tracing::warn!("{}", refusal.parts().0);
                }
                !is_left
            });
        }
        if self.renews() {
            refusals = gap::besides_the_slot(refusals);
        }
        Refusals::check(refusals).map_err(ServiceError::Start)?;
        let until = target(until, &client).await?;
        let written = self.written();
        let is_new = self.from_graph && written.is_empty();
        if is_new && topic::look(kafka).await?.is_none() {
            // A refused start makes no topic.
            let begin = looked.slot.as_ref().and_then(|slot| slot.confirmed);
            let begin = begin.map_or(start::Start::First, start::Start::At);
            let system = postgres::setup::system(&client).await?;
            from_graph::tables(config, &catalog, &mapping, &system, begin).await?;
        }
        let asking = Asking::new(kafka)?;
        let wanted = Wanted::of(config, &client, &catalog, Some(&mapping)).await?;
        if written.is_empty()
            && let Some(there) = wanted.before_making(kafka, &asking).await?
        {
            let ends = there.ends(config).await?;
            let system = postgres::setup::system(&client).await?;
            let system = start::with_timelines(config, &ends, system).await?;
            self.decide(&ends, looked.slot.as_ref(), &system)?;
            there.copied(config, &ends)?;
        }
        let topics = wanted.make(kafka, &asking, &written, &mapping).await?;
        let connection = replication::Connection::connect(&config.source()).await?;
        let mut connection = connection.with_messages(kafka.messages);
        let slot = postgres::setup::slot(&client, &config.slot).await?;
        let ends = topics.ends(config).await?;
        let system = start::with_timelines(config, &ends, connection.identify().await?).await?;
        let (mut start, behind) = self.decide(&ends, slot.as_ref(), &system)?;
        start::tell_strangers(&ends);
        let history = start::history_of(&system);
        let copied = match self.from_graph && ends.tail().is_empty() {
            true => from_graph::tables(config, &catalog, &mapping, &system, start).await?,
            false => topics.copied(config, &ends)?,
        };
        let from_before = topics.from_before(&ends, (&catalog, &mapping), &copied);
        // `apply` compares such a table, and removes what it does not have any more.
        let is_told = !from_before.again.is_empty() && !following::follows(config);
        if let Some(what) = from_before.what().filter(|_| is_told) {
            tracing::warn!(fix = from_before.fix(&again), "{what}");
        }
        let waits = |why: String| self.metrics.waiting(why);
        let position = match (start, &behind) {
            (_, Some(behind)) => behind.slot(config, &client, &mapping, waits).await?,
            (start::Start::At(lsn), None) => lsn,
            (start::Start::First, None) => {
                setup::create_publication(config, &client, &mapping).await?;
                setup::create_slot(config, &client, waits).await?
            }
        };
        let gap = behind.and_then(|behind| behind.gap(position));
        if gap.is_some() {
            start = start::Start::At(position);
        }
        start::check_keys(config, &client, &catalog, &topics.layout).await?;
        let newest = start::newest(config, &ends, start);
        if let Some(newest) = start::ahead(config, &ends, start, slot.as_ref()) {
            let shown = ahead::look(config, &client, &looked.server, position, newest).await;
            if let Err(error) = shown {
                // What is looked for may have been acknowledged since: then the slot does not send it.
                let now = postgres::setup::slot(&client, &config.slot).await?;
                let confirmed = |slot: &Option<Slot>| slot.as_ref().and_then(|it| it.confirmed);
                if confirmed(&now) != confirmed(&slot) || topics.ends(config).await? != ends {
                    return Err(ServiceError::NotYet(WRITTEN.to_owned()));
                }
                return Err(error.with(&again));
            }
        }
        let held = hold_slot(config, connection, &looked.server, position, newest).await;
        let Held { stream, confirmed } = held.map_err(|error| error.with(&again))?;
        self.metrics.slot_is_held();
        if topics.ends(config).await? != ends {
            return Err(ServiceError::NotYet(WRITTEN.to_owned()));
        }
        let encoder = Encoder::new(self.names(history.clone()), &catalog).formatted(kafka.format);
        let producer = Producer::new(kafka, topics.message_bytes_max, topics.produced_to(&ends))?;
        let told = Told { tables: copied, read_through: ends.read_through() };
        let copied = watch::Sender::new(told);
        let layout = topics.layout.clone();
        // The brokers get to know the producer, and every partition says where it is.
        let through = whose::through(config);
        let reached = Reached { end_lsn: position, newest, through: &through };
        let first = heartbeat(&encoder, reached, &copied.borrow(), &layout);
        producer.produce(&gap::first(first, gap.as_ref(), &layout)).await?;
        start::tell_promotion(&ends, &system);
        self.renews.store(false, Ordering::Relaxed);
        self.write(&topics.described);
        let (mapped, told, read) = (mapping.clone(), copied.subscribe(), through.clone());
        let encoding = Encoding::new(encoder.clone(), mapped, read, told, layout.clone());
        self.metrics.draws(Drawing::of(&mapping.model));
        let tables = mapping.model.iter().map(|(_, table)| table.name.as_str());
        let observer = self.metrics.counts().of_tables(tables);
        let (there, stands) = watch::channel((position, newest));
        let telling = Telling { producer: producer.clone(), there };
        let sink = Observed { sink: telling, observer };
        let heartbeats = Heartbeats {
            encoder: encoder.clone(),
            producer: producer.clone(),
            copied: copied.subscribe(),
            through: through.clone(),
            layout: layout.clone(),
        };
        let client = Arc::new(client);
        let to = copy::To { encoder, producer, copied, through, layout };
        let after = ends.beyond().unwrap_or(position);
        let copier = self.copier(&client, &catalog, &mapping, to, after, stop).await?;
        let watched = copier.as_ref().map(|copier| copier.watched(&catalog));
        let mut following = JoinSet::new();
        following.spawn(heartbeats.repeat(stands));
        let rule = acknowledge::rule(config, &history.system_identifier, &mut following)?;
        let source = Whole::new(stream, config.source(), mapping.columns_together());
        let source = Acknowledging::new(source, rule, confirmed);
        if following::follows(config) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(reshaped::known(&mapping));
        }
        Ok(Ready {
            source,
            encoding,
            sink,
            copier,
            watched,
            position,
            engine: Engine::new(Limits::DEFAULT, Position::at(position))
                .continuing(newest, confirmed),
            until,
            asking,
            topology: Topology::of(topics.described),
            again,
            mapping,
            trace,
            _sql: client,
            _following: following,
        })
    }

    /// Whether it goes on behind changes that the slot has lost.
    fn renews(&self) -> bool {
        gap::is_configured(self.config) || self.renews.load(Ordering::Relaxed)
    }

    /// Where it begins, and what it goes on behind if the slot has lost that.
    fn decide(
        &self,
        ends: &Ends,
        slot: Option<&Slot>,
        system: &System,
    ) -> Result<(start::Start, Option<Behind>), ServiceError> {
        let decided = start::decide(self.config, ends, slot, system);
        let behind = decided.as_ref().err().and_then(|error| Behind::of(error, ends));
        match behind.filter(|_| self.renews()) {
            Some(behind) => Ok((behind.start(), Some(behind))),
            None => Ok((decided?, None)),
        }
    }

    /// The topics that a life before has written to.
    fn written(&self) -> BTreeMap<String, Described> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The publisher writes to these topics. They are the same in all lives.
    fn write(&self, topics: &BTreeMap<String, Described>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, described) in topics {
            written.entry(name.clone()).or_insert(*described);
        }
    }

    fn names(&self, history: History) -> Names {
        Names {
            pipeline: self.config.pipeline.clone(),
            database: self.config.source().database().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            history,
        }
    }

    /// What copies the mapped tables that the topic does not have; `None` if it has all of them.
    async fn copier(
        &self,
        client: &Arc<tokio_postgres::Client>,
        catalog: &Catalog,
        mapping: &Mapping,
        to: copy::To,
        after: Lsn,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<RowCopier>, ServiceError> {
        let there: BTreeSet<u32> = to.copied.borrow().tables.iter().copied().collect();
        let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
        let tables: Vec<_> = mapped.filter(|table| !there.contains(&table.oid)).cloned().collect();
        if tables.is_empty() {
            return Ok(None);
        }
        let ended_before = postgres::copy::current_xid(client).await?;
        let connect = async || sql(&self.config.source()).await.map(|sql| sql.client);
        let [reads, beside, guard] = [connect().await?, connect().await?, connect().await?];
        let reader = TableReader::new(reads, beside, guard).await?;
        let from = copy::Rows { reader, tables, ended_before, after };
        Ok(Some(RowCopier::new(from, catalog, to, stop.clone())))
    }
}
