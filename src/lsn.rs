//! Positions in a log.
//!
//! ```text
//! read from a slot         the log is PostgreSQL's: a position is an LSN, a byte position
//! read from a partition    the log is the partition: a position is an offset, a number of a record
//! ```
//!
//! The engine, the checkpoint's compare-and-set and everything between them use positions in the
//! log that the pipeline *reads*. Those only go forward, and a second reading only repeats records
//! before them. The LSN of the *source* travels beside them, because it goes back when a partition
//! is read again. With a slot both are the same.

use std::{fmt, str::FromStr};

/// A log sequence number: a byte position in the write-ahead log. As a position in the log that the
/// pipeline reads it is an offset if that log is a partition.
///
/// Its text form is PostgreSQL's own, `X/Y` in hexadecimal. Its order is the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position that PostgreSQL calls invalid, `0/0`: before every record.
    pub const ZERO: Lsn = Lsn(0);

    /// Turns a position just behind a page's header into the page's start: the server can not flush
    /// further while the page is empty. No record is short enough to end there.
    pub fn without_page_header(self) -> Lsn {
        const PAGE: u64 = 8192;
        const LONGEST_HEADER: u64 = 40;
        let offset = self.0 % PAGE;
        if offset <= LONGEST_HEADER { Lsn(self.0 - offset) } else { self }
    }

    /// Bytes of log between `earlier` and this position; 0 if `earlier` is not earlier.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A change's place in the source's log, in whatever log it travels. Its order tells which change
/// is older.
///
/// Its text form has [`Stamp::DIGITS`] hexadecimal digits, so texts sort as changes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The position of its transaction's commit record.
    pub lsn: Lsn,
    /// Its number in the transaction, from 1; 0 is before the transaction's first change.
    pub number: u64,
}

impl Stamp {
    /// The length of the text form: 16 digits of the position, 12 of the number.
    pub const DIGITS: usize = 28;
    /// More changes than a transaction can have.
    const NUMBER_MAX: u64 = (1 << 48) - 1;

    /// The change with this index, from 0, of the transaction committed at `lsn`.
    pub fn of_change(lsn: Lsn, index: u64) -> Self {
        Stamp { lsn, number: index.saturating_add(1).min(Self::NUMBER_MAX) }
    }

    /// The transaction's commit position and the change's index in it, from 0; `None` for a copied
    /// row.
    pub fn change(self) -> Option<(Lsn, u64)> {
        Some((self.lsn, self.number.checked_sub(1)?))
    }

    /// The stamp of a row that was read when everything committed before `lsn` was visible, and
    /// nothing committed at `lsn` or later.
    pub fn of_read(lsn: Lsn) -> Self {
        Stamp { lsn, number: 0 }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:012x}", self.lsn.0, self.number)
    }
}

impl FromStr for Stamp {
    type Err = ParseStampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let other = || ParseStampError(text.to_owned());
        let is_one = text.len() == Self::DIGITS && text.bytes().all(|it| it.is_ascii_hexdigit());
        let (lsn, number) = text.split_at_checked(16).filter(|_| is_one).ok_or_else(other)?;
        let number_of = |digits| u64::from_str_radix(digits, 16).map_err(|_| other());
        Ok(Stamp { lsn: Lsn(number_of(lsn)?), number: number_of(number)? })
    }
}

/// The text is not one of [`Stamp::DIGITS`] hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stamp: expected 28 hexadecimal digits")]
pub struct ParseStampError(String);

/// The text is not of the form `X/Y` with two hexadecimal numbers of at most 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an LSN: expected two hexadecimal numbers such as 16/B374D848")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let hexadecimal = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            hexadecimal.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Lsn, Stamp};

    #[test]
    fn text_form_is_postgresqls() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!("0/0".parse(), Ok(Lsn::ZERO));
    }

    #[test]
    fn a_position_behind_a_page_header_is_the_page() {
        assert_eq!(Lsn(0x0160_0028).without_page_header(), Lsn(0x0160_0000));
        assert_eq!(Lsn(0x0160_2018).without_page_header(), Lsn(0x0160_2000));
        assert_eq!(Lsn(0x0160_2030).without_page_header(), Lsn(0x0160_2030));
    }

    #[test]
    fn the_order_of_stamps_is_that_of_their_texts() {
        let stamps = [
            Stamp::default(),
            Stamp::of_change(Lsn::ZERO, 0),
            Stamp::of_read(Lsn(0xFF)),
            Stamp::of_change(Lsn(0xFF), 0),
            Stamp::of_change(Lsn(0xFF), 9),
            Stamp::of_change(Lsn(0xFF), 10),
            Stamp::of_change(Lsn(0xFF), u64::MAX),
            Stamp::of_read(Lsn(0x100)),
            Stamp::of_read(Lsn(u64::MAX)),
        ];
        let texts = stamps.map(|stamp| stamp.to_string());
        assert!(stamps.is_sorted() && texts.is_sorted(), "{texts:?}");
        assert!(texts.iter().all(|text| text.len() == Stamp::DIGITS), "{texts:?}");
        assert_eq!(texts.map(|text| text.parse()), stamps.map(Ok));
        for other in ["", "0", "00000000000000ff+00000000001", "é0000000000000ff00000000001"] {
            assert!(other.parse::<Stamp>().is_err(), "{other}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "/", "1", "1/", "/1", "1/2/3", "+1/2", "G/0", "123456789/0", " 1/2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }
}
