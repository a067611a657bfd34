//! The reasons that make a mapping impossible, each with its fix.

mod edits;
mod fixes;

use crate::{
    catalog::TableName,
    shown::{Shown, on_one_line, shown_list},
};

use super::named::Named;
use super::warning::WhyLeftOut;
pub use edits::EditRefusal;
use fixes::{KEYS_BY_TEXT, deferrable_key, fix_incomparable, suggestion};

/// Why a mapping is refused: the table, the cause and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file names a table that is not there.
    #[error(
        "{table}, named by {named_by}: there is no such table{}",
        suggestion(.nearest), named_by = Shown(.named_by), table = Shown(.table)
    )]
    UnknownTable {
        /// The place in the file: `tables`, or the table whose relationship leads there.
        named_by: String,
        /// The name in the file.
        table: String,
        /// The probable intention.
        nearest: Option<String>,
    },
    /// An edit of the file fits nothing.
    #[error(transparent)]
    Edit(#[from] EditRefusal),
    /// The file names a column that does not exist.
    #[error("{table}: there is no column {column:?}{}", suggestion(.nearest))]
    UnknownColumn {
        /// The table.
        table: TableName,
        /// The name in the file.
        column: String,
        /// The probable intention.
        nearest: Option<String>,
    },
    /// The file edits a partition.
    #[error("{table}: it is a partition, and rows come as its root's: edit {root} instead")]
    EditedPartition {
        /// The partition.
        table: TableName,
        /// The table to edit.
        root: TableName,
    },
    /// The file edits a table that can not be mapped.
    #[error("{table}: it can not be mapped: {why}, or leave it out with `skip: true`")]
    Unusable {
        /// The table.
        table: TableName,
        /// The reason and the fix.
        why: WhyLeftOut,
    },
    /// The file makes a table a node (by its label) and a relationship at once.
    #[error(
        "{table}: `label`, `labels` and `relationships` make nodes, `relationship` makes \
         relationships: keep one"
    )]
    NodeAndRelationship {
        /// The table.
        table: TableName,
    },
    /// A primary key that PostgreSQL checks late can not be a replica identity.
    #[error("{table}: its primary key {} is {}", Shown(.constraint), deferrable_key(.table))]
    DeferrableKey {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
    },
    /// With REPLICA IDENTITY NOTHING, publishing the table breaks the application.
    #[error(
        "{table}: with REPLICA IDENTITY NOTHING, to publish it would make its UPDATEs and DELETEs \
         fail. Run ALTER TABLE {} REPLICA IDENTITY DEFAULT, or leave the table out with `skip: \
         true`",
        .culprit.pasteable()
    )]
    IdentityNothing {
        /// The table.
        table: TableName,
        /// The table with it, or its partition.
        culprit: TableName,
    },
    /// The stream would not show a change of the key.
    #[error(
        "{table}: its key ({}) is not what its replica identity carries ({identity}), so that a \
         change of the key would not be seen. {fix}",
        shown_list(.key)
    )]
    KeyIsNotIdentity {
        /// The table.
        table: TableName,
        /// The key's columns.
        key: Vec<String>,
        /// The replica identity, in words.
        identity: String,
        /// The fix.
        fix: String,
    },
    /// The stream would not show a change of the key in one of the partitions.
    #[error(
        "{table}: its key ({}) is not what the replica identity of its partition {partition} carries \
         ({identity}), so that a change of the key, or a DELETE, would not be seen. {fix}, or leave the \
         table out with `skip: true`",
        shown_list(.key)
    )]
    PartitionKeyIsNotIdentity {
        /// The table.
        table: TableName,
        /// The partition.
        partition: TableName,
        /// The key's columns.
        key: Vec<String>,
        /// The replica identity, in words.
        identity: String,
        /// The fix.
        fix: String,
    },
    /// The write-ahead log lacks the changes of a partition.
    #[error(
        "{table}: its partition {partition} is UNLOGGED, so changes of the rows there are not \
         streamed. Run ALTER TABLE {} SET LOGGED, or leave the table out with `skip: true`",
        .partition.pasteable()
    )]
    UnloggedPartition {
        /// The table.
        table: TableName,
        /// The partition.
        partition: TableName,
    },
    /// Keys that are equal in PostgreSQL would be different nodes.
    #[error(
        "{table}: key column {column:?} has a nondeterministic collation: keys that PostgreSQL \
         holds equal would be different nodes. Give the column a deterministic collation, or use \
         another `key`, or `skip: true`"
    )]
    NondeterministicKey {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// References that equal a key in PostgreSQL would not equal it in the graph.
    #[error(
        "{table}: {relationship_type} compares column {column:?} of {culprit}, which has a \
         nondeterministic collation: values that PostgreSQL holds equal would be different in the \
         graph. Give the column a deterministic collation, or set this one to `false` under \
         `relationships` of {table}",
        relationship_type = Shown(.relationship_type)
    )]
    NondeterministicReference {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The table of the column.
        culprit: TableName,
        /// The column.
        column: String,
    },
    /// The type has no known equality.
    #[error(
        "{table}: {needed_for} compares column {column:?}, and it is {cause}: values that \
         PostgreSQL holds equal could be different in the graph. {}",
        fix_incomparable(.column, .needed_for),
        needed_for = Shown(.needed_for), cause = on_one_line(.cause)
    )]
    Incomparable {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// The reason for the comparison.
        needed_for: String,
        /// The reason; completes "it is ...".
        cause: String,
    },
    /// A reference's column and its target's column have types that are not comparable.
    #[error(
        "{table}: {relationship_type} compares {column:?} ({column_type}) with {target_column:?} \
         ({target_type}) of {target}, and the graph has no form in which equal values of both are \
         equal. Give both columns one type, or set this one to `false` under `relationships` of {table}",
        column_type = Shown(.column_type), relationship_type = Shown(.relationship_type),
        target_type = Shown(.target_type)
    )]
    NoCommonForm {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The referring column.
        column: String,
        /// Its type.
        column_type: String,
        /// The referenced table.
        target: TableName,
        /// The referenced column.
        target_column: String,
        /// Its type.
        target_type: String,
    },
    /// The end of a join table may have a value that is not a possible key.
    #[error(
        "{table}: column {column:?} ({column_type}) may hold values that can be no key of {target} \
         ({target_type}), and a relationship needs both ends. Give it the key's type, or give \
         {table} a `label` to make it nodes, which may refer to nothing",
        column_type = Shown(.column_type), target_type = Shown(.target_type)
    )]
    EndOfOtherType {
        /// The join table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type.
        column_type: String,
        /// The end's table.
        target: TableName,
        /// The type of its key.
        target_type: String,
    },
    /// A foreign key with PERIOD requires that a time is covered, not that a key is equal.
    #[error(
        "{table}: {relationship_type} is made of the columns of foreign key {constraint}, which \
         has a PERIOD: it holds when rows of {target} together cover the period, and no row need \
         have an equal one. Take this one out of `relationships` of {table}",
        constraint = Shown(.constraint), relationship_type = Shown(.relationship_type)
    )]
    PeriodReference {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The constraint.
        constraint: String,
        /// The referenced table.
        target: TableName,
    },
    /// A reference needs the order of two rows, which partitions do not give.
    #[error(
        "{table}: its relationship {relationship_type} finds its target by unique columns that are not the key \
         ({}), which needs the order of all changes, and a topic with several partitions does not keep it. Use a \
         topic with one partition; or set the relationship to `false` under the table's `relationships`",
        shown_list(.columns), relationship_type = Shown(.relationship_type))]
    UniqueThroughPartitions {
        /// The table.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The columns that hold the reference.
        columns: Vec<String>,
    },
    /// A key's text says which partition has it, and equal keys may have several texts.
    #[error("{table}: its key column {column:?} {KEYS_BY_TEXT}")]
    KeyThroughPartitions {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// The stream does not carry a needed column.
    #[error(
        "{table}: the stream does not carry column {column:?} ({cause}), but {needed_for} needs \
         it. {fix}",
        needed_for = Shown(.needed_for)
    )]
    NotStreamed {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// The reason.
        cause: &'static str,
        /// The reason why it is needed.
        needed_for: String,
        /// The fix.
        fix: &'static str,
    },
    /// A key column is excluded from the properties.
    #[error(
        "{table}: column {column:?} is part of the key, so it can not be left out. Take that out \
         of `properties`"
    )]
    ExcludedKey {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Two tables would share nodes.
    #[error(
        "{second}: its label {label:?} is also a label of {first}. Give one of them another `label`"
    )]
    DuplicateLabel {
        /// The label.
        label: String,
        /// One table.
        first: TableName,
        /// The other.
        second: TableName,
    },
    /// Two sources of relationships would be indistinguishable.
    #[error(
        "{second}: relationships (:{start})-[:{relationship_type}]->(:{end}) are also made by \
         {first}. Give one of them another `type`",
        end = Shown(.end), relationship_type = Shown(.relationship_type), start = Shown(.start)
    )]
    DuplicateRelationship {
        /// The table of the other.
        table: TableName,
        /// The table of the first.
        first_table: TableName,
        /// The label at the start.
        start: String,
        /// The type.
        relationship_type: String,
        /// The label at the end.
        end: String,
        /// One source: the table and the columns.
        first: String,
        /// The other.
        second: String,
    },
    /// Two columns would be one property.
    #[error(
        "{table}: columns {first:?} and {second:?} would both be property {property:?}. Use \
         `properties: {{rename: …}}` to give one of them another name"
    )]
    DuplicateProperty {
        /// The table.
        table: TableName,
        /// The property.
        property: String,
        /// One column.
        first: String,
        /// The other.
        second: String,
    },
    /// The name is wal2graph's.
    #[error(
        "{table}: {what} {name:?} begins with an underscore, which is wal2graph's own mark. {}",
        .what.fix()
    )]
    ReservedName {
        /// The table.
        table: TableName,
        /// The thing that it names.
        what: Named,
        /// The name.
        name: String,
    },
    /// A name is needed.
    #[error("{table}: no name for its {what} (of {source_name:?}). {}", .what.fix())]
    EmptyName {
        /// The table.
        table: TableName,
        /// The thing without a name.
        what: Named,
        /// The source of its name.
        source_name: String,
    },
    /// Neo4j does not allow the name.
    #[error("{table}: {what} {name:?} holds the character NUL, which no name in Neo4j may. {}", .what.fix())]
    NulInName {
        /// The table.
        table: TableName,
        /// The thing that it names.
        what: Named,
        /// The name.
        name: String,
    },
    /// A relationship needs both ends.
    #[error(
        "{table}: column {column:?} may be NULL, so a row might have no relationship. Declare the \
         column NOT NULL, or make the table nodes: give it a `label` instead of `relationship`"
    )]
    NullableEnd {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A reference leads to a table that has no nodes.
    #[error(
        "{table}: {relationship_type} leads to {target}, which {cause}. Map that table as nodes, \
         or set the relationship to `false` under `relationships` of {table}",
        relationship_type = Shown(.relationship_type)
    )]
    NoTarget {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The referenced table.
        target: TableName,
        /// The reason why it has no nodes.
        cause: &'static str,
    },
    /// The referenced columns may find several rows.
    #[error(
        "{table}: {relationship_type} leads to ({}) of {target}, which is neither its key ({}) \
         nor unique. Name the key, or columns with an immediate unique constraint, in \
         `to_columns`",
        shown_list(.columns), shown_list(.key), relationship_type = Shown(.relationship_type)
    )]
    TargetNotUnique {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The referenced table.
        target: TableName,
        /// The referenced columns.
        columns: Vec<String>,
        /// The target's key.
        key: Vec<String>,
    },
    /// A join table refers to other columns than a key.
    #[error(
        "{table}: its end {columns} of {relationship_type} is not the key ({}) of {target}. A \
         relationship table joins nodes by their keys: make it nodes with a `label` instead",
        shown_list(.key), columns = shown_list(.columns), relationship_type = Shown(.relationship_type)
    )]
    EndNotByKey {
        /// The join table.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The referenced columns.
        columns: Vec<String>,
        /// The end's table.
        target: TableName,
        /// Its key.
        key: Vec<String>,
    },
    /// Both sides need the same number of columns.
    #[error(
        "{table}: {relationship_type} has {columns} columns, but {target} is named by \
         {target_columns}. List one column for each, in the same order",
        relationship_type = Shown(.relationship_type)
    )]
    ColumnCount {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// How many columns refer.
        columns: usize,
        /// The referenced table.
        target: TableName,
        /// How many columns are referred to.
        target_columns: usize,
    },
    /// Columns that are compared as properties must be properties of one type.
    #[error(
        "{table}: {relationship_type} compares {column:?} with {target_column:?} of {target} as \
         properties, but {cause}. Map both columns as properties, or set the relationship to `false` under \
         `relationships` of {table}",
        relationship_type = Shown(.relationship_type)
    )]
    NotComparable {
        /// The table that refers.
        table: TableName,
        /// The relationship's type.
        relationship_type: String,
        /// The referring column.
        column: String,
        /// The referenced table.
        target: TableName,
        /// The referenced column.
        target_column: String,
        /// The reason why they are not comparable.
        cause: String,
    },
    /// The column's type does not have this form.
    #[error(
        "{table}: column {column:?} is {column_type}, and only numeric columns can be `{form}`. \
         Take it out of `types`",
        column_type = Shown(.column_type)
    )]
    FormNotApplicable {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type.
        column_type: String,
        /// The requested form.
        form: &'static str,
    },
}

/// A result or its refusal. Boxed, because it is created once and passed on often.
pub(super) type Checked<T> = Result<T, Box<Refusal>>;
