//! Text as YAML has it.

use std::fmt::Write as _;

use crate::shown::is_unseen;

/// A YAML string: plain if it can have no other meaning, otherwise quoted.
pub fn scalar(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    let word = text.to_ascii_lowercase();
    if starts && goes_on && !YAML_WORDS.contains(&word.as_str()) {
        return text.to_owned();
    }
    quoted(text)
}

/// A string in YAML, in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Nothing that ends a line, or that YAML does not have.
            it if is_unseen(it) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(it));
            }
            it => quoted.push(it),
        }
    }
    quoted + "\""
}

/// Words that some version of YAML reads as something other than text.
const YAML_WORDS: &[&str] =
    &["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"];
