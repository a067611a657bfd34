//! `plan`: what the graph will look like.

use crate::{
    cli::ReportArgs,
    config::Config,
    mapping::{Plan, compile},
};

use super::{CommandError, print, print_json, read_catalog};

/// Prints the plan. A mapping that can not be is a failure, after it was printed.
pub async fn execute(config: &Config, args: &ReportArgs) -> Result<(), CommandError> {
    let (_sql, catalog) = read_catalog(config).await?;
    let compiled = compile(&catalog, &config.edits);
    let plan = Plan::new(&compiled);
    match args.json {
        true => print_json(&plan)?,
        false => print(&plan.to_string())?,
    }
    compiled.map(drop).map_err(CommandError::Refused)
}
