//! The names of all labels, types and properties that the file does not give.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// Rules for the names of all tables. What a table says of itself wins over them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NamingEdit {
    /// Prefixes that names of tables lose, as `wp_`, before labels and types are made of them: the longest that fits.
    pub strip_prefix: Vec<String>,
    /// A label: `{name}` is the table's name in singular camel case, `{schema}` its schema in camel case. Default:
    /// `{name}`.
    #[serde(deserialize_with = "labels")]
    pub labels: String,
    /// A relationship's type: `{name}` is what it is called otherwise, as `CUSTOMER`; `{table}` and `{target}` are the
    /// tables that it leads from and to, in the singular. Default: `{name}`.
    #[serde(deserialize_with = "types")]
    pub types: String,
    /// How properties are called.
    pub properties: PropertyNames,
}

/// How properties are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PropertyNames {
    /// As their columns.
    #[default]
    #[serde(rename = "as_is")]
    AsIs,
    /// In camel case: `created_at` is `createdAt`. A column stays as it is where another one has that name.
    #[serde(rename = "camelCase")]
    CamelCase,
}

impl Default for NamingEdit {
    fn default() -> Self {
        let name = || "{name}".to_owned();
        let (labels, types) = (name(), name());
        NamingEdit { strip_prefix: Vec::new(), labels, types, properties: PropertyNames::AsIs }
    }
}

impl NamingEdit {
    pub(super) fn is_default(&self) -> bool {
        *self == NamingEdit::default()
    }
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    template(deserializer, &["name", "schema"])
}

fn types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    template(deserializer, &["name", "table", "target"])
}

/// A text with words in braces, each of which is known.
fn template<'de, D: Deserializer<'de>>(
    deserializer: D,
    known: &[&str],
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known: Vec<String> = known.iter().map(|word| format!("{{{word}}}")).collect();
    let rest = known.iter().fold(text.clone(), |rest, word| rest.replace(word, ""));
    match rest.contains(['{', '}']) || rest == text {
        true => Err(Error::custom(format!(
            "{text:?} is made of text and at least one of {}, and has no other braces",
            known.join(", ")
        ))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_template_has_words_that_are_known() {
        let read = |yaml: &str| serde_saphyr::from_str::<NamingEdit>(yaml);
        let labels = read("{labels: 'Shop_{schema}{name}'}").unwrap().labels;
        assert_eq!(labels, "Shop_{schema}{name}");
        assert_eq!(read("{types: 'HAS_{target}'}").unwrap().types, "HAS_{target}");
        for yaml in
            ["{labels: Thing}", "{labels: '{target}'}", "{types: '{name'}", "{types: '{Name}'}"]
        {
            assert!(read(yaml).unwrap_err().to_string().contains("{name}"), "{yaml}");
        }
    }
}
