//! Writes a mapping as the file's `tables:` section. It is complete, so that a user can edit every
//! choice.
//!
//! Names are in double quotes if YAML could read them as anything else. Tables left out appear as
//! comments, so the file accounts for the whole source.

use std::fmt::{self, Write as _};

use crate::catalog::{Catalog, Table};
use crate::shown::on_one_line;

use super::compared::compared;
use super::edit::{ColumnForm, DirectionEdit, EndEdit, ReferenceEdit, TableEdit};
use super::warning::Warning;
use super::yaml::scalar;
use super::{Mapping, Mended};

/// The `tables:` section that gives `mapping` again for the same catalog.
pub fn render_yaml(catalog: &Catalog, mapping: &Mapping) -> String {
    let (tables, warnings) = (mapping.edits.tables.clone(), mapping.warnings.clone());
    let compared = compared(mapping);
    render_mended(catalog, &Mended { tables, warnings, compared, ..Mended::default() })
}

/// The `tables:` section of mended edits. It marks each mended one, and lists the remaining
/// refusals.
pub fn render_mended(catalog: &Catalog, mended: &Mended) -> String {
    let mut yaml = String::new();
    let mut written = mended
        .refusals
        .iter()
        .try_for_each(|refusal| writeln!(yaml, "  # refused: {}", one_line(&refusal.to_string())));
    for (name, edit) in &mended.tables {
        let table = catalog.tables.iter().find(|table| table.name.in_file() == *name);
        written = written.and_then(|()| write_marks(&mut yaml, name, mended));
        let compared = mended.compared.get(name).map(Vec::as_slice).unwrap_or_default();
        written = written.and_then(|()| write_table(&mut yaml, name, edit, table, compared));
    }
    let written = written.and_then(|()| write_left_out(&mut yaml, mended));
    assert!(written.is_ok(), "writing to a String does not fail");
    let empty = yaml.lines().all(|line| line.trim_start().starts_with('#'));
    format!("tables:{}\n{yaml}", if empty { " {}" } else { "" })
}

fn write_table(
    yaml: &mut String,
    name: &str,
    edit: &TableEdit,
    table: Option<&Table>,
    compared: &[String],
) -> fmt::Result {
    if let Some(comment) = table.and_then(|table| table.comment.as_deref()) {
        for line in comment.lines() {
            writeln!(yaml, "  # {}", one_line(line))?;
        }
    }
    writeln!(yaml, "  {}:", scalar(name))?;
    if let Some(label) = edit.label.as_ref().filter(|_| edit.relationship.is_none()) {
        writeln!(yaml, "    label: {}", scalar(label))?;
    }
    if !edit.labels.is_empty() {
        writeln!(yaml, "    labels: {}", list(&edit.labels))?;
    }
    writeln!(yaml, "    key: {}", list(edit.key.as_deref().unwrap_or_default()))?;
    if !compared.is_empty() {
        let compared = compared.join(", ");
        writeln!(yaml, "    # keys and references compare {}", one_line(&compared))?;
    }
    write_properties(yaml, edit, table)?;
    if let Some(join) = &edit.relationship {
        writeln!(yaml, "    relationship:")?;
        writeln!(yaml, "      type: {}", scalar(&join.relationship_type))?;
        writeln!(yaml, "      from: {}", end(&join.from))?;
        writeln!(yaml, "      to: {}", end(&join.to))?;
        return Ok(());
    }
    match edit.relationships.as_deref().unwrap_or_default() {
        [] => writeln!(yaml, "    relationships: []"),
        references => {
            writeln!(yaml, "    relationships:")?;
            references.iter().try_for_each(|it| writeln!(yaml, "      - {}", reference(it)))
        }
    }
}

fn write_properties(yaml: &mut String, edit: &TableEdit, table: Option<&Table>) -> fmt::Result {
    if let Some(table) = table {
        let columns = table.columns.iter();
        let columns = columns.map(|it| format!("{} {}", it.name, it.type_name));
        let columns = columns.collect::<Vec<_>>().join(", ");
        writeln!(yaml, "    # columns: {}", one_line(&columns))?;
    }
    let properties = &edit.properties;
    let mut parts = Vec::new();
    if let Some(include) = &properties.include {
        parts.push(format!("include: {}", list(include)));
    }
    if !properties.exclude.is_empty() {
        parts.push(format!("exclude: {}", list(&properties.exclude)));
    }
    if !properties.rename.is_empty() {
        let renamed = properties.rename.iter();
        let renamed = renamed.map(|(from, to)| format!("{}: {}", scalar(from), scalar(to)));
        parts.push(format!("rename: {{{}}}", renamed.collect::<Vec<_>>().join(", ")));
    }
    if !parts.is_empty() {
        writeln!(yaml, "    properties: {{{}}}", parts.join(", "))?;
    }
    if !edit.types.is_empty() {
        let types = edit.types.iter();
        let types = types.map(|(column, form)| format!("{}: {}", scalar(column), form_name(*form)));
        writeln!(yaml, "    types: {{{}}}", types.collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

fn write_marks(yaml: &mut String, table: &str, mended: &Mended) -> fmt::Result {
    let mut marks = mended.marks.get(table).into_iter().flatten();
    marks.try_for_each(|mark| writeln!(yaml, "  # mended: {}", one_line(mark)))
}

fn write_left_out(yaml: &mut String, mended: &Mended) -> fmt::Result {
    for warning in &mended.warnings {
        let Warning::LeftOut { table, why } = warning else { continue };
        if *why == super::WhyLeftOut::Skipped {
            write_marks(yaml, &table.in_file(), mended)?;
            writeln!(yaml, "  {}: {{skip: true}}", scalar(&table.in_file()))?;
        } else {
            writeln!(yaml, "  # {}", one_line(&warning.to_string()))?;
        }
    }
    Ok(())
}

/// Text in a comment. It must not end the line or contain a character that YAML forbids.
fn one_line(text: &str) -> String {
    on_one_line(text).trim_end().to_owned()
}

fn reference(reference: &ReferenceEdit) -> String {
    let ReferenceEdit { relationship_type, columns, to, to_columns, direction } = reference;
    let to_columns = to_columns.as_ref().map(|it| format!(", to_columns: {}", list(it)));
    let direction = match direction {
        DirectionEdit::Out => "",
        DirectionEdit::In => ", direction: in",
    };
    format!(
        "{{type: {}, columns: {}, to: {}{}{direction}}}",
        scalar(relationship_type),
        list(columns),
        scalar(to),
        to_columns.unwrap_or_default(),
    )
}

fn end(end: &EndEdit) -> String {
    let to_columns = end.to_columns.as_ref().map(|it| format!(", to_columns: {}", list(it)));
    let to_columns = to_columns.unwrap_or_default();
    format!("{{columns: {}, to: {}{to_columns}}}", list(&end.columns), scalar(&end.to))
}

fn form_name(form: ColumnForm) -> &'static str {
    match form {
        ColumnForm::String => "string",
        ColumnForm::Float => "float",
        ColumnForm::Auto => "auto",
    }
}

/// Strings in YAML, as a list.
pub(super) fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| scalar(name)).collect::<Vec<_>>().join(", "))
}
