//! The graph as a service sees it: one trait for everything but the writes of rows, which are
//! [`Sink`] and [`ChunkWriter`].
//!
//! ```text
//!            establish          the schema that the model needs
//! checkpoints, checkpoint       how far the graph is              (reads, no lock)
//!            create             the first checkpoint and the copy's progress
//!            claim              from now on only this epoch writes
//!            renew              the checkpoint of a slot becomes that of a new one, and all is compared
//!            follow             tables or mapping have changed
//!            note, reset        beside and of the position, under that epoch
//!            planner, sink      writers under that epoch
//!            reader             what the graph has of the tables' rows
//!            remove, forget     the pipeline leaves the graph
//! ```
//!
//! A product implements these traits and [`GraphReader`], and nothing else of the program names it. The
//! simulation's graph in memory is the second implementation.
//!
//! What holds for every method, unless its own text says more:
//!
//! - **Answers.** A read returns what was committed when it ran. It takes no lock that a writer
//!   waits for.
//! - **Repetition.** The store may repeat a call by itself while the product asks for that. It gives
//!   up after a bounded time, about half a minute, with `Verdict::Again`.
//! - **Lost answers.** After `Again` it is unknown whether a write took effect. Every write says how
//!   its caller finds out, or that a repetition is right.
//! - **Durability.** A write that returns is durable, and every later read sees it.
//! - **Cancellation.** A future may be dropped at any time. A write in progress is then in the graph
//!   as a whole or not at all, and may still arrive. The store stays usable.
//! - **Parallel calls.** Calls of one store may wait for each other, and one that waits too long
//!   fails with `Again`. Tasks that must not wait for others open a store each. Stores in other
//!   processes may write at any time.
//! - **Values.** Errors that are logged show no values of rows (`Failure::without_values`).

use std::{collections::BTreeSet, future::Future, sync::Arc};

use crate::{
    checkpoint::{
        Advance, Checkpoint, Claim, Claims, Identity, NewCheckpoint, TopicId, TopicPartition,
    },
    copy::Progress,
    graph::{Circumstances, CountOf, LeftOver, Model, Statement},
    lsn::Lsn,
    request::{Findings, Request, RequestId, State},
    start::graph::Obstacle,
};

use super::{
    ChunkWriter, Extent, Footprint, GraphReader, KeptLetter, Made, NextShape, Note, Remark,
    Removed, Rows, Sink, StoreError,
};

