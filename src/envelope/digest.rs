//! Tells records of one place apart.

use sha2::{Digest as _, Sha256};

use super::Record;

/// What tells records of one place apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// Of key and value.
    pub fn of(record: &Record) -> Self {
        let mut hash = Sha256::new();
        for part in [&record.key, &record.value] {
            let length = part.as_ref().map_or(u64::MAX, |part| part.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(part.as_deref().unwrap_or_default());
        }
        let bytes = hash.finalize();
        Digest(bytes[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
