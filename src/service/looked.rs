//! Catalog, mapping and the tables' facts, as of one moment.
//!
//! ```text
//! log position -> mapped tables locked -> one snapshot: catalog, mapping, facts -> released -> log position
//! ```
//!
//! The lock comes first: with a synchronous standby away, a committed ALTER TABLE is in the log, and not yet in
//! any snapshot. Its lock shows it. What commits behind the first position is as the snapshot shows it, or
//! newer; everything older is before the second one. Nobody is waited for: without the lock, a column that comes
//! next needs a look at the rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::{
    catalog::{Catalog, Table, TableKind, TableName, pasteable},
    config::{Config, NewTables},
    lsn::Lsn,
    mapping::{Kept, Mapping, Refusal, Warning},
    postgres::{
        self,
        connect::{Sql, describe},
        removal, setup,
    },
    start::{
        Publication, TableFacts, TableRights,
        paused::{held, kept, pauses},
        publication::mark,
        rights,
        shape::ReadAt,
        tables::{Now, Wanted},
    },
};

use super::{ServiceError, blocked, left_out::LeftOut, rules::rules};

/// How long a table that comes to the publication may be kept from that by others.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// The server ends a look of a program that is stopped: others may wait for its locks.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// What a look has found.
pub struct Looked {
    /// The connection that it was read over.
    pub sql: Sql,
    /// The tables.
    pub catalog: Catalog,
    /// What they become, if they can.
    pub mapping: Result<Arc<Mapping>, ServiceError>,
    /// The mapped tables' facts.
    pub now: Option<Now>,
    /// Where the log was.
    pub at: ReadAt,
    /// Stands for everything in the catalog that matters. With another text, something may have changed.
    pub trace: String,
}

/// How to treat new tables that are not in the publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// They are added to it, where that is configured and may be.
    Published,
    /// They are left out.
    LeftOut,
}

/// The tables that a graph follows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Their object ids.
    pub oids: BTreeSet<u32>,
    /// What its checkpoints have of them, where tables can be paused.
    pub facts: Vec<TableFacts>,
    /// The names that it has.
    pub kept: Kept,
}

impl Known {
    /// As its checkpoints have them: several, if it is made from partitions of topics.
    pub fn of(facts: Vec<TableFacts>) -> Self {
        let oids = facts.iter().flat_map(|facts| &facts.tables).map(|table| table.oid).collect();
        let mut kept = Kept::default();
        facts.iter().for_each(|facts| facts.keep_names(&mut kept));
        Known { oids, facts, kept }
    }

    /// Without a checkpoint.
    pub fn of_all(oids: BTreeSet<u32>) -> Self {
        Known { oids, ..Known::default() }
    }
}

/// Looks. `known` has the tables that the graph follows; `None`: there is no graph yet, and all tables are new.
pub async fn look(
    config: &Config,
    known: Option<&Known>,
    new: New,
    told: &LeftOut,
) -> Result<Looked, ServiceError> {
    let mut sql = postgres::connect::sql(&config.source()).await?;
    let before = super::published_catalog(config, &mut sql.client).await;
    let before = match before {
        Ok(before) => before,
        Err(error) => return Err(blocked(&sql.client, error).await),
    };
    let Followed { catalog, mapping, left_out } =
        followed(config, &sql.client, before, known, None).await?.0;
    told.tell_refused(&left_out);
    let before = mapping.map(|mapping| (catalog, mapping)).ok();
    if let (Some(known), Some(before)) = (known.filter(|_| new == New::Published), &before) {
        let (catalog, mapping) = before;
        publish_new(config, &sql.client, (catalog, mapping), known, told).await?;
    }
    let to_lock = before.iter().flat_map(|(_, mapping)| mapping.published_tables());
    let to_lock: Vec<TableName> = to_lock.cloned().collect();
    match read(config, &mut sql.client, &to_lock, known, told).await {
        Ok((catalog, mapping, now, at, trace)) => {
            Ok(Looked { sql, catalog, mapping, now, at, trace })
        }
        Err(ServiceError::Sql(error)) => Err(blocked(&sql.client, error).await),
        Err(error) => Err(error),
    }
}

