//! `init`: the inferred configuration as a file.
//!
//! ```text
//! FILE.yaml           settings, and the mapping of every table
//! FILE.schema.json    what may be in it, for editors that know YAML's language server
//! ```

use std::{fs, path::Path};

use schemars::schema_for;

use crate::{
    cli::InitArgs,
    config::{Config, RawConfig},
    mapping::{mend, render_defaults, render_mended, scalar},
    service::{ServiceError, read_catalog},
};

use super::print;

/// Writes the file, or prints it. Secrets are left to the environment. Tables that clash do not keep it
/// from being written: the file mends them, with a mark, or says in a comment what to do.
pub async fn execute(config: &Config, args: &InitArgs) -> Result<(), ServiceError> {
    let (_sql, catalog) = read_catalog(config).await?;
    let mended = mend(&catalog, &config.edits);
    let tables = render_mended(&catalog, &mended);
    let (marked, open) = (mended.marks.len(), mended.refusals.len());
    match &args.output {
        None => print(&format!("{}{tables}", head(config)))?,
        Some(path) => write(config, path, &tables, args.force)?,
    }
    if marked > 0 {
        tracing::warn!(tables = marked, "mended: see the lines with `mended:`");
    }
    if open > 0 {
        tracing::warn!(open, "to be mended before `wal2graph run`: see the lines with `refused:`");
    }
    Ok(())
}

fn write(config: &Config, path: &Path, tables: &str, force: bool) -> Result<(), ServiceError> {
    let schema =
        serde_json::to_string_pretty(&schema_for!(RawConfig)).map_err(std::io::Error::other)?;
    let schema_path = path.with_extension("schema.json");
    let is_other = fs::read_to_string(&schema_path).is_ok_and(|there| there != schema);
    let there = match (path.exists(), is_other) {
        (true, _) => Some(path),
        (false, true) => Some(schema_path.as_path()),
        (false, false) => None,
    };
    if let Some(path) = there.filter(|_| !force) {
        let path = path.display();
        return Err(ServiceError::Definite(format!("{path} exists; --force overwrites it")));
    }
    let schema_name = schema_path.file_name().unwrap_or_default().to_string_lossy();
    let line = format!("# yaml-language-server: $schema={schema_name}\n");
    fs::write(&schema_path, schema)?;
    fs::write(path, format!("{line}{}{tables}", head(config)))?;
    tracing::info!(path = %path.display(), schema = %schema_path.display(), "configuration written");
    Ok(())
}

fn head(config: &Config) -> String {
    let Config { pipeline, slot, publication, source_text, .. } = config;
    let [pipeline, url, slot, publication] =
        [pipeline, source_text, slot, publication].map(|text| scalar(text));
    format!(
        "# Names the slot, the publication and the checkpoint, unless they are given.\n\
         pipeline: {pipeline}\n\
         source:\n\
         \x20 # The password comes from PGPASSWORD, or into the URL as ${{file:/run/secrets/postgres}}.\n\
         \x20 url: {url}\n\
         \x20 slot: {slot}\n\
         \x20 publication: {publication}\n\
         {}{}",
        graph(config),
        render_defaults(&config.edits.defaults),
    )
}

fn graph(config: &Config) -> String {
    let Ok(graph) = config.graph() else {
        return "# graph:\n\
                #   url: bolt://localhost:7687\n\
                #   user: neo4j\n\
                #   # Default: the environment variable NEO4J_PASSWORD.\n\
                #   # password: ${file:/run/secrets/neo4j}\n"
            .to_owned();
    };
    let database =
        graph.database.as_deref().map(|name| format!("\x20 database: {}\n", scalar(name)));
    format!(
        "graph:\n\
         \x20 url: {}\n\
         \x20 user: {}\n\
         \x20 # Default: the environment variable NEO4J_PASSWORD.\n\
         \x20 # password: ${{file:/run/secrets/neo4j}}\n{}",
        scalar(&graph.url),
        scalar(&graph.user),
        database.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::head;
    use crate::{cli::Global, config::Config};

    #[test]
    fn names_that_yaml_takes_for_something_else_were_written_without_quotes() {
        for name in ["1e3", "yes", "null", "0x10", "123", "1_000"] {
            let flags = Global {
                pipeline: Some(name.to_owned()),
                source_url: Some("postgres://u@h/d".to_owned()),
                graph_url: Some("bolt://h".to_owned()),
                ..Global::default()
            };
            let mut config = Config::load(&flags, &|_| None).unwrap();
            config.publication = format!("{name}: #\n'\"");
            let read: serde_json::Value = serde_saphyr::from_str(&head(&config)).unwrap();
            assert_eq!(read["pipeline"], name);
            assert_eq!(read["source"]["slot"], config.slot);
            assert_eq!(read["source"]["publication"], config.publication);
            assert_eq!(read["graph"]["url"], "bolt://h");
        }
    }
}
