//! An operator who edits the file: tables are paused when they change, and go on later.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use wal2graph::{
    catalog::TableName,
    graph::{
        memory::{Contents, NodeContent},
        statement::PLACEHOLDER,
    },
    mapping::{Edits, Mapping, compile, edit::SchemaChanges},
    start::{
        TableFacts,
        paused::{held, pauses},
        rules::{Dropped, Rules},
        tables::Now,
    },
};

use super::{
    super::world::World,
    catalog::{Definition, State},
    faults::Unfollowed,
};

/// The file, and what may not change in the graph.
pub struct Operator {
    rng: Rng,
    rules: Rules,
    /// The rows of paused tables, by the table's object id.
    frozen: BTreeMap<u32, BTreeSet<NodeContent>>,
}

impl Operator {
    pub fn new(seed: u64) -> Self {
        let rng = Rng::with_seed(seed.rotate_left(29) ^ 0x9a05e);
        let rules = Rules { all: SchemaChanges::Pause, ..Rules::default() };
        Operator { rng, rules, frozen: BTreeMap::new() }
    }
}

impl World {
    /// What the file says.
    pub fn rules(&self) -> Rules {
        let operator = self.shapes.as_ref().and_then(|shapes| shapes.operator.as_ref());
        operator.map(|operator| operator.rules.clone()).unwrap_or_default()
    }

    /// Somebody may edit the file. The next start reads it.
    pub fn edit_file(&mut self) {
        let tables: Vec<String> =
            self.latest_state().tables.iter().map(|table| table.is.name.clone()).collect();
        let Some(Operator { rng, rules, .. }) = &mut self.shapes().operator else { return };
        let changes = |rng: &mut Rng| match rng.u8(0..3) {
            0 => SchemaChanges::Apply,
            _ => SchemaChanges::Pause,
        };
        match rng.u8(0..8) {
            0 => rules.all = changes(rng),
            1 => {
                let all = [Dropped::AsOthers, Dropped::Clear, Dropped::Keep];
                rules.dropped = all[rng.usize(0..all.len())];
            }
            2..=4 if !tables.is_empty() => {
                let name = TableName::new("public", tables[rng.usize(0..tables.len())].as_str());
                rules.tables.insert(name.in_file(), changes(rng));
            }
            _ => return,
        }
        let rules = rules.clone();
        self.moments.trace(|| format!("the file says {rules:?}"));
    }

    /// The file says that everything goes on.
    pub fn let_all_go_on(&mut self) {
        if let Some(operator) = &mut self.shapes().operator {
            operator.rules = Rules::default();
        }
    }

    /// Nothing is written of tables that are paused.
    pub fn check_frozen(&mut self, facts: &TableFacts, mapping: &Mapping) {
        let contents = self.graph.memory.contents(&mapping.model);
        let paused = facts.tables.iter().filter(|table| table.paused.is_some());
        let paused = paused.filter_map(|table| {
            let index = mapping.table_index(&table.schema, &table.name)?;
            let label = mapping.model.label(index)?;
            Some((table.oid, (table.name.clone(), rows_of(&contents, label))))
        });
        let paused: BTreeMap<u32, (String, BTreeSet<NodeContent>)> = paused.collect();
        let Some(operator) = &mut self.shapes().operator else { return };
        operator.frozen.retain(|oid, _| paused.contains_key(oid));
        let mut violated = None;
        for (oid, (name, rows)) in paused {
            let before = operator.frozen.entry(oid).or_insert_with(|| rows.clone());
            if *before != rows {
                violated = Some(format!("{name} is paused, and its rows were written: {rows:?}"));
            }
        }
        if let Some(violated) = violated {
            self.violate(violated);
        }
    }
}

fn rows_of(contents: &Contents, label: &str) -> BTreeSet<NodeContent> {
    let is_row =
        |node: &&NodeContent| node.labels.contains(label) && !node.labels.contains(PLACEHOLDER);
    contents.nodes.iter().filter(is_row).cloned().collect()
}

impl State {
    /// What the tables become, with those that are paused as the graph has them.
    pub fn followed(
        &self,
        known: Option<&TableFacts>,
        rules: &Rules,
        fault: Option<Unfollowed>,
    ) -> Option<(Mapping, Now)> {
        let oids = known.iter().flat_map(|facts| &facts.tables).map(|table| table.oid).collect();
        let of_now = self.mapping(&oids).map(|mapping| {
            let now = self.now(&mapping, fault);
            (mapping, now)
        });
        let Some(facts) = known else { return of_now };
        let judged = of_now.as_ref().map(|(mapping, now)| (now, mapping));
        let facts = std::slice::from_ref(facts);
        let pauses = pauses(facts, &self.catalog(|_| true), judged, rules);
        if pauses.is_empty() {
            return of_now;
        }
        let is_in = |table: &Definition| self.is_published(table) || oids.contains(&table.oid);
        let mapping = compile(&held(self.catalog(is_in), facts, &pauses), &Edits::default());
        let mapping = mapping.ok()?.pausing(&pauses.keys().copied().collect());
        let now = Now { paused: pauses, ..self.now(&mapping, fault) };
        Some((mapping, now))
    }
}
