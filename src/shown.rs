//! Names and other words as people are shown them: on one line, whatever is in them.
//!
//! ```text
//! name of a table, label, constraint --Shown-->        a message, a line of the log
//! name of a table, column, role      --pasteable-->    a statement ([`crate::catalog`])
//! a server's own words               --on_one_line-->  a message, a line of the log
//! ```
//!
//! A name that ends a line could forge a line of the log, or split an item of a list. A name with a
//! backslash could be taken for an escaped one.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    time::Duration,
};

/// A name as people are shown it. What can not be seen stands there as its escape, as in Rust, and a
/// backslash as two: two names never look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|it| match it == '\\' || is_unseen(it) {
            true => write!(f, "{}", it.escape_default()),
            false => f.write_char(it),
        })
    }
}

/// A time in seconds, to a tenth.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// Names as people are shown them, one after the other.
pub fn shown_list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| Shown(name.as_ref()).to_string()).collect::<Vec<_>>().join(", ")
}

/// Text for people, of which nothing ends the line or moves the cursor: such characters stand there
/// as their escapes.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match is_unseen(character) {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    Cow::Owned(line)
}

/// A character that ends a line, moves the cursor, turns the direction of what follows, has no place,
/// or can not be pasted.
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}'
        )
}
