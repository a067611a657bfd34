//! Decimal numbers of any size, as text.

use std::borrow::Cow;

use super::{Float, Value};

/// The maximum digits of `numeric`: 131,072 before the decimal point and 16,383 after it.
const MAX_DIGITS: i64 = 131_072 + 16_383;

/// The nearest Float. NaN and the infinities are allowed; an overflow to infinity is not. Both zeros are one, as for
/// PostgreSQL: Neo4j sets neither in the place of the other.
pub(super) fn nearest_float(text: &str) -> Option<Float> {
    let float: f64 = text.parse().ok()?;
    let overflow = float.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflow).then_some(Float(float + 0.0))
}

/// A `real`'s text: an overflow, and a number too near to zero, are none.
pub(super) fn is_real(text: &str) -> bool {
    let Some(Float(double)) = nearest_float(text) else { return false };
    text.parse::<f32>().is_ok_and(|real| {
        real.is_infinite() == double.is_infinite() && (real == 0.0) == (double == 0.0)
    })
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

/// What `numeric(precision, scale)` limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// All digits.
    pub precision: i64,
    /// Those after the decimal point; negative: zeros before it.
    pub scale: i64,
}

impl Limits {
    /// Those in a column's modifier; `None` without one.
    pub(super) fn of_modifier(modifier: i32) -> Option<Limits> {
        // The modifier is 4 more than precision and scale, which has 11 bits and a sign.
        let packed = modifier.checked_sub(4).filter(|_| modifier >= 4)?;
        let scale = i64::from(((packed & 0x7ff) ^ 1024) - 1024);
        Some(Limits { precision: i64::from(packed >> 16 & 0xffff), scale })
    }
}

/// The scale in the modifier of a `numeric` column; `None` without one.
pub fn scale_of_modifier(modifier: i32) -> Option<i64> {
    Limits::of_modifier(modifier).map(|limits| limits.scale)
}

/// The number as a column with these limits has it: rounded, half away from zero, with all its places. `None` if it
/// is no number, or has too many digits before the decimal point.
pub(super) fn stored(text: &str, limits: Option<Limits>) -> Option<String> {
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
    let digits = [whole, fraction].concat();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || exponent.abs() > MAX_DIGITS {
        return None;
    }
    let places = i64::try_from(fraction.len()).ok()? - exponent;
    let scale = limits.map_or(places.max(0), |limits| limits.scale);
    let digits = at_scale(&digits, places, scale)?;
    let max = limits.map_or(MAX_DIGITS, |limits| limits.precision);
    if i64::try_from(digits.len()).ok()? > max {
        return None;
    }
    let sign = if negative && !digits.is_empty() { "-" } else { "" };
    let after = usize::try_from(scale.max(0)).ok()?;
    let before =
        "0".repeat(if digits.is_empty() { 0 } else { usize::try_from((-scale).max(0)).ok()? });
    let digits = format!("{:0>width$}", [digits, before].concat(), width = after + 1);
    let (whole, fraction) = digits.split_at(digits.len() - after);
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// The digits of a number with `places` after the decimal point, with `scale` after it, without leading zeros.
fn at_scale(digits: &str, places: i64, scale: i64) -> Option<String> {
    let mut kept = digits.as_bytes().to_vec();
    match usize::try_from(places - scale) {
        Ok(dropped) if dropped > kept.len() => kept.clear(),
        Ok(dropped) => {
            let rest = kept.split_off(kept.len() - dropped);
            if rest.first().is_some_and(|digit| *digit >= b'5') {
                let nines = kept.iter().rev().take_while(|digit| **digit == b'9').count();
                let at = kept.len() - nines;
                kept[at..].fill(b'0');
                match at.checked_sub(1) {
                    Some(last) => kept[last] += 1,
                    None => kept.insert(0, b'1'),
                }
            }
        }
        Err(_) => kept.resize(kept.len() + usize::try_from(scale - places).ok()?, b'0'),
    }
    let digits = String::from_utf8(kept).ok()?;
    Some(digits.trim_start_matches('0').to_owned())
}
