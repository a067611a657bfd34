//! The graph follows the tables' shape, in the partitions of `apply`.
//!
//! ```text
//! life of the member:  look at the catalog -> partitions begin
//! each partition:      claimed -> judged with its checkpoint's facts -> repair asked -> one transaction: next shape
//!                      -> names of before removed -> stream; its share of the repair, beside it
//! beside them, every two seconds:  another trace of the catalog? -> look, judge -> the life ends
//! ```
//!
//! A record says names and texts, and not which shape its table had. It does not have to: what was published before
//! a change is in the topic before the log's end of the look, and a share compares only behind that. So records of an
//! earlier shape may be applied by name, or passed over: the comparison makes their rows right.
//!
//! Each partition goes over by itself, and whoever goes over asks for the repair first. A request stays open until
//! every partition has done its share, and a partition that takes one up has looked at the tables before. So
//! partitions of other processes may be behind meanwhile. What one of them writes under a name of before goes when
//! it goes over itself.

use std::{collections::BTreeSet, future::pending, slice};

use crate::{
    catalog::TableName,
    change::Change,
    checkpoint::{Checkpoint, Claim, Log, TopicPartition},
    config::Config,
    graph::{Event, Model, Outlines, TableIndex},
    lsn::Lsn,
    mapping::TranslateError,
    metrics::now,
    pipeline::{NextShape, Note, Store, Translate},
    postgres::{
        self,
        connect::{Sql, sql},
    },
    request::{Purpose, Request, RequestId, State},
    service::{
        ServiceError, facts, following, graph,
        left_out::LeftOut,
        left_over,
        looked::{self, Known},
        notices::Noticing,
        requests::{new_id, tables_of},
        trace::Traces,
    },
    start::{
        Difference, Refusals, TableFacts, TablesRefusal,
        following::{Changed, Next, Watched, step_from},
        found::listed,
        generation::{self, Before, Generation},
        rights,
        shape::Standing,
        tables::Now,
    },
};

use super::{
    requests::{check_source, is_in, owned},
    seen::Seen,
    shared::Shared,
    start::check_checkpoint,
};

/// Whether this configuration lets the graph follow. Records of somebody else's do not say up to where a topic is
/// complete.
pub fn follows(config: &Config) -> Result<bool, ServiceError> {
    Ok(following::follows(config) && !config.kafka()?.are_foreign)
}

/// The tables that a partition's topic has, by object id.
fn tables_at(shared: &Shared, at: &TopicPartition) -> Result<BTreeSet<u32>, ServiceError> {
    let is_in = is_in(shared)?;
    let tables = shared.model.iter().map(|(table, _)| table);
    let tables = tables.filter(|table| is_in(*table, &at.topic));
    Ok(tables.map(|table| shared.mapping.columns(table).oid).collect())
}

/// Those, as they were looked at.
fn now_of(shared: &Shared, seen: &Seen, at: &TopicPartition) -> Result<Now, ServiceError> {
    Ok(seen.now.of(&tables_at(shared, at)?))
}

/// A checkpoint is made with what the publication has. So one that `wal2graph publish` has made since the look is
/// looked at first. Else a table that is paused next would count as one that was not published before.
pub async fn was_published(config: &Config, seen: Option<&Seen>) -> Result<(), ServiceError> {
    if seen.is_none_or(|it| it.now.facts.publication.is_some()) {
        return Ok(());
    }
    let Sql { client, .. } = sql(&config.source()).await?;
    match postgres::setup::publication(&client, &config.publication).await? {
        Some(_) => Err(ServiceError::Reshaped("the publication has come".to_owned())),
        None => Ok(()),
    }
}

/// The tables of a partition that begins now. What is paused is as the graph has it.
pub fn first_of(
    shared: &Shared,
    seen: &Seen,
    at: &TopicPartition,
) -> Result<TableFacts, ServiceError> {
    let tables = tables_at(shared, at)?;
    let mut facts = first(shared, seen);
    facts.tables.retain(|table| tables.contains(&table.oid));
    Ok(facts)
}

fn first(shared: &Shared, seen: &Seen) -> TableFacts {
    let mut facts = generation::first(&seen.now, &shared.mapping);
    facts.tables.extend(seen.paused.iter().cloned());
    facts
}

