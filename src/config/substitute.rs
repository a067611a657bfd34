//! `${VAR}`, `${VAR:-default}` and `${file:/path}` in values.

use super::Environment;

/// A reference that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// A variable that is not set.
    #[error("the environment variable {0} is not set. Set it, or write ${{{0}:-default}}")]
    Variable(String),
    /// A file that can not be read.
    #[error("the file {path} can not be read: {cause}")]
    File {
        /// Which.
        path: String,
        /// The cause.
        cause: String,
    },
    /// `${` without `}`.
    #[error("a ${{ has no }}")]
    Open,
}

/// The text with every reference replaced.
pub fn expand(text: &str, environment: Environment<'_>) -> Result<String, SubstituteError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once("${") {
        let (reference, after) = reference.split_once('}').ok_or(SubstituteError::Open)?;
        expanded.push_str(before);
        expanded.push_str(&resolve(reference, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The files that the text refers to.
pub fn files(text: &str) -> impl Iterator<Item = &str> {
    let references = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    references.filter_map(|(reference, _)| reference.strip_prefix("file:"))
}

fn resolve(reference: &str, environment: Environment<'_>) -> Result<String, SubstituteError> {
    if let Some(path) = reference.strip_prefix("file:") {
        let content = std::fs::read_to_string(path).map_err(|error| SubstituteError::File {
            path: path.to_owned(),
            cause: error.to_string(),
        })?;
        return Ok(content.trim_end_matches(['\r', '\n']).to_owned());
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (reference, None),
    };
    environment(name).or(default).ok_or_else(|| SubstituteError::Variable(name.to_owned()))
}
