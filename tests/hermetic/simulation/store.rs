//! The graph in memory as the program's store: the second implementation, beside Neo4j's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use wal2graph::{
    checkpoint::{
        Advance, Checkpoint, Claim, Identity, Log, NewCheckpoint, TopicId, TopicPartition,
    },
    copy::Progress,
    graph::{Circumstances, Model, Statement, model::Shape, statement::PLACEHOLDER},
    lsn::Lsn,
    pipeline::{Note, Remark, Store, StoreError, Weight},
    start::Obstacle,
};

use crate::contract;

use super::{
    copy::pause,
    faults::Fault,
    moments::Moments,
    program::{Prepared, SimError, SimSink},
    records::Refused,
    world::{Shared, World},
};

pub const PIPELINE: &str = "simulated";
pub const PUBLICATION: &str = "p";

/// The checkpoint of the simulated slot.
pub fn identity() -> Identity {
    Identity { pipeline: PIPELINE.to_owned(), log: Log::Slot("s".to_owned()) }
}

/// One instance's way to the graph.
pub struct SimStore {
    pub world: Shared,
    /// The instance.
    pub id: u32,
    /// No answer is lost.
    pub is_calm: bool,
}

impl SimStore {
    /// What was committed when the answer left.
    async fn read<T>(&self, look: impl FnOnce(&World) -> T) -> Result<T, StoreError> {
        pause(&self.world, 4).await;
        let mut world = self.world.lock();
        let found = look(&world);
        match self.is_calm || world.rng.u8(0..100) > 0 {
            true => Ok(found),
            false => Err(error(SimError::Broken)),
        }
    }

    /// A sent write takes effect or not, independent of its sender.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut World) -> Result<T, SimError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (shared, is_calm) = (self.world.clone(), self.is_calm);
        let write = tokio::spawn(async move {
            pause(&shared, 8).await;
            let mut world = shared.lock();
            let done = work(&mut world)?;
            match is_calm || world.rng.u8(0..60) > 0 {
                true => Ok(done),
                false => Err(SimError::Broken),
            }
        });
        write.await.unwrap_or(Err(SimError::Broken)).map_err(error)
    }
}

fn error(error: SimError) -> StoreError {
    StoreError::new("memory", error)
}

impl From<Refused> for SimError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Fenced => SimError::Fenced,
            Refused::PutBack => SimError::PutBack,
        }
    }
}

impl Store for SimStore {
    type Prepared = Prepared;
    type Sink = SimSink;
    type Planner = ();

    async fn establish(&self, _: &Model) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn is_established(&self, _: &Model) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn obstacles(&self, _: &Model) -> Result<Vec<Obstacle>, StoreError> {
        Ok(Vec::new())
    }

    async fn checkpoints(&self, pipeline: &str) -> Result<Vec<Checkpoint>, StoreError> {
        self.read(|world| world.graph.records.all(pipeline)).await
    }

    async fn checkpoint(&self, of: &Identity) -> Result<Option<Checkpoint>, StoreError> {
        self.read(|world| world.graph.records.one(of).cloned()).await
    }

    async fn create(
        &self,
        pipeline: &str,
        new: &NewCheckpoint,
        copy: &[Progress],
    ) -> Result<bool, StoreError> {
        let (pipeline, new, copy) = (pipeline.to_owned(), new.clone(), copy.to_vec());
        self.write(move |world| Ok(world.create(&pipeline, &new, &copy))).await
    }

    async fn claim(
        &self,
        of: &Identity,
        publication: Option<&str>,
    ) -> Result<Checkpoint, StoreError> {
        // The lock is taken while the claimant lives: nothing of it arrives after a later claim.
        pause(&self.world, 8).await;
        let claimed = self.world.lock().graph.records.claim(of, publication);
        self.read(|_| claimed).await?.ok_or_else(|| error(SimError::Broken))
    }

    async fn note(&self, claim: &Claim, note: Note<'_>) -> Result<bool, StoreError> {
        // A note is kept at once: whoever stops does not wait for it long.
        pause(&self.world, 4).await;
        Ok(self.world.lock().note(claim, note))
    }

