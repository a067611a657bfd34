//! What a node or a relationship is found by.

use crate::value::Value;

/// The key of a node or of a keyed relationship: one value for each key property. It is never NULL,
/// and already normalised: equal keys are equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Box<[Value]>);
