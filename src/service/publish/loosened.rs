//! The tables as `publish` maps them while the file has settings of a paused table.
//!
//! ```text
//! file: public.orders: {schema_changes: pause, properties: {v: ...}}     database: orders is gone, or v is
//!   apply     the table as the graph has it
//!   publish   the table as it is now, without what the file says of it
//! ```
//!
//! Records are no part of a mapping. `apply` has the table as it was, and passes its records over.

use crate::{
    catalog::Catalog,
    config::{Config, Dropped, SchemaChanges},
    mapping::said_of,
    service::{
        ServiceError,
        left_out::LeftOut,
        looked::{self, Known, Looked, New},
        mapping,
        rules::rules,
    },
};

/// Looks at the tables, as [`looked::look`] does.
pub async fn look(
    config: &Config,
    known: Option<&Known>,
    told: &LeftOut,
) -> Result<Looked, ServiceError> {
    let looked = looked::look(config, known, New::Published, told).await?;
    match &looked.mapping {
        Err(ServiceError::Refused(_)) => match loosened(config, &looked.catalog) {
            Some(config) => looked::look(&config, known, New::Published, told).await,
            None => Ok(looked),
        },
        _ => Ok(looked),
    }
}

/// The configuration without what it says of tables that it pauses, as far as that keeps the others from being mapped.
/// `None`: that does not help.
fn loosened(config: &Config, catalog: &Catalog) -> Option<Config> {
    let rules = rules(config);
    let is_gone = |name: &String| !catalog.tables.iter().any(|it| it.name.in_file() == *name);
    let pauses = |name: &String| {
        let said = said_of(&rules.tables, name).copied().unwrap_or(rules.all);
        said == SchemaChanges::Pause || (rules.dropped == Dropped::Keep && is_gone(name))
    };
    let mut config = config.clone();
    let names: Vec<String> = config.edits.tables.keys().filter(|it| pauses(it)).cloned().collect();
    let Err(ServiceError::Refused(all)) = mapping(&config, catalog) else { return None };
    let mut refusals = all.len();
    for name in names {
        let Some(edit) = config.edits.tables.remove(&name) else { continue };
        match mapping(&config, catalog) {
            Ok(_) => return Some(config),
            Err(ServiceError::Refused(left)) if left.len() < refusals => refusals = left.len(),
            Err(_) => drop(config.edits.tables.insert(name, edit)),
        }
    }
    None
}
