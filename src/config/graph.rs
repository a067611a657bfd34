//! Where the graph is, and who logs in.

use std::path::PathBuf;

use crate::{
    cli::Global,
    neo4j,
    postgres::connect::{Environment, percent_decoded},
};

use super::{ConfigError, Expand, RawGraph};

/// Combines URL, flags, file and variables. `None`: no graph is named.
pub(super) fn graph(
    raw: &RawGraph,
    global: &Global,
    environment: Environment<'_>,
    expand: &Expand<'_>,
) -> Result<Option<neo4j::Options>, ConfigError> {
    let url = match &global.graph_url {
        Some(url) => Some(url.clone()),
        None => expand("graph.url", &raw.url)?.or_else(|| environment("NEO4J_URI")),
    };
    let Some(url) = url else { return Ok(None) };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url.as_str()));
    let (login, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    let known = ["bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"];
    if !known.contains(&scheme) || address.is_empty() {
        return Err(ConfigError::GraphUrl { url: format!("{scheme}://{address}") });
    }
    let decoded = |what: &str| {
        percent_decoded(what)
            .map_err(|why| ConfigError::GraphLogin { url: format!("{scheme}://{address}"), why })
    };
    let (url_user, url_password) = match login.split_once(':') {
        Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
        None => (Some(decoded(login)?).filter(|user| !user.is_empty()), None),
    };
    let user = global.graph_user.clone().or(url_user).or(expand("graph.user", &raw.user)?);
    let user = user.or_else(|| environment("NEO4J_USERNAME"));
    let password = match url_password {
        Some(password) => Some(password),
        None => expand("graph.password", &raw.password)?,
    };
    let database = global.graph_database.clone().or(expand("graph.database", &raw.database)?);
    let database = database.or_else(|| environment("NEO4J_DATABASE"));
    let ca = match &global.graph_ca {
        Some(path) => Some(path.clone()),
        None => expand("graph.ca", &raw.ca)?.map(PathBuf::from),
    };
    if ca.is_some() && !scheme.ends_with("+s") {
        return Err(ConfigError::GraphCa { url: format!("{scheme}://{address}") });
    }
    Ok(Some(neo4j::Options {
        url: format!("{scheme}://{address}"),
        user: user.unwrap_or_else(|| "neo4j".to_owned()),
        password: password.or_else(|| environment("NEO4J_PASSWORD")).unwrap_or_default(),
        database,
        ca,
    }))
}
