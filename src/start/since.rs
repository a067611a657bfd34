//! What of the kept tables is lost, gone or elsewhere now.

use std::collections::{BTreeMap, BTreeSet};

use crate::mapping::Mapping;

use super::{
    generation::KeyMoved,
    tables::{Difference, Now, TableFacts, TableIs},
};

impl TableFacts {
    /// The tables of which changes may be lost, now that they come again: why.
    pub(super) fn lost(&self, now: &Now) -> BTreeMap<String, String> {
        let all = |why: &str| {
            let tables = self.tables.iter().map(|table| (table.shown(), why.to_owned()));
            tables.collect::<Vec<_>>()
        };
        let mut lost = BTreeMap::new();
        for difference in self.differences(now) {
            let why = difference.what();
            match &difference {
                Difference::Publication { is: Some(_), .. }
                | Difference::Operations { .. }
                | Difference::Altered { .. } => {
                    lost.extend(all(&why));
                }
                Difference::Identity { table, .. } => {
                    lost.insert(table.clone(), why);
                }
                Difference::Unpublished { table, is_back: true } => {
                    lost.insert(table.clone(), why);
                }
                Difference::Publication { is: None, .. }
                | Difference::Unpublished { is_back: false, .. }
                | Difference::OtherTable { .. }
                | Difference::OtherColumn { .. } => {}
            }
        }
        lost
    }

    /// The tables that are not there any more.
    pub(super) fn gone(&self, now: &TableFacts) -> Vec<&TableIs> {
        let is_there = |was: &&TableIs| now.tables.iter().any(|table| table.oid == was.oid);
        self.tables.iter().filter(|was| !is_there(was)).collect()
    }

    /// Whether the key of a table has other columns. One that has another name only is the same, and so is
    /// that of a relationship: nobody else has anything on those.
    pub(super) fn key_moved(&self, now: &TableIs, mapping: &Mapping) -> Option<KeyMoved> {
        let index = mapping.table_index(&now.schema, &now.name)?;
        mapping.model.label(index)?;
        let was = self.tables.iter().find(|table| table.oid == now.oid)?;
        let numbers = |table: &TableIs| {
            let numbers = table.key.iter().map(|name| table.columns.get(name).copied());
            numbers.collect::<Option<Vec<_>>>()
        };
        // A first look may have seen a key column that had another name when the checkpoint was made. Nothing was
        // written in between.
        let is_moved = numbers(was).is_some_and(|was| Some(was) != numbers(now));
        is_moved.then(|| KeyMoved {
            table: now.table_name(),
            was: was.key.clone(),
            is: now.key.clone(),
        })
    }

    /// These were looked at before there was a publication: it has them as it has them now.
    pub fn published_as(&mut self, now: &TableFacts) {
        self.publication.clone_from(&now.publication);
        for table in &mut self.tables {
            if let Some(is) = now.tables.iter().find(|it| it.oid == table.oid) {
                table.by.clone_from(&is.by);
            }
        }
    }

    /// The same, with these tables as `before` has them: they are paused.
    pub fn keeping(mut self, before: &TableFacts, paused: &BTreeSet<u32>) -> Self {
        let kept = before.tables.iter().filter(|table| paused.contains(&table.oid));
        self.tables.extend(kept.cloned());
        self
    }

    /// What is different now and can not be followed: it has to be put right first.
    pub fn blocking(&self, now: &Now) -> Vec<Difference> {
        let mut found =
            TableFacts::new(self.publication.clone(), self.tables.clone()).differences(now);
        found.retain(|it| {
            matches!(
                it,
                Difference::Publication { is: None, .. }
                    | Difference::Operations { .. }
                    | Difference::Identity { .. }
            )
        });
        found
    }
}
