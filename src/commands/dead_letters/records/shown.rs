//! A dead letter whole, as a person reads it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::envelope::Record;

use super::Listed;

/// A dead letter with its record.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    listed: Listed,
    key: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    value: Option<Bytes>,
}

/// Bytes: as text where they are one that a terminal shows as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bytes {
    Text(String),
    Base64(String),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
        match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(is_shown) => Bytes::Text(text.to_owned()),
            _ => Bytes::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl Shown {
    pub fn new(listed: Listed, record: &Record) -> Self {
        let headers = record.headers.iter();
        Shown {
            listed,
            key: record.key.as_deref().map(Bytes::of),
            headers: headers.map(|(name, value)| (name.clone(), Bytes::of(value))).collect(),
            value: record.value.as_deref().map(Bytes::of),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bytes::Text(text) => f.write_str(text),
            Bytes::Base64(text) => write!(f, "(base64) {text}"),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none =
            |bytes: &Option<Bytes>| bytes.as_ref().map_or("-".to_owned(), Bytes::to_string);
        let Listed { name, time, reason, .. } = &self.listed;
        writeln!(f, "name    {name}")?;
        writeln!(f, "time    {}", time.as_deref().unwrap_or("-"))?;
        writeln!(f, "reason  {reason}")?;
        writeln!(f, "key     {}", or_none(&self.key))?;
        for (name, value) in &self.headers {
            writeln!(f, "header  {name}: {value}")?;
        }
        writeln!(f, "value   {}", or_none(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn bytes_that_a_terminal_would_obey_are_not_shown_as_text() {
        for (bytes, expected) in [
            (b"{\"a\":\n1}".as_slice(), "{\"a\":\n1}"),
            (b"\x1b[2J", "(base64) G1sySg=="),
            (b"\xff", "(base64) /w=="),
            ("\u{9b}2J".as_bytes(), "(base64) wpsySg=="),
        ] {
            assert_eq!(Bytes::of(bytes).to_string(), expected);
        }
    }
}
