//! `check --sql`, `check --cypher`: the least rights, as statements. Nothing is changed, and no graph is asked.

use crate::{
    config::Config,
    postgres::{roles, setup},
    service::{ServiceError, mapping, read_catalog},
    start::{
        PublicationRefusal,
        grants::{Grants, cypher},
    },
};

use super::super::print;

/// The database that a user has without choosing one.
const DEFAULT_DATABASE: &str = "neo4j";

/// Prints the statements of PostgreSQL for a role of this name.
pub async fn print_sql(config: &Config, role: &str) -> Result<(), ServiceError> {
    let (sql, catalog) = read_catalog(config).await?;
    let (client, mapping) = (sql.client, mapping(config, &catalog)?);
    let tables: Vec<_> = mapping.published_tables().cloned().collect();
    if tables.is_empty() {
        let refused = PublicationRefusal::NoTables;
        return Err(ServiceError::Definite(refused.to_string()));
    }
    let server = setup::server(&client).await?;
    let published = setup::publication(&client, &config.publication).await?;
    let grants = Grants {
        role,
        is: roles::role(&client, role).await?,
        database: &server.database,
        is_closed: roles::is_closed(&client).await?,
        streams: !config.kafka().is_ok_and(|kafka| kafka.are_foreign),
        has_rds_role: server.has_rds_role,
        tables: &roles::to_read(&client, &tables).await?,
        publication: &config.publication,
        published: published.as_ref(),
    };
    print(&grants.sql())
}

/// Prints the statements of Neo4j Enterprise for a user of this name.
pub fn print_cypher(config: &Config, user: &str) -> Result<(), ServiceError> {
    let database = config.graph().ok().and_then(|graph| graph.database);
    print(&cypher(user, database.as_deref().unwrap_or(DEFAULT_DATABASE)))
}