type Read = (Catalog, Result<Arc<Mapping>, ServiceError>, Option<Now>, ReadAt, String);

async fn read(
    config: &Config,
    client: &mut Client,
    to_lock: &[TableName],
    known: Option<&Known>,
    told: &LeftOut,
) -> Result<Read, ServiceError> {
    let publication = config.publication.as_str();
    let from = position(client).await?;
    let transaction = client.build_transaction().read_only(true);
    let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let is_locked = lock(&transaction, to_lock).await?;
    let published = setup::publication(transaction.client(), publication).await?;
    let name = published.is_some().then_some(publication);
    let mut all = postgres::catalog::read_in(&transaction, name).await?;
    if let Some(known) = known {
        leave_unreadable(config, transaction.client(), &mut all, known, told).await?;
    }
    let looked = followed(config, transaction.client(), all, known, published.as_ref()).await?;
    let (Followed { catalog, mapping, left_out }, now) = looked;
    told.tell_refused(&left_out);
    let trace = postgres::tables::trace(transaction.client(), publication).await?;
    transaction.commit().await?;
    // One that went on, or came, meanwhile was not locked.
    let is_of_all = |mapping: &Mapping| mapping.published_tables().all(|it| to_lock.contains(it));
    let is_locked = is_locked && mapping.as_ref().is_ok_and(is_of_all);
    let at = ReadAt { from, through: position(client).await?, is_locked };
    Ok((catalog, mapping.map(Arc::new), now, at, trace))
}

/// Tables that are there and are not mapped for what they are.
fn unmapped(catalog: &Catalog, mapping: &Mapping) -> BTreeMap<u32, String> {
    let why = mapping.warnings.iter().filter(|warning| !warning.is_expected());
    let left_out = why.filter_map(|warning| match warning {
        Warning::LeftOut { table, why } => Some((catalog.table(table)?.oid, why.to_string())),
        _ => None,
    });
    left_out.collect()
}

