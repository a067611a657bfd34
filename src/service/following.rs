//! The graph follows the tables' shape, in the lives of `run`.
//!
//! ```text
//! life:  look -> slot held, graph claimed -> judge: next shape, tables to compare -- one transaction --> steps, stream
//! beside it, every two seconds:  another trace of the catalog? -> look, judge -> the life ends
//! a change with other columns:   the life ends
//! ```
//!
//! [`crate::start::generation`] judges, [`crate::start::following`] says what is kept and owed. A kill loses
//! nothing: the graph knows the tables to compare, and the names of the earlier mapping, before it gets the first
//! row of the new shape.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Epoch, Log},
    config::Config,
    copy::Progress,
    graph::{Outlines, TableIndex},
    mapping::{Followed, Mapping},
    pipeline::{NextShape, Reshaped, Rows, Store},
    postgres,
    start::{
        self, Refusals, TableFacts, TablesRefusal,
        following::{
            self, Changed, Next, Shapes, Watched, before, kept, looks, of_followed, passes, step,
        },
        generation::{self, Generation, Look, Since, judge},
        rules::Paused,
        shape::ReadAt,
        tables::Now,
    },
};

pub use super::rules::{follows, rules};

use super::{
    ServiceError, graph,
    left_out::{self, LeftOut},
    looked::{self, Known},
    setup,
    trace::Traces,
};

/// The pause where one look comes right after another.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// Earlier shapes that the stream has shown while the program runs.
#[derive(Default)]
pub struct Learned(Mutex<Shapes>);

impl Learned {
    fn with<T>(&self, work: impl FnOnce(&mut Shapes) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A life has ended with this.
    pub fn met(&self, reshaped: Reshaped) {
        if let Reshaped::Before(sent) = reshaped {
            self.with(|it| it.met(sent));
        }
    }

    /// The shapes that changes may have in a life that begins with these tables.
    pub fn followed(&self, facts: &TableFacts, at: ReadAt) -> Followed {
        self.with(|it| it.followed(facts, at))
    }
}

/// The tables that a graph follows, if its checkpoint says which they are.
pub async fn known(config: &Config, graph: &impl Store) -> Result<Option<Known>, ServiceError> {
    Ok(known_of(&graph.checkpoints(&config.pipeline).await?))
}

/// The same of these checkpoints.
pub fn known_of(checkpoints: &[Checkpoint]) -> Option<Known> {
    let facts = TableFacts::of_all(checkpoints);
    (!facts.is_empty()).then(|| Known::of(facts))
}

/// The configuration with the names that the graph has, also where it does not follow its tables.
pub fn keeping(config: &Config, known: Option<&Known>) -> Config {
    config.keeping(known.map(|known| known.kept.clone()).unwrap_or_default())
}

/// The same of the graph that the configuration names.
pub async fn as_in_graph(config: &Config) -> Result<Config, ServiceError> {
    let known = known(config, &graph::open(config, graph::Wait::Usual)?).await?;
    Ok(keeping(config, known.as_ref()))
}

/// The tables that `run` follows.
pub struct Tables {
    /// The tables, and what they become.
    pub followed: looked::Followed,
    /// New tables that are left out because they are not in the publication: what to do.
    pub not_added: Vec<String>,
}

/// The tables that `run` follows, as a command finds them that changes nothing. `all` are all that there are.
pub async fn tables(
    config: &Config,
    client: &Client,
    all: Catalog,
) -> Result<Tables, ServiceError> {
    let known = match config.graph().is_ok() {
        // A command that needs the graph asks it, too, and says that it is away.
        true => match graph::open(config, graph::Wait::Usual) {
            Ok(graph) => known(config, &graph).await.ok().flatten(),
            Err(_) => None,
        },
        false => None,
    };
    let keeping = keeping(config, known.as_ref());
    let Some(known) = known.filter(|_| follows(config)) else {
        let followed = looked::mapped(&keeping, all, None, None);
        return Ok(Tables { followed, not_added: Vec::new() });
    };
    let published = postgres::setup::publication(client, &config.publication).await?;
    let unpublished = looked::unpublished(config, client, all.clone(), &known).await?;
    let known = Some(&known);
    let (followed, _) = looked::followed(config, client, all, known, published.as_ref()).await?;
    let followed = looked::Followed { left_out: unpublished.refused, ..followed };
    let not_added = unpublished.left_out.iter();
    let not_added = not_added.map(|table| left_out::unpublished(&config.publication, table, ""));
    Ok(Tables { followed, not_added: not_added.collect() })
}

/// The pause before the tables are looked at again.
#[derive(Default)]
pub struct Again(Option<Instant>);

impl Again {
    /// A life has ended for its tables. The second time in a row, it is waited a moment.
    pub async fn pause(&mut self) {
        if self.0.is_some_and(|before| before.elapsed() < AGAIN_PAUSE) {
            sleep(AGAIN_PAUSE).await;
        }
        self.0 = Some(Instant::now());
    }
}

/// Lives, one after the other, until one ends for another reason than its tables.
#[cfg(feature = "kafka")]
pub async fn while_reshaped<T>(
    mut life: impl AsyncFnMut() -> Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    let mut again = Again::default();
    loop {
        match life().await {
            Err(ServiceError::Reshaped(what)) => {
                tracing::info!(what, "looking at the tables again");
                again.pause().await;
            }
            ended => return ended,
        }
    }
}

/// What a start goes on with.
pub struct Agreed {
    /// The tables.
    pub facts: TableFacts,
    /// What the graph may have of this mapping and earlier ones.
    pub outlines: Option<String>,
    /// The labels of that.
    pub labels: Vec<String>,
}

/// The result of a look.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The tables.
    pub catalog: &'a Catalog,
    /// What they become.
    pub mapping: &'a Mapping,
    /// Their facts.
    pub now: &'a Now,
    /// Where the log was.
    pub at: ReadAt,
}

