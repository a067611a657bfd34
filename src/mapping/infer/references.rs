//! The relationships that rows of node tables own: one for each foreign key, with the edits of the file.
//!
//! ```text
//! foreign keys, in their order --+
//!                                +--> each, or the edits that stand in its place; then the edits without one
//! edits, by key -----------------+
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{ForeignKey, Table, TableName};

use super::super::edit::{
    DirectionEdit, ReferenceChange, ReferenceEdit, ReferenceSection, RelationshipsEdit, TableEdit,
};
use super::super::naming::{Between, Naming};
use super::super::{refusal::EditRefusal, singular::Words, warning::Warning};
use super::{Inference, foreign_keys, says_the_same, set};

/// The start's label, the type, the end's label.
type Triple = (String, String, String);

/// A relationship, and where its type is from.
struct Made {
    reference: ReferenceEdit,
    from: TypeFrom,
}

/// Where a type is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TypeFrom {
    /// The file.
    File,
    /// The graph.
    Graph,
    /// The columns.
    Columns,
}

/// An edit of the file with the foreign key that it is about; `None`: it is about none.
struct Chosen<'a> {
    key: Option<&'a ForeignKey>,
    section: Option<ReferenceSection>,
    columns: Vec<String>,
}

impl<'a> Inference<'a> {
    /// Step 4: a relationship for each foreign key of a node table, with a distinct type.
    pub(super) fn choose_relationships(&mut self) {
        let names: Vec<TableName> = self.tables.keys().cloned().collect();
        let mut made: BTreeMap<TableName, Vec<TypeFrom>> = BTreeMap::new();
        for owner in names {
            let Some(table) = self.catalog.table(&owner) else { continue };
            let edit = &self.tables[&owner];
            let each = match &edit.relationships {
                _ if edit.relationship.is_some() => continue,
                Some(RelationshipsEdit::All(_)) => continue,
                Some(RelationshipsEdit::Each(each)) => each.clone(),
                None => BTreeMap::new(),
            };
            let references = self.edited_references(table, &each);
            made.insert(owner.clone(), references.iter().map(|it| it.from).collect());
            let references = references.into_iter().map(|it| it.reference).collect();
            if let Some(edit) = self.tables.get_mut(&owner) {
                edit.relationships = Some(RelationshipsEdit::All(references));
            }
        }
        self.tell_apart(&made);
        for (owner, from) in made {
            let references = self.tables[&owner].references().to_vec();
            let inferred = references.iter().zip(from).filter(|(_, from)| *from != TypeFrom::File);
            for (ReferenceEdit { columns, to, relationship_type, .. }, _) in inferred {
                self.named(&owner).add_reference(columns, to, relationship_type);
            }
        }
    }

    /// Types of columns that others have between the same labels become those of what differs, or of all columns.
    fn tell_apart(&mut self, from: &BTreeMap<TableName, Vec<TypeFrom>>) {
        let mut made: BTreeMap<Triple, usize> = BTreeMap::new();
        for edit in self.tables.values() {
            for triple in self.triples(edit) {
                *made.entry(triple).or_default() += 1;
            }
        }
        let kept = self.kept_triples(from);
        let mut renamed: Vec<(TableName, usize, String)> = Vec::new();
        for (owner, from) in from {
            let references = self.tables[owner].references();
            let triples = self.triples(&self.tables[owner]);
            for (at, triple) in triples.iter().enumerate() {
                if made[triple] == 1 || from[at] != TypeFrom::Columns {
                    continue;
                }
                let called = |name: &String| (triple.0.clone(), name.clone(), triple.2.clone());
                let alike = references.iter().zip(&triples).filter(|(_, it)| *it == triple);
                let alike: Vec<&ReferenceEdit> = alike.map(|(it, _)| it).collect();
                let apart = self.apart(owner, &references[at], &alike);
                let name = apart.filter(|name| !made.contains_key(&called(name)));
                let name = name.unwrap_or_else(|| self.of_all(owner, &references[at]));
                // A name that the graph has is not taken from it.
                let numbered = (2..).map(|number: u32| format!("{name}_{number}"));
                let mut names = std::iter::once(name.clone()).chain(numbered);
                let free = names.find(|name| !kept.contains(&called(name)));
                renamed.push((owner.clone(), at, free.unwrap_or(name)));
            }
        }
        for (owner, at, name) in renamed {
            let edit = self.tables.get_mut(&owner).and_then(|edit| edit.relationships.as_mut());
            let Some(RelationshipsEdit::All(references)) = edit else { continue };
            references[at].relationship_type = name;
        }
    }

