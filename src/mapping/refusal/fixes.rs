//! Fixes that depend on what is wrong.

use super::super::render::{quoted, scalar};

/// What to do about a column whose values can not be compared.
pub(super) fn fix_incomparable(column: &str, needed_for: &str) -> String {
    let other = match needed_for {
        "the key" => "use another `key`, or leave the table out with `skip: true`",
        _ => "list the `relationships` of the table that refers without this one",
    };
    format!(
        "If equal values of this column always have the same text, say so with `types: \
         {{{}: string}}`; or {other}",
        scalar(column)
    )
}

/// The name that may have been meant.
pub(super) fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!(". Did you mean {}?", quoted(nearest)),
        None => ". Correct the name, or take it out".to_owned(),
    }
}
