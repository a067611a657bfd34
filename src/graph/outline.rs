//! The names of a mapping in a graph, and the leftovers of an earlier mapping.
//!
//! ```text
//! checkpoint: [outline of the first mapping, of the next, ...] - outline of now = what no row has any more
//! ```
//!
//! A comparison of tables and graph sees the names of the mapping alone. What an earlier mapping made under
//! other names has to go by itself: properties, types and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shown::Shown;

use super::{
    Model,
    model::{Direction, RelationshipKey, Shape},
};

/// The names that a model has in a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Node tables, by label.
    nodes: BTreeMap<String, Nodes>,
    /// Relationships, with the names of their properties.
    relationships: BTreeMap<String, Vec<Relationships>>,
}

/// The nodes of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Nodes {
    key: Vec<String>,
    properties: BTreeSet<String>,
    extra_labels: BTreeSet<String>,
    /// The key under the names that it had before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    renamed_from: BTreeSet<Vec<String>>,
}

/// The relationships of one type between two labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Relationships {
    from: String,
    to: String,
    /// A join table's; of one that has a key of its own, that key.
    key: Vec<String>,
    properties: BTreeSet<String>,
}

/// Something of an earlier mapping.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOver {
    /// All nodes with a label: nothing has it any more, or they have another key.
    Nodes {
        /// The label.
        label: String,
    },
    /// The key of nodes has another name.
    Key {
        /// The label.
        label: String,
        /// The properties that have another name: the name before, and the name now.
        names: Vec<(String, String)>,
    },
    /// A property of nodes.
    Property {
        /// Their label.
        label: String,
        /// The property.
        property: String,
    },
    /// A further label of nodes.
    Label {
        /// Their label.
        label: String,
        /// The further one.
        extra: String,
    },
    /// Relationships.
    Relationships(Between),
    /// A property of relationships.
    RelationshipProperty {
        /// The relationships.
        of: Between,
        /// The property.
        property: String,
    },
}

/// Relationships of a type from nodes with one label to nodes with another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Between {
    /// The type.
    pub relationship_type: String,
    /// The label at the start.
    pub from: String,
    /// The label at the end.
    pub to: String,
}

impl fmt::Display for LeftOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOver::Nodes { label } => write!(
                f,
                "the nodes with the label {} are removed, with what others have put on them: they have another \
                 label or key",
                Shown(label)
            ),
            LeftOver::Key { label, names } => {
                let of = |(was, is): &(String, String)| format!("{} to {}", Shown(was), Shown(is));
                let names: Vec<String> = names.iter().map(of).collect();
                write!(f, "the key of {} is renamed: {}", Shown(label), names.join(", "))
            }
            LeftOver::Property { label, property } => {
                write!(f, "the property {} of {} is removed", Shown(property), Shown(label))
            }
            LeftOver::Label { label, extra } => {
                write!(f, "the label {} of {} is removed", Shown(extra), Shown(label))
            }
            LeftOver::Relationships(of) => write!(f, "the relationships {of} are removed"),
            LeftOver::RelationshipProperty { of, property } => {
                write!(f, "the property {} of the relationships {of} is removed", Shown(property))
            }
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Between { relationship_type, from, to } = self;
        write!(f, "{} from {} to {}", Shown(relationship_type), Shown(from), Shown(to))
    }
}

impl LeftOver {
    /// The labels of the nodes that it is about.
    pub fn labels(&self) -> Vec<&String> {
        match self {
            LeftOver::Nodes { label }
            | LeftOver::Key { label, .. }
            | LeftOver::Property { label, .. }
            | LeftOver::Label { label, .. } => vec![label],
            LeftOver::Relationships(of) | LeftOver::RelationshipProperty { of, .. } => {
                vec![&of.from, &of.to]
            }
        }
    }

    /// The type of the relationships that it is about.
    pub fn relationship_type(&self) -> Option<&String> {
        match self {
            LeftOver::Relationships(of) | LeftOver::RelationshipProperty { of, .. } => {
                Some(&of.relationship_type)
            }
            LeftOver::Nodes { .. }
            | LeftOver::Key { .. }
            | LeftOver::Property { .. }
            | LeftOver::Label { .. } => None,
        }
    }
}

