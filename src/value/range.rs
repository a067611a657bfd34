//! Ranges: `[1,2)`, `(,"a b"]`, `empty`, and sets of them in braces.

use std::borrow::Cow;

use super::json::read_part;

/// A bound: its value, unless it is infinite.
type Bound<'a> = Option<Cow<'a, str>>;

/// The characters that an unquoted bound never contains.
const ENDS: [char; 7] = [',', ']', ')', '[', '(', '"', '\\'];

/// Writes a range, or a set of ranges, with another text for each bound. `None` if malformed.
pub(super) fn rewrite(
    text: &str,
    multi: bool,
    bound: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut out = String::new();
    if !multi {
        let rest = rewrite_one(text, &bound, &mut out)?;
        return rest.is_empty().then_some(out);
    }
    let mut rest = text.strip_prefix('{')?;
    out.push('{');
    while rest != "}" {
        if out.len() > 1 {
            rest = rest.strip_prefix(',')?;
            out.push(',');
        }
        rest = rewrite_one(rest, &bound, &mut out)?;
    }
    out.push('}');
    Some(out)
}

fn rewrite_one<'a>(
    text: &'a str,
    bound: &impl Fn(&str) -> Option<String>,
    out: &mut String,
) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix("empty") {
        out.push_str("empty");
        return Some(rest);
    }
    let open = text.chars().next().filter(|it| matches!(it, '[' | '('))?;
    let (lower, rest) = read_part(&text[1..], &ENDS)?;
    let (upper, rest) = read_part(rest.strip_prefix(',')?, &ENDS)?;
    let close = rest.chars().next().filter(|it| matches!(it, ']' | ')'))?;
    out.push(open);
    write_bound(lower, bound, out)?;
    out.push(',');
    write_bound(upper, bound, out)?;
    out.push(close);
    Some(&rest[1..])
}

fn write_bound(
    value: Bound<'_>,
    bound: &impl Fn(&str) -> Option<String>,
    out: &mut String,
) -> Option<()> {
    if let Some(value) = value {
        super::canonical::write_quoted(&bound(&value)?, out);
    }
    Some(())
}
