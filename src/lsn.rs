//! Positions in a log.
//!
//! ```text
//! read from a slot         the log is PostgreSQL's: a position is an LSN, a byte position
//! read from a partition    the log is the partition: a position is an offset, a number of a record
//! ```
//!
//! The engine, the checkpoint's compare-and-set and everything between them go by positions in the
//! log that the pipeline *reads*: those only go forward, and what is read again is what is before
//! them. The LSN of the *source* travels beside them, because a partition that is read again goes
//! back in it. With a slot both are the same.

use std::{fmt, str::FromStr};

/// A log sequence number: a byte position in the write-ahead log. Where it is named a position in
/// the log that is read, and that log is a partition, it is an offset.
///
/// Its text form is PostgreSQL's own, `X/Y` in hexadecimal; its order is the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position that PostgreSQL calls invalid, `0/0`: before every record.
    pub const ZERO: Lsn = Lsn(0);

    /// A position just behind a page's header is the page's start: that is how far the log can be
    /// flushed when nothing is on the page yet. No record is so short that it could end there.
    pub fn without_page_header(self) -> Lsn {
        const PAGE: u64 = 8192;
        const LONGEST_HEADER: u64 = 40;
        let offset = self.0 % PAGE;
        if offset <= LONGEST_HEADER { Lsn(self.0 - offset) } else { self }
    }

    /// How many bytes of log lie between `earlier` and this position; 0 when it is not earlier.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

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
    use super::Lsn;

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
    fn other_text_is_refused() {
        for text in ["", "/", "1", "1/", "/1", "1/2/3", "+1/2", "G/0", "123456789/0", " 1/2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }
}
