//! The tables section of a user's file: its raw form, before the catalog is known.
//!
//! ```text
//! YAML `tables:` --serde--> Edits --compile(catalog)--> Mapping, or what is wrong with its fix
//! ```
//!
//! This module checks only the form. Inference maps a table that the file does not name, and fills
//! every field that it omits for a table that it names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All edits of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// What holds for all tables.
    pub defaults: Defaults,
    /// The edited tables, by `schema.name` (a part that holds a dot is quoted as in SQL). A key with `*`, as `auth.*`,
    /// chooses tables to skip: those that no key names.
    pub tables: BTreeMap<String, TableEdit>,
}

/// Choices for all tables. The file's `mapping:` section.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// What `numeric` columns become, unless `types` of their table says otherwise.
    pub numeric: NumericForm,
    /// Whether foreign key columns stay as properties of their node.
    pub foreign_key_properties: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { numeric: NumericForm::default(), foreign_key_properties: true }
    }
}

/// What a `numeric` becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumericForm {
    /// The exact decimal text.
    #[default]
    String,
    /// The nearest Float.
    Float,
    /// An Integer or a Float where nothing is lost, else the exact text.
    Auto,
}

/// What a column's values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnForm {
    /// PostgreSQL's text, whatever the column's type. Keys and references still compare as the
    /// column's type does; where that is not known, equal values must always have the same text.
    String,
    /// The nearest Float. For `numeric` columns.
    Float,
    /// An Integer or a Float where nothing is lost, else the exact text. For `numeric` columns.
    Auto,
}

/// What is done when the tables have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaChanges {
    /// The graph follows.
    #[default]
    Apply,
    /// The program ends with an error that says what has changed.
    Stop,
    /// A table that has changed is paused: its rows stay in the graph as they are, and all others go on.
    Pause,
}

/// The edits of one table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableEdit {
    /// Leave the table out: it is neither published nor copied.
    pub skip: bool,
    /// The label of its nodes. A join table that is given one becomes nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Further labels that every node of the table carries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The columns that identify a row: those of the replica identity. Left out: the primary key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<String>>,
    /// Which columns become properties, and under which names.
    #[serde(skip_serializing_if = "PropertiesEdit::is_empty")]
    pub properties: PropertiesEdit,
    /// What the values of some columns become, by column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, ColumnForm>,
    /// The relationships that the table's rows own: exactly these. Left out: one for each foreign
    /// key. Empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relationships: Option<Vec<ReferenceEdit>>,
    /// The table is a join table: its rows are relationships, not nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relationship: Option<RelationshipEdit>,
    /// What happens when this table changes in the database. Left out: what the file says for all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_changes: Option<SchemaChanges>,
}

/// Which columns become properties. Key columns always do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
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
}

impl PropertiesEdit {
    fn is_empty(&self) -> bool {
        *self == PropertiesEdit::default()
    }
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

/// What the rows of a join table become.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelationshipEdit {
    /// The relationship's type.
    #[serde(rename = "type")]
    pub relationship_type: String,
    /// Where it begins.
    pub from: EndEdit,
    /// Where it ends.
    pub to: EndEdit,
}

/// One end of a join table's relationships.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndEdit {
    /// The columns that hold the node's key. They must be NOT NULL.
    pub columns: Vec<String>,
    /// The node's table.
    pub to: String,
    /// The node's key columns in the order of `columns`. Left out: in the key's own order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_columns: Option<Vec<String>>,
}