impl Outline {
    /// Of a model.
    pub fn of(model: &Model) -> Self {
        let mut outline = Outline::default();
        for (_, table) in model.iter() {
            match &table.shape {
                Shape::Node(node) => {
                    let nodes = Nodes {
                        key: node.key.clone(),
                        properties: node.properties.iter().cloned().collect(),
                        extra_labels: node.extra_labels.iter().cloned().collect(),
                        renamed_from: BTreeSet::new(),
                    };
                    outline.nodes.insert(node.label.clone(), nodes);
                    for reference in &node.references {
                        let target = &model.node(reference.target).label;
                        let (from, to) = match reference.direction {
                            Direction::Outgoing => (&node.label, target),
                            Direction::Incoming => (target, &node.label),
                        };
                        outline.add(&reference.relationship_type, (from, to), &[], &[]);
                    }
                }
                Shape::Relationship(join) => {
                    let [from, to] = [join.from, join.to].map(|end| &model.node(end).label);
                    let key = match &join.key {
                        RelationshipKey::Ends => &[][..],
                        RelationshipKey::Own(names) => names,
                    };
                    outline.add(&join.relationship_type, (from, to), key, &join.properties);
                }
            }
        }
        outline
    }

    fn add(
        &mut self,
        relationship_type: &str,
        (from, to): (&String, &String),
        key: &[String],
        properties: &[String],
    ) {
        self.relationships.entry(relationship_type.to_owned()).or_default().push(Relationships {
            from: from.clone(),
            to: to.clone(),
            key: key.to_vec(),
            properties: properties.iter().cloned().collect(),
        });
    }

    /// What a graph of this outline has that `now` does not.
    pub fn left_over(&self, now: &Outline) -> Vec<LeftOver> {
        let mut found = Vec::new();
        for (label, nodes) in &self.nodes {
            let of = || label.clone();
            match now.nodes.get(label) {
                Some(kept) if kept.key == nodes.key || kept.renamed_from.contains(&nodes.key) => {
                    let names = std::iter::zip(&nodes.key, &kept.key).filter(|(was, is)| was != is);
                    let names: Vec<(String, String)> =
                        names.map(|(was, is)| (was.clone(), is.clone())).collect();
                    if !names.is_empty() {
                        found.push(LeftOver::Key { label: of(), names });
                    }
                    let is_kept =
                        |it: &&String| kept.properties.contains(*it) || kept.key.contains(*it);
                    let gone = nodes.properties.iter().filter(|it| !is_kept(it));
                    found.extend(gone.map(|property| LeftOver::Property {
                        label: of(),
                        property: property.clone(),
                    }));
                    let gone = nodes.extra_labels.difference(&kept.extra_labels);
                    found.extend(
                        gone.map(|extra| LeftOver::Label { label: of(), extra: extra.clone() }),
                    );
                }
                _ => found.push(LeftOver::Nodes { label: of() }),
            }
        }
        for (relationship_type, all) in &self.relationships {
            let kept = now.relationships.get(relationship_type).map_or(&[][..], Vec::as_slice);
            for before in all {
                let of = Between {
                    relationship_type: relationship_type.clone(),
                    from: before.from.clone(),
                    to: before.to.clone(),
                };
                let is_same = |it: &&Relationships| {
                    (&it.from, &it.to, &it.key) == (&before.from, &before.to, &before.key)
                };
                let Some(kept) = kept.iter().find(is_same) else {
                    found.push(LeftOver::Relationships(of));
                    continue;
                };
                found.extend(before.properties.difference(&kept.properties).map(|property| {
                    LeftOver::RelationshipProperty { of: of.clone(), property: property.clone() }
                }));
            }
        }
        found
    }
}

/// All mappings that a graph may have something of, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outlines(Vec<Outline>);

impl Outlines {
    /// Of one mapping alone.
    pub fn of(model: &Model) -> Self {
        Outlines(vec![Outline::of(model)])
    }

