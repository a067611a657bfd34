//! Environment variables, and the files that they lead to.

use std::path::{Path, PathBuf};

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The home directory.
pub fn home(environment: Environment<'_>) -> Option<PathBuf> {
    environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// libpq's default for an unnamed file, if it exists: `~/.postgresql/NAME`.
pub fn default_file(name: &str, environment: Environment<'_>) -> Option<PathBuf> {
    home(environment).map(|home| home.join(".postgresql").join(name)).filter(|it| Path::exists(it))
}
