//! The column plan of one table: each column once, with a slot for each use.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Column, Table, TableName};
use crate::value::{Comparable, NumericMode, Type, TypeCatalog};

use super::columns::{Form, MappedColumn, ReferenceColumns, Slot, TableColumns, comparable_name};
use super::edit::{ColumnForm, NumericForm, PropertiesEdit, TableEdit};
use super::refusal::{Checked, Refusal};
use super::resolve::{Resolved, unknown_column};
use super::warning::Warning;

/// The meanings of the columns' types.
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
        let types = TypeCatalog::new(catalog.types.iter().cloned());
        Types { catalog: types.with_case_folding(catalog.case_folding.clone()), numeric }
    }

    /// The type of a column's property, under the table's edits.
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

    /// The type that decides a column's equality: its type in PostgreSQL, independent of its
    /// property. If that type has no known equality, `types: {column: string}` chooses the text's.
    pub fn source(&self, table: &Table, edit: &TableEdit, name: &str) -> Checked<Type> {
        let column = table.column(name).ok_or_else(|| unknown_column(table, name))?;
        let exact = self.catalog.resolve(column.type_oid);
        let as_text = edit.types.get(name) == Some(&ColumnForm::String);
        let known = Comparable::of(&exact, &exact, false).is_ok();
        Ok(if as_text && !known { Type::TEXT } else { exact })
    }

    /// The comparison of a column's values; `needed_for` names the reason for the comparison.
    pub fn comparable(
        &self,
        table: &Table,
        edit: &TableEdit,
        name: &str,
        needed_for: impl Fn() -> String,
    ) -> Checked<Comparable> {
        let column = table.column(name).ok_or_else(|| unknown_column(table, name))?;
        let source = self.source(table, edit, name)?;
        let property = self.of(table, edit, name)?;
        Comparable::of(&source, &property, is_whole(column)).map_err(|cause| {
            let refusal = Refusal::Incomparable {
                table: table.name.clone(),
                column: name.to_owned(),
                needed_for: needed_for(),
                cause: cause.to_string(),
            };
            refusal.into()
        })
    }

    /// The name of the property that a column is compared by.
    pub fn compared_name(
        &self,
        table: &Table,
        edit: &TableEdit,
        column: &str,
        form: &Comparable,
    ) -> String {
        let own = self.comparable(table, edit, column, String::new).ok();
        let property = property_name(edit, column);
        let serves = form.is_property() && own.as_ref() == Some(form);
        if serves { property } else { comparable_name(&property) }
    }
}

fn is_numeric(value_type: &Type) -> bool {
    match value_type {
        Type::Numeric(_) => true,
        Type::Array { element, .. } => is_numeric(element),
        _ => false,
    }
}

/// The column is numeric(p, s) with no digits after the point.
fn is_whole(column: &Column) -> bool {
    /// PostgreSQL's offset in a modifier, and the scale's position in it: 11 bits with a sign.
    const HEADER: i32 = 4;
    const SCALE_BITS: i32 = 0x7ff;
    const SCALE_SIGN: i32 = 0x400;
    let scale = ((column.type_modifier - HEADER) & SCALE_BITS ^ SCALE_SIGN) - SCALE_SIGN;
    column.type_modifier >= HEADER && scale <= 0
}

/// The name of a column's property.
pub(super) fn property_name(edit: &TableEdit, column: &str) -> String {
    edit.properties.rename.get(column).map_or(column, String::as_str).to_owned()
}

/// The columns that references by unique values compare as properties, with the comparison of each.
#[derive(Default)]
pub(super) struct Forms(BTreeMap<(TableName, String), Compared>);

/// How a column is compared as a property.
#[derive(Default)]
struct Compared {
    /// Its own property serves.
    as_property: bool,
    /// The content of an extra property for the comparison.
    beside: Option<Comparable>,
}

impl Forms {
    /// A reference by unique values compares its columns pair by pair. Both columns of a pair need
    /// the same form.
    pub fn compare(
        &mut self,
        types: &Types,
        [owner, target]: [(&Table, &TableEdit); 2],
        reference: &Resolved<'_>,
        relationship_type: &str,
    ) -> Checked<()> {
        for (column, target_column) in std::iter::zip(&reference.columns, &reference.target_columns)
        {
            let needed_for = || format!("relationship {relationship_type}");
            let form = types.comparable(target.0, target.1, target_column, needed_for)?;
            for ((table, edit), name) in [(target, target_column), (owner, column)] {
                self.want(types, table, edit, name, &form).map_err(|cause| {
                    Refusal::NotComparable {
                        table: owner.0.name.clone(),
                        relationship_type: relationship_type.to_owned(),
                        column: column.clone(),
                        target: target.0.name.clone(),
                        target_column: target_column.clone(),
                        cause,
                    }
                })?;
            }
        }
        Ok(())
    }

    fn want(
        &mut self,
        types: &Types,
        table: &Table,
        edit: &TableEdit,
        name: &str,
        form: &Comparable,
    ) -> Result<(), String> {
        let is_key = is_key(edit, name);
        let own = types.comparable(table, edit, name, String::new).ok();
        let place = (table.name.clone(), name.to_owned());
        let compared = self.0.entry(place).or_default();
        if own.as_ref() == Some(form) && form.is_property() {
            if !is_key && !is_property(edit, name) {
                return Err(format!("{name:?} of {} is not a property", table.name));
            }
            compared.as_property = true;
            return Ok(());
        }
        let of_key = own.filter(|own| is_key && !own.is_property());
        let known = of_key.as_ref().or(compared.beside.as_ref());
        if known.is_some_and(|known| known != form) {
            return Err(format!("{name:?} of {} is compared as another type too", table.name));
        }
        compared.beside = Some(form.clone());
        Ok(())
    }
}

