//! How a life of `run` is made ready: source and graph are asked, the slot is held, the graph is claimed.

use std::{collections::BTreeMap, sync::Arc};

use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Claim, Log},
    cli::UntilArg,
    copy::{Progress, RECONCILED},
    engine::Limits,
    graph::{Circumstances, Model, Outlines, TableIndex, drawn::Drawing},
    mapping::{Mapping, Translator},
    metrics::{Comparing, Copying},
    pipeline::{Failure, KeptLetter, Lane, Named, Observed, Store, TableCopier, Translated},
    postgres::{
        connect::{Sql, sql},
        copy::CopyReader,
        locks::Beside,
        replication,
        sizes::TableSize,
        sources::Sources,
        unsent::Whole,
    },
    request::Purpose,
    start::{Again, Refusal, Refusals, following::Watched},
};

use super::super::{
    ServiceError,
    begin::{Begun, begin},
    facts,
    following::{self, Agreed, Seen},
    graph::{self, Graph, Planner, Wait},
    left_over, letters,
    looked::{self, Looked},
    notices::Noticing,
    others::Others,
    published, renew,
    requests::{self, Passes, Taken},
    setup,
    slot::{HeldSlot, Slot},
    tables,
};
use super::{Parts, Reader, Ready, Run, Sink, target};

/// Where lanes write.
struct To<'a> {
    graph: &'a Graph,
    claim: &'a Claim,
    model: &'a Arc<Model>,
    planner: &'a Arc<Planner>,
}

/// A pipeline that can start.
struct Admitted {
    source: facts::Source,
    checkpoint: Option<Checkpoint>,
    again: Again,
}

