//! The tables' graph form: nodes and relationships, by name.
//!
//! A [`Model`] has one [`Shape`] for each table. It is all that the writer needs; columns, types
//! and SQL stay in the mapping.

/// The shapes of all mapped tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// One entry for each table; [`TableIndex`] points into it.
    pub tables: Vec<Table>,
}

/// A table's index in the [`Model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableIndex(pub usize);

/// A mapped table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `schema.name`, for messages.
    pub name: String,
    /// The graph form of its rows.
    pub shape: Shape,
}

/// The graph form of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A node and the relationships that it owns.
    Node(NodeShape),
    /// A relationship between two nodes (a join table).
    Relationship(RelationshipShape),
}

/// A table whose rows are nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeShape {
    /// The label. Label and key identify the node. No two tables share a label.
    pub label: String,
    /// Further labels on every row of the table.
    pub extra_labels: Vec<String>,
    /// The names of the key's properties, in the order of a [`super::Key`]'s values.
    pub key: Vec<String>,
    /// The names of the other properties, in the order of a [`super::Row`]'s cells.
    pub properties: Vec<String>,
    /// The row's own relationships, in the order of a [`super::Row`]'s references.
    pub references: Vec<ReferenceShape>,
}

/// A relationship that a row owns. It goes from the row's node to the node that its columns name.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceShape {
    /// The relationship's type.
    pub relationship_type: String,
    /// Its direction.
    pub direction: Direction,
    /// The node table it leads to.
    pub target: TableIndex,
    /// How the target is found.
    pub by: ReferenceBy,
}

/// The direction of an owned relationship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the owner to the target.
    Outgoing,
    /// From the target to the owner.
    Incoming,
}

/// How a reference names its target.
#[derive(Clone, Debug, PartialEq)]
pub enum ReferenceBy {
    /// By the target's key. A missing target becomes a placeholder.
    Key,
    /// By other, unique columns of the target. The relationship exists if and only if both rows do.
    Unique {
        /// The owner's properties with the value, in order.
        owner_properties: Vec<String>,
        /// The target's properties with the value, in the same order.
        target_properties: Vec<String>,
    },
}

/// A join table whose rows are relationships.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationshipShape {
    /// The relationship's type.
    pub relationship_type: String,
    /// The node table at its start.
    pub from: TableIndex,
    /// The node table at its end.
    pub to: TableIndex,
    /// Identifies a row.
    pub key: RelationshipKey,
    /// The names of its properties without the key's, in the order of a [`super::Row`]'s cells.
    pub properties: Vec<String>,
}

/// Identifies the relationship of a join table's row.
#[derive(Clone, Debug, PartialEq)]
pub enum RelationshipKey {
    /// Its two ends: a [`super::Key`] holds the start's key values, then the end's.
    Ends,
    /// Its own properties: several rows may join the same ends.
    Own(Vec<String>),
}

impl Model {
    /// The table at `index`.
    pub fn table(&self, index: TableIndex) -> &Table {
        &self.tables[index.0]
    }

    /// The name of one of the table's properties, by its place in a row.
    pub fn property_name(&self, index: TableIndex, property: usize) -> &str {
        match &self.table(index).shape {
            Shape::Node(node) => &node.properties[property],
            Shape::Relationship(join) => &join.properties[property],
        }
    }

    /// The label of a table's rows; `None`: they are relationships.
    pub fn label(&self, index: TableIndex) -> Option<&String> {
        match &self.table(index).shape {
            Shape::Node(node) => Some(&node.label),
            Shape::Relationship(_) => None,
        }
    }

    /// The node shape at `index`. A mapping creates references to node tables only.
    pub fn node(&self, index: TableIndex) -> &NodeShape {
        match &self.table(index).shape {
            Shape::Node(node) => node,
            Shape::Relationship(_) => panic!("{} is not a node table", self.table(index).name),
        }
    }

    /// The properties of the entity itself that are its key: none of a join table that has its ends for one.
    pub fn own_key(&self, index: TableIndex) -> &[String] {
        match &self.table(index).shape {
            Shape::Node(node) => &node.key,
            Shape::Relationship(join) => match &join.key {
                RelationshipKey::Own(own) => own,
                RelationshipKey::Ends => &[],
            },
        }
    }

    /// The names of the table's key, for messages.
    pub fn key_names(&self, index: TableIndex) -> Vec<String> {
        match &self.table(index).shape {
            Shape::Node(node) => node.key.clone(),
            Shape::Relationship(join) => match &join.key {
                RelationshipKey::Own(own) => own.clone(),
                RelationshipKey::Ends => {
                    [self.node(join.from).key.as_slice(), &self.node(join.to).key].concat()
                }
            },
        }
    }

    /// The references by unique columns to `target`: the owner's table, the reference's index, and
    /// the target's properties.
    pub fn unique_references_to(
        &self,
        target: TableIndex,
    ) -> impl Iterator<Item = (TableIndex, usize, &[String])> {
        self.references_to(target).filter_map(|(owner, index, reference)| match &reference.by {
            ReferenceBy::Key => None,
            ReferenceBy::Unique { target_properties, .. } => {
                Some((owner, index, target_properties.as_slice()))
            }
        })
    }

    /// The references of all node tables to `target`: the owner's table and the reference's index.
    pub fn references_to(
        &self,
        target: TableIndex,
    ) -> impl Iterator<Item = (TableIndex, usize, &ReferenceShape)> {
        self.iter().flat_map(move |(owner, table)| {
            let references = match &table.shape {
                Shape::Node(node) => node.references.as_slice(),
                Shape::Relationship(_) => &[],
            };
            let references = references.iter().enumerate();
            references
                .filter(move |(_, reference)| reference.target == target)
                .map(move |(index, reference)| (owner, index, reference))
        })
    }

    /// The join tables that have an end at `target`.
    pub fn joins_at(
        &self,
        target: TableIndex,
    ) -> impl Iterator<Item = (TableIndex, &RelationshipShape)> {
        self.iter().filter_map(move |(index, table)| match &table.shape {
            Shape::Relationship(join) if join.from == target || join.to == target => {
                Some((index, join))
            }
            _ => None,
        })
    }

    /// Whether a node of the table can exist without a row.
    pub fn may_be_placeholder(&self, table: TableIndex) -> bool {
        self.references_to(table).any(|(_, _, reference)| reference.by == ReferenceBy::Key)
            || self.joins_at(table).next().is_some()
    }

    /// All tables with their index.
    pub fn iter(&self) -> impl Iterator<Item = (TableIndex, &Table)> {
        self.tables.iter().enumerate().map(|(index, table)| (TableIndex(index), table))
    }
}

impl NodeShape {
    /// The indices of its references by key.
    pub fn keyed_references(&self) -> impl Iterator<Item = usize> {
        let references = self.references.iter().enumerate();
        references.filter(|(_, it)| it.by == ReferenceBy::Key).map(|(index, _)| index)
    }
}

impl RelationshipShape {
    /// Splits a key of two ends into the start's key and the end's.
    pub fn split_ends(&self, model: &Model, key: &super::Key) -> (super::Key, super::Key) {
        let (from, to) = key.0.split_at(model.node(self.from).key.len());
        (super::Key(from.into()), super::Key(to.into()))
    }
}
