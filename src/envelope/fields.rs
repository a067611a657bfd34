//! JSON objects, written field by field.

use super::json::write_string;

/// Writes an object, field by field.
pub(super) struct Fields<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Fields<'o> {
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Fields { out, is_empty: true }
    }

    pub fn close(self) {
        self.out.push(b'}');
    }

    /// Writes a name that needs no escapes; its value is to follow.
    pub fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.raw_name(format!("\"{name}\":").as_bytes())
    }

    pub fn raw_name(&mut self, name: &[u8]) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out.extend_from_slice(name);
        self.out
    }

    pub fn text(&mut self, name: &str, text: &str) {
        write_string(text, self.name(name));
    }

    pub fn number(&mut self, name: &str, number: impl ToString) {
        self.name(name).extend_from_slice(number.to_string().as_bytes());
    }

    pub fn null(&mut self, name: &str) {
        self.name(name).extend_from_slice(b"null");
    }
}

/// A name as JSON, with its colon.
pub(super) fn quoted_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_string(name, &mut out);
    out.push(b':');
    out
}
