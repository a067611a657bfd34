//! Writes a mapping as the file's `tables:` section. It is complete, so that a user can edit every
//! choice.
//!
//! Names are in double quotes if YAML could read them as anything else. Tables left out appear as
//! comments, so the file accounts for the whole source.

use std::fmt::{self, Write as _};

use crate::catalog::{Catalog, Table, TableName};
use crate::shown::on_one_line;

use super::compared::compared;
use super::edit::{
    ColumnForm, Defaults, DirectionEdit, EndEdit, NamingEdit, NumericForm, PropertiesEdit,
    PropertyNames, ReferenceEdit, TableEdit,
};
use super::single::{SingleEdit, single_edits};
use super::suggest::{Suggestion, joins, suggestions};
use super::warning::Warning;
use super::yaml::scalar;
use super::{Mapping, Mended};

/// The `mapping:` section; keys without a value are comments.
pub fn render_defaults(defaults: &Defaults) -> String {
    let Defaults { numeric, foreign_key_properties, include, exclude, naming } = defaults;
    let numeric = match numeric {
        NumericForm::String => "string",
        NumericForm::Float => "float",
        NumericForm::Auto => "auto",
    };
    let include = match include {
        Some(include) => format!("  include: {}", list(include)),
        None => "  # include: [public]".to_owned(),
    };
    let exclude = match &exclude[..] {
        [] => "  # exclude: [auth, \"*.*_backup\"]".to_owned(),
        exclude => format!("  exclude: {}", list(exclude)),
    };
    let NamingEdit { strip_prefix, labels, types, properties } = naming;
    let properties = match properties {
        PropertyNames::AsIs => "as_is",
        PropertyNames::CamelCase => "camelCase",
    };
    let strip_prefix = list(strip_prefix);
    let (labels, types) = (scalar(labels), scalar(types));
    format!(
        "mapping:\n\
         \x20 numeric: {numeric}\n\
         \x20 foreign_key_properties: {foreign_key_properties}\n\
         {include}\n\
         {exclude}\n\
         \x20 # The names of all that is not named below.\n\
         \x20 naming: {{strip_prefix: {strip_prefix}, labels: {labels}, types: {types}, properties: {properties}}}\n"
    )
}

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
    let suggested = suggestions(catalog, &mended.tables);
    for (name, edit) in &mended.tables {
        let table = catalog.tables.iter().find(|table| table.name.in_file() == *name);
        written = written.and_then(|()| write_marks(&mut yaml, name, mended));
        written = written.and_then(|()| write_table(&mut yaml, name, edit, table, mended));
        let is_join = table.filter(|_| edit.relationship.is_none());
        if is_join.is_some_and(|table| joins(catalog, table, &mended.tables)) {
            written = written.and_then(|()| writeln!(yaml, "    {JOINS}"));
        }
        let suggested = suggested.get(name).map(Vec::as_slice).unwrap_or_default();
        written = written.and_then(|()| write_suggested(&mut yaml, suggested));
    }
    let written = written.and_then(|()| write_left_out(&mut yaml, mended));
    assert!(written.is_ok(), "writing to a String does not fail");
    let empty = yaml.lines().all(|line| line.trim_start().starts_with('#'));
    format!("tables:{}\n{yaml}", if empty { " {}" } else { "" })
}

/// The comment on a table that could be a join table.
const JOINS: &str = "# It joins two tables: `relationship: {}` in the place of `label` and `relationships` makes each \
    row a relationship";

fn write_table(
    yaml: &mut String,
    name: &str,
    edit: &TableEdit,
    table: Option<&Table>,
    mended: &Mended,
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
    if let Some(compared) = mended.compared.get(name).filter(|it| !it.is_empty()) {
        let compared = compared.join(", ");
        writeln!(yaml, "    # keys and references compare {}", one_line(&compared))?;
    }
    write_properties(yaml, edit, table)?;
    if let Some(join) = edit.join() {
        writeln!(yaml, "    relationship:")?;
        writeln!(yaml, "      type: {}", scalar(join.relationship_type))?;
        writeln!(yaml, "      from: {}", end(join.from))?;
        return writeln!(yaml, "      to: {}", end(join.to));
    }
    write_references(yaml, edit, table, mended)
}