    async fn hand_over(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        to: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<bool, StoreError> {
        let (from, as_read, to) = (from.clone(), as_read.clone(), to.clone());
        self.write(move |world| Ok(world.graph.records.hand_over(&from, &as_read, &to, topic_id)))
            .await
    }

    async fn reset(&self, claim: &Claim, advance: &Advance, until: Lsn) -> Result<(), StoreError> {
        let (claim, advance) = (claim.clone(), *advance);
        self.write(move |world| Ok(world.graph.records.reset(&claim, &advance, until)?)).await
    }

    async fn copy_progress(&self, pipeline: &str) -> Result<Vec<Progress>, StoreError> {
        self.read(|world| world.graph.records.progress(pipeline).to_vec()).await
    }

    async fn has_incomplete(&self, model: &Model) -> Result<bool, StoreError> {
        self.read(|world| {
            world.fault != Some(Fault::IncompleteRowsNotReadAgain)
                && !world.graph.memory.incomplete(model).is_empty()
        })
        .await
    }

    async fn rows(&self, model: &Model) -> Result<Vec<(String, u64)>, StoreError> {
        let nodes = self.read(|world| world.graph.memory.contents(model).nodes).await?;
        let mut rows: BTreeMap<String, u64> = BTreeMap::new();
        let labels = model.iter().filter_map(|(_, table)| match &table.shape {
            Shape::Node(node) => Some(&node.label),
            Shape::Relationship(_) => None,
        });
        for label in labels {
            let is_row = |labels: &&BTreeSet<String>| {
                labels.contains(label) && !labels.contains(PLACEHOLDER)
            };
            let count = nodes.iter().map(|node| &node.labels).filter(is_row).count() as u64;
            if count > 0 {
                rows.insert(label.clone(), count);
            }
        }
        Ok(rows.into_iter().collect())
    }

    async fn count(&self, label: &str) -> Result<u64, StoreError> {
        let count = |world: &World| {
            let contents = world.graph.memory.contents(&world.schema.model);
            contents.nodes.iter().filter(|node| node.labels.contains(label)).count() as u64
        };
        self.read(count).await
    }

    async fn describe(&self) -> Result<Vec<Remark>, StoreError> {
        let what = "the graph in memory answers".to_owned();
        Ok(vec![Remark { weight: Weight::Fine, what, fix: None }])
    }

    async fn remarks(&self, _: &Model) -> Result<Vec<Remark>, StoreError> {
        Ok(Vec::new())
    }

    fn planner(&self, _: &Model, _: Option<Circumstances>) -> Result<Arc<()>, StoreError> {
        Ok(Arc::new(()))
    }

    fn sink(&self, claim: &Claim, _: &Arc<Model>, _: &Arc<()>) -> Result<SimSink, StoreError> {
        Ok(SimSink::new(self, claim))
    }

    fn prepared(_: &Model, statements: Vec<Statement>) -> Prepared {
        Prepared::alone(statements)
    }
}

/// Stores of a graph that has nothing, where no answer is lost.
fn stores() -> impl Fn() -> SimStore {
    let schema = super::schema::schemas().remove(0);
    let moments = Moments::new(Arc::default());
    let world = Shared(Arc::new(Mutex::new(World::new(0, schema, None, moments))));
    move || SimStore { world: world.clone(), id: 1, is_calm: true }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_made_once() {
    contract::a_checkpoint_is_made_once(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_fences_all_before_it() {
    contract::a_claim_fences_all_before_it(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn another_publication_hides_the_newest_transaction() {
    contract::another_publication_hides_the_newest_transaction(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_graph_goes_over_to_a_topic_in_one_step() {
    contract::a_graph_goes_over_to_a_topic_in_one_step(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_goes_back_and_is_over_once_it_is_passed() {
    contract::a_reset_goes_back_and_is_over_once_it_is_passed(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back() {
    contract::a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back(stores(), PIPELINE)
        .await;
}
