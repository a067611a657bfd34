//! Fixes that depend on the problem.

use super::super::yaml::{quoted, scalar};

/// The fix for a column whose values are not comparable.
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

/// The name that the user probably meant.
pub(super) fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!(". Did you mean {}?", quoted(nearest)),
        None => ". Correct the name, or take it out".to_owned(),
    }
}