/// Single edits if they say the same: foreign keys to come stay inferred then.
fn write_references(
    yaml: &mut String,
    edit: &TableEdit,
    table: Option<&Table>,
    mended: &Mended,
) -> fmt::Result {
    let is_node = |table: &TableName| {
        let edit = mended.tables.get(&table.in_file());
        edit.is_some_and(|edit| edit.relationship.is_none())
    };
    let single = table.and_then(|table| single_edits(table, is_node, edit.references()));
    let lines: Vec<String> = match &single {
        Some(edits) => edits.iter().map(single_edit).collect(),
        None if edit.references().is_empty() => return writeln!(yaml, "    relationships: []"),
        None => edit.references().iter().map(|it| format!("- {}", section(it, true))).collect(),
    };
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(yaml, "    relationships:")?;
    lines.iter().try_for_each(|line| writeln!(yaml, "      {line}"))
}

/// As comments: a person knows whether they are right.
fn write_suggested(yaml: &mut String, suggested: &[Suggestion<'_>]) -> fmt::Result {
    if suggested.is_empty() {
        return Ok(());
    }
    writeln!(
        yaml,
        "    # No foreign key, but name and type fit. For `relationships`, if it is so:"
    )?;
    suggested.iter().try_for_each(|Suggestion { column, to }| {
        writeln!(yaml, "    #   {}: {{to: {}}}", one_line(&scalar(column)), one_line(&scalar(to)))
    })
}

fn single_edit(edit: &SingleEdit<'_>) -> String {
    let has_columns = edit.has_columns;
    let what = edit.reference.map(|reference| section(reference, has_columns));
    format!("{}: {}", scalar(&edit.name), what.unwrap_or_else(|| "false".to_owned()))
}

fn write_properties(yaml: &mut String, edit: &TableEdit, table: Option<&Table>) -> fmt::Result {
    if let Some(table) = table {
        let columns = table.columns.iter();
        let columns = columns.map(|it| format!("{} {}", it.name, it.type_name));
        let columns = columns.collect::<Vec<_>>().join(", ");
        writeln!(yaml, "    # columns: {}", one_line(&columns))?;
    }
    let parts = properties(&edit.properties);
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

/// Whether the short form takes the name for something else.
fn is_flag(property: &str) -> bool {
    let flags = ["true", "false", "yes", "no", "on", "off"];
    flags.contains(&property.to_ascii_lowercase().as_str())
}

/// Column by column. What the short form can not say is in lists.
fn properties(edit: &PropertiesEdit) -> Vec<String> {
    let PropertiesEdit { include, exclude, rename, kept } = edit;
    let is_short = |column: &String| !PropertiesEdit::is_word(column);
    let entry = |column: &String, what: &str| format!("{}: {what}", scalar(column));
    let named = |(column, property): (&String, &String)| entry(column, &scalar(property));
    let mut parts = Vec::new();
    parts.extend(include.as_ref().map(|include| format!("include: {}", list(include))));
    let long: Vec<String> = exclude.iter().filter(|column| !is_short(column)).cloned().collect();
    if !long.is_empty() {
        parts.push(format!("exclude: {}", list(&long)));
    }
    let is_plain = |column: &String, property: &String| {
        is_short(column) && kept.contains(column) && !is_flag(property)
    };
    let long: Vec<String> =
        rename.iter().filter(|(column, property)| !is_plain(column, property)).map(named).collect();
    if !long.is_empty() {
        parts.push(format!("rename: {{{}}}", long.join(", ")));
    }
    parts.extend(rename.iter().filter(|(column, property)| is_plain(column, property)).map(named));
    let open = kept.iter().filter(|column| !rename.contains_key(*column));
    parts.extend(open.map(|column| entry(column, "true")));
    let short = exclude.iter().filter(|column| is_short(column));
    parts.extend(short.map(|column| entry(column, "false")));
    parts
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

fn section(reference: &ReferenceEdit, has_columns: bool) -> String {
    let ReferenceEdit { relationship_type, columns, to, to_columns, direction } = reference;
    let columns = has_columns.then(|| format!(", columns: {}", list(columns)));
    let to_columns = to_columns.as_ref().map(|it| format!(", to_columns: {}", list(it)));
    let direction = match direction {
        DirectionEdit::Out => "",
        DirectionEdit::In => ", direction: in",
    };
    format!(
        "{{type: {}{}, to: {}{}{direction}}}",
        scalar(relationship_type),
        columns.unwrap_or_default(),
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
