//! Edits for tables that can not be mapped as they are, so that the rest works.
//!
//! ```text
//! compile --refusals--> an edit for each, marked --> compile --> ... --> nothing is refused, or nothing more is known
//! ```
//!
//! It mends only the choices of inference. It never changes the user's own edits of a table.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, TableName};

use super::{
    Warning,
    compared::compared,
    compile,
    edit::{Edits, ReferenceEdit, RelationshipsEdit, TableEdit},
    infer::infer,
    named::Named,
    naming,
    refusal::Refusal,
};

/// The number of attempts. A mended refusal may reveal another one behind it.
const ROUNDS: usize = 8;

/// Complete edits, and the changes that led to them.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    /// The edits of every table, as in a file.
    pub(super) tables: BTreeMap<String, TableEdit>,
    /// The tables that are left out.
    pub(super) warnings: Vec<Warning>,
    /// The columns that another property compares, by table.
    pub(super) compared: BTreeMap<String, Vec<String>>,
    /// The reasons for edits that differ from inference, by table.
    pub marks: BTreeMap<String, Vec<String>>,
    /// The refusals without a known edit.
    pub refusals: Vec<Refusal>,
}

/// Finds edits that can be mapped, if possible.
pub fn mend(catalog: &Catalog, edits: &Edits) -> Mended {
    let mut mender = Mender { catalog, edits: edits.clone(), fixed: edits, marks: BTreeMap::new() };
    for _ in 0..ROUNDS {
        let refusals = match compile(catalog, &mender.edits) {
            Ok(mapping) => {
                let compared = compared(&mapping);
                let (tables, warnings) = (mapping.edits.tables, mapping.warnings);
                let (marks, refusals) = (mender.marks, Vec::new());
                return Mended { tables, warnings, compared, marks, refusals };
            }
            Err(refusals) => refusals,
        };
        let mended = refusals.iter().filter(|refusal| mender.mend(refusal)).count();
        if mended == 0 {
            return mender.unmended(refusals);
        }
    }
    let refusals = compile(catalog, &mender.edits).err().unwrap_or_default();
    mender.unmended(refusals)
}

struct Mender<'a> {
    catalog: &'a Catalog,
    edits: Edits,
    /// The edits in the user's file.
    fixed: &'a Edits,
    marks: BTreeMap<String, Vec<String>>,
}

