//! The graph's part: rows, constraints and indexes, progress, checkpoints.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    checkpoint::{Checkpoint, Claim, Claims, Log},
    config::{Config, ConfigError},
    graph::Outlines,
    mapping::Mapping,
    pipeline::{Failure, Footprint, Made, Note, Rows, Store, StoreError, Verdict},
    service::{
        ServiceError,
        graph::{Graph, Wait, identity, open},
        others::Others,
    },
    shown::Shown,
    start::again::delete_progress,
};

use super::{plan::Plan, print};

/// A checkpoint that stands still for this long has no writer that writes.
const STILL: Duration = Duration::from_secs(3);
/// How often the log says how far the removal of rows is.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// The note on the checkpoint of a removal that was broken off.
const BEGUN: &str = "`wal2graph destroy` has begun to remove this pipeline. Repeat it to go on";

/// The graph that the configuration names; `None` if it names none.
pub fn opened(config: &Config) -> Result<Option<Graph>, ServiceError> {
    match open(config, Wait::Long) {
        Err(ServiceError::Config(ConfigError::NoGraph)) => Ok(None),
        graph => graph.map(Some),
    }
}

/// A graph that does not answer keeps what it has.
pub fn away(config: &Config, error: &StoreError, plan: &mut Plan) {
    let text = format!("it is away: {}. If it is there:", error.in_full());
    plan.cannot_go("graph", text);
    plan.stays.add("", delete_progress(&config.pipeline));
}

/// What the graph says of pipelines.
pub struct Found {
    /// This one's.
    pub checkpoints: Vec<Checkpoint>,
    ranges: usize,
    letters: u64,
    others: Others,
}

/// What goes of it.
pub struct Rest {
    rows: Rows,
    unmake: Vec<String>,
}

impl Found {
    pub async fn look(config: &Config, graph: &Graph) -> Result<Self, StoreError> {
        let others = Others::look(graph, &config.pipeline).await?;
        let checkpoints = graph.checkpoints(&config.pipeline).await?;
        let ranges = graph.copy_progress(&config.pipeline).await?.len();
        let letters = graph.letter_count(&config.pipeline).await?;
        Ok(Found { checkpoints, ranges, letters, others })
    }

    /// The cluster that it was made from, if it says so.
    pub fn cluster(&self) -> Option<&str> {
        let mut clusters = self.checkpoints.iter().map(|it| it.origin.system_identifier.as_str());
        clusters.find(|cluster| !cluster.is_empty())
    }

    /// Another pipeline that reads the slot.
    pub fn reads(&self, slot: &str) -> Option<&str> {
        let reads = |it: &Checkpoint| matches!(&it.origin.log, Log::Slot(name) if name == slot);
        self.others.find(reads)
    }

    /// Another pipeline that reads through the publication.
    pub fn is_published_to(&self, publication: &str) -> Option<&str> {
        self.others.find(|it| it.publication.as_deref() == Some(publication))
    }

    /// Where nobody can say whether the pipeline runs, its checkpoint does: a writer moves it.
    pub async fn refuse_moving(&self, config: &Config, graph: &Graph) -> Result<(), ServiceError> {
        if self.checkpoints.is_empty() {
            return Ok(());
        }
        sleep(STILL).await;
        let now = graph.checkpoints(&config.pipeline).await?;
        match now == self.checkpoints {
            true => Ok(()),
            false => Err(ServiceError::Definite(format!(
                "the pipeline {} runs: its checkpoint moves. Stop it, and repeat this command",
                config.pipeline
            ))),
        }
    }

    /// What goes, and what is named.
    pub async fn plan(
        &self,
        graph: &Graph,
        mapping: Option<&Mapping>,
        with_rows: bool,
        plan: &mut Plan,
    ) -> Result<Rest, ServiceError> {
        let rows = self.rows(mapping, with_rows, plan);
        if with_rows && !rows.labels.is_empty() {
            let extent = graph.extent(&rows).await?;
            for (label, count) in &extent.nodes {
                plan.goes.add("nodes", format!("{count} with the label {}", Shown(label)));
            }
            for (kind, count) in &extent.relationships {
                plan.goes.add("relationships", format!("{count} of the type {}", Shown(kind)));
            }
            if extent.leading_away > 0 {
                let text =
                    format!("{} of them lead to or from nodes that stay", extent.leading_away);
                plan.goes.add("", text);
            }
        }
        let is_alone = self.others.is_empty();
        let made = match self.checkpoints.is_empty() && !is_alone {
            true => Made::default(),
            false => {
                let types = self.relationship_types(mapping);
                let (types, rows) = (types.as_ref(), &rows);
                graph.made(Footprint { types, rows, needed: None, is_alone }).await?
            }
        };
        for name in &made.goes {
            plan.goes.add(kind(name), Shown(name).to_string());
        }
        for name in &made.stays {
            let text = format!("{}: another pipeline of the graph needs it, or may", Shown(name));
            plan.stays.add(kind(name), text);
        }
        if self.ranges > 0 {
            plan.goes.add("copy", format!("the progress of {} ranges", self.ranges));
        }
        if self.letters > 0 {
            plan.goes.add("dead letters", format!("of {} rows", self.letters));
        }
        for Checkpoint { origin, position, .. } in &self.checkpoints {
            let log = &origin.log;
            plan.goes.add("checkpoint", format!("of {log}, at {}", log.place(position.lsn)));
        }
        let rows = if with_rows { rows } else { Rows::default() };
        Ok(Rest { rows, unmake: made.goes })
    }

