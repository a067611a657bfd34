//! The column plan of one table: each column once, each use of it a slot.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Column, Table, TableName};
use crate::value::{NumericMode, Type, TypeCatalog};

use super::columns::{Form, MappedColumn, ReferenceColumns, Slot, TableColumns};
use super::edit::{ColumnForm, NumericForm, TableEdit};
use super::refusal::{Checked, Refusal};
use super::resolve::{Resolved, unknown_column};
use super::warning::Warning;

/// What the columns' types mean.
pub(super) struct Types {
    catalog: TypeCatalog,
    numeric: NumericMode,
}

impl Types {
    pub fn new(catalog: &Catalog, numeric: NumericForm) -> Self {
        let numeric = match numeric {
            NumericForm::String => NumericMode::Exact,
            NumericForm::Float => NumericMode::Float,
            NumericForm::Auto => NumericMode::Auto,
        };
        Types { catalog: TypeCatalog::new(catalog.types.iter().cloned()), numeric }
    }

    /// What a column is read as, as the table's edits want it.
    pub fn of(&self, table: &Table, edit: &TableEdit, name: &str) -> Checked<Type> {
        let column = table.column(name).ok_or_else(|| unknown_column(table, name))?;
        let exact = self.catalog.resolve(column.type_oid);
        let wanted = edit.types.get(name);
        let (mode, form) = match wanted {
            None => return Ok(exact.with_numeric_mode(self.numeric)),
            Some(ColumnForm::String) if is_numeric(&exact) => return Ok(exact),
            Some(ColumnForm::String) => return Ok(Type::TEXT),
            Some(ColumnForm::Float) => (NumericMode::Float, "float"),
            Some(ColumnForm::Auto) => (NumericMode::Auto, "auto"),
        };
        if !is_numeric(&exact) {
            return Err(Refusal::FormNotApplicable {
                table: table.name.clone(),
                column: name.to_owned(),
                column_type: column.type_name.clone(),
                form,
            }
            .into());
        }
        Ok(exact.with_numeric_mode(mode))
    }
}

fn is_numeric(value_type: &Type) -> bool {
    match value_type {
        Type::Numeric(_) => true,
        Type::Array { element, .. } => is_numeric(element),
        _ => false,
    }
}

/// The name of a column's property.
pub(super) fn property_name(edit: &TableEdit, column: &str) -> String {
    edit.properties.rename.get(column).map_or(column, String::as_str).to_owned()
}

/// The forms of properties that are compared with properties of other tables.
#[derive(Default)]
pub(super) struct Forms(BTreeMap<(TableName, String), Form>);

impl Forms {
    /// A reference by unique values compares its columns pair by pair: both must be properties, in
    /// one form each.
    pub fn compare(
        &mut self,
        types: &Types,
        [owner, target]: [(&Table, &TableEdit); 2],
        reference: &Resolved<'_>,
        relationship_type: &str,
    ) -> Checked<()> {
        for (column, target_column) in std::iter::zip(&reference.columns, &reference.target_columns)
        {
            let target_type = types.of(target.0, target.1, target_column)?;
            let form = Form::of_reference(&types.of(owner.0, owner.1, column)?, target_type);
            let wanted = [(owner, column, form), (target, target_column, Form::Key)];
            for ((table, edit), name, form) in wanted {
                self.want(table, edit, name, form).map_err(|cause| Refusal::NotComparable {
                    table: owner.0.name.clone(),
                    relationship_type: relationship_type.to_owned(),
                    column: column.clone(),
                    target: target.0.name.clone(),
                    target_column: target_column.clone(),
                    cause,
                })?;
            }
        }
        Ok(())
    }

    fn want(
        &mut self,
        table: &Table,
        edit: &TableEdit,
        name: &str,
        form: Form,
    ) -> Result<(), String> {
        let is_key = edit.key.iter().flatten().any(|key| key == name);
        if !is_key && !is_property(edit, name) {
            return Err(format!("{name:?} of {} is not a property", table.name));
        }
        let place = (table.name.clone(), name.to_owned());
        let known = if is_key { Some(&Form::Key) } else { self.0.get(&place) };
        if known.is_some_and(|known| *known != form) {
            return Err(format!("{name:?} of {} is compared as another type too", table.name));
        }
        self.0.insert(place, form);
        Ok(())
    }
}

