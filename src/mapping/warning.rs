//! Things that a mapping omits or can not guarantee, each with an action.

use crate::{
    catalog::{ForeignPartition, TableName},
    shown::Shown,
};

/// A mapping that may surprise the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A table is not mapped, although the user did not ask for that.
    #[error("{table} is left out: {why}")]
    LeftOut {
        /// The table.
        table: TableName,
        /// The reason.
        why: WhyLeftOut,
    },
    /// A foreign key is no relationship, because its target is no node.
    #[error(
        "{table}: foreign key {constraint} is no relationship, because {target} is not mapped as \
         nodes",
        constraint = Shown(.constraint)
    )]
    ReferenceLeftOut {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
        /// The referenced table.
        target: TableName,
    },
    /// A foreign key of a join table is no relationship.
    #[error(
        "{table}: its rows are relationships, which own none, so foreign key {constraint} is \
         properties only. Give the table a `label` to make it nodes",
        constraint = Shown(.constraint)
    )]
    JoinTableReference {
        /// The join table.
        table: TableName,
        /// The constraint.
        constraint: String,
    },
    /// Two foreign keys say the same.
    #[error(
        "{table}: foreign key {constraint} has the columns and the target of foreign key {same_as}: both \
         are one relationship",
        constraint = Shown(.constraint), same_as = Shown(.same_as)
    )]
    SameForeignKey {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
        /// The constraint behind the relationship.
        same_as: String,
    },
    /// Only a partition has the foreign key.
    #[error(
        "{table}: foreign key {constraint} is no relationship, because only this partition of {root} has it. \
         Add it to {root}, or give {root} a relationship with these columns",
        constraint = Shown(.constraint)
    )]
    ReferenceOfPartition {
        /// The partition.
        table: TableName,
        /// The constraint.
        constraint: String,
        /// The mapped table.
        root: TableName,
    },
    /// The stream does not carry a foreign key's columns.
    #[error(
        "{table}: foreign key {constraint} is no relationship, because the stream does not carry \
         all its columns",
        constraint = Shown(.constraint)
    )]
    ReferenceNotStreamed {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
    },
    /// The stream does not carry a column that a foreign key refers to.
    #[error(
        "{table}: foreign key {constraint} is no relationship, because the stream does not carry column {column:?} of \
         {target}, which it refers to",
        constraint = Shown(.constraint)
    )]
    ReferencedNotStreamed {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
        /// The table that it refers to.
        target: TableName,
        /// The column there.
        column: String,
    },
    /// A foreign key with PERIOD compares by more than equality.
    #[error(
        "{table}: foreign key {constraint} is no relationship, because it has a PERIOD: it holds \
         when rows of {target} together cover the period, and no row need have an equal one",
        constraint = Shown(.constraint)
    )]
    PeriodReference {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
        /// The referenced table.
        target: TableName,
    },
    /// PostgreSQL's equality depends on the session.
    #[error(
        "{table}: a relationship compares {column:?} with {target_column:?} of {target}, of \
         which one has a time zone and one has none: PostgreSQL compares them in the time zone of \
         the session, wal2graph in UTC. Where your sessions use another TimeZone, the relationship \
         leads to other rows or to placeholders: give both columns one type"
    )]
    ComparedInUtc {
        /// The table.
        table: TableName,
        /// The referring column.
        column: String,
        /// The referenced table.
        target: TableName,
        /// The referenced column.
        target_column: String,
    },
    /// A column does not reach us.
    #[error("{table}: column {column:?} is not mapped: {cause}")]
    ColumnNotStreamed {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// The reason.
        cause: &'static str,
    },
    /// A publication hides rows.
    #[error(
        "{table}: the publication has a row filter: rows outside it are not in the graph, and \
         references to them lead to placeholders"
    )]
    RowFilter {
        /// The table.
        table: TableName,
    },
    /// Some commands on partitions send no changes.
    #[error(
        "{table}: what ATTACH PARTITION brings, and what DETACH PARTITION, or DROP TABLE or TRUNCATE \
         of a single partition, takes away is not streamed. `run` and `apply` see such a command and read the \
         rows again. With `schema_changes: stop`, and with topics of other publishers, the graph would differ from \
         then on: there, INSERT the rows into {table} instead of attaching a table that has some, and DELETE them \
         before such a command; UPDATEs that move rows are streamed"
    )]
    Partitioned {
        /// The table.
        table: TableName,
    },
    /// A name of the file chooses no table, perhaps for a slip of the pen.
    #[error("`{list}` has {item}, and no table has such a name. Correct it, or take it out", item = Shown(.item))]
    FitsNothing {
        /// Where the file has it.
        list: &'static str,
        /// The name.
        item: String,
    },
    /// A type has no form of its own in the graph.
    #[error("{table}: column {column:?} of type {column_type} becomes its text", column_type = Shown(.column_type))]
    TextForm {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type.
        column_type: String,
    },
}