/// Lets the graph follow with the partition of a claimed checkpoint. Returns the object ids of the tables that it
/// still has to compare.
pub async fn agreed(
    shared: &Shared,
    seen: &Seen,
    at: &TopicPartition,
    claimed: &Checkpoint,
) -> Result<BTreeSet<u32>, ServiceError> {
    let Shared { config, mapping, model, graph, .. } = shared;
    let claim = graph::claimed(config, Log::Partition(at.clone()), claimed.epoch);
    let mut told = seen.turn.lock().await;
    let now = now_of(shared, seen, at)?;
    let Some(text) = &claimed.table_facts else {
        // An earlier build has kept the mapping's digest only, and that is the same.
        let (labels, outlines) = (mapping.labels(), Outlines::of(model).text());
        graph.note(&claim, Note::Outlines { outlines: &outlines, labels: &labels }).await?;
        let facts = first_of(shared, seen, at)?.text();
        graph.note(&claim, Note::Tables(&facts)).await?;
        return to_compare(shared, at).await;
    };
    let again = facts::again(config, Some(mapping), slice::from_ref(claimed));
    let facts = TableFacts::parse(text);
    let mut facts = facts.map_err(|_| TablesRefusal::Unreadable { again: again.clone() })?;
    if now.facts.publication.is_none() {
        // `wal2graph publish` has not made it yet, or has another one.
        check_checkpoint(config, mapping, claimed)?;
        return to_compare(shared, at).await;
    }
    if facts.publication.is_none() {
        // Everything that it has sent has come since.
        facts.published_as(&now.facts);
    }
    let differences = facts.blocking(&now);
    if !differences.is_empty() {
        // What was missed is compared once it is put right.
        graph.note(&claim, Note::Tables(&facts.having_seen(&differences).text())).await?;
        return Err(blocked(&differences));
    }
    let unexplained = seen.unexplained.of(at);
    let had = claimed.outlines.as_deref().map(Outlines::parse).unwrap_or_default();
    let before = Before {
        facts: &facts,
        labels: &claimed.labels,
        digest: &claimed.mapping_digest,
        outlines: &had,
        // Nobody knows which shape a record is of, so a new column always needs a look.
        standing: Standing { applied: Lsn::ZERO, is_clean: false, by_names: true },
        unexplained: &unexplained,
    };
    let (generation, next) = step_from(before, (mapping, &now, seen.at));
    if let Some(refusal) = generation.refused(&again, &following::rules(config)) {
        return Err(refusal.into());
    }
    if !generation.marks.is_empty() {
        Box::pin(ask(shared, at, claimed, &generation)).await?;
    }
    let (mut outlines, mut labels) = (claimed.outlines.clone(), claimed.labels.clone());
    if let Some(next) = next {
        let Next { digest, labels: of_next, facts, outlines: text } = next;
        let shape = NextShape {
            digest: &digest,
            labels: &of_next,
            facts: &facts,
            outlines: &text,
            progress: None,
        };
        if !graph.follow(&claim, shape).await? {
            let what = format!("another instance has claimed {at}");
            return Err(ServiceError::NotYet(what));
        }
        (outlines, labels) = (Some(text), of_next);
        let findings: Vec<String> = generation.findings().iter().map(ToString::to_string).collect();
        if told.insert(findings.join("\n")) {
            following::tell(&generation);
        }
    }
    seen.unexplained.is_kept(at);
    let before = (outlines.as_deref(), labels.as_slice());
    let labels = mapping.labels();
    Box::pin(left_over::clear(graph, &claim, before, (model, &labels))).await?;
    let requests = graph.requests(&config.pipeline).await?;
    match ask_again(shared, at, &requests).await? {
        true => to_compare(shared, at).await,
        false => Ok(compared_by(shared, at, &requests)),
    }
}

fn blocked(differences: &[Difference]) -> ServiceError {
    ServiceError::Definite(format!(
        "{}. Put it back as it was, and start `wal2graph apply` again: it compares what was missed",
        listed(differences)
    ))
}

/// Asks again for what the graph is owed, and could not be done: the reason may be gone. The name says which
/// one it repeats, so all partitions ask for the same. Returns whether it has asked.
pub async fn ask_again(
    shared: &Shared,
    at: &TopicPartition,
    requests: &[Request],
) -> Result<bool, ServiceError> {
    let Shared { config, mapping, model, graph, .. } = shared;
    let log = Log::Partition(at.clone()).name();
    let mut has_asked = false;
    for request in requests {
        let State::Failed(why) = &request.state else { continue };
        let id = RequestId(format!("{}+", request.id));
        // One that is paused is compared once it goes on.
        let is_followed = |table: &String| {
            let found = model.iter().find(|(_, it)| it.name == *table);
            found.is_some_and(|(index, _)| !mapping.paused().contains(&index))
        };
        let tables: Vec<String> =
            request.tables.iter().filter(|it| is_followed(it)).cloned().collect();
        let is_owed = request.id.is_owed() && !request.shares_over.contains(&log);
        if is_owed && !tables.is_empty() && !requests.iter().any(|it| it.id == id) {
            tracing::warn!(
                ?tables,
                why,
                "tables could not be compared with the graph: trying again"
            );
            let request = Request::new(id, Purpose::Repair, tables, now());
            graph.ask(&config.pipeline, &request).await?;
            has_asked = true;
        }
    }
    Ok(has_asked)
}

