//! The relationships that the rows of a table own.
//!
//! ```text
//! [{type: PLACED, columns: [customer_id], to: public.customers}]    exactly these
//! {customer_id: PLACED, shipped_to_id: false}                       those of the foreign keys, with these edits
//! ```

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// The relationships that the rows of a table own: a list of all of them; or single edits, and what they do not name
/// stays inferred. An edit's key is a foreign key, a column, or a name of your own.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RelationshipsEdit {
    /// Exactly these.
    All(Vec<ReferenceEdit>),
    /// One for each foreign key, with these edits.
    Each(BTreeMap<String, ReferenceChange>),
}

/// A relationship from the row's node to the node that its columns name; with or without a foreign
/// key behind it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceEdit {
    /// The relationship's type.
    #[serde(rename = "type")]
    pub relationship_type: String,
    /// The columns that hold the target's value.
    pub columns: Vec<String>,
    /// The target table.
    pub to: String,
    /// The target's columns that hold the value, in the order of `columns`: its key, or unique
    /// columns. Left out: its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_columns: Option<Vec<String>>,
    /// Which way the relationship points, seen from the row's node.
    #[serde(default)]
    pub direction: DirectionEdit,
}

/// What becomes of one relationship: a text is its type, `false` leaves it out, and with `to` it needs no foreign key.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ReferenceChange {
    /// `false`: it is left out.
    Kept(bool),
    /// Its type.
    Typed(String),
    /// All of it.
    Section(ReferenceSection),
}

/// An edit of one relationship. What is left out is as the foreign key says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceSection {
    /// The relationship's type. Left out: it is inferred.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub relationship_type: Option<String>,
    /// The columns that hold the target's value. Left out: those of the foreign key, or the column that is the key of
    /// this edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The target table. Left out: the foreign key's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The target's columns that hold the value, in the order of `columns`: its key, or unique
    /// columns. Left out: the foreign key's, or the target's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_columns: Option<Vec<String>>,
    /// Which way the relationship points, seen from the row's node.
    pub direction: DirectionEdit,
}

/// Which way a relationship points, seen from the row that holds the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DirectionEdit {
    /// From the row's node to the target.
    #[default]
    Out,
    /// From the target to the row's node.
    In,
}

impl RelationshipsEdit {
    /// The tables that it names as targets.
    pub(in crate::mapping) fn targets(&self) -> Vec<String> {
        match self {
            RelationshipsEdit::All(all) => all.iter().map(|it| it.to.clone()).collect(),
            RelationshipsEdit::Each(each) => {
                each.values().filter_map(|it| it.section()?.to).collect()
            }
        }
    }
}

impl ReferenceChange {
    /// The edit; `None` if the relationship is left out.
    pub(in crate::mapping) fn section(&self) -> Option<ReferenceSection> {
        match self {
            ReferenceChange::Kept(false) => None,
            ReferenceChange::Kept(true) => Some(ReferenceSection::default()),
            ReferenceChange::Typed(name) => {
                let relationship_type = Some(name.clone());
                Some(ReferenceSection { relationship_type, ..ReferenceSection::default() })
            }
            ReferenceChange::Section(section) => Some(section.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for RelationshipsEdit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfTable)
    }
}

struct OfTable;

impl<'de> Visitor<'de> for OfTable {
    type Value = RelationshipsEdit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of all relationships, or edits by column or foreign key")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RelationshipsEdit, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(RelationshipsEdit::All(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RelationshipsEdit, A::Error> {
        let mut each = BTreeMap::new();
        while let Some((name, change)) = map.next_entry()? {
            each.insert(name, change);
        }
        Ok(RelationshipsEdit::Each(each))
    }
}

impl<'de> Deserialize<'de> for ReferenceChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfReference)
    }
}

struct OfReference;

impl<'de> Visitor<'de> for OfReference {
    type Value = ReferenceChange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the relationship's type, false, or a section with `type`, `to` or `direction`")
    }

    fn visit_bool<E: Error>(self, is_kept: bool) -> Result<ReferenceChange, E> {
        match is_kept {
            // Old YAML reads the type ON as this.
            true => Err(Error::custom(
                "true says nothing: write `false`, or a type, which is in quotes if it is \"ON\" or \"YES\"",
            )),
            false => Ok(ReferenceChange::Kept(false)),
        }
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<ReferenceChange, E> {
        Ok(ReferenceChange::Typed(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReferenceChange, A::Error> {
        let section = ReferenceSection::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ReferenceChange::Section(section))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(yaml: &str) -> Result<RelationshipsEdit, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.without_snippet().to_string())
    }

    #[test]
    fn an_edit_is_a_type_false_or_a_section() {
        let typed = |name: &str| ReferenceChange::Typed(name.to_owned());
        let section = ReferenceSection { direction: DirectionEdit::In, ..Default::default() };
        let each = [
            ("a".to_owned(), typed("A")),
            ("b".to_owned(), ReferenceChange::Kept(false)),
            ("c".to_owned(), ReferenceChange::Section(section)),
            ("d".to_owned(), typed("ON")),
        ];
        let read = read("{a: A, b: false, c: {direction: in}, d: 'ON'}").unwrap();
        assert_eq!(read, RelationshipsEdit::Each(BTreeMap::from(each)));
    }

    #[test]
    fn a_type_that_yaml_reads_as_a_flag_is_refused_without_quotes() {
        for (yaml, said) in [
            ("{a: ON}", "in quotes"),
            ("{a: true}", "in quotes"),
            ("{a: [b]}", "the relationship's type, false, or a section"),
            ("{a: {typ: B}}", "unknown field `typ`"),
            ("A", "a list of all relationships, or edits"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(said), "{yaml}: {error}");
        }
    }
}
