//! Where the source is, and who logs in.

use crate::{
    cli::Global,
    postgres::connect::{Environment, SourceUrl},
};

use super::{ConfigError, expand, source_text};

/// Combines flag, file and libpq's variables. The text is for a file.
pub(super) fn source(
    raw: &Option<String>,
    global: &Global,
    environment: Environment<'_>,
) -> Result<(SourceUrl, String), ConfigError> {
    let url = match &global.source_url {
        Some(url) => Some(url.clone()),
        None => expand("source.url", raw, environment)?,
    };
    // libpq's variables are enough if they name a server, a database or a service.
    let enough = ["PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"];
    let variables = enough.iter().any(|name| environment(name).is_some());
    let url = url.or_else(|| variables.then(|| "postgres://".to_owned()));
    let url = url.ok_or(ConfigError::NoSource)?;
    let source = SourceUrl::with_environment(&url, environment)?;
    Ok((source, source_text::for_a_file(&url, environment)))
}
