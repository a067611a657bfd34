//! Sizes with units, as in `5GB` and `20GiB`: the budget of the slot.

use crate::health::budget::{Bytes, WalBudget};

use super::{ConfigError, Expand, RawWalBudget};

/// Reads both sizes.
pub(super) fn wal_budget(
    raw: &RawWalBudget,
    expand: &Expand<'_>,
) -> Result<WalBudget, ConfigError> {
    let size = |key, value| match expand(key, value)? {
        None => Ok(None),
        Some(text) => parse(&text).map(Some).ok_or(ConfigError::Size { key, text }),
    };
    let warn = size("source.wal_budget.warn", &raw.warn)?;
    let stop = size("source.wal_budget.stop", &raw.stop)?;
    match (warn, stop) {
        (Some(warn), Some(stop)) if warn >= stop => Err(ConfigError::WalBudget { warn, stop }),
        _ => Ok(WalBudget { warn, stop }),
    }
}

/// Parses a whole number with a unit. As in PostgreSQL, each unit is 1024 of the one before.
pub(super) fn parse(text: &str) -> Option<Bytes> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim_start() {
        "B" => 0,
        "kB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << power)?;
    (bytes > 0).then_some(Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let sizes =
            [("1B", 1), ("2kB", 2 << 10), ("5MB", 5 << 20), ("5 GiB", 5 << 30), ("1TB", 1 << 40)];
        for (text, bytes) in sizes {
            assert_eq!(parse(text), Some(Bytes(bytes)), "{text}");
        }
        for text in ["", "5", "GB", "0GB", "-1GB", "1.5GB", "5gb", "5G", "99999999999TB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