    fn kept_triples(&self, from: &BTreeMap<TableName, Vec<TypeFrom>>) -> BTreeSet<Triple> {
        let kept = from.iter().flat_map(|(owner, from)| {
            let triples = self.triples(&self.tables[owner]).into_iter().zip(from);
            triples.filter(|(_, from)| **from == TypeFrom::Graph).map(|(triple, _)| triple)
        });
        kept.collect()
    }

    /// The type of a relationship by the columns that others of its table do not have, as a tenant's.
    fn apart(
        &self,
        owner: &TableName,
        reference: &ReferenceEdit,
        alike: &[&ReferenceEdit],
    ) -> Option<String> {
        let naming = self.naming(self.catalog.table(owner)?);
        let is_common = |column: &&String| alike.iter().all(|it| it.columns.contains(column));
        let own: Vec<String> =
            reference.columns.iter().filter(|column| !is_common(column)).cloned().collect();
        if naming.words == Words::Earlier || reference.columns.len() == 1 || own.is_empty() {
            return None;
        }
        let between = self.between(owner, &reference.to)?;
        Some(match &own[..] {
            [column] => naming.type_of_column(column, "", between),
            _ => naming.type_of_columns(&own, between),
        })
    }

    fn of_all(&self, owner: &TableName, reference: &ReferenceEdit) -> String {
        let named = self.catalog.table(owner).zip(self.between(owner, &reference.to));
        let of_all = named.map(|(table, between)| {
            self.naming(table).type_of_columns(&reference.columns, between)
        });
        of_all.unwrap_or_default()
    }