/// Asks whether the graph of a checkpoint can follow, before anything is made.
pub fn admit(
    config: &Config,
    checkpoint: Option<&Checkpoint>,
    seen: Seen<'_>,
    again: &start::Again,
) -> Result<(), ServiceError> {
    if !follows(config) {
        return Ok(());
    }
    let rules = rules(config);
    let refusal = next(checkpoint, seen).and_then(|generation| generation.refused(again, &rules));
    refusal.map_or(Ok(()), |refusal| Err(ServiceError::Start(Refusals::of(refusal))))
}

/// What a start would do, with a graph whose checkpoint says which tables it follows.
pub fn next(checkpoint: Option<&Checkpoint>, seen: Seen<'_>) -> Option<Generation> {
    let checkpoint = checkpoint?;
    let facts = TableFacts::parse(checkpoint.table_facts.as_deref()?).ok()?;
    let had = checkpoint.outlines.as_deref().map(Outlines::parse).unwrap_or_default();
    let unexplained = BTreeSet::new();
    Some(judge(before(checkpoint, (&facts, &had), &unexplained), seen.now, seen.mapping, seen.at))
}

/// Lets the graph of a claimed checkpoint follow.
pub async fn agreed(
    config: &Config,
    client: &Client,
    seen: Seen<'_>,
    graph: &impl Store,
    (claimed, again): (&Checkpoint, &start::Again),
    learned: &Learned,
) -> Result<Agreed, ServiceError> {
    let Seen { mapping, now, at, .. } = seen;
    let refused = |refusal: TablesRefusal| ServiceError::Start(Refusals::of(refusal));
    let parsed = claimed.table_facts.as_deref().map(TableFacts::parse).transpose();
    let facts = parsed.map_err(|_| refused(TablesRefusal::Unreadable { again: again.clone() }))?;
    // A checkpoint of an earlier build names no tables. `admit` has compared the mappings.
    let facts = facts.unwrap_or_else(|| now.facts.clone());
    let is_now = super::tables::now(config, client, mapping).await?;
    // A first start makes the publication behind the look.
    let is_as_made =
        claimed.table_facts.as_ref() == Some(&generation::first(&is_now, mapping).text());
    if is_now.traces != now.traces || (!is_as_made && is_now.facts != now.facts) {
        return Err(ServiceError::Reshaped("the tables change at this moment".to_owned()));
    }
    let now = &Now { unmapped: now.unmapped.clone(), paused: now.paused.clone(), ..is_now };
    let differences = facts.blocking(now);
    if !differences.is_empty() {
        return Err(refused(TablesRefusal::Different { differences, again: again.clone() }));
    }
    let unexplained = learned.with(|it| it.unexplained());
    let (generation, next) = step(claimed, &facts, (mapping, now, at), &unexplained);
    if let Some(refusal) = generation.refused(again, &rules(config)) {
        return Err(refused(refusal));
    }
    let known = Agreed {
        facts: generation.facts.clone(),
        outlines: claimed.outlines.clone(),
        labels: claimed.labels.clone(),
    };
    let Some(Next { digest, labels, facts, outlines }) = next else { return Ok(known) };
    let claim = graph::claimed(config, Log::Slot(config.slot.clone()), claimed.epoch);
    let left = graph.copy_progress(&config.pipeline).await?;
    let progress = match generation.marks.is_empty() {
        true => kept(&mapping.model, mapping.paused(), &left),
        false => Some(owed(config, (client, graph), seen, left, &generation).await?),
    };
    let next = NextShape {
        digest: &digest,
        labels: &labels,
        facts: &facts,
        outlines: &outlines,
        progress: progress.as_deref(),
    };
    if !graph.follow(&claim, next).await? {
        return Err(ServiceError::NotYet("another instance has claimed the graph".to_owned()));
    }
    learned.with(|it| it.is_kept(at));
    tell(&generation);
    Ok(Agreed { outlines: Some(outlines), labels, ..known })
}