impl Warning {
    /// Whether it is expected: nothing is lost, or the user asked for it.
    pub fn is_expected(&self) -> bool {
        match self {
            Warning::LeftOut { why, .. } => why.is_expected(),
            _ => false,
        }
    }

    /// The table it is about, if it is about one.
    pub fn table(&self) -> Option<&TableName> {
        Some(match self {
            Warning::FitsNothing { .. } => return None,
            Warning::LeftOut { table, .. }
            | Warning::ReferenceLeftOut { table, .. }
            | Warning::JoinTableReference { table, .. }
            | Warning::SameForeignKey { table, .. }
            | Warning::ReferenceOfPartition { table, .. }
            | Warning::ReferenceNotStreamed { table, .. }
            | Warning::ReferencedNotStreamed { table, .. }
            | Warning::PeriodReference { table, .. }
            | Warning::ComparedInUtc { table, .. }
            | Warning::ColumnNotStreamed { table, .. }
            | Warning::RowFilter { table }
            | Warning::Partitioned { table }
            | Warning::TextForm { table, .. } => table,
        })
    }
}

/// The reason why a table is not mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyLeftOut {
    /// The file says so.
    #[error("`skip: true`")]
    Skipped,
    /// The file has a list of tables to map.
    #[error("`mapping.include` does not have it")]
    NotIncluded,
    /// The file has a list of tables to leave out.
    #[error("`mapping.exclude` has it: {}", Shown(.pattern))]
    Excluded {
        /// The item of the list.
        pattern: String,
    },
    /// Its rows come as its root's.
    #[error("its rows come as those of {root}")]
    Partition {
        /// The root.
        root: TableName,
    },
    /// Its root is not mapped either.
    #[error("it is a partition of {root}, which is left out itself")]
    PartitionOfLeftOut {
        /// The root.
        root: TableName,
    },
    /// Nothing identifies its rows.
    #[error("it has no primary key that identifies its rows. {fix}")]
    NoKey {
        /// The fix.
        fix: String,
    },
    /// The write-ahead log lacks its changes.
    #[error(
        "it is UNLOGGED, so its changes are not streamed. Run ALTER TABLE {} SET LOGGED",
        .table.pasteable()
    )]
    Unlogged {
        /// The table.
        table: TableName,
    },
    /// Some of its rows are another server's.
    #[error(
        "its partition {} is a foreign table: another server has the rows there, and their changes are not streamed. \
         Run ALTER TABLE {} DETACH PARTITION {}, and then add a primary key, which PostgreSQL refuses before",
        .0.name, .0.parent.pasteable(), .0.name.pasteable()
    )]
    ForeignPartition(ForeignPartition),
    /// A join table without nodes to join.
    #[error(
        "it joins {target}, which is not mapped as nodes. Map that table, or give this one a \
         `label`"
    )]
    EndLeftOut {
        /// The end that is missing.
        target: TableName,
    },
}

impl WhyLeftOut {
    /// Whether it is expected: nothing is lost, or the user asked for it.
    pub fn is_expected(&self) -> bool {
        let of_root =
            matches!(self, WhyLeftOut::Partition { .. } | WhyLeftOut::PartitionOfLeftOut { .. });
        of_root || self.is_of_file()
    }

    /// Whether the file leaves it out.
    pub fn is_of_file(&self) -> bool {
        matches!(self, WhyLeftOut::Skipped | WhyLeftOut::NotIncluded | WhyLeftOut::Excluded { .. })
    }
}
