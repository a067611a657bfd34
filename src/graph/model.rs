//! What the mapping makes of the tables: nodes and relationships, by name.
//!
//! A [`Model`] holds one [`Shape`] a table. It is the whole of what writing needs to know; columns,
//! types and SQL stay in the mapping.

/// The shapes of all mapped tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// One entry a table; [`TableIndex`] points into it.
    pub tables: Vec<Table>,
}

/// Which table of the [`Model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableIndex(pub usize);

/// A mapped table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `schema.name`, for messages.
    pub name: String,
    /// What its rows become.
    pub shape: Shape,
}

/// What a row becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A node, with the relationships it owns.
    Node(NodeShape),
    /// A relationship between two nodes (a join table).
    Relationship(RelationshipShape),
}

/// A table whose rows are nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeShape {
    /// The label that, with the key, identifies the node. No two tables share one.
    pub label: String,
    /// Further labels that every row of the table carries.
    pub extra_labels: Vec<String>,
    /// The names of the key's properties, in the order of a [`super::Key`]'s values.
    pub key: Vec<String>,
    /// The names of the other properties, in the order of a [`super::Row`]'s cells.
    pub properties: Vec<String>,
    /// The relationships the row owns, in the order of a [`super::Row`]'s references.
    pub references: Vec<ReferenceShape>,
}

/// A relationship that a row owns: it goes from the row's node to the node its columns name.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceShape {
    /// The relationship's type.
    pub relationship_type: String,
    /// Which way it points.
    pub direction: Direction,
    /// The node table it leads to.
    pub target: TableIndex,
    /// How the target is found.
    pub by: ReferenceBy,
}

/// Which way an owned relationship points.
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
    /// By the target's key: a missing target becomes a placeholder.
    Key,
    /// By other columns of the target that are unique. The relationship exists if and only if both
    /// rows do.
    Unique {
        /// The owner's properties that hold the value, in order.
        owner_properties: Vec<String>,
        /// The target's properties that hold it, in the same order.
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
    /// What identifies a row.
    pub key: RelationshipKey,
    /// The names of its properties (without the key's), in the order of a [`super::Row`]'s cells.
    pub properties: Vec<String>,
}

/// What identifies the relationship of a join table's row.
#[derive(Clone, Debug, PartialEq)]
pub enum RelationshipKey {
    /// Its two ends: a [`super::Key`] holds the start's key values, then the end's.
    Ends,
    /// Properties of its own: several rows may join the same ends.
    Own(Vec<String>),
}

impl Model {
    /// The table at `index`.
    pub fn table(&self, index: TableIndex) -> &Table {
        &self.tables[index.0]
    }

    /// The node shape at `index`. A mapping makes references to node tables only.
    pub fn node(&self, index: TableIndex) -> &NodeShape {
        match &self.table(index).shape {
            Shape::Node(node) => node,
            Shape::Relationship(_) => panic!("{} is not a node table", self.table(index).name),
        }
    }

    /// What the parts of a table's key are called, for messages.
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

    /// The references by unique columns that lead to `target`: the owner's table, which of its
    /// references, and the target's properties.
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

    /// The references of all node tables that lead to `target`: the owner's table and which of its
    /// references.
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

    /// All tables with their index.
    pub fn iter(&self) -> impl Iterator<Item = (TableIndex, &Table)> {
        self.tables.iter().enumerate().map(|(index, table)| (TableIndex(index), table))
    }
}

impl NodeShape {
    /// Which of its references are by key.
    pub fn keyed_references(&self) -> impl Iterator<Item = usize> {
        let references = self.references.iter().enumerate();
        references.filter(|(_, it)| it.by == ReferenceBy::Key).map(|(index, _)| index)
    }
}

impl RelationshipShape {
    /// The start's and the end's key in a key that is made of them.
    pub fn split_ends(&self, model: &Model, key: &super::Key) -> (super::Key, super::Key) {
        let (from, to) = key.0.split_at(model.node(self.from).key.len());
        (super::Key(from.into()), super::Key(to.into()))
    }
}
