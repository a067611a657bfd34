//! What a partition's first records show of the rows that there were before them.

use crate::checkpoint::TopicPartition;

/// Whether a graph that has nothing of a partition becomes equal to the tables from its first record on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With all rows that there were: those of a snapshot, or of a copy that is on its way.
    Copy,
    /// Without rows: there are none to miss.
    NoRows,
    /// It begins at offset 0, and nothing shows a snapshot.
    Unshown(Unshown),
    /// Rows from before are not in it.
    Partial,
    /// The first record can not be read, and is not to be put aside.
    Unreadable {
        /// Its offset.
        offset: u64,
        /// Why.
        why: String,
    },
}

/// Why nothing shows a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshown {
    /// The first row is a change.
    Change,
    /// Rows without envelopes do not say what they are.
    Rows,
}

impl Unshown {
    /// What this means for the graph.
    pub fn text(self, at: &TopicPartition) -> String {
        let begins = match self {
            Unshown::Change => {
                "begins with a change, not with a row of a snapshot. This is right if the table had no rows when its \
                 publisher began"
            }
            Unshown::Rows => {
                "has rows without envelopes, which do not show a snapshot. This is right if the publisher began with \
                 one, or the table had no rows then"
            }
        };
        format!(
            "{at} {begins}. Else the graph lacks the rows that have not changed since: let the publisher snapshot the \
             table into this topic (with Debezium, by the signal execute-snapshot)"
        )
    }
}