fn is_key(edit: &TableEdit, name: &str) -> bool {
    edit.key.iter().flatten().any(|key| key == name)
}

/// Whether the file leaves the column in.
fn is_property(edit: &TableEdit, name: &str) -> bool {
    let PropertiesEdit { include, exclude, kept, .. } = &edit.properties;
    let is_included = |names: &Vec<String>| names.iter().any(|it| it == name);
    (kept.contains(name) || include.as_ref().is_none_or(is_included))
        && !exclude.iter().any(|it| it == name)
}

/// The slots of a table's row events.
pub(super) struct Parts {
    pub key: Vec<Slot>,
    pub properties: Vec<Slot>,
    pub references: Vec<ReferenceColumns>,
}

/// Collects the columns that a table's slots read.
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
        let part = |name: &String| {
            let form =
                self.types.comparable(self.table, self.edit, name, || "the key".to_owned())?;
            self.slot(name, Form::Compared(form), || "the key".to_owned())
        };
        names.map(part).collect()
    }

    /// The other properties: the columns that `wanted` accepts, unless the file lists them. With
    /// `keeping_key`, a key column that is compared by another property keeps its own property too.
    pub fn properties(
        &mut self,
        keeping_key: bool,
        wanted: impl Fn(&str) -> bool,
    ) -> Checked<Vec<Slot>> {
        let mut slots = Vec::new();
        for Column { name, .. } in &self.table.columns {
            if is_key(self.edit, name) {
                slots.extend(self.beside_key(name, keeping_key)?);
                continue;
            }
            let place = (self.table.name.clone(), name.clone());
            let compared = self.forms.0.get(&place);
            let PropertiesEdit { include, kept, .. } = &self.edit.properties;
            let named = include.is_some() || kept.contains(name);
            let stays = compared.is_some_and(|it| it.as_property) || named || wanted(name);
            match not_streamed(self.table, name) {
                _ if !is_property(self.edit, name) || !stays => {}
                // A reference that compares the column can not be without it.
                Some(cause) if !named && compared.is_none() => {
                    let (table, column) = (self.table.name.clone(), name.clone());
                    self.warnings.push(Warning::ColumnNotStreamed { table, column, cause });
                }
                _ => slots.push(self.slot(name, Form::Property, || "`properties`".to_owned())?),
            }
            if let Some(form) = compared.and_then(|it| it.beside.clone()) {
                slots.push(self.slot(name, Form::Compared(form), || "a reference".to_owned())?);
            }
        }
        Ok(slots)
    }

    /// The properties of a key column that are not part of the key.
    fn beside_key(&mut self, name: &str, keeping: bool) -> Checked<Vec<Slot>> {
        let needed_for = || "the key".to_owned();
        let own = self.types.comparable(self.table, self.edit, name, needed_for)?;
        let place = (self.table.name.clone(), name.to_owned());
        let beside = self.forms.0.get(&place).and_then(|it| it.beside.clone());
        let form = match own.is_property() {
            true => beside.map(Form::Compared),
            false => keeping.then_some(Form::Property),
        };
        form.map(|form| self.slot(name, form, needed_for)).into_iter().collect()
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
                fix: match self.table.published.columns.is_some() {
                    true => PUBLISH_COLUMN,
                    false => LEAVE_OUT_GENERATED,
                },
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
        let source_type = self.types.source(self.table, self.edit, name)?;
        let (property, type_oid) = (property_name(self.edit, name), column.type_oid);
        self.columns.push(MappedColumn {
            name: name.to_owned(),
            property,
            type_oid,
            has_one_text: source_type.has_one_text(column.type_modifier),
            source_type,
            value_type,
        });
        Ok(Slot { column: self.columns.len() - 1, form })
    }

    /// The column that a slot reads.
    pub fn column(&self, slot: &Slot) -> &MappedColumn {
        &self.columns[slot.column]
    }

    /// The names of the slots' properties.
    pub fn names(&self, slots: &[Slot]) -> Vec<String> {
        let name = |slot: &Slot| {
            let MappedColumn { name, property, .. } = &self.columns[slot.column];
            match &slot.form {
                Form::Compared(form) => self.types.compared_name(self.table, self.edit, name, form),
                Form::Property => property.clone(),
            }
        };
        slots.iter().map(name).collect()
    }

    /// The table's plan.
    pub fn finish(self, parts: Parts) -> TableColumns {
        let Parts { key, properties, references } = parts;
        let names = self.table.columns.iter().map(|column| column.name.clone());
        let is_read = |name: &String| self.columns.iter().any(|column| column.name == *name);
        let left_out = names.filter(|name| !is_read(name)).collect();
        let sent = self.table.columns.iter().filter(|column| self.table.streams(column));
        let sent = sent.map(|column| (column.name.clone(), column.type_oid)).collect();
        let (name, oid, columns) = (self.table.name.clone(), self.table.oid, self.columns);
        TableColumns { name, oid, columns, left_out, sent, key, properties, references }
    }
}

/// The fix for a column that a publication's list omits.
const PUBLISH_COLUMN: &str = "Publish the column: add it to the publication's column list; or leave the table out \
     with `skip: true`";
/// The fix for a generated column. No publication carries one before PostgreSQL 18.
const LEAVE_OUT_GENERATED: &str = "Leave the table out with `skip: true`; or, from PostgreSQL 18 on, name a \
     publication of your own that has publish_generated_columns = stored";

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
