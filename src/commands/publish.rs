//! `publish`: replication slot to topic.

use crate::{cli::PublishArgs, config::Config};

use super::CommandError;

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &PublishArgs) -> Result<(), CommandError> {
    let (_, _) = (config.kafka()?, args);
    Err(CommandError::Definite("publish is not there yet".to_owned()))
}
