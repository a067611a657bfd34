//! The singular of an English noun, for labels: `categories` is `category`, `addresses` is
//! `address`.
//!
//! Exceptions come first, then endings from the most to the least specific. A word that is not a
//! known plural stays as it is: a user can edit a label that reads oddly, and nothing depends on
//! grammar.

/// The words that are known. A graph that an earlier build made keeps its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// All.
    All,
    /// Those of the builds that kept no names.
    Earlier,
}

/// The singular of a lower-case word.
pub(super) fn singular(word: &str, words: Words) -> String {
    let added = IRREGULAR_ADDED.iter().filter(|_| words == Words::All);
    let irregular = IRREGULAR.iter().chain(added).find(|(plural, _)| *plural == word);
    if let Some((_, singular)) = irregular {
        return (*singular).to_owned();
    }
    let is_same = SAME.contains(&word) || words == Words::All && SAME_ADDED.contains(&word);
    if is_same || ["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
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

/// Plurals that a build has learned since names are kept.
const IRREGULAR_ADDED: &[(&str, &str)] = &[
    ("abuses", "abuse"),
    ("alibis", "alibi"),
    ("apis", "api"),
    ("bikinis", "bikini"),
    ("brownies", "brownie"),
    ("calories", "calorie"),
    ("clis", "cli"),
    ("emojis", "emoji"),
    ("foodies", "foodie"),
    ("freebies", "freebie"),
    ("genies", "genie"),
    ("goalies", "goalie"),
    ("guis", "gui"),
    ("hoodies", "hoodie"),
    ("kpis", "kpi"),
    ("lenses", "lens"),
    ("muses", "muse"),
    ("newbies", "newbie"),
    ("prairies", "prairie"),
    ("refuses", "refuse"),
    ("reuses", "reuse"),
    ("safaris", "safari"),
    ("selfies", "selfie"),
    ("skis", "ski"),
    ("smoothies", "smoothie"),
    ("taxis", "taxi"),
    ("tsunamis", "tsunami"),
    ("uis", "ui"),
    ("uris", "uri"),
    ("veggies", "veggie"),
    ("wikis", "wiki"),
];

/// The same of words that stay.
const SAME_ADDED: &[&str] = &["goods"];
