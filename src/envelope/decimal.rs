//! Decimal numbers as Debezium and Kafka Connect write them: the unscaled number's bytes, two's
//! complement, most significant first, and a scale.

/// More bytes than any `numeric` has: 131,072 digits before the point and 16,383 after it.
const MAX_BYTES: usize = 61_440;
/// More places than a floating-point number's text can have.
const MAX_EXPONENT: i64 = 400;
/// `numeric`'s scale is within it.
const MAX_SCALE: i64 = 16_383;

/// The decimal text of an unscaled number; `None` if it is none, or beyond `numeric`.
pub(super) fn from_unscaled(bytes: &[u8], scale: i64) -> Option<String> {
    if bytes.is_empty() || bytes.len() > MAX_BYTES || scale.abs() > MAX_SCALE {
        return None;
    }
    let negative = bytes[0] >= 0x80;
    let digits = decimal_digits(magnitude(bytes, negative));
    let sign = if negative { "-" } else { "" };
    Some(format!("{sign}{}", with_point(&digits, scale)))
}

/// The absolute value in words of 32 bits, most significant first.
fn magnitude(bytes: &[u8], negative: bool) -> Vec<u32> {
    let fill = if negative { 0xFF } else { 0 };
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    let padded: Vec<u8> = std::iter::repeat_n(fill, padding).chain(bytes.iter().copied()).collect();
    let (words, _) = padded.as_chunks::<4>();
    let mut words: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
    if negative {
        // The complement plus one.
        let mut carry = true;
        for word in words.iter_mut().rev() {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    words
}

/// Divides by a billion until nothing is left.
fn decimal_digits(mut words: Vec<u32>) -> String {
    const BILLION: u64 = 1_000_000_000;
    let mut groups = Vec::new();
    let mut start = 0;
    while start < words.len() {
        let mut remainder = 0;
        for word in &mut words[start..] {
            let dividend = (remainder << 32) | u64::from(*word);
            // Both are below 2^32: the remainder before was below the divisor.
            *word = (dividend / BILLION) as u32;
            remainder = dividend % BILLION;
        }
        groups.push(format!("{remainder:09}"));
        while words.get(start) == Some(&0) {
            start += 1;
        }
    }
    groups.reverse();
    let digits = groups.concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

/// The digits times ten to the power of minus `scale`.
fn with_point(digits: &str, scale: i64) -> String {
    let places = usize::try_from(scale.unsigned_abs()).unwrap_or_default();
    match scale {
        ..0 if digits == "0" => digits.to_owned(),
        ..0 => format!("{digits}{}", "0".repeat(places)),
        0 => digits.to_owned(),
        _ => {
            let digits = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            format!("{whole}.{fraction}")
        }
    }
}

/// A JSON number as `numeric` writes it: without an exponent. `None` where that would be huge.
pub(super) fn plain(number: &str) -> Option<String> {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return Some(number.to_owned());
    };
    let exponent: i64 = exponent.parse().ok().filter(|it: &i64| it.abs() <= MAX_EXPONENT)?;
    let (sign, mantissa) =
        mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let scale = i64::try_from(fraction.len()).ok()? - exponent;
    Some(format!("{sign}{}", with_point(digits, scale)))
}

/// A JSON number as an integer, if it is one: JSON has one type for all numbers, and some writers give each
/// a point. Any other stays as it is.
pub(super) fn whole(number: &str) -> String {
    if !number.contains(['.', 'e', 'E']) {
        return number.to_owned();
    }
    let plain = plain(number);
    let whole = plain.as_deref().and_then(|plain| match plain.split_once('.') {
        Some((whole, fraction)) => fraction.bytes().all(|digit| digit == b'0').then_some(whole),
        None => Some(plain),
    });
    whole.unwrap_or(number).to_owned()
}