/// The file does not leave the column out.
fn is_property(edit: &TableEdit, name: &str) -> bool {
    let included = edit.properties.include.as_ref();
    included.is_none_or(|names| names.iter().any(|it| it == name))
        && !edit.properties.exclude.iter().any(|it| it == name)
}

/// The slots of a table's row events.
pub(super) struct Parts {
    pub key: Vec<Slot>,
    pub properties: Vec<Slot>,
    pub references: Vec<ReferenceColumns>,
}

/// Gathers the columns that a table's slots read.
pub(super) struct Builder<'a> {
    pub table: &'a Table,
    pub edit: &'a TableEdit,
    pub warnings: Vec<Warning>,
    types: &'a Types,
    forms: &'a Forms,
    columns: Vec<MappedColumn>,
}

impl<'a> Builder<'a> {
    pub fn new(table: &'a Table, edit: &'a TableEdit, types: &'a Types, forms: &'a Forms) -> Self {
        Builder { table, edit, types, forms, warnings: Vec::new(), columns: Vec::new() }
    }

    /// The key's parts.
    pub fn key(&mut self) -> Checked<Vec<Slot>> {
        let names = self.edit.key.iter().flatten();
        names.map(|name| self.slot(name, Form::Key, || "the key".to_owned())).collect()
    }

    /// The other properties, of the columns that `wanted` admits unless the file names them.
    pub fn properties(&mut self, wanted: impl Fn(&str) -> bool) -> Checked<Vec<Slot>> {
        let mut slots = Vec::new();
        for Column { name, .. } in &self.table.columns {
            let is_key = self.edit.key.iter().flatten().any(|key| key == name);
            let named = self.edit.properties.include.is_some();
            if is_key || !is_property(self.edit, name) || !(named || wanted(name)) {
                continue;
            }
            match not_streamed(self.table, name) {
                Some(cause) if !named => {
                    let (table, column) = (self.table.name.clone(), name.clone());
                    self.warnings.push(Warning::ColumnNotStreamed { table, column, cause });
                }
                _ => {
                    let place = (self.table.name.clone(), name.clone());
                    let form = self.forms.0.get(&place).cloned().unwrap_or(Form::Property);
                    slots.push(self.slot(name, form, || "`include`".to_owned())?);
                }
            }
        }
        Ok(slots)
    }

    /// A use of a column.
    pub fn slot(
        &mut self,
        name: &str,
        form: Form,
        needed_for: impl Fn() -> String,
    ) -> Checked<Slot> {
        if let Some(column) = self.columns.iter().position(|column| column.name == name) {
            return Ok(Slot { column, form });
        }
        let Some(column) = self.table.column(name) else {
            return Err(unknown_column(self.table, name).into());
        };
        if let Some(cause) = not_streamed(self.table, name) {
            return Err(Refusal::NotStreamed {
                table: self.table.name.clone(),
                column: name.to_owned(),
                cause,
                needed_for: needed_for(),
            }
            .into());
        }
        let value_type = self.types.of(self.table, self.edit, name)?;
        if let Type::Unknown { .. } = value_type {
            self.warnings.push(Warning::TextForm {
                table: self.table.name.clone(),
                column: name.to_owned(),
                column_type: column.type_name.clone(),
            });
        }
        let (name, type_oid) = (name.to_owned(), column.type_oid);
        self.columns.push(MappedColumn { name, type_oid, value_type });
        Ok(Slot { column: self.columns.len() - 1, form })
    }

    /// The names of the slots' properties.
    pub fn names(&self, slots: &[Slot]) -> Vec<String> {
        let columns = slots.iter().map(|slot| &self.columns[slot.column].name);
        columns.map(|column| property_name(self.edit, column)).collect()
    }

    /// The table's plan.
    pub fn finish(self, parts: Parts) -> TableColumns {
        let Parts { key, properties, references } = parts;
        let names = self.table.columns.iter().map(|column| column.name.clone());
        let is_read = |name: &String| self.columns.iter().any(|column| column.name == *name);
        let left_out = names.filter(|name| !is_read(name)).collect();
        let (name, oid, columns) = (self.table.name.clone(), self.table.oid, self.columns);
        TableColumns { name, oid, columns, left_out, key, properties, references }
    }
}

/// Why the stream does not carry the column, when it does not.
fn not_streamed(table: &Table, name: &str) -> Option<&'static str> {
    let column = table.column(name)?;
    match () {
        () if table.streams(column) => None,
        () if table.published.columns.is_some() => {
            Some("it is not in the publication's column list")
        }
        () => Some("it is a generated column"),
    }
}
