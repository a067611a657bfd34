//! Compiles complete edits to shapes and column plans, or to all of their problems.
//!
//! ```text
//! complete edits --resolve--> references --build--> Shape + TableColumns --check--> Mapping
//! ```
//!
//! It resolves the references of all tables before it builds any table, because another table's
//! reference changes the form in which a column is read. It collects all refusals, so a user fixes
//! a file once.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, Table, TableKind, TableName, definition::Definition};
use crate::graph::TableIndex;
use crate::graph::model::{
    Direction, Model, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape,
    Shape, Table as GraphTable,
};
use crate::value::Comparable;

use super::Mapping;
use super::build::{Builder, Forms, Parts, Types};
use super::check::{check_labels, check_names, check_relationships};
use super::columns::{Form, ReferenceColumns, TableColumns};
use super::edit::{DirectionEdit, Edits, EndEdit, TableEdit};
use super::ends::{check_end, check_values};
use super::identity::check_key;
use super::infer::{Inferred, infer, set};
use super::kept::Kept;
use super::refusal::{Checked, Refusal};
use super::resolve::{Resolved, Resolver, Wanted, unknown_column};
use super::warning::Warning;

/// Compiles the mapping of a catalog under the file's edits.
///
/// The same catalog and edits give the same mapping. The error lists everything to fix.
pub fn compile(catalog: &Catalog, edits: &Edits) -> Result<Mapping, Vec<Refusal>> {
    let Inferred { tables, names, warnings, refusals } = infer(catalog, edits);
    let mut compiler = Compiler {
        catalog,
        edits,
        types: Types::new(catalog, edits.defaults.numeric),
        indexes: tables.keys().cloned().zip((0..).map(TableIndex)).collect(),
        tables: &tables,
        warnings,
        refusals,
    };
    let references = compiler.resolve_all();
    let built = compiler.build_all(&references);
    let Compiler { mut refusals, mut warnings, .. } = compiler;
    if refusals.is_empty() {
        let (shapes, columns): (Vec<GraphTable>, Vec<TableColumns>) = built.into_iter().unzip();
        let model = Model { tables: shapes };
        check_names(&model, &columns, &mut refusals);
        check_labels(&model, &columns, &mut refusals);
        check_relationships(&model, &columns, &mut refusals);
        if refusals.is_empty() {
            warnings.sort_by(|a, b| a.table().cmp(&b.table()));
            let edits = Edits {
                defaults: edits.defaults.clone(),
                tables: tables.iter().map(|(name, edit)| (name.in_file(), edit.clone())).collect(),
                kept: Kept::default(),
            };
            let definition = |it: &TableColumns| {
                Some((it.oid, Definition::of(catalog.table(&it.name)?, catalog)))
            };
            let definitions = columns.iter().filter_map(definition).collect();
            let oid = |name: &TableName| catalog.table(name).map(|table| table.oid);
            let names = names.into_iter().filter_map(|(name, names)| Some((oid(&name)?, names)));
            let (names, paused) = (names.collect(), BTreeSet::new());
            let tables = columns;
            return Ok(Mapping { model, tables, warnings, edits, definitions, names, paused });
        }
    }
    Err(refusals)
}

type References<'a> = BTreeMap<&'a TableName, Vec<Resolved<'a>>>;
type Built = (Shape, Parts);

struct Compiler<'a> {
    catalog: &'a Catalog,
    edits: &'a Edits,
    types: Types,
    tables: &'a BTreeMap<TableName, TableEdit>,
    indexes: BTreeMap<TableName, TableIndex>,
    warnings: Vec<Warning>,
    refusals: Vec<Refusal>,
}

