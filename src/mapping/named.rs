//! Of what a name is, and how it gets another one.

use std::fmt;

/// Of what something is the name.
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
