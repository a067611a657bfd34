//! What the next start does about the changes since the graph was made. Nothing is changed.
//!
//! ```text
//! checkpoints --tables of then--+
//!                               +--judged--> what is compared, what goes, what is paused, what is refused
//! catalog, file --tables of now-+
//! ```

use std::collections::BTreeSet;

use crate::{
    catalog::TableName,
    checkpoint::Checkpoint,
    config::Config,
    graph::Outlines,
    lsn::Lsn,
    pipeline::Store,
    start::{
        TableFacts,
        found::Found,
        generation::{Before, Generation, judge},
        paused::layers,
        shape::Standing,
    },
};

use super::{
    ServiceError, facts,
    following::{self, Seen, follows, known_of, rules},
    graph,
    left_out::LeftOut,
    looked::{self, Known},
    read_catalog,
};

/// What the next start does.
pub struct Preview {
    /// Tables whose rows are compared, and about how many rows they have, where that is known.
    pub marks: Vec<(Found, Option<u64>)>,
    /// New tables that are added to the publication, and copied.
    pub added: Vec<(TableName, Option<u64>)>,
    /// Why it would end instead.
    pub refused: Option<String>,
    /// All of it. A graph that is made from several partitions has more than one while some of them have gone over to
    /// the next shape of a table, and others have not.
    pub generations: Vec<Generation>,
    /// The graph is made from topics, so `apply` does it, and `publish` adds new tables.
    pub through_topic: bool,
}

/// Looks. There may be none, for a reason that people are told.
pub async fn preview(config: &Config) -> Result<Result<Preview, String>, ServiceError> {
    let graph = graph::open(config, graph::Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    let none = |why: &str| Ok(Err(why.to_owned()));
    let Some(checkpoint) = checkpoints.first() else {
        return none("there is no graph of the pipeline yet: the first start copies all tables");
    };
    let through_topic = checkpoint.partition().is_some();
    if through_topic && !config.kafka().is_ok_and(|kafka| !kafka.are_foreign) {
        return none(
            "the graph is made from topics of another publisher, and does not follow its tables",
        );
    }
    let known = known_of(&checkpoints);
    let told = LeftOut::default();
    let looked = looked::look(config, known.as_ref(), looked::New::LeftOut, &told).await?;
    let mapping = looked.mapping?;
    let Some(now) = &looked.now else { return none("the tables of now are not known") };
    if through_topic && (now.in_recovery || now.facts.publication.is_none()) {
        return none(
            "the graph does not follow its tables: source.url leads to a standby, or to no such publication as \
             `publish` has",
        );
    }
    let seen = Seen { catalog: &looked.catalog, mapping: &mapping, now, at: looked.at };
    let generations = match through_topic {
        true => of_partitions(&checkpoints, seen),
        false => following::next(Some(checkpoint), seen).into_iter().collect(),
    };
    if generations.is_empty() {
        return none("an earlier build has made the graph, and has kept nothing of its tables");
    }
    let rows = |table: &TableName| looked.catalog.table(table).and_then(|it| it.estimated_rows);
    let mut marks: Vec<(Found, Option<u64>)> = Vec::new();
    for mark in generations.iter().flat_map(|it| &it.marks) {
        if !marks.iter().any(|(found, _)| found.table == mark.found.table) {
            marks.push((mark.found.clone(), rows(&mark.found.table)));
        }
    }
    let again = facts::again(config, Some(&mapping), &checkpoints);
    let refused = generations.iter().find_map(|it| it.refused(&again, &rules(config)));
    let refused = refused.map(|it| it.to_string());
    let added = match &known {
        Some(known) if follows(config) => added(config, known).await?,
        _ => Vec::new(),
    };
    Ok(Ok(Preview { marks, added, refused, generations, through_topic }))
}

/// New tables that are added to the publication, and about how many rows they have.
async fn added(
    config: &Config,
    known: &Known,
) -> Result<Vec<(TableName, Option<u64>)>, ServiceError> {
    let (sql, all) = read_catalog(config).await?;
    let new = looked::unpublished(config, &sql.client, all.clone(), known).await?;
    let rows = |table: &TableName| all.table(table).and_then(|it| it.estimated_rows);
    let with_rows = |table: TableName| {
        let rows = rows(&table);
        (table, rows)
    };
    Ok(new.to_add.into_iter().map(with_rows).collect())
}

/// The same of a graph that is made from the partitions of topics.
fn of_partitions(
    checkpoints: &[Checkpoint],
    Seen { mapping, now, at, .. }: Seen<'_>,
) -> Vec<Generation> {
    let Some(first) = checkpoints.first() else { return Vec::new() };
    let labels: BTreeSet<String> =
        checkpoints.iter().flat_map(|it| it.labels.iter().cloned()).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let had = first.outlines.as_deref().map(Outlines::parse).unwrap_or_default();
    let judged = |(index, mut facts): (usize, TableFacts)| {
        let tables = facts.tables.iter().map(|table| table.oid).collect();
        // The first has all tables that the graph knows.
        let now = if index == 0 { now.clone() } else { now.of(&tables) };
        if facts.publication.is_none() {
            facts.published_as(&now.facts);
        }
        let before = Before {
            facts: &facts,
            labels: &labels,
            digest: &first.mapping_digest,
            outlines: &had,
            standing: Standing { applied: Lsn::ZERO, is_clean: false, by_names: true },
            unexplained: &BTreeSet::new(),
        };
        judge(before, &now, mapping, at)
    };
    layers(&TableFacts::of_all(checkpoints)).into_iter().enumerate().map(judged).collect()
}
