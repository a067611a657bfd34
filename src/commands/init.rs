//! `init`: the inferred configuration as a file.

use std::fs;

use crate::{
    cli::InitArgs,
    config::{Config, ConfigError},
    mapping::render_yaml,
};

use super::{CommandError, mapping, print, read_catalog};

/// Writes the file, or prints it. Secrets are left to the environment.
pub async fn execute(config: &Config, args: &InitArgs) -> Result<(), CommandError> {
    let head = head(config)?;
    let (_sql, catalog) = read_catalog(config).await?;
    let mapping = mapping(config, &catalog)?;
    let text = format!("{head}{}", render_yaml(&catalog, &mapping));
    let Some(path) = &args.output else { return print(&text) };
    if path.exists() && !args.force {
        let path = path.display();
        return Err(CommandError::Definite(format!("{path} exists; --force overwrites it")));
    }
    fs::write(path, text)?;
    tracing::info!(path = %path.display(), "configuration written");
    Ok(())
}

fn head(config: &Config) -> Result<String, ConfigError> {
    let Config { pipeline, slot, publication, source, .. } = config;
    let graph = config.graph()?;
    let database = graph.database.as_deref().map(|name| format!("\n  database: {name}"));
    Ok(format!(
        "# yaml-language-server: $schema=schemas/config.schema.json\n\
         # Names the slot, the publication and the checkpoint, unless they are given.\n\
         pipeline: {pipeline}\n\
         source:\n\
         \x20 # The password comes from PGPASSWORD or a file: ${{file:/run/secrets/postgres}}\n\
         \x20 url: {source:?}\n\
         \x20 slot: {slot}\n\
         \x20 publication: {publication}\n\
         graph:\n\
         \x20 url: {}\n\
         \x20 user: {}\n\
         \x20 # Default: the environment variable NEO4J_PASSWORD.\n\
         \x20 # password: ${{file:/run/secrets/neo4j}}{}\n",
        graph.url,
        graph.user,
        database.unwrap_or_default(),
    ))
}
