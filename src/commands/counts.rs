//! `verify --counts`: how many rows and relationships tables and graph have.
//!
//! ```text
//! source: counts in one snapshot --> the graph has all of that --> graph: counts --> source: counts again
//! ```
//!
//! A number of the graph is right if it is one that the source had meanwhile. It is wrong if the source's
//! number has stayed and the graph's is another one. Everything else is counted again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use crate::{
    cli::ReconcileArgs,
    config::Config,
    graph::{CountOf, Counted, Model, TableIndex, counted},
    mapping::{Mapping, Translator},
    pipeline::Store,
    postgres::{matching, sources::Sources},
    service::{
        ServiceError, following,
        graph::{Graph, Wait, open},
        looked::Followed,
        others::Others,
        read_catalog, renew,
    },
    shown::{Shown, shown_list},
};

use super::{print, print_json, reconcile, wait};

/// So often numbers are counted that change meanwhile.
const ROUNDS: usize = 5;
/// The graph must reach the counted state within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// The numbers of both sides.
#[derive(Debug, Serialize)]
struct Compared {
    /// The tables whose rows make the number.
    tables: Vec<String>,
    /// What is counted in the graph: a label, or a type at nodes with a label.
    graph_counts: String,
    /// The source's number.
    source: u64,
    /// The graph's number.
    graph: u64,
    verdict: Verdict,
    /// Another pipeline of the graph that has the label, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_with: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Equal,
    Differs,
    /// The graph's number counts the rows of another pipeline, too, and is not below the source's.
    Shared,
    /// It changes faster than it can be counted.
    Undecided,
}

/// Counts, and prints the numbers.
pub async fn execute(config: &Config, args: &ReconcileArgs) -> Result<(), ServiceError> {
    let all = compared(config, args).await.map_err(ServiceError::not_compared)?;
    match args.json {
        true => print_json(&all)?,
        false => print(&text(&all))?,
    }
    let count = |verdict| all.iter().filter(|it| it.verdict == verdict).count();
    match (count(Verdict::Differs), count(Verdict::Undecided)) {
        (0, 0) => Ok(()),
        (0, undecided) => Err(ServiceError::NotYet(format!(
            "{undecided} numbers change faster than they can be counted: `wal2graph verify` compares the rows"
        ))
        .not_compared()),
        (differing, _) => Err(ServiceError::Definite(format!(
            "{differing} numbers differ. `wal2graph verify` says which rows, and `wal2graph repair` mends them. \
             Neither looks at what has no whole key: others have made that"
        ))),
    }
}

async fn compared(config: &Config, args: &ReconcileArgs) -> Result<Vec<Compared>, ServiceError> {
    config.graph()?;
    let (sql, catalog) = read_catalog(config).await?;
    let Followed { catalog, mapping, .. } =
        following::tables(config, &sql.client, catalog).await?.followed;
    let mapping = Arc::new(mapping?);
    let named = reconcile::tables(&mapping, &args.tables)?;
    let graph = open(config, Wait::Long)?;
    renew::of_a_slot(config, &graph.checkpoints(&config.pipeline).await?)?;
    let is_asked = |name: &String| named.is_empty() || named.contains(name);
    let tables = mapping.model.iter().filter(|(_, table)| is_asked(&table.name));
    let tables: Vec<TableIndex> = tables.map(|(table, _)| table).collect();
    let others = Others::look(&graph, &config.pipeline).await?;
    let sources = Sources::new(&catalog, &Translator::new(mapping.clone()));
    let counting = Counting { config, sql: &sql.client, graph: &graph, sources, mapping, others };
    let compared = counting.compare(counted(&counting.mapping.model, &tables));
    tokio::select! {
        compared = compared => compared,
        stopped = reconcile::stand_in(config, &graph) => Err(match stopped {
            Ok(never) => match never {},
            Err(error) => error,
        }),
    }
}

struct Counting<'a> {
    config: &'a Config,
    sql: &'a tokio_postgres::Client,
    graph: &'a Graph,
    sources: Sources,
    mapping: Arc<Mapping>,
    others: Others,
}