/// Asks for a repair of the tables that have changed, unless an open one does it.
async fn ask(
    shared: &Shared,
    at: &TopicPartition,
    claimed: &Checkpoint,
    generation: &Generation,
) -> Result<(), ServiceError> {
    let marked: Vec<TableName> =
        generation.marks.iter().map(|mark| mark.found.table.clone()).collect();
    let found = format!("the tables have changed ({})", listed(&generation.findings()));
    let again = facts::again(&shared.config, Some(&shared.mapping), slice::from_ref(claimed));
    let published = &claimed.origin.system_identifier;
    let tables =
        admit(shared, at, &marked, &Why { found, published, again: again.to_string() }).await?;
    let log = Log::Partition(at.clone()).name();
    let does_it = |request: &Request| covers(request, &log, &tables);
    if !shared.graph.requests(&shared.config.pipeline).await?.iter().any(does_it) {
        ask_for(shared, tables).await?;
    }
    Ok(())
}

/// Why tables have to be compared, where nobody has asked for it.
pub struct Why<'a> {
    /// What was found.
    pub found: String,
    /// The database cluster that the topic is published from.
    pub published: &'a str,
    /// What else makes the graph equal again.
    pub again: String,
}

/// Which repair makes another one superfluous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// One that has not begun.
    ByOneToCome,
    /// Also one in which the partition's share is not over: a life that ends begins it again.
    ByAnyOpen,
}

/// Asks for a repair of these tables, which a partition of the topic has.
pub async fn compare(
    shared: &Shared,
    at: &TopicPartition,
    tables: &[TableIndex],
    why: &Why<'_>,
    covered: Covered,
) -> Result<(), ServiceError> {
    if tables.is_empty() {
        // A request that names no table is of all of them.
        return Ok(());
    }
    let names = tables.iter().map(|table| shared.mapping.columns(*table).name.clone());
    let tables = admit(shared, at, &names.collect::<Vec<_>>(), why).await?;
    let log = Log::Partition(at.clone()).name();
    let does_it = |request: &Request| {
        (request.state == State::Asked || covered == Covered::ByAnyOpen)
            && covers(request, &log, &tables)
    };
    match shared.graph.requests(&shared.config.pipeline).await?.iter().any(does_it) {
        true => Ok(()),
        false => ask_for(shared, tables).await,
    }
}

async fn ask_for(shared: &Shared, tables: Vec<String>) -> Result<(), ServiceError> {
    let request = Request::new(new_id().owed(), Purpose::Repair, tables, now());
    shared.graph.ask(&shared.config.pipeline, &request).await?;
    Ok(())
}

/// Whether the partition can compare these tables. Returns their names in a request.
async fn admit(
    shared: &Shared,
    at: &TopicPartition,
    marked: &[TableName],
    why: &Why<'_>,
) -> Result<Vec<String>, ServiceError> {
    let Shared { config, mapping, .. } = shared;
    let Sql { client, .. } = sql(&config.source()).await?;
    let Why { found, published, again } = why;
    let refused = |why: &str| {
        ServiceError::Definite(format!(
            "{found}, and the tables can not be compared with the graph: {why}. Or {again}"
        ))
    };
    match check_source(shared, published, &client).await {
        Err(ServiceError::Definite(why)) => return Err(refused(&why)),
        checked => checked?,
    }
    let of_mapping = marked.iter().filter_map(|it| mapping.table_index(&it.schema, &it.name));
    owned(shared, at, &of_mapping.collect::<Vec<_>>())
        .map_err(|error| refused(&error.to_string()))?;
    let server = postgres::setup::server(&client).await?;
    let lacks = rights::to_read(&server, &postgres::setup::rights(&client, marked).await?);
    let lacks = Refusals::check(lacks.into_iter().map(Into::into).collect());
    lacks.map_err(|lacks| refused(&lacks.to_string()))?;
    let mut tables: Vec<String> = marked.iter().map(TableName::in_file).collect();
    tables.sort();
    Ok(tables)
}

/// An open repair of these tables that the graph is owed. One that somebody has asked for may be cancelled.
fn covers(request: &Request, log: &str, tables: &[String]) -> bool {
    request.id.is_owed()
        && is_repair_of(request, log)
        && (request.tables.is_empty() || tables.iter().all(|it| request.tables.contains(it)))
}

