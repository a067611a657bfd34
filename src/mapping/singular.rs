//! The singular of an English noun, for labels: `categories` is `category`, `addresses` is
//! `address`.
//!
//! Exceptions come first, then endings from the most to the least specific. A word that is not a
//! known plural stays as it is: a user can edit a label that reads oddly, and nothing depends on
//! grammar.

/// The singular of a lower-case word.
pub fn singular(word: &str) -> String {
    if let Some((_, singular)) = IRREGULAR.iter().find(|(plural, _)| *plural == word) {
        return (*singular).to_owned();
    }
    if SAME.contains(&word) || ["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        return word.to_owned();
    }
    let rule = ENDINGS.iter().find_map(|(plural, singular)| {
        let stem = word.strip_suffix(plural)?;
        (!stem.is_empty()).then(|| format!("{stem}{singular}"))
    });
    rule.unwrap_or_else(|| word.to_owned())
}

/// Endings and their replacements; the first match counts.
const ENDINGS: &[(&str, &str)] = &[
    ("ies", "y"),
    ("sses", "ss"),
    ("shes", "sh"),
    ("aches", "ache"),
    ("ches", "ch"),
    ("xes", "x"),
    ("zzes", "zz"),
    ("ouses", "ouse"),
    ("auses", "ause"),
    ("uses", "us"),
    ("oes", "o"),
    ("s", ""),
];

/// Words that look like plurals, or are plurals, and stay.
const SAME: &[&str] = &[
    "alias",
    "always",
    "analytics",
    "atlas",
    "aws",
    "bias",
    "canvas",
    "chaos",
    "cms",
    "cosmos",
    "data",
    "dns",
    "economics",
    "electronics",
    "equipment",
    "feedback",
    "gas",
    "gps",
    "gross",
    "https",
    "information",
    "ios",
    "kubernetes",
    "lens",
    "logistics",
    "mathematics",
    "media",
    "metadata",
    "news",
    "pos",
    "series",
    "sms",
    "species",
    "tls",
];

/// Plurals that no ending explains.
const IRREGULAR: &[(&str, &str)] = &[
    ("aliases", "alias"),
    ("analyses", "analysis"),
    ("appendices", "appendix"),
    ("approaches", "approach"),
    ("atlases", "atlas"),
    ("axes", "axis"),
    ("beaches", "beach"),
    ("biases", "bias"),
    ("buses", "bus"),
    ("calves", "calf"),
    ("canoes", "canoe"),
    ("canvases", "canvas"),
    ("children", "child"),
    ("coaches", "coach"),
    ("cookies", "cookie"),
    ("cpus", "cpu"),
    ("crises", "crisis"),
    ("criteria", "criterion"),
    ("diagnoses", "diagnosis"),
    ("dies", "die"),
    ("excuses", "excuse"),
    ("feet", "foot"),
    ("fuses", "fuse"),
    ("gases", "gas"),
    ("geese", "goose"),
    ("gpus", "gpu"),
    ("halves", "half"),
    ("hypotheses", "hypothesis"),
    ("indices", "index"),
    ("knives", "knife"),
    ("leaves", "leaf"),
    ("lies", "lie"),
    ("lives", "life"),
    ("loaves", "loaf"),
    ("matrices", "matrix"),
    ("men", "man"),
    ("menus", "menu"),
    ("mice", "mouse"),
    ("movies", "movie"),
    ("oxen", "ox"),
    ("parentheses", "parenthesis"),
    ("people", "person"),
    ("phenomena", "phenomenon"),
    ("pies", "pie"),
    ("quizzes", "quiz"),
    ("reaches", "reach"),
    ("rookies", "rookie"),
    ("shelves", "shelf"),
    ("shoes", "shoe"),
    ("skus", "sku"),
    ("synopses", "synopsis"),
    ("teeth", "tooth"),
    ("theses", "thesis"),
    ("thieves", "thief"),
    ("ties", "tie"),
    ("toes", "toe"),
    ("uses", "use"),
    ("vertices", "vertex"),
    ("wives", "wife"),
    ("wolves", "wolf"),
    ("women", "woman"),
    ("zombies", "zombie"),
];