    /// The types of relationships that its mappings have or had, if anything says it.
    fn relationship_types(&self, mapping: Option<&Mapping>) -> Option<BTreeSet<String>> {
        let kept = self.checkpoints.iter().filter_map(|it| it.outlines.as_deref());
        let kept = kept.map(Outlines::parse);
        let mapped = mapping.map(|mapping| Outlines::of(&mapping.model));
        let all: Vec<_> = kept.chain(mapped).map(|it| it.relationship_types()).collect();
        (!all.is_empty()).then(|| all.into_iter().flatten().collect())
    }

    /// Which nodes are this pipeline's: its checkpoints say their labels.
    fn rows(&self, mapping: Option<&Mapping>, with_rows: bool, plan: &mut Plan) -> Rows {
        let spared = self.others.labels();
        let is_made_of = |it: &&Mapping| {
            self.checkpoints.iter().any(|checkpoint| checkpoint.mapping_digest == it.digest())
        };
        let own = self.checkpoints.iter().flat_map(|checkpoint| checkpoint.labels.iter().cloned());
        let mapped = mapping.filter(is_made_of).into_iter().flat_map(Mapping::labels);
        let own: BTreeSet<String> = own.chain(mapped).collect();
        if let Some(silent) = self.others.silent() {
            if !own.is_empty() {
                let text = format!(
                    "all: an earlier build made the pipeline {silent} of this graph, which does not say its labels"
                );
                plan.stays.add("nodes", text);
            }
            return Rows { labels: BTreeSet::new(), spared };
        }
        for label in own.intersection(&spared) {
            let other = self.others.having(label).unwrap_or_default();
            let text = format!("with the label {}: the pipeline {other} has it, too", Shown(label));
            plan.stays.add("nodes", text);
        }
        if own.is_empty() && with_rows {
            let text = "all: the graph has no checkpoint of this pipeline that says its labels";
            plan.stays.add("nodes", text);
        }
        let labels: BTreeSet<String> = own.difference(&spared).cloned().collect();
        if !with_rows && !labels.is_empty() {
            plan.stays.add("nodes", "all rows, with their relationships: --graph removes them");
        }
        Rows { labels, spared }
    }

    /// From now on no earlier writer writes. The slot is gone, or nobody reads the partitions.
    pub async fn claim(&self, config: &Config, graph: &Graph) -> Result<Vec<Claim>, ServiceError> {
        let mut claims = Vec::new();
        for checkpoint in &self.checkpoints {
            let identity = identity(config, checkpoint.origin.log.clone());
            let claimed = graph.claim(&identity, checkpoint.publication.as_deref()).await?;
            let claim = Claim { identity, epoch: claimed.epoch };
            graph.note(&claim, Note::Stopped(BEGUN)).await?;
            claims.push(claim);
        }
        Ok(claims)
    }
}

/// Removes the graph's part: the checkpoints last.
pub async fn remove(
    config: &Config,
    graph: &Graph,
    claims: &[Claim],
    rest: &Rest,
) -> Result<(), ServiceError> {
    let pipeline = &config.pipeline;
    let (mut nodes, mut relationships, mut told) = (0, 0, Instant::now());
    loop {
        let removed =
            graph.remove(pipeline, Claims::All(claims), &rest.rows).await.map_err(begun)?;
        if removed == Default::default() {
            break;
        }
        nodes += removed.nodes;
        relationships += removed.relationships;
        if told.elapsed() > TOLD_EVERY {
            tracing::info!(nodes, relationships, "removing rows");
            told = Instant::now();
        }
    }
    if nodes > 0 {
        print(&format!("removed {nodes} nodes and their relationships"))?;
    }
    if !rest.unmake.is_empty() {
        graph.unmake(&rest.unmake).await?;
        print(&format!("removed {} constraints and indexes", rest.unmake.len()))?;
    }
    graph.forget(pipeline, claims).await.map_err(begun)?;
    if !claims.is_empty() {
        print("removed the checkpoint, and the copy's progress")?;
    }
    Ok(())
}

/// Somebody else writes.
fn begun(error: StoreError) -> ServiceError {
    match error.verdict() {
        Verdict::Fenced => ServiceError::Definite(format!(
            "the pipeline was started while it was being removed: {error}. Stop it, and repeat this command"
        )),
        _ => error.into(),
    }
}

/// What of ours has this name.
fn kind(name: &str) -> &'static str {
    match name.starts_with("wal2graph_unique_") || name.starts_with("_wal2graph_") {
        true => "constraint",
        false => "index",
    }
}
