//! What a mapping leaves out, said once for each time the program runs.

use std::sync::OnceLock;

use crate::mapping::{Mapping, Warning};

/// How many tables are named.
const LINES_MAX: usize = 100;

/// Logs what is left out, once.
#[derive(Default)]
pub struct LeftOut(OnceLock<()>);

impl LeftOut {
    /// Says it, as `plan` does: one line a table.
    pub fn tell(&self, mapping: &Mapping) {
        self.0.get_or_init(|| {
            let lines = lines(mapping);
            let more = lines.len().saturating_sub(LINES_MAX);
            lines.iter().take(LINES_MAX).for_each(|line| tracing::warn!("{line}"));
            if more > 0 {
                tracing::warn!(more, "further tables are left out: `wal2graph plan` names all");
            }
        });
    }
}

/// The warnings about tables that the user did not leave out, and that are no matter of course.
fn lines(mapping: &Mapping) -> Vec<String> {
    let is_told = |warning: &&Warning| match warning {
        Warning::LeftOut { why, .. } => !why.is_expected(),
        _ => false,
    };
    mapping.warnings.iter().filter(is_told).map(Warning::to_string).collect()
}
