//! Neo4j as the program's store: each method leads to the module that does it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    checkpoint::{
        Advance, Checkpoint, Claim, Claims, Identity, NewCheckpoint, TopicId, TopicPartition,
    },
    copy::Progress,
    graph::{Circumstances, CountOf, LeftOver, Model, Statement},
    lsn::Lsn,
    pipeline::{
        self, Extent, Footprint, KeptLetter, Made, NextShape, Note, Remark, Removed, Rows,
        StoreError, Witness,
    },
    request::{Findings, Request, RequestId, State},
    start::graph::Obstacle,
};

use super::{
    checkpoint,
    claim::{self, ClaimError},
    clearing,
    connect::{ANSWER_LIMIT, Connection, Options},
    copy_progress,
    cypher::{incomplete_keys, likely_texts},
    error::Error,
    letters, marked,
    planning::Planner,
    reader::Reader,
    remarks, removal, renewal, requests, schema,
    sink::{Prepared, Sink},
    stopped, table_facts,
    writer::{WriteError, Writer},
};

/// What people call the product.
const NAME: &str = "Neo4j";

/// A connection for everything but the writes of rows, and how to open others.
pub struct Store {
    options: Options,
    connection: Connection,
    witness: Arc<dyn Witness>,
}

impl Store {
    /// A store whose answers may take this long. It connects at first use: an error means that the
    /// options are invalid.
    pub fn new(
        options: &Options,
        answer_limit: Duration,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, StoreError> {
        let connection = Connection::new(options, answer_limit)?;
        Ok(Store { options: options.clone(), connection, witness })
    }

    fn writer(&self, of: &Claim) -> Result<Writer, Error> {
        let connection = Connection::new(&self.options, ANSWER_LIMIT)?;
        let witness = self.witness.clone();
        let writer = Writer::new(connection, of.identity.clone(), of.epoch);
        Ok(writer.telling(Arc::new(move |reason| witness.retried(reason))))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        StoreError::new(NAME, error)
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        StoreError::new(NAME, error)
    }
}

impl From<ClaimError> for StoreError {
    fn from(error: ClaimError) -> Self {
        StoreError::new(NAME, error)
    }
}

impl pipeline::Store for Store {
    type Prepared = Prepared;
    type Sink = Sink;
    type Reader = Reader;
    type Planner = Planner;

    async fn id(&self) -> Result<Option<String>, StoreError> {
        Ok(schema::id(&self.connection).await?)
    }

    async fn establish(&self, model: &Model) -> Result<Vec<String>, StoreError> {
        checkpoint::prepare(&self.connection).await?;
        let requirements = schema::requirements(model);
        let made = schema::establish(&self.connection, &requirements).await?;
        Ok(made.iter().map(schema::Requirement::name).collect())
    }

    async fn is_established(&self, model: &Model) -> Result<bool, StoreError> {
        let requirements = schema::requirements(model);
        Ok(schema::missing(&self.connection, &requirements).await?.is_empty())
    }

    async fn obstacles(&self, model: &Model) -> Result<Vec<Obstacle>, StoreError> {
        let requirements = schema::requirements(model);
        Ok(schema::obstacles(&self.connection, &requirements).await?)
    }

    async fn checkpoints(&self, pipeline: &str) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(checkpoint::read_all(&self.connection, pipeline).await?)
    }