/// Logs what has changed.
pub fn tell(generation: &Generation) {
    for mark in &generation.marks {
        let found = &mark.found;
        tracing::info!(table = %found.table, found = found.what, "the table has changed: comparing it with the graph");
    }
    for found in &generation.free {
        tracing::info!(table = %found.table, found = found.what, "the table has changed: the graph follows");
    }
    for table in &generation.gone {
        tracing::info!(%table, "the table is gone, or not mapped any more: its rows leave the graph");
    }
    for (table, paused, since) in &generation.paused {
        if *since == Since::Now {
            let Paused { why, fix } = paused;
            tracing::warn!(
                %table,
                why = why.join("; "),
                fix,
                "the table has changed and is paused: its rows stay in the graph as they are"
            );
        }
    }
    for table in &generation.frozen {
        tracing::warn!(
            %table,
            "the table is not in the publication: its rows stay in the graph as they are until it is published again"
        );
    }
}

/// The work that is left, and the work that the new shape takes.
async fn owed(
    config: &Config,
    (client, graph): (&Client, &impl Store),
    Seen { catalog, mapping, .. }: Seen<'_>,
    left: Vec<Progress>,
    generation: &Generation,
) -> Result<Vec<Progress>, ServiceError> {
    let model = &mapping.model;
    let left = of_followed(model, mapping.paused(), left);
    let mut looks = looks(model, &left, generation);
    for (table, look) in looks.iter_mut().filter(|(_, look)| *look == Look::Rows) {
        let Some(label) = model.label(*table) else { continue };
        let rows = Rows { labels: [label.clone()].into(), ..Rows::default() };
        if !graph.extent(&rows).await?.nodes.is_empty() {
            tracing::warn!(
                label,
                "the graph has nodes with the label of a new table: those with a row's key become that row, and the \
                 others stay"
            );
            *look = Look::Adopted;
        }
    }
    let marked: Vec<TableIndex> = looks.iter().map(|(table, _)| *table).collect();
    let sizes = setup::sizes_of(client, catalog, mapping, &marked).await?;
    let passes_of = |table: TableIndex| {
        let look = looks.iter().find(|(marked, _)| *marked == table);
        look.map(|(_, look)| passes(look)).unwrap_or_default()
    };
    let new = setup::new_progress(model, &sizes, config.limits.copy_lanes, passes_of);
    Ok(following::owed(model, left, &looks, new))
}

/// Resolves once the tables have changed so that a life has to begin anew. A source that is away says
/// nothing.
pub async fn changed(
    config: &Config,
    (client, epoch): (Client, Option<Epoch>),
    (mut watched, mut trace): (Watched, String),
    told: &LeftOut,
) -> Changed {
    let mut stored = watched.facts.clone();
    let new = match watched.follows {
        true => looked::New::Published,
        false => looked::New::LeftOut,
    };
    let mut traces = Traces::new(config, Some(client));
    loop {
        traces.changed(&trace).await;
        let known = Known::of(vec![watched.facts.clone()]);
        let looked = match looked::look(config, Some(&known), new, told).await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::debug!(%error, "the tables can not be looked at");
                continue;
            }
        };
        let (Ok(mapping), Some(now)) = (&looked.mapping, &looked.now) else {
            // The next life says why they can not be mapped.
            return Changed::Follow;
        };
        if let Some(changed) = watched.changed(now, mapping, looked.at) {
            return changed;
        }
        // The next start knows partitions that were empty, and what was only touched.
        if let Some(epoch) = epoch.filter(|_| looked.at.is_locked && stored != watched.facts) {
            if !super::tables::keep(config, epoch, &watched.facts).await {
                continue;
            }
            stored.clone_from(&watched.facts);
        }
        trace = looked.trace;
    }
}
