//! The end of a program whose slot keeps too much of the source's log.

use std::fmt;

use crate::{health::budget::Bytes, start::again::drop_slot};

/// The slot keeps more than it may.
#[derive(Clone, Copy, Debug)]
pub struct TooMuch {
    /// What it keeps.
    pub retained: Bytes,
    /// What it may.
    pub limit: Bytes,
}

/// Why the program has ended, and how it comes back.
#[derive(Debug, thiserror::Error)]
pub struct OverBudget {
    /// The slot's name.
    pub name: String,
    /// What it keeps.
    pub too_much: TooMuch,
    /// What became of it.
    pub slot: Slot,
}

/// What became of the slot.
#[derive(Debug)]
pub enum Slot {
    /// It stays.
    Kept,
    /// It is gone.
    Dropped,
    /// It was to be dropped, and this is why it is there.
    NotDropped(String),
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverBudget { name, too_much: TooMuch { retained, limit }, slot } = self;
        write!(
            f,
            "the slot {name} keeps {retained} of the source's log, more than source.wal_budget.stop ({limit}). "
        )?;
        let renew = "`wal2graph repair --new-slot` makes a new slot and the graph equal to the tables; where \
                     `publish` held the slot, that is `wal2graph publish --new-slot`, with `apply`";
        match slot {
            Slot::Dropped => {
                write!(
                    f,
                    "It is dropped (on_wal_budget: drop), and the log is free. To go on, {renew}"
                )
            }
            kept => {
                match kept {
                    Slot::NotDropped(why) => write!(f, "It could not be dropped: {why}. ")?,
                    _ => write!(f, "It stays (on_wal_budget: keep), and the log with it. ")?,
                }
                let statement = drop_slot(name);
                write!(
                    f,
                    "To go on where the graph is, mend what keeps it from following, raise source.wal_budget.stop, and \
                     start again. To free the log, run {statement} After that, {renew}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_became_of_the_slot_and_how_to_come_back() {
        let gib = |count: u64| Bytes(count << 30);
        let text = |slot| {
            let too_much = TooMuch { retained: gib(21), limit: gib(20) };
            OverBudget { name: "wal2graph_shop".to_owned(), too_much, slot }.to_string()
        };
        let drop = "SELECT pg_drop_replication_slot(slot_name)";
        let kept = text(Slot::Kept);
        for part in ["21.0 GiB", "source.wal_budget.stop (20.0 GiB)", "keep", drop, "--new-slot"] {
            assert!(kept.contains(part), "{part}: {kept}");
        }
        let dropped = text(Slot::Dropped);
        assert!(dropped.contains("is dropped") && dropped.contains("--new-slot"), "{dropped}");
        assert!(!dropped.contains(drop), "{dropped}");
        let failed = text(Slot::NotDropped("permission denied".to_owned()));
        assert!(failed.contains("permission denied") && failed.contains(drop), "{failed}");
    }
}