    async fn positions(&self, pipeline: &str) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(checkpoint::read_positions(&self.connection, pipeline).await?)
    }

    async fn checkpoint(&self, of: &Identity) -> Result<Option<Checkpoint>, StoreError> {
        Ok(checkpoint::read_one(&self.connection, of).await?)
    }

    async fn create(
        &self,
        pipeline: &str,
        new: &NewCheckpoint,
        copy: &[Progress],
    ) -> Result<bool, StoreError> {
        Ok(checkpoint::create(&self.connection, pipeline, new, copy).await?)
    }

    async fn claim(
        &self,
        of: &Identity,
        publication: Option<&str>,
    ) -> Result<Checkpoint, StoreError> {
        let claimed = claim::claim(&self.options, of, publication, claim::PATIENCE).await?;
        for transaction in &claimed.terminated {
            tracing::warn!(transaction, "ended a stopped writer's transaction");
        }
        Ok(claimed.checkpoint)
    }

    async fn note(
        &self,
        Claim { identity, epoch }: &Claim,
        note: Note<'_>,
    ) -> Result<bool, StoreError> {
        let connection = &self.connection;
        Ok(match note {
            Note::Topic(id) => checkpoint::name_topic(connection, identity, *epoch, id).await?,
            Note::Timeline(timeline) => {
                checkpoint::name_timeline(connection, identity, *epoch, timeline).await?
            }
            Note::Tables(facts) => table_facts::keep(connection, identity, *epoch, facts).await?,
            Note::Outlines { outlines, labels } => {
                table_facts::keep_outlines(connection, identity, *epoch, outlines, labels).await?
            }
            Note::File(file) => table_facts::keep_file(connection, identity, *epoch, file).await?,
            Note::Stopped(because) => stopped::tell(connection, identity, *epoch, because).await?,
        })
    }

    async fn follow(&self, claim: &Claim, next: NextShape<'_>) -> Result<bool, StoreError> {
        Ok(table_facts::follow(&self.connection, claim, next).await?)
    }

    async fn hand_over(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        to: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<bool, StoreError> {
        Ok(checkpoint::hand_over(&self.connection, from, as_read, to, topic_id).await?)
    }

    async fn renew(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        new: &NewCheckpoint,
        progress: &[Progress],
    ) -> Result<bool, StoreError> {
        Ok(renewal::renew(&self.connection, from, as_read, new, progress).await?)
    }

    async fn reset(&self, of: &Claim, advance: &Advance, until: Lsn) -> Result<(), StoreError> {
        Ok(self.writer(of)?.reset(advance, until).await?)
    }

    async fn copy_progress(&self, pipeline: &str) -> Result<Vec<Progress>, StoreError> {
        Ok(copy_progress::read(&self.connection, pipeline).await?)
    }

    async fn ask(&self, pipeline: &str, request: &Request) -> Result<(), StoreError> {
        Ok(requests::ask(&self.connection, pipeline, request).await?)
    }

    async fn requests(&self, pipeline: &str) -> Result<Vec<Request>, StoreError> {
        Ok(requests::read(&self.connection, pipeline).await?)
    }

    async fn take_up(
        &self,
        claim: &Claim,
        request: &RequestId,
        progress: &[Progress],
    ) -> Result<bool, StoreError> {
        Ok(requests::take_up(&self.connection, claim, request, progress).await?)
    }

    async fn answer(
        &self,
        claim: &Claim,
        request: &RequestId,
        state: &State,
        findings: &Findings,
    ) -> Result<bool, StoreError> {
        Ok(requests::answer(&self.connection, claim, request, state, findings).await?)
    }

    async fn answer_share(
        &self,
        claim: &Claim,
        request: &RequestId,
        all: &[String],
        findings: &Findings,
    ) -> Result<bool, StoreError> {
        Ok(requests::answer_share(&self.connection, claim, request, all, findings).await?)
    }

    async fn cancel(&self, pipeline: &str, request: &RequestId) -> Result<bool, StoreError> {
        Ok(requests::cancel(&self.connection, pipeline, request).await?)
    }

    async fn conclude(
        &self,
        pipeline: &str,
        request: &RequestId,
        findings: &Findings,
    ) -> Result<(), StoreError> {
        Ok(requests::conclude(&self.connection, pipeline, request, findings).await?)
    }

    async fn withdraw(&self, pipeline: &str, request: &RequestId) -> Result<(), StoreError> {
        Ok(requests::withdraw(&self.connection, pipeline, request).await?)
    }

    async fn letters(&self, pipeline: &str) -> Result<Vec<KeptLetter>, StoreError> {
        Ok(letters::read(&self.connection, pipeline).await?)
    }

    async fn letter_count(&self, pipeline: &str) -> Result<u64, StoreError> {
        Ok(letters::count(&self.connection, pipeline).await?)
    }

    async fn remove_letters(
        &self,
        pipeline: &str,
        claim: Option<&Claim>,
        names: &BTreeSet<String>,
    ) -> Result<bool, StoreError> {
        Ok(letters::remove(&self.connection, pipeline, claim, names).await?)
    }

    async fn has_incomplete(&self, model: &Model) -> Result<bool, StoreError> {
        for (_, text) in incomplete_keys(model, 1) {
            if !self.connection.rows(neo4rs::Query::new(text)).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn rows(&self, model: &Model) -> Result<Vec<(String, u64)>, StoreError> {
        let labels = schema::row_labels(model);
        Ok(schema::rows_under(&self.connection, &labels).await?)
    }

    async fn counts(&self, of: &[CountOf]) -> Result<Vec<u64>, StoreError> {
        Ok(schema::counts(&self.connection, of).await?)
    }

    async fn marked(&self, pipeline: &str, mark: &str) -> Result<Option<u64>, StoreError> {
        Ok(marked::count(&self.connection, pipeline, mark).await?)
    }

    async fn describe(&self) -> Result<Vec<Remark>, StoreError> {
        Ok(remarks::of_server(&self.connection, &self.options).await?)
    }

    async fn remarks(&self, model: &Model) -> Result<Vec<Remark>, StoreError> {
        Ok(remarks::of_model(&self.connection, model).await?)
    }

    async fn all_checkpoints(&self) -> Result<Vec<(String, Checkpoint)>, StoreError> {
        Ok(removal::all_checkpoints(&self.connection).await?)
    }

    async fn extent(&self, rows: &Rows) -> Result<Extent, StoreError> {
        Ok(removal::extent(&self.connection, rows).await?)
    }

    async fn made(&self, of: Footprint<'_>) -> Result<Made, StoreError> {
        Ok(schema::made(&self.connection, of).await?)
    }

    async fn remove(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        rows: &Rows,
    ) -> Result<Removed, StoreError> {
        Ok(removal::remove(&self.connection, pipeline, claims, rows).await?)
    }

    async fn clear(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        left: &LeftOver,
    ) -> Result<u64, StoreError> {
        Ok(clearing::clear(&self.connection, pipeline, claims, left).await?)
    }

    async fn unmake(&self, names: &[String]) -> Result<(), StoreError> {
        Ok(schema::unmake(&self.connection, names).await?)
    }

    async fn forget(&self, pipeline: &str, claims: &[Claim]) -> Result<(), StoreError> {
        Ok(removal::forget(&self.connection, pipeline, claims).await?)
    }

    fn planner(
        &self,
        model: &Model,
        stream: Option<Circumstances>,
    ) -> Result<Arc<Planner>, StoreError> {
        let likely = stream.map_or_else(Vec::new, |stream| likely_texts(model, stream));
        let witness = self.witness.clone();
        let tell = Arc::new(move |texts| witness.waits_for(texts));
        Ok(Planner::start(&self.options, likely, tell)?)
    }

    fn sink(
        &self,
        of: &Claim,
        model: &Arc<Model>,
        planner: &Arc<Planner>,
    ) -> Result<Sink, StoreError> {
        let reader = Connection::new(&self.options, ANSWER_LIMIT)?;
        Ok(Sink::new(self.writer(of)?, reader, model.clone()).planning(planner.clone()))
    }

    fn reader(&self, model: &Arc<Model>) -> Result<Reader, StoreError> {
        Ok(Reader::new(Connection::new(&self.options, ANSWER_LIMIT)?, model.clone()))
    }

    fn prepared(model: &Model, statements: Vec<Statement>) -> Prepared {
        Prepared::of(model, statements)
    }
}