impl<'a> Compiler<'a> {
    /// The references of every table, in the order of its edits. A join table's are its start and
    /// its end.
    fn resolve_all(&mut self) -> References<'a> {
        let resolver = Resolver { catalog: self.catalog, tables: self.tables };
        let mut references = References::new();
        for (name, edit) in self.tables {
            let Some(table) = self.catalog.table(name) else { continue };
            for wanted in wanted(edit) {
                match resolver.resolve(table, &wanted) {
                    Ok(reference) => references.entry(name).or_default().push(reference),
                    Err(refusal) => self.refusals.push(*refusal),
                }
            }
        }
        references
    }

    fn build_all(&mut self, references: &References<'a>) -> Vec<(GraphTable, TableColumns)> {
        let forms = match self.forms(references) {
            Ok(forms) => forms,
            Err(refusal) => {
                self.refusals.push(*refusal);
                return Vec::new();
            }
        };
        let mut built = Vec::new();
        for (name, edit) in self.tables {
            let Some(table) = self.catalog.table(name) else { continue };
            let resolved = references.get(name).map(Vec::as_slice).unwrap_or_default();
            let own_refusals = self.check_table(table, edit);
            if !own_refusals.is_empty() || resolved.len() < wanted(edit).len() {
                self.refusals.extend(own_refusals);
                continue;
            }
            let mut builder = Builder::new(table, edit, &self.types, &forms);
            let made = match edit.join() {
                None => self.node(&mut builder, resolved),
                Some(join) => self.relationship(&mut builder, join.relationship_type, resolved),
            };
            self.warnings.append(&mut builder.warnings);
            match made {
                Ok((shape, parts)) => {
                    built.push((GraphTable { name: name.in_file(), shape }, builder.finish(parts)))
                }
                Err(refusal) => self.refusals.push(*refusal),
            }
        }
        built
    }

    /// Checks the table alone.
    fn check_table(&mut self, table: &Table, edit: &TableEdit) -> Vec<Refusal> {
        let key = edit.key.as_deref().unwrap_or_default();
        let properties = &edit.properties;
        let named = key.iter().chain(properties.include.iter().flatten());
        let named = named.chain(&properties.exclude).chain(properties.rename.keys());
        let named = named.chain(&properties.kept);
        let unknown = named.chain(edit.types.keys()).filter(|name| table.column(name).is_none());
        let mut refusals: Vec<Refusal> =
            unknown.collect::<BTreeSet<_>>().iter().map(|it| unknown_column(table, it)).collect();
        if let Some(column) = properties.exclude.iter().find(|column| key.contains(column)) {
            let (table, column) = (table.name.clone(), column.clone());
            refusals.push(Refusal::ExcludedKey { table, column });
        }
        if refusals.is_empty() {
            refusals.extend(check_key(self.catalog, table, key));
        }
        if table.published.row_filter.is_some() {
            self.warnings.push(Warning::RowFilter { table: table.name.clone() });
        }
        if table.kind == TableKind::Partitioned {
            self.warnings.push(Warning::Partitioned { table: table.name.clone() });
        }
        refusals
    }

    fn node(&self, builder: &mut Builder<'_>, resolved: &[Resolved<'_>]) -> Checked<Built> {
        let edit = builder.edit;
        let key = builder.key()?;
        let keep_references = self.edits.defaults.foreign_key_properties;
        let properties = builder.properties(true, |name| {
            let refers = |it: &Resolved<'_>| it.by_key && it.columns.iter().any(|it| it == name);
            keep_references || !resolved.iter().any(refers)
        })?;
        let mut references = Vec::new();
        let mut shapes = Vec::new();
        for (reference, wanted) in resolved.iter().zip(edit.references()) {
            let read = self.reference(builder, &wanted.relationship_type, reference)?;
            warn_of_time_zone(builder, reference, &read);
            references.push(read);
            shapes.push(ReferenceShape {
                relationship_type: wanted.relationship_type.clone(),
                direction: match wanted.direction {
                    DirectionEdit::Out => Direction::Outgoing,
                    DirectionEdit::In => Direction::Incoming,
                },
                target: self.indexes[&reference.target.name],
                by: self.reference_by(builder, reference)?,
            });
        }
        let shape = NodeShape {
            label: edit.label.clone().unwrap_or_default(),
            extra_labels: edit.labels.clone(),
            key: builder.names(&key),
            properties: builder.names(&properties),
            references: shapes,
        };
        Ok((Shape::Node(shape), Parts { key, properties, references }))
    }

    fn relationship(
        &self,
        builder: &mut Builder<'_>,
        relationship_type: &str,
        resolved: &[Resolved<'_>],
    ) -> Checked<Built> {
        let [from, to] = resolved else { unreachable!("a join table has two ends") };
        for end in [from, to] {
            check_end(builder.table, relationship_type, end, self.key(&end.target.name))?;
        }
        let references = vec![
            self.reference(builder, relationship_type, from)?,
            self.reference(builder, relationship_type, to)?,
        ];
        for (end, read) in [from, to].into_iter().zip(&references) {
            check_values(builder, end, read)?;
        }
        let joined: Vec<&String> = from.columns.iter().chain(&to.columns).collect();
        let by_ends = set(&joined) == set(self.key(&builder.table.name));
        let (slots, key) = if by_ends {
            let ends = references.iter().flat_map(|end| end.slots.iter().cloned());
            (ends.collect(), RelationshipKey::Ends)
        } else {
            let slots = builder.key()?;
            let names = builder.names(&slots);
            (slots, RelationshipKey::Own(names))
        };
        let properties =
            builder.properties(!by_ends, |name| !joined.iter().any(|it| *it == name))?;
        let shape = RelationshipShape {
            relationship_type: relationship_type.to_owned(),
            from: self.indexes[&from.target.name],
            to: self.indexes[&to.target.name],
            key,
            properties: builder.names(&properties),
        };
        Ok((Shape::Relationship(shape), Parts { key: slots, properties, references }))
    }

    fn reference(
        &self,
        builder: &mut Builder<'_>,
        relationship_type: &str,
        reference: &Resolved<'_>,
    ) -> Checked<ReferenceColumns> {
        let target_edit = &self.tables[&reference.target.name];
        let mut slots = Vec::new();
        for (column, target_column) in std::iter::zip(&reference.columns, &reference.target_columns)
        {
            let needed_for = || format!("relationship {relationship_type}");
            let form =
                self.types.comparable(reference.target, target_edit, target_column, needed_for)?;
            self.check_pair(builder, relationship_type, reference, [column, target_column], &form)?;
            slots.push(builder.slot(column, Form::Compared(form), needed_for)?);
        }
        Ok(ReferenceColumns { slots, constraint: reference.constraint.clone() })
    }

    /// Checks that the graph can compare the columns' values.
    fn check_pair(
        &self,
        builder: &Builder<'_>,
        relationship_type: &str,
        reference: &Resolved<'_>,
        [column, target_column]: [&str; 2],
        form: &Comparable,
    ) -> Checked<()> {
        let ends = [(builder.table, column), (reference.target, target_column)];
        let [own, target] = ends.map(|(table, name)| table.column(name));
        let (Some(own), Some(target)) = (own, target) else { return Ok(()) };
        let lax = ends.into_iter().zip([own, target]).find(|(_, column)| !column.deterministic);
        if let Some(((culprit, name), _)) = lax {
            return Err(Refusal::NondeterministicReference {
                table: builder.table.name.clone(),
                relationship_type: relationship_type.to_owned(),
                culprit: culprit.name.clone(),
                column: name.to_owned(),
            }
            .into());
        }
        let from = self.types.source(builder.table, builder.edit, column)?;
        if !form.accepts(&from) {
            return Err(Refusal::NoCommonForm {
                table: builder.table.name.clone(),
                relationship_type: relationship_type.to_owned(),
                column: column.to_owned(),
                column_type: own.type_name.clone(),
                target: reference.target.name.clone(),
                target_column: target_column.to_owned(),
                target_type: target.type_name.clone(),
            }
            .into());
        }
        Ok(())
    }

    fn reference_by(
        &self,
        builder: &Builder<'_>,
        reference: &Resolved<'_>,
    ) -> Checked<ReferenceBy> {
        if reference.by_key {
            return Ok(ReferenceBy::Key);
        }
        let (target, edit) = (reference.target, &self.tables[&reference.target.name]);
        let (mut owner_properties, mut target_properties) = (Vec::new(), Vec::new());
        for (column, to) in std::iter::zip(&reference.columns, &reference.target_columns) {
            let form = self.types.comparable(target, edit, to, String::new)?;
            let name = |table, edit, column| self.types.compared_name(table, edit, column, &form);
            owner_properties.push(name(builder.table, builder.edit, column));
            target_properties.push(name(target, edit, to));
        }
        Ok(ReferenceBy::Unique { owner_properties, target_properties })
    }

    /// The columns that references by unique values compare as properties, and their comparable
    /// forms.
    fn forms(&self, references: &References<'a>) -> Checked<Forms> {
        let mut forms = Forms::default();
        for (owner, resolved) in references {
            let wanted = wanted(&self.tables[*owner]);
            let by_unique = std::iter::zip(resolved, &wanted).filter(|(it, _)| !it.by_key);
            for (reference, wanted) in by_unique {
                let Some(table) = self.catalog.table(owner) else { continue };
                let ends = [
                    (table, &self.tables[*owner]),
                    (reference.target, &self.tables[&reference.target.name]),
                ];
                forms.compare(&self.types, ends, reference, wanted.relationship_type)?;
            }
        }
        Ok(forms)
    }

    fn key(&self, name: &TableName) -> &'a [String] {
        self.tables[name].key.as_deref().unwrap_or_default()
    }
}

