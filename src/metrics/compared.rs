//! What comparisons of tables and graph have counted, over all lives of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    copy::Progress,
    graph::{Difference, Model},
    pipeline::Reported,
};

/// A comparison of a life.
#[derive(Clone, Debug)]
pub struct Comparing {
    /// What it reports.
    pub reported: Reported,
    /// The tables that it names by index.
    pub model: Arc<Model>,
    /// How far it is.
    pub ranges: Option<watch::Receiver<Vec<Progress>>>,
}

impl Comparing {
    /// The tables that are left to compare because the graph may lack rows of them.
    pub fn lacking(&self) -> BTreeSet<String> {
        let Some(ranges) = &self.ranges else { return BTreeSet::new() };
        let ranges = ranges.borrow();
        let left = ranges.iter().filter(|range| range.lacks_rows() && !range.done);
        left.map(|range| range.table.clone()).collect()
    }
}

/// Numbers of comparisons, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Compared rows and entities.
    pub rows: BTreeMap<String, u64>,
    /// Differences by kind. A table that was compared has each kind.
    pub differences: BTreeMap<(String, &'static str), u64>,
}

impl Counted {
    fn add(&mut self, Comparing { reported, model, .. }: &Comparing) {
        let report = reported.get();
        for (table, rows) in &report.compared {
            let name = &model.table(*table).name;
            *self.rows.entry(name.clone()).or_default() += rows;
            for kind in Difference::KINDS {
                let count = report.kinds.get(&(*table, kind)).copied().unwrap_or(0);
                *self.differences.entry((name.clone(), kind)).or_default() += count;
            }
        }
    }
}

/// The comparisons of a run.
#[derive(Default)]
pub(super) struct Compared {
    before: Counted,
    current: Vec<Comparing>,
}

impl Compared {
    pub(super) fn begins(&mut self, comparing: Comparing) {
        // The copier of an earlier life is gone, and with it the rows that its report shows.
        let over = self.current.extract_if(.., |it| it.reported.is_last());
        over.for_each(|comparing| self.before.add(&comparing));
        self.current.push(comparing);
    }

    /// The tables that are left of the comparison under way.
    pub(super) fn lacking(&self) -> BTreeSet<String> {
        self.current.last().map(Comparing::lacking).unwrap_or_default()
    }

    pub(super) fn counted(&self) -> Counted {
        let mut counted = self.before.clone();
        self.current.iter().for_each(|comparing| counted.add(comparing));
        counted
    }
}
