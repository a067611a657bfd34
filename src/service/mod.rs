//! The three services, and what they share. A service lives longer than an answer: it connects again
//! when a side was away.
//!
//! ```text
//! run       slot  -> graph
//! publish   slot  -> topic
//! apply     topic -> graph
//! ```

#[cfg(feature = "kafka")]
pub mod apply;
pub mod attempts;
pub mod begin;
pub mod checks;
mod error;
pub mod facts;
pub mod following;
pub mod graph;
mod left_out;
pub mod left_over;
pub mod letters;
mod logins;
pub mod looked;
mod notices;
pub mod others;
mod over_budget;
pub mod preview;
pub mod proof;
#[cfg(feature = "kafka")]
pub mod publish;
mod published;
pub mod renew;
pub mod requests;
mod rules;
pub mod run;
mod setup;
mod slot;
mod tables;
mod trace;
mod watch;

use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    config::Config,
    mapping::{Mapping, compile},
    postgres::{self, connect::Sql},
    topic::names::TableTopics,
};

pub use error::ServiceError;
#[cfg(feature = "kafka")]
pub use watch::topics::ends;

/// An ordinary connection and the catalog, with the publication's limits where it exists already.
pub async fn read_catalog(config: &Config) -> Result<(Sql, Catalog), ServiceError> {
    let mut sql = postgres::connect::sql(&config.source()).await?;
    match published_catalog(config, &mut sql.client).await {
        Ok(catalog) => Ok((sql, catalog)),
        Err(error) => Err(blocked(&sql.client, error).await),
    }
}

async fn published_catalog(
    config: &Config,
    client: &mut Client,
) -> Result<Catalog, tokio_postgres::Error> {
    let exists = postgres::setup::publication(client, &config.publication).await?.is_some();
    let publication = exists.then_some(config.publication.as_str());
    postgres::catalog::read(client, publication).await
}

/// The error of a statement; if it waited for a lock in vain, with who has one.
pub async fn blocked(client: &Client, error: tokio_postgres::Error) -> ServiceError {
    if !postgres::locks::is_blocked(&error) {
        return error.into();
    }
    // What is asked may meet the same lock.
    let holders = postgres::locks::exclusive(client).await.unwrap_or_default();
    let holders = match holders.is_empty() {
        true => String::new(),
        false => format!(". Now {}", holders.join("; ")),
    };
    ServiceError::NotYet(format!("PostgreSQL: {}{holders}", postgres::connect::describe(&error)))
}

/// The mapping of the tables, with the edits of the file.
pub fn mapping(config: &Config, catalog: &Catalog) -> Result<Mapping, ServiceError> {
    compile(catalog, &config.edits).map_err(ServiceError::Refused)
}

/// The configuration with the topics of the mapped tables, if each table has one: the topic of
/// heartbeats is the first.
pub fn with_topics(config: &Config, mapping: &Mapping) -> Result<Config, ServiceError> {
    let kafka = config.kafka()?;
    if !kafka.is_by_table() {
        return Ok(config.clone());
    }
    // What comes of a table that is paused is read, too, and passed over.
    let topics = TableTopics::new(&kafka.topic, mapping.table_names());
    let topics = topics.map_err(ServiceError::topic_name)?;
    Ok(config.reading(topics.all().cloned().collect())?)
}

/// The tables that a graph is made of.
#[cfg(feature = "kafka")]
pub async fn mapped_tables(
    client: &Client,
    catalog: &Catalog,
    mapping: &Mapping,
) -> Result<crate::topic::copied::Tables, ServiceError> {
    let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
    let oids = mapped.map(|table| table.oid).collect();
    let cluster = postgres::setup::cluster(client).await?;
    Ok(crate::topic::copied::Tables { oids, cluster })
}
