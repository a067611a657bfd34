//! The ends of a join table's relationships: each row has both.

use crate::catalog::Table;

use super::build::Builder;
use super::columns::{Form, ReferenceColumns};
use super::refusal::{Checked, Refusal};
use super::resolve::Resolved;

/// Checks that every value of an end's columns can be a key, by its type or by a foreign key.
pub(super) fn check_values(
    builder: &Builder<'_>,
    end: &Resolved<'_>,
    read: &ReferenceColumns,
) -> Checked<()> {
    for (slot, target_column) in read.slots.iter().zip(&end.target_columns) {
        let (column, Form::Compared(form)) = (builder.column(slot), &slot.form) else { continue };
        if end.constraint.is_some() || !form.loses(&column.source_type) {
            continue;
        }
        let type_of = |table: &Table, name: &str| {
            table.column(name).map(|column| column.type_name.clone()).unwrap_or_default()
        };
        return Err(Refusal::EndOfOtherType {
            table: builder.table.name.clone(),
            column: column.name.clone(),
            column_type: type_of(builder.table, &column.name),
            target: end.target.name.clone(),
            target_type: type_of(end.target, target_column),
        }
        .into());
    }
    Ok(())
}

/// Checks that every end is a key and never NULL.
pub(super) fn check_end(
    table: &Table,
    relationship_type: &str,
    end: &Resolved<'_>,
    key: &[String],
) -> Checked<()> {
    if !end.by_key {
        return Err(Refusal::EndNotByKey {
            table: table.name.clone(),
            relationship_type: relationship_type.to_owned(),
            columns: end.target_columns.clone(),
            target: end.target.name.clone(),
            key: key.to_vec(),
        }
        .into());
    }
    match end.columns.iter().find(|column| !table.all_not_null(&[column])) {
        Some(column) => {
            let (table, column) = (table.name.clone(), column.clone());
            Err(Refusal::NullableEnd { table, column }.into())
        }
        None => Ok(()),
    }
}