    /// Reads the text of a checkpoint. One that is not understood says nothing.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The text that a checkpoint keeps.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names are JSON")
    }

    /// With another one behind them. The keys of these labels are those before, under other names.
    pub fn and(mut self, model: &Model, renamed: &BTreeSet<String>) -> Self {
        let mut newest = Outline::of(model);
        if let Some(before) = self.0.last() {
            for label in renamed {
                let (Some(was), Some(is)) = (before.nodes.get(label), newest.nodes.get_mut(label))
                else {
                    continue;
                };
                // Names that were exchanged can not be told from names that were not.
                let is_plain = was.key.len() == is.key.len()
                    && std::iter::zip(&was.key, &is.key)
                        .all(|(was, now)| was == now || !is.key.contains(was));
                if is_plain {
                    is.renamed_from = was.renamed_from.clone();
                    is.renamed_from.insert(was.key.clone());
                }
            }
        }
        self.0.retain(|it| *it != newest);
        self.0.push(newest);
        self
    }

    /// The types of their relationships.
    pub fn relationship_types(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|it| it.relationships.keys().cloned()).collect()
    }

    /// What is left of the earlier ones.
    pub fn left_over(&self) -> BTreeSet<LeftOver> {
        let Some((newest, earlier)) = self.0.split_last() else { return BTreeSet::new() };
        earlier.iter().flat_map(|it| it.left_over(newest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::model::{
            NodeShape, ReferenceBy, ReferenceShape, RelationshipShape, Table, TableIndex,
        },
        Between, Direction, LeftOver, Model, Outlines, RelationshipKey, Shape,
    };

    fn node(label: &str, key: &str, properties: &[&str]) -> Table {
        let shape = Shape::Node(NodeShape {
            label: label.to_owned(),
            extra_labels: vec![],
            key: vec![key.to_owned()],
            properties: properties.iter().map(|it| (*it).to_owned()).collect(),
            references: vec![],
        });
        Table { name: label.to_owned(), shape }
    }

    fn referring(mut table: Table, relationship_type: &str) -> Table {
        if let Shape::Node(node) = &mut table.shape {
            node.references.push(ReferenceShape {
                relationship_type: relationship_type.to_owned(),
                direction: Direction::Incoming,
                target: TableIndex(0),
                by: ReferenceBy::Key,
            });
        }
        table
    }

    fn join(properties: &[&str]) -> Table {
        let shape = Shape::Relationship(RelationshipShape {
            relationship_type: "LIKES".to_owned(),
            from: TableIndex(0),
            to: TableIndex(0),
            key: RelationshipKey::Ends,
            properties: properties.iter().map(|it| (*it).to_owned()).collect(),
        });
        Table { name: "likes".to_owned(), shape }
    }

    fn between(relationship_type: &str, from: &str, to: &str) -> Between {
        let [relationship_type, from, to] = [relationship_type, from, to].map(str::to_owned);
        Between { relationship_type, from, to }
    }

    fn left(before: &[Table], now: &[Table]) -> Vec<LeftOver> {
        left_renamed(before, now, &[])
    }

    fn left_renamed(before: &[Table], now: &[Table], renamed: &[&str]) -> Vec<LeftOver> {
        let model = |tables: &[Table]| Model { tables: tables.to_vec() };
        let renamed = renamed.iter().map(|label| (*label).to_owned()).collect();
        let text = Outlines::of(&model(before)).and(&model(now), &renamed).text();
        Outlines::parse(&text).left_over().into_iter().collect()
    }

    #[test]
    fn a_key_of_another_name_is_renamed_in_place() {
        let label = "A".to_owned();
        let (before, now) = ([node("A", "id", &["x"])], [node("A", "ident", &["x"])]);
        assert_eq!(left(&before, &now), [LeftOver::Nodes { label: label.clone() }]);
        let names = vec![("id".to_owned(), "ident".to_owned())];
        let key = LeftOver::Key { label, names };
        assert_eq!(left_renamed(&before, &now, &["A"]), [key]);
    }

    #[test]
    fn what_a_mapping_has_no_more_is_left_over() {
        let a = node("A", "id", &["x", "y"]);
        let all = [a.clone(), referring(node("B", "id", &[]), "HAS"), join(&["since"])];
        assert_eq!(left(&all, &all), []);
        let (label, property) = ("A".to_owned(), "y".to_owned());
        let fewer = [node("A", "id", &["x"]), node("B", "id", &[]), join(&[])];
        assert_eq!(
            left(&all, &fewer),
            [
                LeftOver::Property { label: label.clone(), property },
                LeftOver::Relationships(between("HAS", "A", "B")),
                LeftOver::RelationshipProperty {
                    of: between("LIKES", "A", "A"),
                    property: "since".to_owned()
                },
            ]
        );
        assert_eq!(left(&fewer, &all), [], "what is new is no left-over");
        assert_eq!(left(&[a], &[node("A", "x", &["id", "y"])]), [LeftOver::Nodes { label }]);
        let gone = LeftOver::Nodes { label: "B".to_owned() };
        assert!(left(&all, &all[..1]).contains(&gone));
    }
}
