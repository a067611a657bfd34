//! Decimal numbers of any size, as text.

use std::borrow::Cow;

use super::{Float, Value};

/// The maximum digits of `numeric`: 131,072 before the decimal point and 16,383 after it.
const MAX_DIGITS: i64 = 131_072 + 16_383;

/// The nearest Float. NaN and the infinities are allowed; an overflow to infinity is not.
pub(super) fn nearest_float(text: &str) -> Option<Float> {
    let float: f64 = text.parse().ok()?;
    let overflow = float.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflow).then_some(Float(float))
}

/// An Integer, or a Float if that loses nothing, otherwise the String. `None` for NaN and the
/// infinities.
pub(super) fn auto(text: &str) -> Option<Value> {
    let number = normalise(text)?;
    if !text.contains('.')
        && let Ok(integer) = number.parse()
    {
        return Some(Value::Integer(integer));
    }
    Some(exact_float(&number).map_or_else(|| Value::String(text.to_owned()), Value::Float))
}

/// The Float whose shortest decimal form is this normalised number. Numbers of up to 15 digits
/// always have one.
pub(super) fn exact_float(number: &str) -> Option<Float> {
    let float = nearest_float(number)?;
    let back = float.0.to_string();
    (normalise(&back)? == number).then_some(float)
}

/// The only form of a decimal number: without exponent, redundant zeros, or a minus before zero.
/// `None` if it is not a finite number.
pub(super) fn normalise(text: &str) -> Option<Cow<'_, str>> {
    if is_plain_integer(text) {
        return Some(Cow::Borrowed(text));
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some(Cow::Borrowed("0"));
    }
    // The number of significant digits before the decimal point. Negative: zeros after the point.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let point = point.checked_sub(i64::try_from(leading).ok()?)?;
    if point.abs() > MAX_DIGITS {
        return None;
    }
    Some(Cow::Owned(write(negative, significant, point)))
}

fn write(negative: bool, significant: &str, point: i64) -> String {
    let mut out = String::from(if negative { "-" } else { "" });
    let places = usize::try_from(point.unsigned_abs()).unwrap_or(usize::MAX);
    if point <= 0 {
        out.push_str("0.");
        out.push_str(&"0".repeat(places));
        out.push_str(significant);
    } else if places >= significant.len() {
        out.push_str(significant);
        out.push_str(&"0".repeat(places - significant.len()));
    } else {
        let (whole, fraction) = significant.split_at(places);
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// Most numeric keys are whole numbers and need no copy.
fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    matches!(digits.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit))
}
