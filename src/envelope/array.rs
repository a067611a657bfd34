//! Arrays as PostgreSQL writes them.

use crate::value::write_quoted;

/// An array of one dimension that counts from 1.
pub(super) fn write_array(items: &[Option<String>], delimiter: char) -> String {
    let mut out = String::from("{");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        match item {
            None => out.push_str("NULL"),
            Some(text) => write_element(text, delimiter, &mut out),
        }
    }
    out.push('}');
    out
}

/// Quoted where it would be read as something else.
fn write_element(text: &str, delimiter: char, out: &mut String) {
    let is_special = |it: char| it == delimiter || "{}\"\\ \t\n\r\u{b}\u{c}".contains(it);
    if !text.is_empty() && !text.eq_ignore_ascii_case("NULL") && !text.contains(is_special) {
        return out.push_str(text);
    }
    write_quoted(text, out);
}
