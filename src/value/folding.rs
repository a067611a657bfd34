//! Case folding: `citext` compares the results of the database's `lower`.
//!
//! ```text
//! server: lower(c) of every character --> Characters, asked for PROBES --> the server's, or unknown
//! ```
//!
//! The result of `lower` depends on the provider (libc, ICU, builtin), its version and the locale.
//! In a Turkish database `I` becomes `ı`; under `C` only A to Z change; ICU turns `İ` into two
//! characters. So wal2graph asks the server about each character. Beyond single characters, Unicode
//! has four rules that depend on neighbours: the final sigma, which this module implements, and
//! those of Lithuanian and Turkish, which it does not. The probes detect a server with such a rule.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The behaviour of a database's `lower`, and therefore of `citext`. It follows the database's
/// default collation, not the column's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaseFolding {
    /// A to Z only: `C` and `POSIX`. There `Ä` and `ä` are two keys.
    Ascii,
    /// The server's results for each character.
    Characters(Arc<Characters>),
    /// Unknown, with the reason.
    Unknown(&'static str),
}

impl Default for CaseFolding {
    fn default() -> CaseFolding {
        CaseFolding::Unknown("the database was not asked how it folds case")
    }
}

/// The results for the characters that `lower` changes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Characters {
    changed: BTreeMap<char, Box<str>>,
    final_sigma: bool,
}

impl fmt::Debug for Characters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Characters { changed, final_sigma } = self;
        write!(f, "Characters {{ {} changed, final sigma: {final_sigma} }}", changed.len())
    }
}

/// Texts that distinguish how servers fold case: a final sigma, Turkish and Lithuanian letters.
pub const PROBES: [&str; 12] = [
    "ΑΣ",
    "ΑΣΑ",
    "Σ",
    "Α.Σ",
    "ΑΣ.Α",
    "ΑΣ\u{301}",
    "I\u{307}",
    "I\u{300}",
    "J\u{301}",
    "I\u{323}\u{307}",
    "\u{12e}\u{301}",
    "İx",
];

const SIGMA: char = 'Σ';

impl CaseFolding {
    /// The folding for the server's results: changed characters, and [`PROBES`]. A probe that the
    /// server can not hold (`None`) proves nothing.
    pub fn of_server(
        changed: impl IntoIterator<Item = (char, String)>,
        probed: &[Option<String>],
    ) -> CaseFolding {
        let changed: BTreeMap<char, Box<str>> =
            changed.into_iter().map(|(from, to)| (from, to.into_boxed_str())).collect();
        let said = |folding: &Characters| {
            let pairs = PROBES.iter().zip(probed);
            pairs
                .into_iter()
                .all(|(probe, said)| said.as_ref().is_none_or(|said| folding.fold(probe) == *said))
        };
        let ways =
            [false, true].map(|final_sigma| Characters { changed: changed.clone(), final_sigma });
        match ways.into_iter().find(said) {
            Some(found) => CaseFolding::Characters(Arc::new(found)),
            None => CaseFolding::Unknown(
                "the database's locale folds case by rules of a language (Lithuanian or Turkish \
                 under ICU) that wal2graph does not have",
            ),
        }
    }
}

impl Characters {
    /// The text in the server's lower case.
    pub fn fold(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            match self.changed.get(&character) {
                Some(_) if character == SIGMA && self.final_sigma && is_final(text, at) => {
                    out.push('ς');
                }
                Some(lower) => out.push_str(lower),
                None => out.push(character),
            }
        }
        out
    }
}

/// Whether a sigma ends a word, by Unicode's rule as the standard library implements it.
fn is_final(text: &str, at: usize) -> bool {
    let before = text[..at].chars().filter(|&it| is_sigma(it)).count();
    let lower = text.to_lowercase();
    // No other character becomes a sigma, so the sigmas of both texts have the same order.
    lower.chars().filter(|&it| is_sigma(it)).nth(before) == Some('ς')
}

fn is_sigma(character: char) -> bool {
    matches!(character, SIGMA | 'σ' | 'ς')
}
