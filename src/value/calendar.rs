//! Days and times of day as numbers, and as PostgreSQL writes them.

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
const DAYS_FROM_0000_03_01: i128 = 719_468;
const DAYS_PER_ERA: i128 = 146_097;

/// The day of the Gregorian calendar, before 1582 too, by its number of days since 1970-01-01: its text, and its
/// era's.
pub fn civil(days: i64) -> (String, &'static str) {
    // Eras of 400 years that begin in March.
    let days = i128::from(days) + DAYS_FROM_0000_03_01;
    let (era_number, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    // Every 4th year has a leap day, every 100th none, every 400th one.
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era_number * 400 + i128::from(month <= 2);
    let (year, era) = era(i64::try_from(year).unwrap_or(i64::MAX));
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

/// The reverse: the number of a day, whose year 0 is 0001 BC.
pub(super) fn day_number(year: i64, month: u32, day: u32) -> i64 {
    let year = i128::from(year) - i128::from(month <= 2);
    let (era_number, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = i128::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i128::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era_number * DAYS_PER_ERA + day_of_era - DAYS_FROM_0000_03_01;
    i64::try_from(days).unwrap_or(i64::MAX)
}

/// The year before 0001 is 0001 BC, which ISO-8601 calls 0.
pub fn era(year: i64) -> (i64, &'static str) {
    if year > 0 { (year, "") } else { (1 - year, " BC") }
}

/// A time of day.
pub fn clock(micros: i64) -> String {
    let (seconds, micros) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}{}", fraction(u128::from(micros.unsigned_abs())))
}

/// What follows the seconds, without zeros at its end.
pub fn fraction(micros: u128) -> String {
    match micros {
        0 => String::new(),
        _ => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_has_one_number() {
        for (year, month, day, number) in [
            (1970, 1, 1, 0),
            (2000, 2, 29, 11_016),
            (1969, 12, 31, -1),
            (-4713, 11, 24, -2_440_588),
        ] {
            assert_eq!(day_number(year, month, day), number);
        }
        for days in (-3_000_000..3_000_000).step_by(997) {
            let (text, era) = civil(days);
            let mut parts = text.split('-').map(|part| part.parse::<i64>().unwrap());
            let (year, month) = (parts.next().unwrap(), parts.next().unwrap());
            let year = if era.is_empty() { year } else { 1 - year };
            let [month, day] = [month, parts.next().unwrap()].map(|it| u32::try_from(it).unwrap());
            assert_eq!(day_number(year, month, day), days, "{text}{era}");
        }
    }
}
