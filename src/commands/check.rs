//! `check`: everything that would keep `run` from working, each with its fix.

mod kafka;

use std::fmt;

use serde::Serialize;

use crate::{
    catalog::{Catalog, quote_identifier},
    cli::ReportArgs,
    config::Config,
    graph::{
        cypher::quote,
        model::{Shape, Table},
    },
    kafka::Ack,
    mapping::{Mapping, compile},
    neo4j::{
        self, Connection,
        schema::{self, Entity},
    },
    postgres::{
        connect::Sql,
        setup::{self, Server, Slot},
    },
};

use super::{CommandError, print, print_json, run};

/// What was looked at, in order.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    /// What to do about it: SQL, a setting, a change of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failure,
}

/// Prints the report; a failure in it is one of the command.
pub async fn execute(config: &Config, args: &ReportArgs) -> Result<(), CommandError> {
    let mut report = Report::default();
    let (mapping, catalog) = match super::read_catalog(config).await {
        Ok((sql, catalog)) => (source(config, &sql, &catalog, &mut report).await?, Some(catalog)),
        Err(error) => {
            report.failure(
                error.to_string(),
                "see that --source-url is right and the role may log in",
            );
            (None, None)
        }
    };
    let topics = kafka::topics(config, &mut report).await;
    // A publisher that acknowledges what Kafka has needs no graph.
    let needs_graph = config.kafka().map_or(true, |kafka| kafka.ack == Ack::Graph);
    if (needs_graph || config.graph().is_ok())
        && let Err(error) = graph(config, mapping.as_ref(), &mut report).await
    {
        let text = error.to_string();
        let fix = match text.contains("ALTER CURRENT USER") {
            true => "change the password as Neo4j wants it, then name the new one (NEO4J_PASSWORD)",
            false => "see that --graph-url, user, password (NEO4J_PASSWORD) and database are right",
        };
        report.failure(format!("Neo4j: {text}"), fix);
    } else if let (Some(mapping), Some(catalog), true) = (&mapping, &catalog, topics) {
        kafka::apply(config, mapping, catalog, &mut report).await;
    }
    match args.json {
        true => print_json(&report)?,
        false => print(&report.to_string())?,
    }
    let failures = report.findings.iter().filter(|it| it.verdict == Verdict::Failure).count();
    match failures {
        0 => Ok(()),
        _ => Err(CommandError::Definite(format!("{failures} of the checks failed"))),
    }
}

async fn source(
    config: &Config,
    sql: &Sql,
    catalog: &Catalog,
    report: &mut Report,
) -> Result<Option<Mapping>, CommandError> {
    let server = setup::server(&sql.client).await?;
    report.ok(format!("PostgreSQL {} answers", server.version / 10_000));
    if let Err(error) = run::setup::check_server(&server) {
        report.failure("the source can not stream", error.to_string());
    }
    let slot = setup::slot(&sql.client, &config.slot).await?;
    capacity(&server, slot.is_some(), report);
    if let Some(slot) = &slot {
        slot_findings(config, &server, slot, report);
    }
    let mapping = match compile(catalog, &config.edits) {
        Ok(mapping) => mapping,
        Err(refusals) => {
            for refusal in refusals {
                report.failure("a table can not be mapped", refusal.to_string());
            }
            return Ok(None);
        }
    };
    report.ok(format!("{} tables are mapped", mapping.model.tables.len()));
    for warning in &mapping.warnings {
        report.warning(warning.to_string());
    }
    rights(config, sql, &server, &mapping, report).await?;
    Ok(Some(mapping))
}

fn capacity(server: &Server, has_slot: bool, report: &mut Report) {
    let (allowed, used) = server.slots;
    if !has_slot && used >= i64::from(allowed) {
        report.failure(
            format!("all {allowed} replication slots are in use"),
            "ALTER SYSTEM SET max_replication_slots to more and restart, or drop one: SELECT slot_name, active FROM \
             pg_replication_slots",
        );
    }
    let (allowed, used) = server.senders;
    if used >= i64::from(allowed) {
        report.failure(
            format!("all {allowed} walsenders are in use"),
            "ALTER SYSTEM SET max_wal_senders to more and restart",
        );
    }
}

fn slot_findings(config: &Config, server: &Server, slot: &Slot, report: &mut Report) {
    let name = &config.slot;
    if slot.plugin.as_deref() != Some("pgoutput") {
        let plugin = slot.plugin.clone().unwrap_or_else(|| "no plugin".to_owned());
        report.failure(
            format!("the slot {name} has {plugin}, not pgoutput"),
            "name another with source.slot",
        );
    }
    if slot.database.as_ref().is_some_and(|database| *database != server.database) {
        report.failure(
            format!("the slot {name} belongs to another database"),
            "name another with source.slot or --pipeline",
        );
    }
    if slot.wal_status.as_deref() == Some("lost") {
        report.failure(
            format!("the slot {name} is lost: the log it needs was removed"),
            format!(
                "SELECT pg_drop_replication_slot('{name}'), and delete the checkpoint to copy again"
            ),
        );
    }
    if let Some(pid) = slot.active_pid {
        report
            .warning(format!("process {pid} streams from the slot {name}: run would wait for it"));
    }
}

