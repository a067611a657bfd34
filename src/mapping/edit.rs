//! The tables section of a user's file: its raw form, before the catalog is known.
//!
//! ```text
//! YAML `tables:` --serde--> Edits --compile(catalog)--> Mapping, or what is wrong with its fix
//! ```
//!
//! This module checks only the form. Inference maps a table that the file does not name, and fills
//! every field that it omits for a table that it names.

mod naming;
mod properties;
mod relationships;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kept::Kept;

pub use naming::{NamingEdit, PropertyNames};
pub use properties::{PropertiesEdit, PropertyEdit};
pub use relationships::{
    DirectionEdit, ReferenceChange, ReferenceEdit, ReferenceSection, RelationshipsEdit,
};

/// All edits of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// What holds for all tables.
    pub defaults: Defaults,
    /// The edited tables, by `schema.name` (a part that holds a dot is quoted as in SQL). A key with `*`, as `auth.*`,
    /// holds for all tables that fit, where their own key does not say otherwise.
    pub tables: BTreeMap<String, TableEdit>,
    /// The names that the graph has: no part of the file.
    #[serde(skip)]
    pub kept: Kept,
}

/// Choices for all tables. The file's `mapping:` section.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// What `numeric` columns become, unless `types` of their table says otherwise.
    pub numeric: NumericForm,
    /// Whether foreign key columns stay as properties of their node.
    pub foreign_key_properties: bool,
    /// Only these tables, and those that `tables` names: a schema, or a pattern, as `public.shop_*`. Left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// Not these tables, but for those that `tables` names: a schema, or a pattern, as `*.*_backup`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// How labels, types and properties are called that the file does not name.
    #[serde(skip_serializing_if = "NamingEdit::is_default")]
    pub naming: NamingEdit,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            numeric: NumericForm::default(),
            foreign_key_properties: true,
            include: None,
            exclude: Vec::new(),
            naming: NamingEdit::default(),
        }
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
    /// The relationships that the table's rows own. A list: exactly these, and none if it is empty. Else edits of
    /// single ones, by foreign key, by column, or by a name of your own: what they do not name stays inferred, one for
    /// each foreign key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relationships: Option<RelationshipsEdit>,
    /// The table is a join table: its rows are relationships, not nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relationship: Option<RelationshipEdit>,
    /// What happens when this table changes in the database. Left out: what the file says for all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_changes: Option<SchemaChanges>,
}

/// What the rows of a join table become. What is left out is inferred from its two foreign keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RelationshipEdit {
    /// The relationship's type. Left out: the table's name.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub relationship_type: Option<String>,
    /// Where it begins. Left out: at the target of a foreign key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<EndEdit>,
    /// Where it ends. Left out: at the target of the other foreign key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<EndEdit>,
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

/// A join table's relationships with nothing left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join<'a> {
    pub relationship_type: &'a str,
    pub from: &'a EndEdit,
    pub to: &'a EndEdit,
}

impl TableEdit {
    /// The relationships that a complete edit lists.
    pub(super) fn references(&self) -> &[ReferenceEdit] {
        match &self.relationships {
            Some(RelationshipsEdit::All(all)) => all,
            Some(RelationshipsEdit::Each(_)) | None => &[],
        }
    }

    /// What a complete edit of a join table says.
    pub(super) fn join(&self) -> Option<Join<'_>> {
        let RelationshipEdit { relationship_type, from, to } = self.relationship.as_ref()?;
        Some(Join {
            relationship_type: relationship_type.as_deref()?,
            from: from.as_ref()?,
            to: to.as_ref()?,
        })
    }
}
