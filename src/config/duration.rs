//! Durations with units: `500ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

/// Longer than any sensible wait.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses a whole number with a unit: above zero, and below a year.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?);
    (!duration.is_zero() && duration <= MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        let wrong =
            ["", "30", "s", "0s", "-1s", "1.5s", "1 s", "1d", "9999999h", "99999999999999999999s"];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
