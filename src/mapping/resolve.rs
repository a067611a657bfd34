//! Resolves references to their columns and the rows that they find.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, ForeignKey, Table, TableName};

use super::edit::TableEdit;
use super::infer::{foreign_keys, pairs, set};
use super::naming;
use super::refusal::{Checked, Refusal};

/// Columns of a row that name a row of another table.
pub(super) struct Resolved<'a> {
    pub target: &'a Table,
    /// The referring columns. A reference by key has them in the order of the target's key.
    pub columns: Vec<String>,
    /// The referenced columns, in the order of `columns`.
    pub target_columns: Vec<String>,
    /// They are the target's key.
    pub by_key: bool,
    /// The foreign key behind it.
    pub constraint: Option<String>,
}

/// A reference as the file has it.
pub(super) struct Wanted<'a> {
    pub relationship_type: &'a str,
    pub columns: &'a [String],
    pub to: &'a str,
    pub to_columns: Option<&'a [String]>,
}

/// The context for resolving references.
pub(super) struct Resolver<'a> {
    pub catalog: &'a Catalog,
    pub tables: &'a BTreeMap<TableName, TableEdit>,
}

impl<'a> Resolver<'a> {
    /// The columns and the target of a reference of `owner`.
    pub fn resolve(&self, owner: &Table, wanted: &Wanted<'_>) -> Checked<Resolved<'a>> {
        let target = self.target(owner, wanted)?;
        let key = self.tables[&target.name].key.as_deref().unwrap_or_default();
        let to_columns = wanted.to_columns.unwrap_or(key);
        known_columns(owner, wanted.columns)?;
        known_columns(target, to_columns)?;
        if wanted.columns.len() != to_columns.len() || to_columns.is_empty() {
            return Err(Refusal::ColumnCount {
                table: owner.name.clone(),
                relationship_type: wanted.relationship_type.to_owned(),
                columns: wanted.columns.len(),
                target: target.name.clone(),
                target_columns: to_columns.len(),
            }
            .into());
        }
        let by_key = set(to_columns) == set(key) && to_columns.len() == key.len();
        let unique = target.finds_one_row(to_columns);
        if !by_key && !unique {
            return Err(Refusal::TargetNotUnique {
                table: owner.name.clone(),
                relationship_type: wanted.relationship_type.to_owned(),
                target: target.name.clone(),
                columns: to_columns.to_vec(),
                key: key.to_vec(),
            }
            .into());
        }
        let target_columns = if by_key { key } else { to_columns }.to_vec();
        let columns = target_columns.iter().filter_map(|column| {
            let at = to_columns.iter().position(|to| to == column)?;
            Some(wanted.columns[at].clone())
        });
        let columns: Vec<String> = columns.collect();
        let wanted_pairs = std::iter::zip(&columns, &target_columns);
        let wanted_pairs = wanted_pairs.map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let is_wanted = |key: &ForeignKey| key.target == target.name && pairs(key) == wanted_pairs;
        let constraint = foreign_keys(owner).into_iter().find(|key| is_wanted(key));
        let of_period = owner.foreign_keys.iter().find(|key| key.period && is_wanted(key));
        if let (None, Some(key)) = (constraint, of_period) {
            return Err(Refusal::PeriodReference {
                table: owner.name.clone(),
                relationship_type: wanted.relationship_type.to_owned(),
                constraint: key.name.clone(),
                target: target.name.clone(),
            }
            .into());
        }
        let constraint = constraint.map(|key| key.name.clone());
        Ok(Resolved { target, columns, target_columns, by_key, constraint })
    }

    fn target(&self, owner: &Table, wanted: &Wanted<'_>) -> Checked<&'a Table> {
        let mut tables = self.catalog.tables.iter();
        let Some(target) = tables.find(|table| table.name.in_file() == wanted.to) else {
            let known: Vec<String> = self.tables.keys().map(TableName::in_file).collect();
            let nearest = naming::nearest(wanted.to, known.iter().map(String::as_str));
            let nearest = nearest.map(str::to_owned);
            let (named_by, table) = (owner.name.in_file(), wanted.to.to_owned());
            return Err(Refusal::UnknownTable { named_by, table, nearest }.into());
        };
        let cause = match self.tables.get(&target.name) {
            Some(edit) if edit.relationship.is_none() => return Ok(target),
            Some(_) => "is a relationship itself",
            None => "is left out",
        };
        Err(Refusal::NoTarget {
            table: owner.name.clone(),
            relationship_type: wanted.relationship_type.to_owned(),
            target: target.name.clone(),
            cause,
        }
        .into())
    }
}

/// Refuses the first of `names` that is not a column of the table.
pub(super) fn known_columns(table: &Table, names: &[String]) -> Checked<()> {
    match names.iter().find(|name| table.column(name).is_none()) {
        Some(name) => Err(unknown_column(table, name).into()),
        None => Ok(()),
    }
}

pub(super) fn unknown_column(table: &Table, name: &str) -> Refusal {
    let nearest = naming::nearest(name, table.columns.iter().map(|column| column.name.as_str()));
    let nearest = nearest.map(str::to_owned);
    Refusal::UnknownColumn { table: table.name.clone(), column: name.to_owned(), nearest }
}
