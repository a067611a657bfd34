//! Tables whose rows the topics may have from before: one that was dropped and made again has another object id.

use std::collections::BTreeSet;

use crate::{catalog::TableName, start::Again};

/// What the topics have of tables that are not those of their names any more.
pub struct FromBefore {
    /// The tables that the next copy is of, and whose rows may be there.
    pub again: Vec<TableName>,
    /// The object ids of tables that are gone.
    pub gone: BTreeSet<u32>,
}

impl FromBefore {
    /// What is so, if anything is.
    pub fn what(&self) -> Option<String> {
        if !self.again.is_empty() {
            let tables = self.again.iter().map(TableName::in_file).collect::<Vec<_>>().join(", ");
            return Some(format!(
                "{tables}: copied again into a topic that may have rows from before: the table was dropped and made \
                 again, or the topic has lost records. Rows that were deleted meanwhile are in no record, and stay in \
                 the graph"
            ));
        }
        let gone = self.gone.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        (!gone.is_empty()).then(|| {
            format!(
                "the topic has rows of tables that the source does not have any more (object ids {gone}): of one that \
                 was dropped and made again, the graph may have rows that are deleted"
            )
        })
    }

    /// What to do about it.
    pub fn fix(&self, again: &Again) -> String {
        match self.again.is_empty() {
            true => format!("nothing, if none was made again under its name. Else {again}"),
            false => format!("nothing, if no row was deleted. Else {again}"),
        }
    }
}