    fn between<'t>(&self, table: &'t TableName, target: &str) -> Option<Between<'t>>
    where
        'a: 't,
    {
        Some(Between { table, target: &self.table_named(target)?.name })
    }

    /// The relationships of a table, in the order of its references: label, type, label.
    fn triples(&self, edit: &TableEdit) -> Vec<Triple> {
        let label = |table: &str| {
            let target = self.table_named(table).and_then(|table| self.tables.get(&table.name));
            target.and_then(|edit| edit.label.clone()).unwrap_or_default()
        };
        if let Some(join) = edit.join() {
            let ends = (label(&join.from.to), label(&join.to.to));
            return vec![(ends.0, join.relationship_type.to_owned(), ends.1)];
        }
        let own = edit.label.clone().unwrap_or_default();
        let triple = |reference: &ReferenceEdit| {
            let ends = (own.clone(), label(&reference.to));
            let (start, end) = match reference.direction {
                DirectionEdit::Out => ends,
                DirectionEdit::In => (ends.1, ends.0),
            };
            (start, reference.relationship_type.clone(), end)
        };
        edit.references().iter().map(triple).collect()
    }

    /// The relationships of a table under single edits.
    fn edited_references(
        &mut self,
        table: &Table,
        each: &BTreeMap<String, ReferenceChange>,
    ) -> Vec<Made> {
        let keys = foreign_keys(table);
        let mut chosen = Vec::new();
        for (name, change) in each {
            match choose(table, &keys, name, change) {
                Ok(edit) => chosen.push(edit),
                Err(refusal) => self.refusals.push(refusal.into()),
            }
        }
        let is_edited =
            |key: &ForeignKey| chosen.iter().any(|it| it.key.is_some_and(|it| it.name == key.name));
        self.warn_of_keys(table, &keys, |key| is_edited(key) || each.contains_key(&key.name));
        let mut made = Vec::new();
        for key in keys {
            let edits = chosen.iter().filter(|it| it.key.is_some_and(|it| it.name == key.name));
            made.extend(edits.filter_map(|edit| self.edited(table, edit)));
            if !is_edited(key) && self.is_followed(table, key) {
                made.push(self.inferred(table, self.reference(table, key)));
            }
        }
        let alone = chosen.iter().filter(|edit| edit.key.is_none());
        made.extend(alone.filter_map(|edit| self.edited(table, edit)));
        made
    }

    /// The relationship that an edit makes; `None`: it leaves one out.
    fn edited(&self, table: &Table, Chosen { key, section, columns }: &Chosen<'_>) -> Option<Made> {
        let ReferenceSection { relationship_type, to, to_columns, direction, .. } =
            section.clone()?;
        let leads_there = |key: &&&ForeignKey| {
            to.as_ref().is_none_or(|to| key.target.in_file() == *to)
                && to_columns.as_ref().is_none_or(|to| set(&key.target_columns) == set(to))
        };
        let plain = match key.as_ref().filter(leads_there) {
            Some(key) => self.reference(table, key),
            None => {
                let (to, columns) =
                    (to.or_else(|| key.map(|it| it.target.in_file()))?, columns.clone());
                let relationship_type = self.type_of(table, &columns, &to, to_columns.as_deref());
                ReferenceEdit { relationship_type, columns, to, to_columns, direction }
            }
        };
        let plain = ReferenceEdit { direction, ..plain };
        Some(match relationship_type {
            None => self.inferred(table, plain),
            Some(relationship_type) => Made {
                reference: ReferenceEdit { relationship_type, ..plain },
                from: TypeFrom::File,
            },
        })
    }

    /// A relationship whose type the file does not have: with the one that the graph has, if it has one.
    fn inferred(&self, table: &Table, reference: ReferenceEdit) -> Made {
        let names = self.kept(table);
        match names.and_then(|names| names.reference(&reference.columns, &reference.to)).cloned() {
            None => Made { reference, from: TypeFrom::Columns },
            Some(relationship_type) => Made {
                reference: ReferenceEdit { relationship_type, ..reference },
                from: TypeFrom::Graph,
            },
        }
    }

    /// Warns of foreign keys that are no relationship, unless the file knows of them.
    fn warn_of_keys(
        &mut self,
        table: &Table,
        kept: &[&ForeignKey],
        is_edited: impl Fn(&ForeignKey) -> bool,
    ) {
        let open = |key: &&ForeignKey| !is_edited(key);
        for key in table.foreign_keys.iter().filter(|key| key.period).filter(open) {
            let (constraint, target) = (key.name.clone(), key.target.clone());
            let table = table.name.clone();
            self.warnings.push(Warning::PeriodReference { table, constraint, target });
        }
        for key in table.foreign_keys.iter().filter(|key| !key.period).filter(open) {
            let same = |it: &&&ForeignKey| it.name != key.name && says_the_same(it, key);
            if let Some(kept) = kept.iter().find(same) {
                let (constraint, same_as) = (key.name.clone(), kept.name.clone());
                let table = table.name.clone();
                self.warnings.push(Warning::SameForeignKey { table, constraint, same_as });
            }
        }
        for key in kept.iter().copied().filter(open) {
            let (table, constraint) = (table.name.clone(), key.name.clone());
            if !self.is_node(&key.target) {
                let target = key.target.clone();
                self.warnings.push(Warning::ReferenceLeftOut { table, constraint, target });
            } else if !self.is_streamed(key, &table) {
                self.warnings.push(Warning::ReferenceNotStreamed { table, constraint });
            } else if let Some(column) = self.not_streamed(key) {
                let target = key.target.clone();
                self.warnings.push(Warning::ReferencedNotStreamed {
                    table,
                    constraint,
                    target,
                    column,
                });
            }
        }
    }

    /// A column that the foreign key refers to, and that the stream does not carry.
    fn not_streamed(&self, key: &ForeignKey) -> Option<String> {
        let target = self.catalog.table(&key.target)?;
        let is_missing = |name: &&String| target.column(name).is_some_and(|it| !target.streams(it));
        key.target_columns.iter().find(is_missing).cloned()
    }

    /// Whether the foreign key is a relationship.
    fn is_followed(&self, table: &Table, key: &ForeignKey) -> bool {
        let is_streamed = self.is_streamed(key, &table.name) && self.not_streamed(key).is_none();
        self.is_node(&key.target) && is_streamed
    }

    fn is_streamed(&self, key: &ForeignKey, table: &TableName) -> bool {
        let Some(table) = self.catalog.table(table) else { return false };
        let streamed = |name: &String| table.column(name).is_some_and(|it| table.streams(it));
        key.columns.iter().all(streamed)
    }

    fn reference(&self, table: &Table, key: &ForeignKey) -> ReferenceEdit {
        let (columns, to_columns) = self.in_key_order(key);
        let to = key.target.in_file();
        let relationship_type = self.type_of(table, &columns, &to, to_columns.as_deref());
        ReferenceEdit { relationship_type, columns, to, to_columns, direction: Default::default() }
    }

    /// The type of a relationship by these columns. Nothing, if the target is not there.
    fn type_of(
        &self,
        table: &Table,
        columns: &[String],
        to: &str,
        to_columns: Option<&[String]>,
    ) -> String {
        let Some(between) = self.between(&table.name, to) else { return String::new() };
        let naming: Naming<'_> = self.naming(table);
        match columns {
            [column] => {
                let found = to_columns.unwrap_or_else(|| self.key(between.target)).first();
                naming.type_of_column(column, found.map_or("", String::as_str), between)
            }
            _ => naming.type_of_target(between),
        }
    }

    /// The referring columns, in the order of the target's key. If they do not refer to its key: as
    /// they are, with the columns they refer to.
    pub(super) fn in_key_order(&self, key: &ForeignKey) -> (Vec<String>, Option<Vec<String>>) {
        let target_key = self.key(&key.target);
        if set(target_key) != set(&key.target_columns) {
            return (key.columns.clone(), Some(key.target_columns.clone()));
        }
        let owner_of = |column: &String| {
            let at = key.target_columns.iter().position(|target| target == column);
            at.map(|at| key.columns[at].clone())
        };
        (target_key.iter().filter_map(owner_of).collect(), None)
    }
}