/// A graph that pipelines keep equal to their sources, with their checkpoints in it.
pub trait Store: Send + Sync + 'static {
    /// Statements in the form in which the sink takes them.
    type Prepared: Send + 'static;
    /// Writes batches of a stream and chunks of a copy.
    type Sink: Sink<Self::Prepared> + ChunkWriter;
    /// Reads rows' nodes and relationships.
    type Reader: GraphReader;
    /// Prepares the product for the statements of a stream. All sinks of a pipeline share one.
    type Planner: Send + Sync + 'static;

    /// Which graph it is: an id that no other one has, and that it keeps over restarts; `None` where the product does
    /// not tell. A graph that was restored elsewhere may have another one.
    fn id(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Makes what checkpoints and the model need: keys are unique, and what is searched is indexed.
    /// Returns the names of what it has made of the model's; those are ready for use.
    ///
    /// What is there already stays, whoever has made it, if it meets the need. A second call makes
    /// nothing. Each object is made by itself: after an error some are there, and a repetition makes
    /// the rest. Stores may establish at the same time, also with different models. It may scan the
    /// whole graph once, so it needs a store that waits long.
    ///
    /// # Errors
    /// `Verdict::Stop` if the graph's contents forbid it; [`obstacles`](Self::obstacles) names the
    /// reasons with their fix.
    fn establish(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Whether the graph has all that the model needs. Cheap enough for every few seconds: others may
    /// drop an index while a pipeline runs.
    fn is_established(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What keeps [`establish`](Self::establish) from success, as far as it can be known in advance.
    /// Empty where nothing is missing. It changes nothing. It may wait some seconds for another
    /// instance that establishes at this moment.
    fn obstacles(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<Vec<Obstacle>, StoreError>> + Send;

    /// All checkpoints of a pipeline, one for each log, in the order of topics and partitions. Empty
    /// for a pipeline that has none.
    ///
    /// Each checkpoint is of one moment, but two may be of different ones: writers of other logs move
    /// on meanwhile.
    fn checkpoints(
        &self,
        pipeline: &str,
    ) -> impl Future<Output = Result<Vec<Checkpoint>, StoreError>> + Send;

    /// The same for somebody who asks again and again: without what they say of tables and mapping.
    fn positions(
        &self,
        pipeline: &str,
    ) -> impl Future<Output = Result<Vec<Checkpoint>, StoreError>> + Send {
        self.checkpoints(pipeline)
    }

    /// The checkpoint of one log; `None` if it has none. It takes no lock: a COMMIT in progress is
    /// not in it yet, so it never settles one.
    fn checkpoint(
        &self,
        of: &Identity,
    ) -> impl Future<Output = Result<Option<Checkpoint>, StoreError>> + Send;

    /// Makes a log's checkpoint with epoch 0, and the progress of its first copy, in one transaction.
    /// Needs [`establish`](Self::establish).
    ///
    /// Returns false, and writes nothing, if the log has a checkpoint. Of several calls at the same
    /// time exactly one returns true. After a lost answer the checkpoint may be there: a repetition
    /// returns false then, and [`checkpoint`](Self::checkpoint) has it. So whoever calls this reads
    /// the checkpoint afterwards in any case.
    fn create(
        &self,
        pipeline: &str,
        new: &NewCheckpoint,
        copy: &[Progress],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Claims a log: raises the epoch of its checkpoint, and of all progress of the pipeline's copy,
    /// in one transaction. Returns the checkpoint as it is then. `publication` is what a slot is read
    /// through from now on; `None` for a partition.
    ///
    /// - **Call it only while the log is held**, the slot or the partition, or once it is gone for good.
    ///   Else an instance that waits fences the healthy one.
    /// - Every write under an earlier epoch is refused from its commit on, with
    ///   `Verdict::Fenced`: those of sinks, of [`note`](Self::note) and of [`reset`](Self::reset),
    ///   also those that are on their way. So the position that it returns stays until the claimant
    ///   moves it.
    /// - It removes the note why the last writer stopped. Through another publication than before,
    ///   the newest transaction is not known any more.
    /// - Claims come one after the other. Each gets an epoch of its own, higher than all before. After
    ///   a lost answer, or of a call that was dropped, the epoch may be raised without a claimant, but
    ///   never after a later claim has returned; the next claim is right.
    /// - It waits for the transaction of a stopped writer, and ends it if that takes long.
    ///
    /// # Errors
    /// Also if there is no checkpoint.
    fn claim(
        &self,
        of: &Identity,
        publication: Option<&str>,
    ) -> impl Future<Output = Result<Checkpoint, StoreError>> + Send;

    /// Keeps a fact on a checkpoint, beside its position. The last one of a kind replaces those
    /// before it.
    ///
    /// Returns false, and writes nothing, if another writer has claimed the checkpoint since, or if it
    /// is gone. A repetition is right. Writes of the same epoch do not conflict with it.
    fn note(
        &self,
        claim: &Claim,
        note: Note<'_>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The graph goes on with another shape: mapping, tables and work of a checkpoint are replaced, in one
    /// transaction. Its position and epoch stay. Progress that is replaced has that epoch, too.
    ///
    /// Returns false, and writes nothing, if another writer has claimed the checkpoint since, or if it
    /// is gone. A repetition is right.
    fn follow(
        &self,
        claim: &Claim,
        next: NextShape<'_>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The checkpoint of a slot becomes that of a topic's only partition, at its first record, with a
    /// new epoch, in one step. There is no moment with both or none. Its `lsn` stays.
    ///
    /// Returns false, and writes nothing, if the checkpoint has another epoch or `lsn` than `as_read`:
    /// its writer is alive. After a lost answer a repetition returns false; the partition's checkpoint
    /// is there if the first call took effect.
    fn hand_over(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        to: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The checkpoint of a slot becomes that of a new one, where `new` begins, with a new epoch; `progress`
    /// replaces all progress of the pipeline. One transaction. Rows, requests and what others have stay.
    ///
    /// Returns false, and writes nothing, if the checkpoint has another epoch or `lsn` than `as_read`: its
    /// writer is alive. After a lost answer a repetition returns false; the checkpoint shows whether the
    /// first call took effect. Every write under an earlier epoch is refused from then on.
    fn renew(
        &self,
        from: &Identity,
        as_read: &Checkpoint,
        new: &NewCheckpoint,
        progress: &[Progress],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Moves a partition's checkpoint to where the group's offset was reset to, back or ahead. What is
    /// before `until` counts as applied again until the position has passed it, and `lsn` stays until
    /// then. The last change is forgotten.
    ///
    /// It compares and sets like [`Sink::write`], and settles a lost answer the same way. The position
    /// must be `advance.from`. No row changes.
    ///
    /// # Errors
    /// `Verdict::Fenced` if another writer has claimed the checkpoint or moved it, `Verdict::PutBack` if
    /// it is at an earlier state, or gone.
    fn reset(
        &self,
        claim: &Claim,
        advance: &Advance,
        until: Lsn,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The progress of the pipeline's copy, in the order of work: passes, tables, parts. Empty if no
    /// copy is under way. Only after a claim no other writer moves it any more.
    fn copy_progress(
        &self,
        pipeline: &str,
    ) -> impl Future<Output = Result<Vec<Progress>, StoreError>> + Send;

    /// Keeps a request for the pipeline that runs, as asked. A repetition changes nothing. Needs
    /// [`establish`](Self::establish).
    fn ask(
        &self,
        pipeline: &str,
        request: &Request,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// All requests of a pipeline that nobody has forgotten, the oldest first. Cheap enough for every
    /// second.
    fn requests(
        &self,
        pipeline: &str,
    ) -> impl Future<Output = Result<Vec<Request>, StoreError>> + Send;

    /// Begins with a request: it is running, and `progress` replaces that of earlier reconciliations, in one
    /// transaction. The progress of a copy stays.
    ///
    /// Returns false, and writes nothing, if another writer has claimed the checkpoint since, or if the
    /// request is not open any more. A repetition is right as long as nothing was compared.
    fn take_up(
        &self,
        claim: &Claim,
        request: &RequestId,
        progress: &[Progress],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps how far a request is, and what was found. A repair ends with
    /// [`ChunkWriter::settle`] instead: its state is done in the transaction that ends its passes.
    ///
    /// What is done stays done. Returns false, and writes nothing, if another writer has claimed the
    /// checkpoint since, or if somebody has ended the request. A repetition is right.
    fn answer(
        &self,
        claim: &Claim,
        request: &RequestId,
        state: &State,
        findings: &Findings,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps what was found in the share of the claimed log. The request is running from then on, and done
    /// once the shares of `all` logs, by name, are over. Shares that are over stay so.
    ///
    /// Returns false, and writes nothing, if another writer has claimed the checkpoint since, or if the
    /// request is not open. Writers of other logs may do the same at any time. A repetition is right.
    fn answer_share(
        &self,
        claim: &Claim,
        request: &RequestId,
        all: &[String],
        findings: &Findings,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends an open request at a person's word. Returns false, and writes nothing, if it is not open. The
    /// pipeline notices it by its next look.
    fn cancel(
        &self,
        pipeline: &str,
        request: &RequestId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps these findings of a request that is done, and removes the ones that were kept before: its asker
    /// has read it. A request that nobody concludes goes with a later one, a day after its end. A repetition
    /// is right.
    fn conclude(
        &self,
        pipeline: &str,
        request: &RequestId,
        findings: &Findings,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a request. A repetition is right.
    fn withdraw(
        &self,
        pipeline: &str,
        request: &RequestId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The pipeline's dead letters, in the order in which they were set aside first.
    fn letters(
        &self,
        pipeline: &str,
    ) -> impl Future<Output = Result<Vec<KeptLetter>, StoreError>> + Send;

    /// How many there are. Cheap enough for every few seconds.
    fn letter_count(&self, pipeline: &str) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes dead letters; those that are gone need nothing. Their rows stay as they are.
    ///
    /// Returns false, and removes nothing, if another writer has claimed the checkpoint since. A repetition is
    /// right. The claimant must not write beside it: it would go on to set the rows aside. Without a claim it is only
    /// for letters that no pipeline goes by, as those of a table that is mapped no longer.
    fn remove_letters(
        &self,
        pipeline: &str,
        claim: Option<&Claim>,
        names: &BTreeSet<String>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Whether a row of the model lacks values that only the source has. It may be wrong while others
    /// write.
    fn has_incomplete(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// How many rows the graph has under each of the model's labels that has some, whoever put them
    /// there. A placeholder that a row would take over is none.
    fn rows(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<Vec<(String, u64)>, StoreError>> + Send;

    /// These numbers, in their order, whoever put the nodes and relationships there. Placeholders are no rows.
    fn counts(&self, of: &[CountOf]) -> impl Future<Output = Result<Vec<u64>, StoreError>> + Send;

    /// How many nodes have this label of ours ([`PLACEHOLDER`](crate::graph::statement::PLACEHOLDER),
    /// [`INCOMPLETE`](crate::graph::statement::INCOMPLETE)), and one of the labels that the pipeline's checkpoints
    /// name. Cheap enough for every few seconds: `None` where counting them would not be. 0 without a checkpoint.
    ///
    /// Where the graph has checkpoints of this pipeline alone, all nodes with the mark may count as its own.
    fn marked(
        &self,
        pipeline: &str,
        mark: &str,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// What there is to say of the server before anything is written: that it answers, and what the
    /// user may not do. In the order in which it is shown. It changes nothing.
    ///
    /// # Errors
    /// If the graph does not answer, or the log-in is refused.
    fn describe(&self) -> impl Future<Output = Result<Vec<Remark>, StoreError>> + Send;

    /// The same of the server and the graph with this model: what will be slow, and what others have
    /// set up that may refuse rows.
    fn remarks(
        &self,
        model: &Model,
    ) -> impl Future<Output = Result<Vec<Remark>, StoreError>> + Send;

    /// All checkpoints of all pipelines, each with its pipeline's name, in the order of names.
    fn all_checkpoints(
        &self,
    ) -> impl Future<Output = Result<Vec<(String, Checkpoint)>, StoreError>> + Send;

    /// How much the graph has of these rows. It looks at each, so it needs a store that waits long.
    fn extent(&self, rows: &Rows) -> impl Future<Output = Result<Extent, StoreError>> + Send;

    /// The constraints and indexes that [`establish`](Self::establish) has made for these labels, and for these
    /// types of relationships, as far as they are still there, by name. For the last pipeline
    /// of a graph those of checkpoints are among them. What others have made is not, whatever it is about.
    fn made(&self, of: Footprint<'_>) -> impl Future<Output = Result<Made, StoreError>> + Send;

    /// Removes a bounded number of a pipeline's rows, and their relationships, in one transaction. A
    /// caller repeats it until it has removed nothing.
    ///
    /// `claims` has the pipeline's checkpoints, under the epochs that the caller has claimed. After a lost answer
    /// a repetition is right.
    ///
    /// # Errors
    /// `Verdict::Fenced`, and nothing goes, if another writer has claimed one of them since, or if they are to be
    /// all and there are more or fewer.
    fn remove(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        rows: &Rows,
    ) -> impl Future<Output = Result<Removed, StoreError>> + Send;

    /// Removes a bounded number of what an earlier mapping has left, beside nodes, in one transaction. A
    /// caller repeats it until it has removed nothing. Returns how many. Claims and errors are those of
    /// [`remove`](Self::remove).
    fn clear(
        &self,
        pipeline: &str,
        claims: Claims<'_>,
        left: &LeftOver,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Drops what [`made`](Self::made) has named. One that is gone already needs nothing, and a
    /// repetition is right.
    fn unmake(&self, names: &[String]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a pipeline's checkpoints, requests and the progress of its copy, in one transaction: the end
    /// of its removal. Every write under the claims is refused from then on.
    ///
    /// It needs the same claims as [`remove`](Self::remove), or none if there is no checkpoint. After a lost
    /// answer a repetition is right: it finds no checkpoint.
    ///
    /// # Errors
    /// `Verdict::Fenced`, and nothing goes, if there are other checkpoints than the claimed ones.
    fn forget(
        &self,
        pipeline: &str,
        claims: &[Claim],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Starts to prepare the product for the statements of a stream, until it is dropped. It returns
    /// at once, and never fails a write: what is not prepared is prepared at its first use.
    /// `stream`: what the statements are like; `None` if that can not be said in advance.
    fn planner(
        &self,
        model: &Model,
        stream: Option<Circumstances>,
    ) -> Result<Arc<Self::Planner>, StoreError>;

    /// A sink under a claim, with connections of its own: sinks write at the same time. Sinks of one
    /// claim are one for the stream, and any number for the copy. It connects with its first write.
    fn sink(
        &self,
        claim: &Claim,
        model: &Arc<Model>,
        planner: &Arc<Self::Planner>,
    ) -> Result<Self::Sink, StoreError>;

    /// A reader of rows, with a connection of its own. It needs no claim, and connects with its first
    /// call.
    fn reader(&self, model: &Arc<Model>) -> Result<Self::Reader, StoreError>;

    /// Makes statements ready for the sink, in their order. This is work for the processor alone: it
    /// runs while an earlier batch is being written.
    fn prepared(model: &Model, statements: Vec<Statement>) -> Self::Prepared;
}