/// Warns if PostgreSQL's equality depends on the session.
fn warn_of_time_zone(builder: &mut Builder<'_>, reference: &Resolved<'_>, read: &ReferenceColumns) {
    let pairs = std::iter::zip(&reference.columns, &reference.target_columns);
    for (slot, (column, target_column)) in read.slots.iter().zip(pairs) {
        let Form::Compared(form) = &slot.form else { continue };
        if form.depends_on_time_zone(&builder.column(slot).source_type) {
            builder.warnings.push(Warning::ComparedInUtc {
                table: builder.table.name.clone(),
                column: column.clone(),
                target: reference.target.name.clone(),
                target_column: target_column.clone(),
            });
        }
    }
}

/// The unresolved references of a table's edits.
fn wanted(edit: &TableEdit) -> Vec<Wanted<'_>> {
    if let Some(join) = edit.join() {
        let ends = [join.from, join.to].map(|end: &EndEdit| Wanted {
            relationship_type: join.relationship_type,
            columns: &end.columns,
            to: &end.to,
            to_columns: end.to_columns.as_deref(),
        });
        return ends.into();
    }
    let wanted = edit.references().iter().map(|reference| Wanted {
        relationship_type: &reference.relationship_type,
        columns: &reference.columns,
        to: &reference.to,
        to_columns: reference.to_columns.as_deref(),
    });
    wanted.collect()
}
