//! `status`: how far the graph is.

use crate::{cli::ReportArgs, config::Config};

use super::CommandError;

/// To be written next.
pub async fn execute(_: &Config, _: &ReportArgs) -> Result<(), CommandError> {
    Err(CommandError::Definite("not there yet".to_owned()))
}
