//! The thing that a name names, and the way to rename it.

use std::fmt;

/// The thing that a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A label.
    Label,
    /// A relationship type.
    RelationshipType,
    /// A property.
    Property,
}

impl Named {
    pub(super) fn fix(self) -> &'static str {
        match self {
            Named::Label => "Give the table another `label`",
            Named::RelationshipType => "Give the relationship another `type`",
            Named::Property => "Use `properties: {rename: …}` to give it another name",
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Named::Label => "label",
            Named::RelationshipType => "relationship type",
            Named::Property => "property",
        })
    }
}
