//! What `check` shows of the server: whether it answers, what the user may do, and what will be slow
//! or refused.

use crate::{
    graph::{Circumstances, Model},
    pipeline::{Remark, Weight},
    shown::shown_list,
    start::again::pasteable,
};

use super::{
    connect::{Connection, Options},
    cypher::likely_texts,
    error::Error,
    retry,
    schema::{self, Foreign},
};

/// A size of the plan cache is advised in multiples of this.
const PLANS_STEP: usize = 500;

/// The server and the user's rights.
pub(super) async fn of_server(
    connection: &Connection,
    options: &Options,
) -> Result<Vec<Remark>, Error> {
    let schema::Server { version, edition, database } = schema::describe(connection).await?;
    let what = format!("Neo4j {version} {edition}, database {database}, answers");
    let mut remarks = vec![Remark { weight: Weight::Fine, what, fix: None }];
    // Two programs that ask this at once can meet at a lock.
    if let Err(error) = retry::while_transient(|| schema::may_change_schema(connection)).await {
        let fix = match error.is_of_read_only_access() {
            true => format!(
                "on the database system, as an administrator: ALTER DATABASE {} SET ACCESS READ WRITE; in the \
                 Community edition, take server.databases.default_to_read_only and server.databases.read_only out \
                 of neo4j.conf, and restart Neo4j",
                pasteable(&database)
            ),
            false => format!(
                "on the database system, as an administrator: GRANT ROLE architect TO {}",
                pasteable(&options.user)
            ),
        };
        remarks.push(Remark {
            weight: Weight::Failure,
            what: format!("constraints can not be created: {error}"),
            fix: Some(fix),
        });
    }
    Ok(remarks)
}

/// Room for the plans of a model, and constraints of others on what it writes.
pub(super) async fn of_model(connection: &Connection, model: &Model) -> Result<Vec<Remark>, Error> {
    let mut remarks = Vec::from_iter(plans(connection, model).await);
    let foreign = schema::foreign_constraints(connection, model).await?;
    remarks.extend(foreign.iter().map(of_foreign));
    Ok(remarks)
}

/// Whether the server keeps the plans of all statements that the model needs.
async fn plans(connection: &Connection, model: &Model) -> Option<Remark> {
    let needed = likely_texts(model, Circumstances::Settled).len() + schema::OTHERS_PLANS;
    // A user who may not see the setting is told nothing.
    let entries = schema::plan_cache_entries(connection).await.unwrap_or_default();
    let entries = entries.filter(|entries| *entries < needed)?;
    let enough = needed.next_multiple_of(PLANS_STEP);
    Some(Remark {
        weight: Weight::Warning,
        what: format!(
            "Neo4j keeps the plans of {entries} statements, and the mapping needs about {needed}: wide \
             transactions wait while it plans them again"
        ),
        fix: Some(format!(
            "{}={enough} in neo4j.conf, and restart Neo4j",
            schema::PLAN_CACHE_SETTING
        )),
    })
}

/// A constraint of another application that may refuse rows.
fn of_foreign(Foreign { name, of, properties }: &Foreign) -> Remark {
    let (listed, quoted) = (shown_list(properties), pasteable(name));
    let what = format!(
        "the constraint {name:?} on {of:?} ({listed}) is not one that the mapping needs. If two rows of the source \
         share these values, or a row has a value that is too long for an index, Neo4j refuses the row and the \
         pipeline stops. DROP CONSTRAINT {quoted}, or leave a property of it out (`properties: {{exclude: [...]}}`)"
    );
    Remark { weight: Weight::Warning, what, fix: None }
}