impl Counting<'_> {
    async fn compare(
        &self,
        mut open: BTreeMap<CountOf, Vec<Counted>>,
    ) -> Result<Vec<Compared>, ServiceError> {
        let mut all = Vec::new();
        for round in 1..=ROUNDS {
            let before = self.of_source(&open).await?;
            wait::caught_up(self.config, self.graph, LIMIT).await?;
            let wanted: Vec<CountOf> = open.keys().cloned().collect();
            let graph = self.graph.counts(&wanted).await?;
            let after = self.of_source(&open).await?;
            let model = &self.mapping.model;
            for ((of, graph), (before, after)) in
                wanted.into_iter().zip(graph).zip(before.into_iter().zip(after))
            {
                let (CountOf::Rows { label } | CountOf::Relationships { label, .. }) = &of;
                let shared_with = self.others.having(label);
                let verdict = match graph {
                    _ if shared_with.is_some() && graph >= before.min(after) => Verdict::Shared,
                    _ if (before.min(after)..=before.max(after)).contains(&graph) => Verdict::Equal,
                    // A change and its reverse may have come between.
                    _ if before == after && round > 1 => Verdict::Differs,
                    _ if round < ROUNDS => continue,
                    _ => Verdict::Undecided,
                };
                let shared_with = shared_with.map(str::to_owned);
                let made_of = open.remove(&of).unwrap_or_default();
                all.push(Compared {
                    tables: tables(model, &made_of),
                    graph_counts: pattern(&of),
                    source: after,
                    graph,
                    verdict,
                    shared_with,
                });
            }
            if open.is_empty() {
                break;
            }
        }
        all.sort_by(|a, b| (&a.tables, &a.graph_counts).cmp(&(&b.tables, &b.graph_counts)));
        Ok(all)
    }

    async fn of_source(
        &self,
        of: &BTreeMap<CountOf, Vec<Counted>>,
    ) -> Result<Vec<u64>, ServiceError> {
        let wanted: BTreeSet<Counted> = of.values().flatten().copied().collect();
        let counts = matching::counts(self.sql, &self.sources, &self.mapping, &wanted).await?;
        let sum = |of: &Vec<Counted>| of.iter().filter_map(|it| counts.get(it)).sum();
        Ok(of.values().map(sum).collect())
    }
}

fn tables(model: &Model, of: &[Counted]) -> Vec<String> {
    let names: BTreeSet<&String> = of.iter().map(|(table, _)| &model.table(*table).name).collect();
    names.into_iter().cloned().collect()
}

/// What is counted, as Cypher has it.
fn pattern(of: &CountOf) -> String {
    match of {
        CountOf::Rows { label } => format!("(:{label})"),
        CountOf::Relationships { label, relationship_type, is_outgoing: true } => {
            format!("(:{label})-[:{relationship_type}]->()")
        }
        CountOf::Relationships { label, relationship_type, is_outgoing: false } => {
            format!("()-[:{relationship_type}]->(:{label})")
        }
    }
}

fn text(all: &[Compared]) -> String {
    let mut text = String::new();
    for Compared { tables, graph_counts, source, graph, verdict, shared_with } in all {
        let tables = shown_list(tables);
        let other = shared_with.as_deref().unwrap_or_default();
        let verdict = match verdict {
            Verdict::Equal => "equal".to_owned(),
            Verdict::Differs => "differs".to_owned(),
            Verdict::Shared => {
                format!("not judged, since rows of the pipeline {} count, too", Shown(other))
            }
            Verdict::Undecided => "undecided: it changes faster than it can be counted".to_owned(),
        };
        // Writing to a String can not fail.
        let _ = writeln!(
            text,
            "{tables}, {}: {source} in the source, {graph} in the graph: {verdict}",
            crate::shown::on_one_line(graph_counts)
        );
    }
    text += "Only numbers were compared. Equal ones do not prove that graph and tables are equal: `wal2graph verify` \
             compares the rows.\n";
    text
}