async fn rights(
    config: &Config,
    sql: &Sql,
    server: &Server,
    mapping: &Mapping,
    report: &mut Report,
) -> Result<(), CommandError> {
    let role = &server.role;
    for table in mapping.published_tables() {
        let text = table.sql();
        let row =
            sql.client.query_one("SELECT has_table_privilege($1, 'SELECT')", &[&text]).await?;
        if !row.get::<_, bool>(0) {
            report.failure(
                format!("the role {role} may not read {text}"),
                format!("GRANT SELECT ON {text} TO {}", quote_identifier(role)),
            );
        }
    }
    match setup::publication(&sql.client, &config.publication).await? {
        Some(_) => {
            if let Err(error) = run::setup::check_publication(config, &sql.client, mapping).await {
                report.failure("the publication does not fit the mapping", error.to_string());
            }
        }
        None if !server.may_create => report.failure(
            format!("the role {role} may not create the publication"),
            format!(
                "GRANT CREATE ON DATABASE {} TO {} and own the tables, or as their owner: {}",
                quote_identifier(&server.database),
                quote_identifier(role),
                setup::create_publication_sql(&config.publication, mapping.published_tables())
            ),
        ),
        None => report.ok(format!("the publication {} will be created", config.publication)),
    }
    Ok(())
}

async fn graph(
    config: &Config,
    mapping: Option<&Mapping>,
    report: &mut Report,
) -> Result<(), CommandError> {
    let graph = Connection::new(config.graph()?, neo4j::connect::ANSWER_LIMIT)?;
    let server = schema::describe(&graph).await?;
    let schema::Server { version, edition, database } = &server;
    report.ok(format!("Neo4j {version} {edition}, database {database}, answers"));
    if let Err(error) = schema::may_change_schema(&graph).await {
        report.failure(
            format!("constraints can not be created: {error}"),
            "GRANT the user the role architect, or create them as wal2graph plan lists them",
        );
    }
    let Some(mapping) = mapping else { return Ok(()) };
    data(&graph, mapping, report).await?;
    for foreign in schema::foreign_constraints(&graph, &mapping.model).await? {
        let schema::Foreign { name, of, properties } = foreign;
        report.warning(format!(
            "the constraint {name:?} on {of:?} ({}) is not one that the mapping needs: where the source lets two \
             rows share these values, or a row hold a longer one than an index takes, Neo4j refuses it and the \
             pipeline stops. DROP CONSTRAINT {}, or leave a property of it out (`properties: {{exclude: [...]}}`)",
            properties.join(", "),
            quote(&name),
        ));
    }
    let checkpoints = neo4j::checkpoint::read_all(&graph, &config.pipeline).await?;
    match checkpoints.first() {
        None => foreign_nodes(&graph, mapping, report).await?,
        Some(first) if first.partition().is_some() => {
            for checkpoint in &checkpoints {
                kafka::checkpoint(config, mapping, checkpoint, report);
            }
        }
        Some(checkpoint) => {
            let sql = crate::postgres::connect::sql(&config.source).await?;
            match run::setup::check_checkpoint(config, &sql.client, mapping, checkpoint).await {
                Ok(()) => report.ok(format!("the graph is at {}", checkpoint.lsn)),
                Err(error) => {
                    report.failure("the graph does not fit the source", error.to_string())
                }
            }
        }
    }
    Ok(())
}

/// Data that is there already and keeps a constraint from being made.
async fn data(
    graph: &Connection,
    mapping: &Mapping,
    report: &mut Report,
) -> Result<(), CommandError> {
    let missing = schema::missing(graph, &schema::requirements(&mapping.model)).await?;
    for (requirement, values) in schema::violations(graph, &missing).await? {
        let properties = requirement.properties.join(", ");
        let what = match &requirement.entity {
            Entity::Node(label) => format!("nodes with the label {label}"),
            Entity::Relationship(of) => format!("relationships of the type {of}"),
        };
        report.failure(
            format!("{values} values of ({properties}) are shared by several {what}: they must be unique"),
            format!(
                "remove the duplicates from the graph, or give the table another name there (label or type in \
                 `tables`); the constraint that is needed: {}",
                requirement.cypher()
            ),
        );
    }
    Ok(())
}

/// Nodes that somebody else has put under the mapping's labels.
async fn foreign_nodes(
    graph: &Connection,
    mapping: &Mapping,
    report: &mut Report,
) -> Result<(), CommandError> {
    let label = |table: &Table| match &table.shape {
        Shape::Node(node) => Some(node.label.clone()),
        Shape::Relationship(_) => None,
    };
    let labels: Vec<String> = mapping.model.tables.iter().filter_map(label).collect();
    let counts = schema::count_labels(graph, &labels).await?;
    for (label, count) in labels.iter().zip(counts).filter(|(_, count)| *count > 0) {
        report.warning(format!(
            "{count} nodes have the label {label} already: those with a row's key become that row, the others stay"
        ));
    }
    Ok(())
}

impl Report {
    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Ok, what: what.into(), fix: None });
    }

    fn warning(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Warning, what: what.into(), fix: None });
    }

    fn failure(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        let (what, fix) = (what.into(), Some(fix.into()));
        self.findings.push(Finding { verdict: Verdict::Failure, what, fix });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { verdict, what, fix } in &self.findings {
            let verdict = match verdict {
                Verdict::Ok => "ok      ",
                Verdict::Warning => "warning ",
                Verdict::Failure => "FAILURE ",
            };
            writeln!(f, "{verdict} {what}")?;
            if let Some(fix) = fix {
                writeln!(f, "         fix: {fix}")?;
            }
        }
        Ok(())
    }
}