/// Where the log is; the beginning for a standby, which can not be followed.
async fn position(client: &Client) -> Result<Lsn, ServiceError> {
    let sql = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN '0/0' \
               ELSE pg_catalog.pg_current_wal_insert_lsn()::text END";
    let row = client.query_one(sql, &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// Locks the tables against ALTER TABLE until the transaction ends. Returns false if that is not possible at once:
/// somebody has one to himself, or the role may not read one.
async fn lock(transaction: &Transaction<'_>, tables: &[TableName]) -> Result<bool, ServiceError> {
    let limit = IDLE_LIMIT.as_millis();
    let limit = format!("SET LOCAL idle_in_transaction_session_timeout = {limit}");
    transaction.batch_execute(&limit).await?;
    if tables.is_empty() {
        return Ok(true);
    }
    let names: Vec<String> = tables.iter().map(|table| format!("ONLY {}", table.sql())).collect();
    let sql =
        format!("SAVEPOINT locks; LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", names.join(", "));
    let Err(error) = transaction.batch_execute(&sql).await else { return Ok(true) };
    if error.as_db_error().is_none() {
        return Err(error.into());
    }
    tracing::debug!(error = describe(&error), "looking at the tables without a lock");
    transaction.batch_execute("ROLLBACK TO SAVEPOINT locks").await?;
    Ok(false)
}

/// Removes new tables from the catalog that the role may not read. They must not end the pipeline.
async fn leave_unreadable(
    config: &Config,
    client: &Client,
    catalog: &mut Catalog,
    known: &Known,
    told: &LeftOut,
) -> Result<(), ServiceError> {
    let is_new = |table: &&Table| {
        let is_named = config.edits.tables.contains_key(&table.name.in_file());
        let is_partition = matches!(table.kind, TableKind::Partition { .. });
        !known.oids.contains(&table.oid)
            && !is_named
            && !is_partition
            && table.primary_key.is_some()
    };
    let new: Vec<TableName> =
        catalog.tables.iter().filter(is_new).map(|table| table.name.clone()).collect();
    if new.is_empty() {
        return Ok(());
    }
    let rights = setup::rights(client, &new).await?;
    let is_hidden = |it: &TableRights| !it.may_use_schema || !it.may_read || it.rows_hidden;
    let hidden: Vec<TableRights> = rights.into_iter().filter(is_hidden).collect();
    if !hidden.is_empty() {
        let server = setup::server(client).await?;
        told.tell_hidden(&rights::to_read(&server, &hidden));
        catalog.tables.retain(|table| !hidden.iter().any(|it| it.table == table.name));
    }
    Ok(())
}

/// Tables, and what they become.
pub struct Followed {
    /// The tables.
    pub catalog: Catalog,
    /// What they become, if they can.
    pub mapping: Result<Mapping, ServiceError>,
    /// Why new tables are not among them: they can not be mapped together with the others.
    pub left_out: Vec<Refusal>,
}

/// The mapping, with what the source has of its tables. A table that has changed, and that the file says to pause, is
/// as the graph has it.
pub async fn followed(
    config: &Config,
    client: &Client,
    all: Catalog,
    known: Option<&Known>,
    published: Option<&Publication>,
) -> Result<(Followed, Option<Now>), ServiceError> {
    let followed = mapped(config, all.clone(), known, published);
    let now = now_of(config, client, &followed).await?;
    let facts = known.map_or(&[][..], |known| &known.facts);
    let of_now = now.as_ref().zip(followed.mapping.as_ref().ok());
    let pauses = pauses(facts, &all, of_now, &rules(config));
    if pauses.is_empty() {
        return Ok((followed, now));
    }
    let held = mapped(config, held(all, facts, &pauses), known, published);
    let paused = pauses.keys().copied().collect();
    let held = Followed { mapping: held.mapping.map(|it| it.pausing(&paused)), ..held };
    if held.mapping.is_err() {
        // The file may name what only the tables of now have.
        for was in kept(facts, &pauses) {
            if let Some(paused) = &was.paused {
                tracing::warn!(table = %was.table_name(), %paused, "the table is paused, and mapped as it was");
            }
        }
    }
    let now = now_of(config, client, &held).await?;
    Ok((held, now.map(|now| Now { paused: pauses, ..now })))
}

async fn now_of(
    config: &Config,
    client: &Client,
    Followed { catalog, mapping, .. }: &Followed,
) -> Result<Option<Now>, ServiceError> {
    let Ok(mapping) = mapping else { return Ok(None) };
    let now = postgres::tables::now(client, &config.publication, &Wanted::of(mapping)).await?;
    Ok(Some(Now { unmapped: unmapped(catalog, mapping), ..now }))
}

/// The mapping. It leaves out new tables that are not published, and new tables that can not be mapped. They must
/// not end the pipeline. Without a graph that is followed, no table is new.
pub fn mapped(
    config: &Config,
    all: Catalog,
    known: Option<&Known>,
    published: Option<&Publication>,
) -> Followed {
    let Some(known) = known else {
        let mapping = super::mapping(config, &all);
        return Followed { catalog: all, mapping, left_out: Vec::new() };
    };
    let config = &config.keeping(known.kept.clone());
    let is_named = |name: &TableName| config.edits.tables.contains_key(&name.in_file());
    let is_published = |name: &TableName| published.is_none_or(|it| it.tables.contains(name));
    let is_new = |table: &Table| match table.kind {
        TableKind::Partition { .. } => false,
        TableKind::Ordinary | TableKind::Partitioned => {
            !known.oids.contains(&table.oid) && !is_named(&table.name)
        }
    };
    let with = |new: &BTreeSet<u32>| {
        let mut catalog = all.clone();
        catalog.tables.retain(|table| !is_new(table) || new.contains(&table.oid));
        catalog
    };
    let new = all.tables.iter().filter(|table| is_new(table) && is_published(&table.name));
    let new: BTreeSet<u32> = new.map(|table| table.oid).collect();
    let (catalog, mut left_out) = (with(&new), Vec::new());
    let mapping = super::mapping(config, &catalog);
    let Err(ServiceError::Refused(refusals)) = mapping else {
        return Followed { catalog, mapping, left_out };
    };
    let mut taken = BTreeSet::new();
    if super::mapping(config, &with(&taken)).is_err() {
        return Followed { catalog, mapping: Err(ServiceError::Refused(refusals)), left_out };
    }
    for oid in new {
        taken.insert(oid);
        if let Err(ServiceError::Refused(refusals)) = super::mapping(config, &with(&taken)) {
            taken.remove(&oid);
            left_out.extend(refusals);
        }
    }
    let catalog = with(&taken);
    let mapping = super::mapping(config, &catalog);
    Followed { catalog, mapping, left_out }
}

/// New tables that are not in the publication.
#[derive(Clone, Debug, Default)]
pub struct Unpublished {
    /// Those that `run` adds to it.
    pub to_add: Vec<TableName>,
    /// Those that it leaves out with a warning.
    pub left_out: Vec<TableName>,
    /// Why others can not be mapped together with the tables that are there.
    pub refused: Vec<Refusal>,
}

/// The new tables that `run` meets in the publication's way. `all` are all that there are.
pub async fn unpublished(
    config: &Config,
    client: &Client,
    all: Catalog,
    known: &Known,
) -> Result<Unpublished, ServiceError> {
    let Followed { catalog, mapping, left_out: refused } = mapped(config, all, Some(known), None);
    let Ok(mapping) = mapping else { return Ok(Unpublished::default()) };
    let found = unpublished_of(config, client, (&catalog, &mapping), known).await?;
    Ok(Unpublished { refused, ..found })
}

async fn unpublished_of(
    config: &Config,
    client: &Client,
    (catalog, mapping): (&Catalog, &Mapping),
    known: &Known,
) -> Result<Unpublished, ServiceError> {
    let name = config.publication.as_str();
    let is_new = |table: &TableName| {
        let oid = catalog.table(table).map(|table| table.oid);
        oid.is_some_and(|oid| !known.oids.contains(&oid))
    };
    if !mapping.published_tables().any(is_new) {
        return Ok(Unpublished::default());
    }
    let Some(published) = setup::publication(client, name).await? else {
        return Ok(Unpublished::default());
    };
    let comment = removal::marked(client, name).await?.and_then(|it| it.comment);
    let is_own = comment == Some(mark(&config.pipeline));
    let is_named = |table: &TableName| config.edits.tables.contains_key(&table.in_file());
    let is_added = |table: &TableName| match (is_own, config.policies.new_tables) {
        (false, _) => false,
        (true, NewTables::Add) => true,
        (true, NewTables::Ask | NewTables::Ignore) => is_named(table),
    };
    let is_unpublished = |table: &&TableName| is_new(table) && !published.tables.contains(table);
    let new = mapping.published_tables().filter(is_unpublished).cloned();
    let (to_add, mut left_out): (_, Vec<TableName>) = new.partition(is_added);
    left_out.retain(|table| config.policies.new_tables != NewTables::Ignore || is_named(table));
    Ok(Unpublished { to_add, left_out, refused: Vec::new() })
}

/// Adds new tables to the publication, if wal2graph has made it.
async fn publish_new(
    config: &Config,
    client: &Client,
    mapped: (&Catalog, &Mapping),
    known: &Known,
    told: &LeftOut,
) -> Result<(), ServiceError> {
    let name = config.publication.as_str();
    let Unpublished { to_add, left_out, .. } =
        unpublished_of(config, client, mapped, known).await?;
    let mut not_added: Vec<(TableName, String)> = Vec::new();
    for table in to_add {
        let sql = format!(
            "SET lock_timeout = {}; ALTER PUBLICATION {} ADD TABLE ONLY {}; RESET lock_timeout",
            LOCK_LIMIT.as_millis(),
            pasteable(name),
            table.pasteable()
        );
        match client.batch_execute(&sql).await {
            Ok(()) => tracing::info!(%table, publication = name, "a new table was published"),
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            Err(error) => not_added.push((table, describe(&error))),
        }
    }
    // A start refuses one that the file names.
    let is_named = |table: &TableName| config.edits.tables.contains_key(&table.in_file());
    let left_out = left_out.into_iter().filter(|table| !is_named(table));
    told.tell_unpublished(
        name,
        not_added.into_iter().chain(left_out.map(|it| (it, String::new()))),
    );
    Ok(())
}
