//! What a mapping leaves out or leaves to chance, said once for each time the program runs.

use std::sync::OnceLock;

use crate::mapping::{Mapping, Warning};

/// How many things are said.
const LINES_MAX: usize = 100;

/// Logs what is left out, and what is worth knowing, once.
#[derive(Default)]
pub struct LeftOut(OnceLock<()>);

impl LeftOut {
    /// Says it, in the sentences of `plan`: tables that are left out first.
    pub fn tell(&self, mapping: &Mapping) {
        self.0.get_or_init(|| {
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

/// What the user did not ask for, and what is no matter of course.
fn told(mapping: &Mapping) -> Vec<&Warning> {
    let told = mapping.warnings.iter().filter(|warning| !warning.is_expected());
    let mut told: Vec<&Warning> = told.collect();
    told.sort_by_key(|warning| !matches!(warning, Warning::LeftOut { .. }));
    told
}
