//! What a mapping leaves out or leaves to chance, said once for each time the program runs.

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{
    catalog::{TableName, pasteable},
    mapping::{Mapping, Refusal, Warning},
    start::RightsRefusal,
};

/// How many things are said.
const LINES_MAX: usize = 100;

/// Logs what is left out, and what is worth knowing, once.
#[derive(Default)]
pub struct LeftOut {
    told: OnceLock<()>,
    /// Of tables that came later.
    new: Mutex<BTreeSet<String>>,
}

impl LeftOut {
    /// Says it, in the sentences of `plan`: tables that are left out first.
    pub fn tell(&self, mapping: &Mapping) {
        self.told.get_or_init(|| {
            let told = told(mapping);
            for warning in told.iter().take(LINES_MAX) {
                match warning {
                    Warning::LeftOut { .. } => tracing::warn!("{warning}"),
                    _ => tracing::info!("{warning}"),
                }
            }
            let more = told.len().saturating_sub(LINES_MAX);
            if more > 0 {
                tracing::warn!(
                    more,
                    "more is left out or worth knowing: `wal2graph plan` shows all"
                );
            }
        });
    }
}

impl LeftOut {
    /// New tables that are not in the publication, each with why it was not added, if that was tried.
    pub fn tell_unpublished(
        &self,
        publication: &str,
        tables: impl IntoIterator<Item = (TableName, String)>,
    ) {
        for (table, why) in tables {
            self.tell_new(unpublished(publication, &table, &why));
        }
    }

    /// New tables that the role may not read.
    pub fn tell_hidden(&self, refusals: &[RightsRefusal]) {
        for refusal in refusals {
            self.tell_new(format!("new tables are left out: {refusal}"));
        }
    }

    /// New tables that can not be mapped, while all others can.
    pub fn tell_refused(&self, refusals: &[Refusal]) {
        for refusal in refusals {
            self.tell_new(format!("a new table is left out: {refusal}"));
        }
    }

    fn tell_new(&self, text: String) {
        let mut told = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < LINES_MAX && told.insert(text.clone()) {
            tracing::warn!("{text}");
        }
    }
}

/// That a new table is not in the publication, with why it was not added, if that was tried.
pub fn unpublished(publication: &str, table: &TableName, why: &str) -> String {
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    format!(
        "{table} is new and not in the publication{why}, so it is left out. To have it in the graph: \
         ALTER PUBLICATION {} ADD TABLE ONLY {}",
        pasteable(publication),
        table.pasteable()
    )
}

/// What the user did not ask for, and what is no matter of course.
fn told(mapping: &Mapping) -> Vec<&Warning> {
    let told = mapping.warnings.iter().filter(|warning| !warning.is_expected());
    let mut told: Vec<&Warning> = told.collect();
    told.sort_by_key(|warning| !matches!(warning, Warning::LeftOut { .. }));
    told
}
