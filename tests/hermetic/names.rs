//! Names are data. A name with any content comes out of Cypher and SQL unchanged, and only the
//! quoting functions put names into quotes.

use std::{fs, path::Path};

use fastrand::Rng;
use wal2graph::{
    catalog::{quote_identifier, quote_literal, quote_replication_literal},
    neo4j::cypher,
};

/// Names constructed to break out of quotes, and characters of real names.
const HOSTILE: &[&str] = &[
    "a\\u0060b",
    "x\\u0060=1 WITH n MATCH (m:Victim) DETACH DELETE m //",
    "\\",
    "\\\\",
    "\\\\u0060",
    "\\\\\\u0060",
    "\\u005Cu0060",
    "\\u005C\\u0060",
    "\\uuu0060",
    "\\U00000060",
    "\\u",
    "\\u00",
    "\\uZZZZ",
    "`",
    "``",
    "\\`",
    "`\\",
    "\u{FF40}",
    "'",
    "\\'",
    "''\\'",
    "\"",
    "\\\"",
    "$x",
    "$(x)",
    "{x}",
    "//",
    "/* */",
    "a\nb",
    "a\r\nb",
    " a ",
    "e\u{301}",
    "\u{E9}",
    "\u{1F980}",
    "\u{1}",
    "\u{85}",
    "\u{2028}",
    "\u{FEFF}",
];

/// Pieces of hostile names.
const PIECES: &[&str] =
    &["\\", "u", "0060", "005C", "0027", "`", "'", "\"", "E", "n", "U", "\n", "é", " "];

pub fn names(rng: &mut Rng) -> Vec<String> {
    let made = (0..20_000).map(|_| {
        let pieces = (0..rng.usize(1..9)).map(|_| *rng.choice(PIECES).expect("there are some"));
        pieces.collect()
    });
    let made: Vec<String> = made.collect();
    HOSTILE.iter().map(|name| (*name).to_owned()).chain(made).collect()
}

pub fn seeded() -> Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// Neo4j's decoding of a text before it reads tokens: a backslash, `u` and four digits become the
/// character; two backslashes stay two; a decoded character is not decoded again.
fn without_escapes(text: &str) -> Option<String> {
    let (mut read, mut rest) = (String::new(), text);
    while let Some(character) = rest.chars().next() {
        if rest.starts_with("\\u") {
            let code = u32::from_str_radix(rest.get(2..6)?, 16).ok()?;
            read.push(char::from_u32(code)?);
            rest = &rest[6..];
        } else if rest.starts_with("\\\\") {
            read.push_str("\\\\");
            rest = &rest[2..];
        } else {
            read.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    Some(read)
}

/// The quoted name at the front, and the rest.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text.strip_prefix(quote)?;
    loop {
        let (before, after) = rest.split_once(quote)?;
        name.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                name.push(quote);
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[test]
fn a_unicode_escape_in_a_name_ran_cypher_of_its_own() {
    for name in names(&mut seeded()) {
        let text = without_escapes(&format!("{} tail", cypher::quote(&name)));
        let text = text.unwrap_or_else(|| panic!("{name:?} makes an escape that is none"));
        assert_eq!(quoted(&text, '`'), Some((name.clone(), " tail")), "{name:?}");
    }
}

#[test]
fn an_identifier_or_a_literal_of_sql_is_taken_literally() {
    for name in names(&mut seeded()) {
        let identifier = format!("{} tail", quote_identifier(&name));
        assert_eq!(quoted(&identifier, '"'), Some((name.clone(), " tail")), "{name:?}");
        let command = format!("{} tail", quote_replication_literal(&name));
        assert_eq!(quoted(&command, '\''), Some((name.clone(), " tail")), "{name:?}");
        let literal = format!("{} tail", quote_literal(&name));
        let read = match literal.strip_prefix('E') {
            // Within E'', backslashes come in pairs.
            Some(escaped) => {
                let pairs = escaped.replace("\\\\", "");
                assert!(!pairs.contains('\\'), "{literal}");
                quoted(escaped, '\'').map(|(text, tail)| (text.replace("\\\\", "\\"), tail))
            }
            None => {
                assert!(!literal.contains('\\'), "the setting decides what it means: {literal}");
                quoted(&literal, '\'')
            }
        };
        assert_eq!(read, Some((name.clone(), " tail")), "{name:?}");
    }
}

/// A name quoted by hand is not escaped, or differently from others.
#[test]
fn names_are_put_into_quotes_in_one_place_a_language() {
    /// The pattern of hand-made quotes, the files that may contain it, and the folders to search.
    const BY_HAND: &[(&str, &[&str], &[&str])] = &[
        ("'`', \"``\"", &["neo4j/cypher/text.rs"], &[""]),
        ("'\"', \"\\\"\\\"\"", &["catalog.rs"], &[""]),
        ("'\\'', \"''\"", &["catalog.rs"], &[""]),
        ("`{", &["neo4j/cypher/text.rs", "neo4j/checkpoint_row.rs"], &["graph/", "neo4j/"]),
        ("\\\"{", &["postgres/copy.rs"], &["postgres/"]),
        ("'{", &["postgres/copy.rs"], &["postgres/"]),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for (by_hand, allowed, folders) in BY_HAND {
                    let applies = folders.iter().any(|folder| name.starts_with(folder));
                    // Two braces are an escaped one, not a name.
                    let doubled = format!("{by_hand}{{");
                    let line = line.replace(&doubled, "");
                    if applies && line.contains(by_hand) && !allowed.contains(&name.as_str()) {
                        found.push(format!("{name}, code line {}: {line}", number + 1));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "use the quoting function of the language:\n{}", found.join("\n"));
}
