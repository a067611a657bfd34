//! What the program does about what happens to it: words of the file.

use super::{ConfigError, Expand, RawConfig};

pub use crate::mapping::edit::SchemaChanges;

pub use crate::start::rules::Dropped;

/// What becomes of tables that come later and that the file does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewTables {
    /// They are added to the publication, if wal2graph has made it.
    #[default]
    Add,
    /// They are left out until somebody publishes them: log and status have the statement.
    Ask,
    /// They are left out.
    Ignore,
}

/// What `run` does when its slot is lost, gone or made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSlotLost {
    /// It ends with an error that says what to do.
    #[default]
    Stop,
    /// It makes a new slot, and compares all tables with the graph.
    Repair,
}

/// What becomes of the slot when it keeps more log than `source.wal_budget` allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWalBudget {
    /// It stays, and the log with it.
    #[default]
    Keep,
    /// It is dropped, so that the log is free.
    Drop,
}

/// What the program does after an error that only a person can end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// It exits.
    #[default]
    Exit,
    /// It stays up, and says why.
    Stay,
}

/// What is done with a row that the graph refuses for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It ends the program.
    #[default]
    Stop,
    /// It becomes a dead letter, and everything else goes on.
    Park,
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Without its slot.
    pub on_slot_lost: OnSlotLost,
    /// With too much log.
    pub on_wal_budget: OnWalBudget,
    /// With a row that the graph refuses.
    pub on_error: OnError,
    /// After the end.
    pub on_stop: OnStop,
    /// When tables change.
    pub schema_changes: SchemaChanges,
    /// With new tables.
    pub new_tables: NewTables,
    /// With the rows of dropped tables.
    pub dropped_tables: Dropped,
}

/// Reads the words.
pub(super) fn policies(raw: &RawConfig, expand: &Expand<'_>) -> Result<Policies, ConfigError> {
    let slot_lost = [("stop", OnSlotLost::Stop), ("repair", OnSlotLost::Repair)];
    let wal_budget = [("keep", OnWalBudget::Keep), ("drop", OnWalBudget::Drop)];
    let error = [("stop", OnError::Stop), ("park", OnError::Park)];
    let stop = [("exit", OnStop::Exit), ("stay", OnStop::Stay)];
    let changes = [
        ("apply", SchemaChanges::Apply),
        ("stop", SchemaChanges::Stop),
        ("pause", SchemaChanges::Pause),
    ];
    let dropped = [("clear", Dropped::Clear), ("keep", Dropped::Keep)];
    let new_tables =
        [("add", NewTables::Add), ("ask", NewTables::Ask), ("ignore", NewTables::Ignore)];
    Ok(Policies {
        on_slot_lost: one_of(expand, "on_slot_lost", &raw.on_slot_lost, slot_lost)?,
        on_wal_budget: one_of(expand, "on_wal_budget", &raw.on_wal_budget, wal_budget)?,
        on_error: one_of(expand, "on_error", &raw.on_error, error)?,
        on_stop: one_of(expand, "on_stop", &raw.on_stop, stop)?,
        schema_changes: one_of(expand, "schema_changes", &raw.schema_changes, changes)?,
        new_tables: one_of(expand, "new_tables", &raw.new_tables, new_tables)?,
        dropped_tables: one_of(expand, "dropped_tables", &raw.dropped_tables, dropped)?,
    })
}

/// One of some words.
fn one_of<T: Default, const N: usize>(
    expand: &Expand<'_>,
    key: &'static str,
    raw: &Option<String>,
    words: [(&'static str, T); N],
) -> Result<T, ConfigError> {
    let Some(text) = expand(key, raw)? else { return Ok(T::default()) };
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let expected = one_of_words(&known);
    let mut words = words.into_iter();
    let found = words.find(|(word, _)| *word == text).map(|(_, value)| value);
    found.ok_or(ConfigError::Word { key, text, expected })
}

/// `a`, `b` or `c`.
fn one_of_words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