/// An open repair of all rows in which the log still has its share to do. One that was interrupted begins again.
fn is_repair_of(request: &Request, log: &str) -> bool {
    request.state.is_open()
        && request.purpose == Purpose::Repair
        && request.rows.is_none()
        && !request.shares_over.contains(log)
}

/// The tables that the partition still has to compare.
pub async fn to_compare(
    shared: &Shared,
    at: &TopicPartition,
) -> Result<BTreeSet<u32>, ServiceError> {
    let requests = shared.graph.requests(&shared.config.pipeline).await?;
    Ok(compared_by(shared, at, &requests))
}

/// The same of these requests.
fn compared_by(shared: &Shared, at: &TopicPartition, requests: &[Request]) -> BTreeSet<u32> {
    let Shared { mapping, model, .. } = shared;
    let log = Log::Partition(at.clone()).name();
    let repairs = requests.iter().filter(|request| is_repair_of(request, &log));
    let tables = repairs.flat_map(|request| tables_of(model, request).unwrap_or_default());
    // One that is paused is compared once it goes on.
    let tables = tables.filter(|table| !mapping.paused().contains(table));
    tables.map(|table| mapping.columns(table).oid).collect()
}

/// Resolves once the tables have changed so that all partitions have to begin anew. What is of no consequence is
/// kept, so that their next start does not stumble over it. A source that is away says nothing.
pub async fn changed(shared: &Shared) -> Changed {
    let Shared { config, mapping, seen, .. } = shared;
    let Some(seen) = seen else { return pending().await };
    let mut watched = Watched {
        facts: first(shared, seen),
        labels: mapping.labels(),
        digest: mapping.digest(),
        follows: true,
        by_names: true,
        rules: following::rules(config),
    };
    let mut stored = watched.facts.clone();
    let mut traces = Traces::new(config, None);
    loop {
        traces.changed(&seen.trace()).await;
        let (known, told) = (Known::of(vec![watched.facts.clone()]), LeftOut::default());
        let looked = looked::look(config, Some(&known), looked::New::LeftOut, &told).await;
        let Ok(looked) = looked else { continue };
        let (Ok(mapping), Some(now)) = (&looked.mapping, &looked.now) else {
            return Changed::Follow;
        };
        if now.facts.publication.is_some()
            && let Some(changed) = watched.changed(now, mapping, looked.at)
        {
            if let Changed::Blocked(differences) = &changed {
                keep(shared, &stored.having_seen(differences)).await;
            }
            return changed;
        }
        if stored != watched.facts && looked.at.is_locked {
            if !keep(shared, &watched.facts).await {
                continue;
            }
            stored.clone_from(&watched.facts);
        }
        seen.looked(looked.trace);
    }
}

/// The checkpoints of the partitions that this process has claimed keep the tables as they are now.
async fn keep(shared: &Shared, facts: &TableFacts) -> bool {
    for (at, epoch) in shared.claims.all() {
        let Ok(tables) = tables_at(shared, &at) else { return false };
        let mut facts = facts.clone();
        facts.tables.retain(|table| tables.contains(&table.oid));
        let text = facts.text();
        let claim: Claim = graph::claimed(&shared.config, Log::Partition(at), epoch);
        if let Err(error) = shared.graph.note(&claim, Note::Tables(&text)).await {
            tracing::debug!(%error, "the graph could not store what changed about the tables");
            return false;
        }
    }
    true
}

/// Passes over changes without a key where their tables are still to be compared.
pub struct Passing {
    translator: Noticing,
    /// The tables, by object id; `None`: the graph does not follow.
    compared: Option<BTreeSet<u32>>,
}

impl Passing {
    /// Over a translator.
    pub fn new(translator: Noticing, compared: Option<BTreeSet<u32>>) -> Self {
        Passing { translator, compared }
    }
}

impl Translate for Passing {
    type Error = TranslateError;

    fn translate(&mut self, change: &Change, committed: Lsn) -> Result<Option<Event>, Self::Error> {
        use TranslateError::{KeyColumnMissing, KeyNotSent};
        let translated = self.translator.translate(change, committed);
        let Some(compared) = &self.compared else { return translated };
        let (Err(KeyColumnMissing { table, .. } | KeyNotSent { table, .. }), Some(relation)) =
            (&translated, change.relations().first())
        else {
            return translated;
        };
        match compared.contains(&relation.oid) {
            true => Ok(None),
            false => {
                let (table, sent) = (table.clone(), relation.sent());
                Err(TranslateError::Unexplained { table, sent })
            }
        }
    }

    fn batch_translated(&mut self) {
        self.translator.batch_translated();
    }

    fn model(&self) -> &Model {
        self.translator.model()
    }
}
