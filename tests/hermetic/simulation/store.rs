//! The graph in memory as the program's store: the second implementation, beside Neo4j's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use wal2graph::{
    checkpoint::{
        Advance, Checkpoint, Claim, Claims, Identity, Log, NewCheckpoint, TopicId, TopicPartition,
    },
    copy::Progress,
    graph::{
        Circumstances, CountOf, LeftOver, Model, Statement, TableIndex,
        letter::{Letter, LetterId},
        model::Shape,
        statement::PLACEHOLDER,
    },
    lsn::Lsn,
    pipeline::{
        Extent, Footprint, KeptChange, KeptLetter, Made, NextShape, Note, Remark, Removed, Rows,
        Store, StoreError, Weight,
    },
    request::{Findings, Request, RequestId, State},
    start::Obstacle,
};

use crate::contract;

use super::{
    copy::pause,
    faults::Fault,
    moments::Moments,
    program::{Prepared, SimError, SimSink},
    reader::SimReader,
    records::{Records, Refused},
    schema::Schema,
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

/// A letter as it is read.
fn kept(model: &Model, table: TableIndex, letter: &Letter) -> KeptLetter {
    let Letter { id, log, key, shown_key, changes, last, refusal } = letter.clone();
    let refused = refusal.map(|it| (it.reason, it.error)).unwrap_or_default();
    KeptLetter {
        name: id.name,
        log: log.to_string(),
        table: model.table(table).name.clone(),
        key: Some(key),
        shown_key,
        reason: refused.0,
        error: refused.1,
        attempts: 1,
        changes,
        last: last.map(|it| KeptChange {
            operation: it.operation.to_owned(),
            place: it.place,
            values: it.values,
        }),
        at: Default::default(),
        updated_at: Default::default(),
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
    type Reader = SimReader;
    type Planner = ();

    async fn id(&self) -> Result<Option<String>, StoreError> {
        self.read(|_| Some("memory".to_owned())).await
    }

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

    async fn follow(&self, claim: &Claim, next: NextShape<'_>) -> Result<bool, StoreError> {
        pause(&self.world, 8).await;
        Ok(self.world.lock().graph.records.follow(claim, next))
    }

    async fn renew(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        new: &NewCheckpoint,
        progress: &[Progress],
    ) -> Result<bool, StoreError> {
        let (from, as_read, new) = (from.clone(), as_read.clone(), new.clone());
        let progress = progress.to_vec();
        self.write(move |world| Ok(world.renew(&from, &as_read, &new, &progress))).await
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

    async fn ask(&self, pipeline: &str, request: &Request) -> Result<(), StoreError> {
        let (pipeline, request) = (pipeline.to_owned(), request.clone());
        self.write(move |world| {
            world.graph.records.ask(&pipeline, &request);
            Ok(())
        })
        .await
    }

    async fn requests(&self, pipeline: &str) -> Result<Vec<Request>, StoreError> {
        self.read(|world| world.graph.records.requests(pipeline).to_vec()).await
    }

    async fn take_up(
        &self,
        claim: &Claim,
        request: &RequestId,
        progress: &[Progress],
    ) -> Result<bool, StoreError> {
        let (claim, request, progress) = (claim.clone(), request.clone(), progress.to_vec());
        self.write(move |world| Ok(world.take_up(&claim, &request, &progress))).await
    }

    async fn answer(
        &self,
        claim: &Claim,
        request: &RequestId,
        state: &State,
        findings: &Findings,
    ) -> Result<bool, StoreError> {
        let (claim, request) = (claim.clone(), request.clone());
        let (state, findings) = (state.clone(), findings.clone());
        self.write(move |world| Ok(world.graph.records.answer(&claim, &request, &state, &findings)))
            .await
    }

    async fn answer_share(
        &self,
        claim: &Claim,
        request: &RequestId,
        all: &[String],
        findings: &Findings,
    ) -> Result<bool, StoreError> {
        let (claim, request) = (claim.clone(), request.clone());
        let (all, findings) = (all.to_vec(), findings.clone());
        self.write(move |world| {
            Ok(world.graph.records.answer_share(&claim, &request, &all, &findings))
        })
        .await
    }

    async fn cancel(&self, pipeline: &str, request: &RequestId) -> Result<bool, StoreError> {
        let (pipeline, request) = (pipeline.to_owned(), request.clone());
        self.write(move |world| Ok(world.graph.records.cancel(&pipeline, &request))).await
    }

    async fn conclude(
        &self,
        pipeline: &str,
        request: &RequestId,
        findings: &Findings,
    ) -> Result<(), StoreError> {
        let (pipeline, request) = (pipeline.to_owned(), request.clone());
        let findings = findings.clone();
        self.write(move |world| {
            world.graph.records.conclude(&pipeline, &request, &findings);
            Ok(())
        })
        .await
    }

    async fn withdraw(&self, pipeline: &str, request: &RequestId) -> Result<(), StoreError> {
        let (pipeline, request) = (pipeline.to_owned(), request.clone());
        self.write(move |world| {
            world.graph.records.withdraw(&pipeline, &request);
            Ok(())
        })
        .await
    }

    async fn letters(&self, pipeline: &str) -> Result<Vec<KeptLetter>, StoreError> {
        let pipeline = pipeline.to_owned();
        self.read(|world| {
            let model = &world.schema.model;
            let all = world.graph.memory.letters().filter(|(_, it)| *it.id.pipeline == *pipeline);
            all.map(|(table, letter)| kept(model, table, letter)).collect()
        })
        .await
    }

    async fn letter_count(&self, pipeline: &str) -> Result<u64, StoreError> {
        Ok(self.letters(pipeline).await?.len() as u64)
    }

    async fn remove_letters(
        &self,
        pipeline: &str,
        claim: Option<&Claim>,
        names: &BTreeSet<String>,
    ) -> Result<bool, StoreError> {
        let (claim, pipeline) = (claim.cloned(), pipeline.to_owned());
        let ids =
            names.iter().map(|name| LetterId { pipeline: (*pipeline).into(), name: name.clone() });
        let removal = Statement::RemoveLetters { letters: ids.collect() };
        self.write(move |world| {
            let claims = claim.as_ref().map(Claims::One);
            let holds = claims.is_none_or(|it| world.graph.records.hold(&pipeline, it).is_ok());
            if holds {
                let model = world.schema.model.clone();
                world.graph.memory.apply(&model, &removal);
            }
            Ok(holds)
        })
        .await
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

    async fn counts(&self, of: &[CountOf]) -> Result<Vec<u64>, StoreError> {
        let contents = self.read(|world| world.graph.memory.contents(&world.schema.model)).await?;
        let count = |of: &CountOf| match of {
            CountOf::Rows { label } => {
                let is_row = |labels: &BTreeSet<String>| {
                    labels.contains(label) && !labels.contains(PLACEHOLDER)
                };
                contents.nodes.iter().filter(|node| is_row(&node.labels)).count() as u64
            }
            CountOf::Relationships { label, relationship_type, is_outgoing } => {
                let all = contents.relationships.iter().filter(|(it, _)| {
                    let end = if *is_outgoing { &it.from } else { &it.to };
                    it.relationship_type == *relationship_type && end.label == *label
                });
                all.map(|(_, count)| *count as u64).sum()
            }
        };
        Ok(of.iter().map(count).collect())
    }

    async fn marked(&self, pipeline: &str, mark: &str) -> Result<Option<u64>, StoreError> {
        let labels = self.checkpoints(pipeline).await?.into_iter().flat_map(|it| it.labels);
        let labels: BTreeSet<String> = labels.collect();
        let count = |world: &World| {
            let contents = world.graph.memory.contents(&world.schema.model);
            let is_own = |of: &BTreeSet<String>| of.contains(mark) && !of.is_disjoint(&labels);
            contents.nodes.iter().filter(|node| is_own(&node.labels)).count() as u64
        };
        self.read(count).await.map(Some)
    }

    async fn all_checkpoints(&self) -> Result<Vec<(String, Checkpoint)>, StoreError> {
        self.read(|world| world.graph.records.of_everybody()).await
    }

    async fn extent(&self, rows: &Rows) -> Result<Extent, StoreError> {
        let contents = self.read(|world| world.graph.memory.contents(&world.schema.model)).await?;
        let is_row = |label: &String| rows.labels.contains(label) && !rows.spared.contains(label);
        let (mut nodes, mut by_type) = (BTreeMap::new(), BTreeMap::new());
        for label in contents.nodes.iter().flat_map(|node| &node.labels).filter(|it| is_row(it)) {
            *nodes.entry(label.clone()).or_default() += 1;
        }
        let mut leading_away = 0;
        for (it, count) in &contents.relationships {
            let ends = [is_row(&it.from.label), is_row(&it.to.label)];
            if ends.contains(&true) {
                *by_type.entry(it.relationship_type.clone()).or_default() += *count as u64;
                leading_away += if ends.contains(&false) { *count as u64 } else { 0 };
            }
        }
        let (nodes, relationships) = (nodes.into_iter().collect(), by_type.into_iter().collect());
        Ok(Extent { nodes, relationships, leading_away })
    }

    async fn made(&self, _: Footprint<'_>) -> Result<Made, StoreError> {
        Ok(Made::default())
    }

    async fn remove(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        rows: &Rows,
    ) -> Result<Removed, StoreError> {
        let (holds, rows) = (holding(pipeline, claims), rows.clone());
        self.write(move |world| {
            holds(&world.graph.records)?;
            let (model, Rows { labels, spared }) = (world.schema.model.clone(), &rows);
            if world.shapes.is_some() {
                let is_one = |label: &String| labels.contains(label) && !spared.contains(label);
                let (nodes, relationships) = world.remove_labels(is_one);
                return Ok(Removed { nodes, relationships });
            }
            let memory = &mut world.graph.memory;
            let (nodes, relationships) = memory.remove_labelled(&model, labels, spared, 2);
            Ok(Removed { nodes, relationships })
        })
        .await
    }

    async fn clear(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        left: &LeftOver,
    ) -> Result<u64, StoreError> {
        let (holds, left) = (holding(pipeline, claims), left.clone());
        self.write(move |world| {
            holds(&world.graph.records)?;
            Ok(world.clear(&left))
        })
        .await
    }

    async fn unmake(&self, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget(&self, pipeline: &str, claims: &[Claim]) -> Result<(), StoreError> {
        let (pipeline, claims) = (pipeline.to_owned(), claims.to_vec());
        self.write(move |world| Ok(world.graph.records.forget(&pipeline, &claims)?)).await
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

    fn reader(&self, _: &Arc<Model>) -> Result<SimReader, StoreError> {
        Ok(SimReader::new(self.world.clone(), self.is_calm))
    }

    fn prepared(_: &Model, statements: Vec<Statement>) -> Prepared {
        Prepared::alone(statements)
    }
}

/// Whether claims hold that the caller does not keep.
fn holding(
    pipeline: &str,
    claims: Claims<'_>,
) -> impl FnOnce(&Records) -> Result<(), Refused> + use<> {
    let pipeline = pipeline.to_owned();
    let (all, one) = match claims {
        Claims::All(all) => (all.to_vec(), None),
        Claims::One(one) => (Vec::new(), Some(one.clone())),
    };
    move |records| records.hold(&pipeline, one.as_ref().map_or(Claims::All(&all), Claims::One))
}

/// Stores of a graph that has nothing, where no answer is lost.
fn stores() -> impl Fn() -> SimStore {
    stores_of(super::schema::schemas().remove(0))
}

fn stores_of(schema: Arc<Schema>) -> impl Fn() -> SimStore {
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
async fn the_last_request_that_was_done_stays() {
    contract::the_last_request_that_was_done_stays(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_done_once_all_its_shares_are_over() {
    contract::requests::a_request_is_done_once_all_its_shares_are_over(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_graph_keeps_its_id() {
    contract::requests::a_graph_keeps_its_id(stores(), PIPELINE).await;
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
async fn a_graph_begins_anew_at_a_new_slot_in_one_step() {
    contract::a_graph_begins_anew_at_a_new_slot_in_one_step(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_goes_back_and_is_over_once_it_is_passed() {
    contract::a_reset_goes_back_and_is_over_once_it_is_passed(stores(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_leaves_the_graph_and_no_other_one_with_it() {
    let model = super::schema::schemas().remove(0).model.clone();
    contract::a_pipeline_leaves_the_graph_and_no_other_one_with_it(stores(), PIPELINE, &model)
        .await;
}

fn stores_to_read() -> impl Fn() -> SimStore {
    let model = Arc::new(contract::reading::model());
    let (toast, unique, relations) = (Vec::new(), None, Vec::new());
    stores_of(Arc::new(Schema { model, toast, unique, enforced: false, relations }))
}

#[tokio::test(start_paused = true)]
async fn pages_have_every_key_once() {
    contract::reading::pages_have_every_key_once(stores_to_read(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn pages_of_composite_keys_and_join_rows() {
    contract::reading::pages_of_composite_keys_and_join_rows(stores_to_read(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_equal_when_it_is_read() {
    contract::reading::what_was_written_is_equal_when_it_is_read(stores_to_read(), PIPELINE).await;
}

#[tokio::test(start_paused = true)]
async fn a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back() {
    contract::a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back(stores(), PIPELINE)
        .await;
}
