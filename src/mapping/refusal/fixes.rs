//! Fixes that depend on the problem.

use crate::catalog::TableName;

use super::super::yaml::{quoted, scalar};

/// What is wrong with a pattern, and the fix.
pub(super) const ONLY_SKIP: &str = "it may choose several tables, so only `skip`, `labels`, `properties` without \
    `include`, `types` and `schema_changes` can be said of it. Name the table for anything else";

/// What is wrong with a primary key that is checked late, and the fix.
pub(super) fn deferrable_key(table: &TableName) -> String {
    format!(
        "DEFERRABLE, so it is no replica identity, and to publish the table would make its UPDATEs and DELETEs fail. \
         Make the key NOT DEFERRABLE, or run ALTER TABLE {} REPLICA IDENTITY USING INDEX with another unique index \
         over NOT NULL columns, or leave the table out with `skip: true`",
        table.pasteable()
    )
}

/// What is wrong with a key whose text says its partition, and the fix.
pub(super) const KEYS_BY_TEXT: &str = "may have several texts for equal values, as 1 and 1.0, and in a topic with \
    several partitions the text says which one has a row's changes: they would come in any order, and its last state \
    may be lost. Use a topic with one partition (kafka.partitions: 1, which only a new topic gets: name another one \
    with kafka.topic); or leave the table out (`skip: true`); or give the column a type whose equal values have one \
    text, as bigint, numeric(p, s) or text";

/// The fix for a column whose values are not comparable.
pub(super) fn fix_incomparable(column: &str, needed_for: &str) -> String {
    let other = match needed_for {
        "the key" => "use another `key`, or leave the table out with `skip: true`",
        _ => "set this one to `false` under `relationships` of the table that refers",
    };
    format!(
        "If equal values of this column always have the same text, say so with `types: \
         {{{}: string}}`; or {other}",
        scalar(column)
    )
}

/// The name that the user probably meant.
pub(super) fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!(". Did you mean {}?", quoted(nearest)),
        None => ". Correct the name, or take it out".to_owned(),
    }
}