impl Mender<'_> {
    fn unmended(self, refusals: Vec<Refusal>) -> Mended {
        let inferred = infer(self.catalog, &self.edits);
        let tables = inferred.tables.into_iter().map(|(name, edit)| (name.in_file(), edit));
        Mended {
            tables: tables.collect(),
            warnings: inferred.warnings,
            compared: BTreeMap::new(),
            marks: self.marks,
            refusals,
        }
    }

    /// Edits against the refusal. Returns whether it knows an edit.
    fn mend(&mut self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::ReservedName { table, what: Named::Property, name } => {
                self.rename(table, name, refusal)
            }
            Refusal::DuplicateProperty { table, second, .. } => self.rename(table, second, refusal),
            Refusal::ReservedName { table, what: Named::Label, .. }
            | Refusal::EmptyName { table, what: Named::Label, .. }
            | Refusal::NullableEnd { table, .. }
            | Refusal::EndNotByKey { table, .. }
            | Refusal::DuplicateLabel { second: table, .. } => self.label(table, refusal),
            Refusal::EmptyName { table, what: Named::RelationshipType, .. } => {
                self.retype(table, "", refusal)
            }
            Refusal::DuplicateRelationship { table, first_table, relationship_type, .. } => {
                self.retype(table, relationship_type, refusal)
                    || self.retype(first_table, relationship_type, refusal)
            }
            Refusal::NotComparable { table, relationship_type, .. }
            | Refusal::TargetNotUnique { table, relationship_type, .. }
            | Refusal::NoTarget { table, relationship_type, .. }
            | Refusal::UniqueThroughPartitions { table, relationship_type, .. } => {
                self.without(table, relationship_type, refusal)
            }
            Refusal::DeferrableKey { table, .. }
            | Refusal::IdentityNothing { table, .. }
            | Refusal::KeyIsNotIdentity { table, .. }
            | Refusal::PartitionKeyIsNotIdentity { table, .. }
            | Refusal::UnloggedPartition { table, .. }
            | Refusal::NondeterministicKey { table, .. }
            | Refusal::KeyThroughPartitions { table, .. }
            | Refusal::NotStreamed { table, .. } => self.edit(table, refusal, |edit| {
                *edit = TableEdit { skip: true, ..TableEdit::default() };
            }),
            // A user's own edit, or a refusal without a known edit.
            _ => false,
        }
    }

    /// Edits a table that the user's file does not mention.
    fn edit(
        &mut self,
        table: &TableName,
        why: &Refusal,
        edit: impl FnOnce(&mut TableEdit),
    ) -> bool {
        let name = table.in_file();
        if self.fixed.tables.contains_key(&name) {
            return false;
        }
        edit(self.edits.tables.entry(name.clone()).or_default());
        let marks = self.marks.entry(name).or_default();
        let mark = why.to_string();
        if !marks.contains(&mark) {
            marks.push(mark);
        }
        true
    }

    fn rename(&mut self, table: &TableName, column: &str, why: &Refusal) -> bool {
        let Some(columns) = self.catalog.table(table).map(|table| &table.columns) else {
            return false;
        };
        if !columns.iter().any(|it| it.name == column) {
            return false;
        }
        let mut taken: BTreeSet<&str> = columns.iter().map(|it| it.name.as_str()).collect();
        let edited = self.edits.tables.get(&table.in_file());
        taken.extend(
            edited.into_iter().flat_map(|it| it.properties.rename.values()).map(String::as_str),
        );
        let base = match column.trim_start_matches('_') {
            "" => "column",
            base => base,
        };
        let name = free(base, "_", |name| taken.contains(name));
        self.edit(table, why, |edit| {
            edit.properties.rename.insert(column.to_owned(), name);
        })
    }

    fn label(&mut self, table: &TableName, why: &Refusal) -> bool {
        let inferred = infer(self.catalog, &self.edits).tables;
        let labels = inferred.values().flat_map(|edit| edit.label.iter().chain(&edit.labels));
        let taken: BTreeSet<String> = labels.cloned().collect();
        let base = match naming::upper_camel(&table.name).trim_start_matches('_') {
            "" => "Table".to_owned(),
            base => base.to_owned(),
        };
        let label = free(&base, "", |name| taken.contains(name));
        self.edit(table, why, |edit| edit.label = Some(label))
    }

    /// Gives the last relationship of that type a new, unused type.
    fn retype(&mut self, table: &TableName, relationship_type: &str, why: &Refusal) -> bool {
        let inferred = infer(self.catalog, &self.edits).tables;
        let types = inferred.values().flat_map(|edit| {
            let join = edit.join().map(|it| it.relationship_type);
            let references = edit.references().iter().map(|it| it.relationship_type.as_str());
            join.into_iter().chain(references)
        });
        let taken: BTreeSet<&str> = types.collect();
        let base = if relationship_type.is_empty() { "RELATED" } else { relationship_type };
        let name = free(base, "_", |name| taken.contains(name));
        let Some(inferred) = inferred.get(table) else { return false };
        if let Some(mut join) = inferred.relationship.clone() {
            join.relationship_type = Some(name);
            return self.edit(table, why, |edit| edit.relationship = Some(join));
        }
        let mut references = inferred.references().to_vec();
        let last = references.iter_mut().rfind(|it| it.relationship_type == relationship_type);
        let Some(last) = last else { return false };
        last.relationship_type = name;
        let references = RelationshipsEdit::All(references);
        self.edit(table, why, |edit| edit.relationships = Some(references))
    }

    fn without(&mut self, table: &TableName, relationship_type: &str, why: &Refusal) -> bool {
        let inferred = infer(self.catalog, &self.edits).tables;
        let Some(inferred) = inferred.get(table) else { return false };
        let is_other = |it: &&ReferenceEdit| it.relationship_type != relationship_type;
        let others = inferred.references().iter().filter(is_other).cloned().collect();
        let others = RelationshipsEdit::All(others);
        self.edit(table, why, |edit| edit.relationships = Some(others))
    }
}

/// The first free name: this one, or one with a number.
fn free(base: &str, before_number: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u32| format!("{base}{before_number}{number}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}
