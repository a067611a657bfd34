//! The rows that are set aside, as the next batch finds them, and how they were before the last ones.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::FLIGHTS_MAX;

use super::super::named::Of;

/// Rows, each with its letter's name.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    rows: BTreeMap<Of, String>,
    /// The letters that each of the last batches has changed, with their earlier state.
    changed: VecDeque<Vec<(Of, Option<String>)>>,
}

impl SetAside {
    pub fn of(rows: impl Iterator<Item = (Of, String)>) -> Self {
        SetAside { rows: rows.collect(), changed: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn get(&self, of: &Of) -> Option<&String> {
        self.rows.get(of)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Of, &String)> {
        self.rows.iter()
    }

    /// What changes from now on is the next batch's.
    pub fn next_batch(&mut self) {
        self.changed.push_back(Vec::new());
        // What is further back is written.
        if self.changed.len() > FLIGHTS_MAX {
            self.changed.pop_front();
        }
    }

    /// Undoes what the last batches have changed, so many.
    pub fn take_back(&mut self, batches: usize) {
        for _ in 0..batches {
            let changed = self.changed.pop_back().unwrap_or_default();
            for (of, before) in changed.into_iter().rev() {
                match before {
                    Some(name) => drop(self.rows.insert(of, name)),
                    None => drop(self.rows.remove(&of)),
                }
            }
        }
    }

    pub fn insert(&mut self, of: Of, name: String) {
        let before = self.rows.insert(of.clone(), name);
        self.has_changed(of, before);
    }

    pub fn remove(&mut self, of: &Of) {
        if let Some(before) = self.rows.remove(of) {
            self.has_changed(of.clone(), Some(before));
        }
    }

    /// Removes rows. Returns the names of their letters.
    pub fn remove_if(&mut self, is_gone: impl Fn(&Of, &String) -> bool) -> Vec<String> {
        let gone = self.rows.extract_if(.., |of, name| is_gone(of, name)).collect::<Vec<_>>();
        let names = gone.iter().map(|(_, name)| name.clone()).collect();
        gone.into_iter().for_each(|(of, name)| self.has_changed(of, Some(name)));
        names
    }

    fn has_changed(&mut self, of: Of, before: Option<String>) {
        if let Some(batch) = self.changed.back_mut() {
            batch.push((of, before));
        }
    }
}
