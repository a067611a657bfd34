//! Reads the simulated graph, for what compares it with the tables.

use std::collections::BTreeMap;

use wal2graph::{
    graph::{
        Found, Key, Model, TableIndex,
        found::{Entity, State, Stored},
        memory::Memory,
    },
    pipeline::{GraphReader, Strays},
};

use super::{
    copy::pause,
    faults::Fault,
    program::SimError,
    schema::to_key,
    world::{Shared, World},
};

/// Reads rows, beside all writers.
pub struct SimReader {
    world: Shared,
    /// No answer is lost.
    is_calm: bool,
    /// The graph as the last page showed it: a planted fault judges suspects by it.
    paged: Option<Memory>,
    /// How many entities the pages of a table have returned: a planted fault goes on behind these.
    returned: BTreeMap<TableIndex, usize>,
}

impl SimReader {
    pub fn new(world: Shared, is_calm: bool) -> Self {
        SimReader { world, is_calm, paged: None, returned: BTreeMap::new() }
    }

    async fn read<T>(&self, look: impl FnOnce(&World) -> T) -> Result<T, SimError> {
        pause(&self.world, 4).await;
        let mut world = self.world.lock();
        let found = look(&world);
        match self.is_calm || world.rng.u8(0..100) > 0 {
            true => Ok(found),
            false => Err(SimError::Broken),
        }
    }

    /// The page that the planted fault makes of the graph.
    fn spoiled_page(
        &self,
        world: &World,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> Vec<Found> {
        let (memory, model) = (&world.graph.memory, &world.schema.model);
        if world.fault == Some(Fault::PagesByNumber) {
            let returned = after.and_then(|_| self.returned.get(&table)).copied().unwrap_or(0);
            let all = memory.page(model, table, None, usize::MAX);
            return all.into_iter().skip(returned).take(limit).collect();
        }
        let mut after = after.cloned();
        loop {
            let page = memory.page(model, table, after.as_ref(), limit);
            after = page.last().map(|found| found.key.clone());
            let kept: Vec<Found> =
                page.into_iter().filter_map(|found| spoil(world, table, found)).collect();
            if after.is_none() || !kept.is_empty() {
                return kept;
            }
        }
    }
}

/// An entity as the planted fault shows it; `None`: it is passed over.
fn spoil(world: &World, table: TableIndex, mut found: Found) -> Option<Found> {
    match (world.fault, &mut found.entity) {
        (Some(Fault::PlaceholdersNotCompared), Entity::Node(node)) if node.state != State::Row => {
            return None;
        }
        (Some(Fault::PlaceholderPropertiesUnseen), Entity::Node(node))
            if node.state != State::Row =>
        {
            node.properties.fill(Stored::Nothing);
        }
        (Some(Fault::DoublesUnseen), Entity::Node(node)) => {
            node.references.iter_mut().for_each(|reference| reference.ends.dedup());
        }
        (Some(Fault::DoublesUnseen), Entity::Relationships(all)) => all.truncate(1),
        (Some(Fault::OnlyExistenceCompared), _) => {
            let rows = &world.server.latest()[table.0];
            if rows.keys().any(|key| to_key(key) == found.key) {
                return None;
            }
        }
        _ => {}
    }
    Some(found)
}

impl GraphReader for SimReader {
    type Error = SimError;

    async fn page(
        &mut self,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Found>, SimError> {
        let page = self.read(|world| self.spoiled_page(world, table, after, limit)).await?;
        let returned = self.returned.entry(table).or_default();
        *returned = page.len() + if after.is_some() { *returned } else { 0 };
        self.paged = Some(self.world.lock().graph.memory.clone());
        Ok(page)
    }

    async fn found(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Found>, SimError> {
        let look = |world: &World, model: &Model| match &self.paged {
            Some(paged) if world.fault == Some(Fault::JudgedByTheLastPage) => {
                paged.found(model, table, keys)
            }
            _ => {
                let found = world.graph.memory.found(model, table, keys).into_iter();
                found.filter_map(|found| spoil(world, table, found)).collect()
            }
        };
        self.read(|world| look(world, &world.schema.model)).await
    }

    async fn missing(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Key>, SimError> {
        self.read(|world| world.graph.memory.missing(&world.schema.model, table, keys)).await
    }

    async fn strays(&mut self, table: TableIndex) -> Result<Strays, SimError> {
        let count =
            self.read(|world| world.graph.memory.strays(&world.schema.model, table)).await?;
        Ok(Strays { count, queries: Vec::new() })
    }
}