/// What an edit is about: the foreign key of its name, or the one with its columns. An edit with a target and without
/// such a foreign key stands for itself.
fn choose<'a>(
    table: &Table,
    keys: &[&'a ForeignKey],
    name: &str,
    change: &ReferenceChange,
) -> Result<Chosen<'a>, EditRefusal> {
    let section = change.section();
    let of = |what: fn(&ReferenceSection) -> Option<&Vec<String>>| section.as_ref().and_then(what);
    let (columns, to_columns) = (of(|it| it.columns.as_ref()), of(|it| it.to_columns.as_ref()));
    let to = section.as_ref().and_then(|it| it.to.as_ref());
    let called = table.foreign_keys.iter().find(|key| key.name == name && !key.period);
    // Of two that say the same, one is kept.
    let is_meant = |key: &&&ForeignKey| called.is_some_and(|it| says_the_same(it, key));
    let named = keys.iter().find(is_meant).copied();
    if let Some(key) = named
        && columns.is_none_or(|columns| set(columns) == set(&key.columns))
    {
        return Ok(Chosen { key: named, columns: key.columns.clone(), section });
    }
    let is_named = table.column(name).is_some();
    let is_of_period = table.foreign_keys.iter().any(|key| key.period && key.name == name);
    if is_of_period && section.is_none() {
        return Ok(Chosen { key: None, columns: Vec::new(), section });
    }
    let columns = match columns {
        Some(columns) => columns.clone(),
        None if is_named => vec![name.to_owned()],
        None => return Err(EditRefusal::unknown_reference(table, keys, name)),
    };
    let fits = |key: &&&ForeignKey| {
        set(&key.columns) == set(&columns)
            && to.is_none_or(|to| key.target.in_file() == *to)
            && to_columns.is_none_or(|to| set(&key.target_columns) == set(to))
    };
    let mut found: Vec<&ForeignKey> = keys.iter().filter(fits).copied().collect();
    if found.is_empty() && to.is_none() && is_named {
        let contains = |key: &&&ForeignKey| key.columns.iter().any(|column| column == name);
        found = keys.iter().filter(contains).copied().collect();
    }
    match found[..] {
        [key] => Ok(Chosen { key: Some(key), columns, section }),
        // Nothing is there that could be left out: perhaps any more.
        [] if to.is_some() || section.is_none() => Ok(Chosen { key: None, columns, section }),
        [] => Err(EditRefusal::NoForeignKey { table: table.name.clone(), name: name.to_owned() }),
        _ => Err(EditRefusal::SeveralForeignKeys {
            table: table.name.clone(),
            name: name.to_owned(),
            constraints: found.iter().map(|key| key.name.clone()).collect(),
        }),
    }
}
