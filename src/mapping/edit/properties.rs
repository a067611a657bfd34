//! Which columns become properties, and under which names.
//!
//! ```text
//! {name: full_name, secret: false}                                 one by one
//! {include: [id, name], exclude: [secret], rename: {name: full_name}}    by lists
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};

/// Which columns become properties. Key columns always do. Any other key is a column: a text is its property's name,
/// `false` leaves it out, and `true` keeps it where `foreign_key_properties: false` would not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(default)]
pub struct PropertiesEdit {
    /// Only these columns. Left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Not these columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// The property's name, by column, where it is not the column's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// The columns that stay, whatever holds for all tables.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(flatten, with = "BTreeMap<String, PropertyEdit>")]
    pub kept: BTreeSet<String>,
}

/// What becomes of a column: the name of its property, `false` to leave it out, `true` to keep it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum PropertyEdit {
    /// Whether it stays.
    Kept(bool),
    /// The property's name.
    Named(String),
}

impl PropertiesEdit {
    pub(super) fn is_empty(&self) -> bool {
        *self == PropertiesEdit::default()
    }

    /// Whether a key is a word of its own: a column of that name is edited by lists.
    pub(in crate::mapping) fn is_word(key: &str) -> bool {
        matches!(key, "include" | "exclude" | "rename")
    }

    /// Adds the edit of a column. Returns false if the column has one already.
    fn add(&mut self, column: String, edit: PropertyEdit) -> bool {
        if self.names(&column) {
            return false;
        }
        match edit {
            PropertyEdit::Kept(true) => {
                self.kept.insert(column);
            }
            PropertyEdit::Kept(false) => self.exclude.push(column),
            PropertyEdit::Named(property) => {
                self.kept.insert(column.clone());
                self.rename.insert(column, property);
            }
        }
        true
    }

    /// Says of a column what `other` says. A key's column is not left out.
    pub(in crate::mapping) fn follow(&mut self, other: &Self, column: &String, is_key: bool) {
        if !is_key && other.exclude.contains(column) {
            self.exclude.push(column.clone());
        }
        if other.kept.contains(column) {
            self.kept.insert(column.clone());
        }
        if let Some(property) = other.rename.get(column) {
            self.rename.insert(column.clone(), property.clone());
        }
    }

    /// Whether a column has an edit of its own.
    pub(in crate::mapping) fn names(&self, column: &String) -> bool {
        self.kept.contains(column)
            || self.exclude.contains(column)
            || self.rename.contains_key(column)
    }
}

impl<'de> Deserialize<'de> for PropertiesEdit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfTable)
    }
}

struct OfTable;

impl<'de> Visitor<'de> for OfTable {
    type Value = PropertiesEdit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`column: property` or `column: false`, or `include`, `exclude` and `rename`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PropertiesEdit, A::Error> {
        let mut edits = PropertiesEdit::default();
        let mut one_by_one: Vec<(String, PropertyEdit)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "include" => edits.include = map.next_value()?,
                "exclude" => edits.exclude = map.next_value()?,
                "rename" => edits.rename = map.next_value()?,
                _ => one_by_one.push((key, map.next_value()?)),
            }
        }
        for (column, edit) in one_by_one {
            if !edits.add(column.clone(), edit) {
                let twice = format!("the column {column:?} is named twice: once is enough");
                return Err(Error::custom(twice));
            }
        }
        Ok(edits)
    }
}

impl<'de> Deserialize<'de> for PropertyEdit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As a text: `n` and `y` are flags in old YAML, and good names of properties.
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "true" => Ok(PropertyEdit::Kept(true)),
            "false" => Ok(PropertyEdit::Kept(false)),
            word if ["yes", "no", "on", "off"].contains(&word.to_ascii_lowercase().as_str()) => {
                Err(Error::custom(format!(
                    "{word}: write `true` or `false`; or, for a property of that name, `rename`"
                )))
            }
            _ => Ok(PropertyEdit::Named(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(yaml: &str) -> Result<PropertiesEdit, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.without_snippet().to_string())
    }

    #[test]
    fn columns_one_by_one_and_by_lists_say_the_same() {
        let both =
            ["{name: full_name, secret: false}", "{exclude: [secret], rename: {name: full_name}}"];
        let [one_by_one, by_lists] = both.map(|yaml| read(yaml).unwrap());
        assert_eq!(one_by_one.exclude, by_lists.exclude);
        assert_eq!(one_by_one.rename, by_lists.rename);
        assert_eq!(read("{a: true}").unwrap().kept, BTreeSet::from(["a".to_owned()]));
        let letters = read("{pos_y: y, count: n}").unwrap().rename;
        assert_eq!(letters.into_values().collect::<Vec<_>>(), ["n", "y"]);
        assert_eq!(read("{include: [a]}").unwrap().include, Some(vec!["a".to_owned()]));
    }

    #[test]
    fn what_is_said_twice_or_in_another_form_is_refused() {
        for (yaml, said) in [
            ("{name: a, rename: {name: b}}", "\"name\" is named twice"),
            ("{exclude: [name], name: true}", "\"name\" is named twice"),
            ("{secret: no}", "write `true` or `false`"),
            ("{secret: Off}", "write `true` or `false`"),
            ("{exclud: [secret]}", "string"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(said), "{yaml}: {error}");
        }
    }
}