impl Run<'_> {
    pub(super) async fn prepare(
        &self,
        until: &mut Option<UntilArg>,
    ) -> Result<Ready, ServiceError> {
        let config = self.config;
        let known = following::known(config, &graph::open(config, Wait::Usual)?).await?;
        let keeping = following::keeping(config, known.as_ref());
        let known = known.filter(|_| following::follows(config));
        let new = looked::New::Published;
        let looked = looked::look(&keeping, known.as_ref(), new, &self.left_out).await?;
        let Looked { sql: Sql { client, .. }, catalog, mapping, now, at, trace } = looked;
        self.trace.replace(trace.clone());
        let mapping = self.mapped(&client, mapping).await?;
        let now = now.expect("tables that are mapped were looked at");
        let model = Arc::new(mapping.model.clone());
        let looked = match self.admit(&client, &catalog, &mapping).await {
            Err(ServiceError::Start(refusals)) if renew::comes_by_itself(config, &refusals) => {
                renew::by_itself(config, &client, (&catalog, &mapping), &refusals).await?;
                self.admit(&client, &catalog, &mapping).await?
            }
            looked => looked?,
        };
        let Admitted { source: looked, checkpoint: before, again } = looked;
        let seen = Seen { catalog: &catalog, mapping: &mapping, now: &now, at };
        following::admit(config, before.as_ref(), seen, &again)?;
        let target = target(until, &client).await?;
        let graph = graph::open_counted(config, &self.metrics)?;
        let is_first = before.is_none();
        if is_first {
            graph::establish(&graph, &model).await?;
        }
        let mut connection = replication::Connection::connect(&config.source()).await?;
        let system = connection.identify().await?;
        let of = graph::identity(config, Log::Slot(config.slot.clone()));
        let slot = Slot {
            config,
            metrics: &self.metrics,
            claimed: &self.claimed,
            client: &client,
            connection,
            server: &looked.server,
            system,
            seen,
            learned: &self.learned,
            again: &again,
            adopts: self.adopts,
        };
        let claimable = (&of, Some(config.publication.as_str()));
        let begun = begin(&graph, slot, claimable, before, &model).await?;
        let engine = begun.engine(Limits::DEFAULT).in_portions(self.portion.get());
        let copies = begun.copies();
        let Begun {
            log: HeldSlot { held, .. }, agreed, claim, progress, is_left, checkpoint, ..
        } = begun;
        let Agreed { facts: followed, outlines, labels } = agreed;
        self.metrics.pauses(followed.paused());
        self.metrics.draws(Drawing::of(&model));
        let before = (outlines.as_deref(), labels.as_slice());
        if outlines.as_ref() != Some(&Outlines::of(&model).text()) {
            // Nothing is applied while it goes.
            self.metrics.prepares();
        }
        left_over::clear(&graph, &claim, before, (&model, &mapping.labels())).await?;
        let is_established = is_first || graph::establish_again(&graph, &model).await?;
        let translator = Translator::new(mapping.clone());
        let translator = match following::follows(config) {
            true => translator.following(self.learned.followed(&followed, at)),
            false => translator,
        };
        let watched = Watched {
            facts: followed.clone(),
            labels: mapping.labels(),
            digest: mapping.digest(),
            follows: following::follows(config),
            by_names: false,
            rules: following::rules(config),
        };
        let watched = (watched, trace);
        let left = (progress, is_left);
        let passes = self.passes(&graph, &claim, (&client, &catalog, &mapping), left).await?;
        let Passes { progress, taken } = passes;
        let works = copies || !progress.is_empty();
        let lacks_rows = taken.is_none() || progress.iter().any(Progress::lacks_rows);
        let status = graph::status_at(&checkpoint, works && lacks_rows);
        let named = Named::default();
        let own = (&claim, |_: &KeptLetter| true);
        let letters = letters::of_log(config, &graph, own, &model).await?;
        let planner = graph.planner(&model, Some(Circumstances::Settled))?;
        let mut rows = BTreeMap::new();
        let copier = match works {
            false => None,
            true => {
                let sizes = setup::sizes(&client, &catalog, &mapping).await?;
                rows = table_rows(&model, &sizes);
                let sources = Sources::new(&catalog, &translator);
                let to = To { graph: &graph, claim: &claim, model: &model, planner: &planner };
                let lanes = self.lanes(to, &sources, &translator).await?;
                let blocks = sizes.iter().map(|(table, size)| (*table, size.chunk_blocks));
                let blocks = blocks.collect();
                let ended_before = begun.ended_before;
                let copier = TableCopier::new(model.clone(), lanes, blocks, ended_before, progress)
                    .setting_aside(letters.clone())
                    .passing_over(mapping.paused().clone());
                Some(match &taken {
                    None => copier,
                    Some(taken) => {
                        let compared: Vec<TableIndex> =
                            taken.reported.get().compared.keys().copied().collect();
                        let rows = taken.rows.as_ref();
                        let keys = requests::keys(rows, &compared, &translator, &letters);
                        let (named, reported) = (named.clone(), taken.reported.clone());
                        copier.reconciling(taken.purpose, named, reported, keys)
                    }
                })
            }
        };
        let ranges = copier.as_ref().map(TableCopier::progress);
        let copying = copier.as_ref().filter(|_| taken.is_none());
        let copying = copying.map(|it| Copying { ranges: it.progress(), expected: rows.clone() });
        let tables = model.iter().map(|(_, table)| table.name.as_str());
        let counts = self.metrics.counts().of_tables(tables);
        let translator = Noticing::new(translator, self.notices.clone());
        let pipeline = Parts {
            preparer: Translated { translator, named, letters, finish: Graph::prepared },
            sink: Observed { sink: graph.sink(&claim, &model, &planner)?, observer: counts },
            copier,
            engine,
            until: target,
        };
        let source = Whole::new(held.stream, config.source(), mapping.columns_together());
        let mut owed = None;
        let findings = match &taken {
            Some(taken) => {
                let (reported, model) = (taken.reported.clone(), model.clone());
                let comparing = Comparing { reported, model: model.clone(), ranges };
                if taken.id.is_none() {
                    owed = Some(comparing.clone());
                }
                self.metrics.compares(comparing);
                let own = graph::open(config, Wait::Usual)?;
                let unconstrained = (!is_established && taken.purpose == Purpose::Repair)
                    .then(|| graph::open(config, Wait::Long))
                    .transpose()?;
                requests::follow(own, claim, taken, model, rows, unconstrained)
            }
            None => None,
        };
        let request = taken.and_then(|Taken { id, reported, .. }| Some((id?, reported)));
        let _constraints = graph::keep_constraints(graph, model);
        let sql = client;
        Ok(Ready {
            source,
            pipeline,
            status,
            copying,
            owed,
            request,
            again,
            mapping,
            followed,
            sql,
            watched,
            _constraints,
            findings,
        })
    }

    /// What the copier of this life has to do.
    async fn passes(
        &self,
        graph: &Graph,
        claim: &Claim,
        (client, catalog, mapping): (&Client, &Catalog, &Mapping),
        left: (Vec<Progress>, bool),
    ) -> Result<Passes, ServiceError> {
        let (model, lanes) = (&mapping.model, self.config.limits.copy_lanes);
        let new = async |tables: &[TableIndex]| {
            let mut sizes = setup::sizes(client, catalog, mapping).await?;
            sizes.retain(|(table, _)| tables.contains(table));
            Ok(setup::new_progress(model, &sizes, lanes, |_| RECONCILED.to_vec()))
        };
        let passes = requests::take_up(graph, claim, (model, mapping.paused()), left, new).await?;
        if let Some(taken) = &passes.taken {
            let others = Others::look(graph, &self.config.pipeline).await?;
            others.spare(model, &taken.reported);
            let spares = |name: &String| {
                passes.progress.iter().any(|range| range.spares && range.table == *name)
            };
            let spared = model.iter().filter(|(_, table)| spares(&table.name));
            taken.reported.get().spared.extend(spared.map(|(table, _)| table));
            if taken.id.is_none() {
                // No command says it.
                others.warn(model, &[]);
            }
        }
        Ok(passes)
    }

    /// The mapping. One that can not be is refused with what is different in the tables: mending the one
    /// does not bring back what the other took.
    async fn mapped(
        &self,
        client: &Client,
        mapping: Result<Arc<Mapping>, ServiceError>,
    ) -> Result<Arc<Mapping>, ServiceError> {
        let error = match mapping {
            Ok(mapping) => {
                self.left_out.tell(&mapping);
                return Ok(mapping);
            }
            Err(error) => error,
        };
        Err(match (error, self.of_tables(client).await) {
            (_, Err(error)) if error.is_transient() => error,
            (ServiceError::Refused(unmapped), Ok(Some(different))) => {
                let unmapped = unmapped.into_iter().map(Refusal::from);
                ServiceError::Start(Refusals::of(different).and(unmapped))
            }
            (error, _) => error,
        })
    }

    /// What is different in the tables that the graph followed.
    async fn of_tables(&self, client: &Client) -> Result<Option<Refusal>, ServiceError> {
        let config = self.config;
        let source = facts::Source::look(config, client, None).await?;
        let graph = graph::open(config, Wait::Usual)?;
        let made = facts::Made::look(config, client, &graph).await?;
        let made = facts::Made { through_topic: false, ..made };
        let again = Again::FromTables;
        let facts = source.facts(None, &made, &again);
        tables::refused(config, &made.checkpoints, &facts.differences()).await;
        let mut refusals = facts.refusals().into_iter();
        Ok(refusals.find(|refusal| matches!(refusal, Refusal::Tables(_))))
    }

    /// Asks whether the pipeline can start, before anything is made.
    async fn admit(
        &self,
        client: &Client,
        catalog: &Catalog,
        mapping: &Mapping,
    ) -> Result<Admitted, ServiceError> {
        let config = self.config;
        let source = facts::Source::look(config, client, Some(mapping)).await?;
        let graph = graph::open(config, Wait::Long)?;
        let made = facts::Made::look(config, client, &graph).await?;
        // A graph that follows a topic is another log's.
        let made = facts::Made { through_topic: false, ..made };
        let again = Again::FromTables;
        let checkpoint = made.checkpoint().cloned();
        let is_first = checkpoint.is_none();
        if is_first && source.slot.is_some() {
            published::refuse(config).await?;
        }
        let facts = source.facts(Some((catalog, mapping)), &made, &again);
        let (mut refusals, different) = (facts.refusals(), facts.differences());
        let of_graph =
            facts::graph_refusals(&graph, &config.pipeline, mapping, is_first, self.adopts);
        refusals.extend(of_graph.await?);
        if let Err(refusals) = Refusals::check(refusals) {
            tables::refused(config, &made.checkpoints, &different).await;
            return Err(ServiceError::Start(refusals));
        }
        Ok(Admitted { source, checkpoint, again })
    }

    async fn lanes(
        &self,
        to: To<'_>,
        sources: &Sources,
        translator: &Translator,
    ) -> Result<Vec<Lane<CopyReader, Sink, Reader>>, ServiceError> {
        let mut lanes = Vec::with_capacity(self.config.limits.copy_lanes);
        let beside = Beside::new(sql(&self.config.source()).await?.client);
        for _ in 0..self.config.limits.copy_lanes {
            let client = sql(&self.config.source()).await?.client;
            let notices = self.notices.clone();
            let (sources, translator) = (sources.clone(), translator.clone());
            let reader = CopyReader::new(client, beside.clone(), sources, translator).await?;
            let reader = reader.telling(Arc::new(move |met| notices.tell(met)));
            let writer = to.graph.sink(to.claim, to.model, to.planner)?;
            lanes.push(Lane { reader, writer, graph: to.graph.reader(to.model)? });
        }
        beside.guard(sql(&self.config.source()).await?.client);
        Ok(lanes)
    }
}

fn table_rows(model: &Model, sizes: &[(TableIndex, TableSize)]) -> BTreeMap<String, u64> {
    sizes.iter().map(|(table, size)| (model.table(*table).name.clone(), size.rows)).collect()
}
