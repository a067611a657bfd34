//! What [`Store`] promises, asked of each implementation: `tests/hermetic` asks the graph in memory,
//! `tests/live` asks Neo4j. Every function needs a pipeline that the graph has nothing of.

pub mod reading;
pub mod requests;

use std::{fmt::Debug, sync::Arc};

use wal2graph::{
    change::Timestamp,
    checkpoint::{
        Advance, Checkpoint, Claim, Claims, Epoch, Identity, Log, Mark, NewCheckpoint, Newest,
        Origin, Position, Replaying, TopicId, TopicPartition,
    },
    copy::{ChunkStep, Progress},
    graph::{
        Key, Model, Pass, Statement, TableIndex,
        statement::{Completeness, Known, NodeRow},
    },
    lsn::Lsn,
    pipeline::{ChunkWriter, Failure, Note, Rows, Sink, Store, Verdict},
    request::{Findings, Purpose, Request, RequestId, RowFindings, State},
    value::Value,
};

/// Of several first starts at the same time one makes the checkpoint, and all find it.
pub async fn a_checkpoint_is_made_once<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let (first, second, third) = (open(), open(), open());
    first.establish(&Model::default()).await.unwrap();
    assert_eq!(first.checkpoint(&slot(pipeline)).await.unwrap(), None);
    let (new, copy) = (new_checkpoint(log()), [range(1), range(0)]);
    let (a, b, c) = tokio::join!(
        first.create(pipeline, &new, &copy),
        second.create(pipeline, &new, &copy),
        third.create(pipeline, &new, &copy)
    );
    let made = [a, b, c].map(Result::unwrap);
    assert_eq!(made.iter().filter(|is_made| **is_made).count(), 1, "{made:?}");
    let read = first.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!((read.position, read.lsn, read.epoch), (at(100), Lsn(100), Epoch(0)));
    assert_eq!(read.newest_through("p"), Some(Newest::Nothing));
    assert_eq!((&read.origin, &read.mapping_digest), (&new.origin, &new.mapping_digest));
    assert_eq!((&read.labels, &read.table_facts), (&new.labels, &new.table_facts));
    assert_eq!(second.checkpoints(pipeline).await.unwrap(), [read]);
    assert_eq!(third.copy_progress(pipeline).await.unwrap(), [range(0), range(1)], "in order");
}

/// Whoever claims fences all before it: their writes of the stream, of the copy and their notes.
pub async fn a_claim_fences_all_before_it<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let (graph, model) = (open(), Arc::new(Model::default()));
    graph.establish(&model).await.unwrap();
    let none = graph.claim(&slot(pipeline), Some("p")).await;
    assert!(none.is_err(), "{none:?} was claimed, and there is none");
    graph.create(pipeline, &new_checkpoint(log()), &[range(0)]).await.unwrap();
    let planner = graph.planner(&model, None).unwrap();
    let sink = |claim: &Claim| graph.sink(claim, &model, &planner).unwrap();
    let nothing = || S::prepared(&model, Vec::new());

    let zombie = claim(&graph, pipeline).await;
    assert!(graph.note(&zombie, Note::Stopped("why")).await.unwrap());
    assert!(graph.note(&zombie, Note::Tables("facts")).await.unwrap());
    let labels = ["L".to_owned()];
    let outlines = Note::Outlines { outlines: "names", labels: &labels };
    assert!(graph.note(&zombie, outlines).await.unwrap());
    assert!(graph.note(&zombie, Note::Timeline(7)).await.unwrap());
    assert!(graph.note(&zombie, Note::File("file")).await.unwrap());
    let read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!(read.stopped.map(|stopped| stopped.because).as_deref(), Some("why"));
    assert_eq!((read.table_facts.as_deref(), read.origin.timeline), (Some("facts"), 7));
    assert_eq!((read.outlines.as_deref(), &read.labels[..]), (Some("names"), &labels[..]));
    assert_eq!(read.mapping_file.as_deref(), Some("file"));
    sink(&zombie).write(step(100, 200), nothing()).await.unwrap();

    let writer = claim(&open(), pipeline).await;
    assert!(writer.epoch > zombie.epoch, "{writer:?} {zombie:?}");
    let read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!((read.position, read.stopped), (at(200), None));
    fenced(sink(&zombie).write(step(200, 300), nothing()).await);
    fenced(sink(&zombie).write_chunk(&chunk(0, 4), Vec::new()).await);
    fenced(sink(&zombie).settle(at(200)).await);
    assert!(!graph.note(&zombie, Note::Stopped("late")).await.unwrap());
    assert!(!graph.note(&zombie, Note::Tables("late")).await.unwrap());
    assert!(!graph.note(&zombie, Note::Timeline(8)).await.unwrap());
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), [range(0)]);
    let read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!((read.position, read.stopped), (at(200), None));
    assert_eq!(read.table_facts.as_deref(), Some("facts"));

    let mut current = sink(&writer);
    current.write_chunk(&chunk(0, 4), Vec::new()).await.unwrap();
    let moved = Progress { next_block: 4, rows: 50, ..range(0) };
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), [moved]);
    current.write(step(200, 300), nothing()).await.unwrap();
    current.restart(at(300), &[range(0), range(1)]).await.unwrap();
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), [range(0), range(1)]);
    current.settle(at(300)).await.unwrap();
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), []);
    // A step that does not begin where the checkpoint is is another writer's doing.
    fenced(sink(&writer).write(step(200, 400), nothing()).await);
}

/// A request that is done stays with its numbers until the next one that is done.
pub async fn the_last_request_that_was_done_stays<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let graph = open();
    graph.establish(&Model::default()).await.unwrap();
    graph.create(pipeline, &new_checkpoint(log()), &[]).await.unwrap();
    let writer = claim(&graph, pipeline).await;
    let asked = Timestamp { unix_micros: 1_700_000_000_000_000 };
    let (first, last) = (RequestId("1".to_owned()), RequestId("2".to_owned()));
    let all = Findings { first: vec![RowFindings::default()], ..Findings::default() };
    for id in [&first, &last] {
        let request = Request::new(id.clone(), Purpose::Verify, Vec::new(), asked);
        graph.ask(pipeline, &request).await.unwrap();
        graph.conclude(pipeline, id, &all.brief()).await.unwrap();
        let open: Vec<Request> = graph.requests(pipeline).await.unwrap();
        assert!(open.iter().any(|it| it.id == *id && it.state == State::Asked), "{open:?}");
        assert!(graph.take_up(&writer, id, &[]).await.unwrap());
        assert!(graph.answer(&writer, id, &State::Done, &all).await.unwrap());
    }
    let states = async || -> Vec<(RequestId, State, usize)> {
        let all = graph.requests(pipeline).await.unwrap().into_iter();
        all.map(|it| (it.id, it.state, it.findings.first.len())).collect()
    };
    let done = |id: &RequestId, rows| (id.clone(), State::Done, rows);
    graph.conclude(pipeline, &first, &all.brief()).await.unwrap();
    assert_eq!(states().await, [done(&first, 0), done(&last, 1)], "its asker has not read it");
    for _ in 0..2 {
        graph.conclude(pipeline, &last, &all.brief()).await.unwrap();
        assert_eq!(states().await, [done(&last, 0)]);
    }
}

/// The newest transaction is known for as long as its publication shows it.
pub async fn another_publication_hides_the_newest_transaction<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let (graph, model) = (open(), Arc::new(Model::default()));
    graph.establish(&model).await.unwrap();
    graph.create(pipeline, &new_checkpoint(log()), &[]).await.unwrap();
    let planner = graph.planner(&model, None).unwrap();
    let writer = claim(&graph, pipeline).await;
    let mark = Mark { commit_lsn: Lsn(190), xid: 7, committed_at: Timestamp { unix_micros: 5 } };
    let newest = Some(Newest::Transaction(mark));
    let mut sink = graph.sink(&writer, &model, &planner).unwrap();
    let advance = Advance { newest, ..step(100, 200) };
    sink.write(advance, S::prepared(&model, Vec::new())).await.unwrap();
    let claimed = graph.claim(&slot(pipeline), Some("p")).await.unwrap();
    assert_eq!((claimed.newest, claimed.committed_at), (newest, advance.committed_at));
    let claimed = graph.claim(&slot(pipeline), Some("q")).await.unwrap();
    assert_eq!((claimed.newest, claimed.publication.as_deref()), (None, Some("q")));
}

/// A slot's checkpoint goes over to a topic in one step, unless its writer is alive.
pub async fn a_graph_goes_over_to_a_topic_in_one_step<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let graph = open();
    graph.establish(&Model::default()).await.unwrap();
    graph.create(pipeline, &new_checkpoint(log()), &[]).await.unwrap();
    let as_read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    let (to, id) = (partition(0), Some(TopicId(5)));
    let writer = claim(&graph, pipeline).await;
    assert!(!graph.hand_over(&slot(pipeline), &as_read, &to, id).await.unwrap());
    let as_read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!(as_read.epoch, writer.epoch, "nothing is handed over");
    assert!(graph.hand_over(&slot(pipeline), &as_read, &to, id).await.unwrap());
    assert!(!graph.hand_over(&slot(pipeline), &as_read, &to, id).await.unwrap(), "again");
    assert!(!graph.note(&writer, Note::Stopped("late")).await.unwrap());
    let all = graph.checkpoints(pipeline).await.unwrap();
    let [Checkpoint { position, lsn, epoch, topic_id, origin, newest, .. }] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((*position, *lsn, *topic_id, *newest), (at(0), Lsn(100), id, None));
    assert_eq!(origin.log, Log::Partition(to));
    assert!(*epoch > writer.epoch);
}

/// A slot's checkpoint becomes that of a new slot in one step, with the work that the graph is owed.
pub async fn a_graph_begins_anew_at_a_new_slot_in_one_step<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let (graph, model) = (open(), Arc::new(Model::default()));
    graph.establish(&model).await.unwrap();
    graph.create(pipeline, &new_checkpoint(log()), &[range(0), range(1)]).await.unwrap();
    let as_read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    let zombie = claim(&graph, pipeline).await;
    let new = NewCheckpoint {
        start: Lsn(900),
        origin: Origin {
            timeline: 9,
            log: Log::Slot("other".to_owned()),
            ..new_checkpoint(log()).origin
        },
        mapping_digest: "other".to_owned(),
        ..new_checkpoint(log())
    };
    let owed = [Progress { pass: Pass::Rows, is_owed: true, ..range(0) }];
    let is_renewed = graph.renew(&slot(pipeline), &as_read, &new, &owed).await.unwrap();
    assert!(!is_renewed, "its writer is alive");
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), [range(0), range(1)]);
    graph.note(&zombie, Note::Stopped("why")).await.unwrap();
    let planner = graph.planner(&model, None).unwrap();
    let mut sink = graph.sink(&zombie, &model, &planner).unwrap();
    sink.write(step(100, 200), S::prepared(&model, Vec::new())).await.unwrap();
    let as_read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert!(graph.renew(&slot(pipeline), &as_read, &new, &owed).await.unwrap());
    assert!(!graph.renew(&slot(pipeline), &as_read, &new, &owed).await.unwrap(), "again");
    let all = graph.checkpoints(pipeline).await.unwrap();
    let [begun] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (begun.position, begun.lsn, begun.newest),
        (at(900), Lsn(900), Some(Newest::Nothing))
    );
    assert_eq!((&begun.origin, &begun.mapping_digest), (&new.origin, &new.mapping_digest));
    assert_eq!((&begun.stopped, &begun.committed_at), (&None, &None));
    assert!(begun.epoch > zombie.epoch);
    assert_eq!(graph.copy_progress(pipeline).await.unwrap(), owed, "the copy before is over");
    let late = sink.write(step(200, 300), S::prepared(&model, Vec::new())).await;
    assert!(late.is_err(), "a writer of the slot before writes");
    assert_eq!(graph.checkpoints(pipeline).await.unwrap(), all);
}

/// What is before an offset is applied again, while the source's position stays.
pub async fn a_reset_goes_back_and_is_over_once_it_is_passed<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let (graph, model) = (open(), Arc::new(Model::default()));
    graph.establish(&model).await.unwrap();
    for number in [10, 2] {
        let log = Log::Partition(partition(number));
        graph.create(pipeline, &new_checkpoint(log), &[]).await.unwrap();
    }
    let all = graph.checkpoints(pipeline).await.unwrap();
    let partitions: Vec<_> = all.iter().map(|it| it.partition().unwrap().partition).collect();
    assert_eq!(partitions, [2, 10], "in the order of their numbers");

    let of = Identity { pipeline: pipeline.to_owned(), log: Log::Partition(partition(2)) };
    let read = async || graph.checkpoint(&of).await.unwrap().unwrap();
    let zombie = Claim { epoch: graph.claim(&of, None).await.unwrap().epoch, identity: of.clone() };
    let writer = Claim { epoch: graph.claim(&of, None).await.unwrap().epoch, ..zombie.clone() };
    let planner = graph.planner(&model, None).unwrap();
    let mut sink = graph.sink(&writer, &model, &planner).unwrap();
    let nothing = || S::prepared(&model, Vec::new());
    let to = |from, to, source| Advance { source_lsn: Lsn(source), ..step(from, to) };
    sink.write(to(100, 120, 6_000), nothing()).await.unwrap();
    sink.write(to(120, 130, 7_000), nothing()).await.unwrap();
    let before = read().await;
    assert_eq!((before.position, before.lsn, before.replaying), (at(130), Lsn(7_000), None));

    let back = Advance { committed_at: None, ..to(130, 100, 0) };
    fenced(graph.reset(&zombie, &back, Lsn(130)).await);
    assert_eq!(read().await.position, at(130));
    graph.reset(&writer, &back, Lsn(130)).await.unwrap();
    let replaying = |source_lsn| Some(Replaying { until: Lsn(130), source_lsn: Lsn(source_lsn) });
    let back = read().await;
    assert_eq!((back.position, back.lsn, back.replaying), (at(100), Lsn(7_000), replaying(0)));
    sink.write(to(100, 120, 6_000), nothing()).await.unwrap();
    let half = read().await;
    assert_eq!((half.lsn, half.replaying), (Lsn(7_000), replaying(6_000)));
    sink.write(to(120, 130, 7_000), nothing()).await.unwrap();
    let after = read().await;
    assert_eq!((after.position, after.lsn, after.replaying), (at(130), Lsn(7_000), None));
}

/// What a pipeline has goes in steps that can be repeated: its rows, then its progress and checkpoints.
/// A writer that begins meanwhile ends it. Table 0 of the model is of nodes, table 1 of another pipeline's.
pub async fn a_pipeline_leaves_the_graph_and_no_other_one_with_it<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
    model: &Arc<Model>,
) {
    let (graph, other) = (open(), format!("{pipeline}Other"));
    graph.establish(model).await.unwrap();
    for name in [pipeline, &other] {
        graph.create(name, &new_checkpoint(log()), &[range(0)]).await.unwrap();
    }
    let all = graph.all_checkpoints().await.unwrap();
    let ours = all.iter().filter(|(name, _)| [pipeline, &other].contains(&name.as_str()));
    assert_eq!(ours.map(|(name, _)| name).collect::<Vec<_>>(), [pipeline, &other]);

    let writer = claim(&graph, pipeline).await;
    let planner = graph.planner(model, None).unwrap();
    let mut sink = graph.sink(&writer, model, &planner).unwrap();
    let statements = (0..2).map(|table| nodes(model, TableIndex(table), 5)).collect();
    sink.write(step(100, 200), S::prepared(model, statements)).await.unwrap();
    let label = |table| model.node(TableIndex(table)).label.clone();
    let rows = Rows { labels: [label(0)].into(), spared: [label(1)].into() };
    let count = async |label: String| {
        let rows = Rows { labels: [label].into(), spared: [].into() };
        let extent = graph.extent(&rows).await.unwrap();
        extent.nodes.iter().map(|(_, nodes)| nodes).sum::<u64>()
    };
    let extent = graph.extent(&rows).await.unwrap();
    assert_eq!((extent.nodes, extent.leading_away), (vec![(label(0), 5)], 0));

    let claims = [claim(&graph, pipeline).await];
    fenced(
        graph.remove(pipeline, Claims::All(std::slice::from_ref(&writer)), &rows).await.map(drop),
    );
    fenced(graph.remove(pipeline, Claims::One(&writer), &rows).await.map(drop));
    fenced(graph.remove(pipeline, Claims::All(&[]), &rows).await.map(drop));
    fenced(graph.forget(pipeline, &[writer]).await);
    assert_eq!(count(label(0)).await, 5, "nothing went");
    let mut removed = 0;
    loop {
        match graph.remove(pipeline, Claims::All(&claims), &rows).await.unwrap().nodes {
            0 => break,
            nodes => removed += nodes,
        }
    }
    assert_eq!(removed, 5);
    assert_eq!(count(label(0)).await, 0);
    assert_eq!(count(label(1)).await, 5, "they are another pipeline's");

    for _ in 0..2 {
        graph.forget(pipeline, &claims).await.unwrap();
        assert_eq!(graph.checkpoints(pipeline).await.unwrap(), []);
        assert_eq!(graph.copy_progress(pipeline).await.unwrap(), []);
    }
    put_back(sink.write(step(200, 300), S::prepared(model, Vec::new())).await);
    assert_eq!(graph.checkpoints(&other).await.unwrap().len(), 1);
    assert_eq!(graph.copy_progress(&other).await.unwrap(), [range(0)]);
    graph.forget(&other, &[claim(&graph, &other).await]).await.unwrap();
}

/// Rows of a table without values.
fn nodes(model: &Model, table: TableIndex, count: i64) -> Statement {
    let node = model.node(table);
    let row = |key| NodeRow {
        key: Key(node.key.iter().map(|_| Value::Integer(key)).collect()),
        values: Vec::new(),
        stamp: None,
    };
    Statement::UpsertNodes {
        table,
        known: Known(vec![false; node.properties.len()].into()),
        completeness: Completeness::Complete,
        new: false,
        rows: (0..count).map(row).collect(),
    }
}

/// A writer that has left the log further on is not another's: somebody has restored the product, or emptied it.
pub async fn a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let (graph, model) = (open(), Arc::new(Model::default()));
    graph.establish(&model).await.unwrap();
    graph.create(pipeline, &new_checkpoint(log()), &[]).await.unwrap();
    let writer = claim(&graph, pipeline).await;
    let planner = graph.planner(&model, None).unwrap();
    let sink = |claim: &Claim| graph.sink(claim, &model, &planner).unwrap();
    let nothing = || S::prepared(&model, Vec::new());
    // As a writer does that had left it at 150.
    put_back(sink(&writer).write(step(150, 200), nothing()).await);
    // As one whose claim was restored away, too.
    let later = Claim { epoch: Epoch(writer.epoch.0 + 1), ..writer.clone() };
    put_back(sink(&later).write(step(100, 200), nothing()).await);
    let read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert_eq!((read.position, read.epoch), (at(100), writer.epoch), "nothing is written");
    fenced(sink(&writer).write(step(50, 200), nothing()).await);
    sink(&writer).write(step(100, 200), nothing()).await.unwrap();

    let as_read = graph.checkpoint(&slot(pipeline)).await.unwrap().unwrap();
    assert!(graph.hand_over(&slot(pipeline), &as_read, &partition(0), None).await.unwrap());
    put_back(sink(&writer).write(step(200, 300), nothing()).await);
    put_back(sink(&writer).settle(at(200)).await);
    assert_eq!(graph.checkpoint(&slot(pipeline)).await.unwrap(), None, "none is made again");
}

fn put_back(ended: Result<(), impl Failure + Debug>) {
    let verdict = ended.as_ref().map_err(Failure::verdict);
    assert_eq!(verdict, Err(Verdict::PutBack), "{ended:?}");
}

fn fenced(ended: Result<(), impl Failure + Debug>) {
    let verdict = ended.as_ref().map_err(Failure::verdict);
    assert_eq!(verdict, Err(Verdict::Fenced), "{ended:?}");
}

async fn claim(graph: &impl Store, pipeline: &str) -> Claim {
    let claimed = graph.claim(&slot(pipeline), Some("p")).await.unwrap();
    Claim { identity: slot(pipeline), epoch: claimed.epoch }
}

fn log() -> Log {
    Log::Slot("s".to_owned())
}

fn slot(pipeline: &str) -> Identity {
    Identity { pipeline: pipeline.to_owned(), log: log() }
}

fn partition(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), partition }
}

fn at(lsn: u64) -> Position {
    Position::at(Lsn(lsn))
}

fn step(from: u64, to: u64) -> Advance {
    Advance {
        from: at(from),
        to: at(to),
        source_lsn: Lsn(to),
        committed_at: Some(Timestamp { unix_micros: 1_700_000_000_123_456 }),
        last_change: None,
        last_record: None,
        newest: None,
    }
}

fn new_checkpoint(log: Log) -> NewCheckpoint {
    let is_slot = matches!(log, Log::Slot(_));
    NewCheckpoint {
        start: Lsn(100),
        origin: Origin { system_identifier: "7".to_owned(), timeline: 1, log },
        publication: is_slot.then(|| "p".to_owned()),
        partitions: if is_slot { 1 } else { 12 },
        topic_id: None,
        is_whole: false,
        publisher: None,
        mapping_digest: "d".to_owned(),
        labels: vec!["A".to_owned(), "B".to_owned()],
        table_facts: is_slot.then(|| "tables".to_owned()),
        outlines: is_slot.then(|| "outlines".to_owned()),
    }
}

/// The progress of a range that nothing is copied of yet.
pub fn range(part: u32) -> Progress {
    Progress {
        table: "public.orders".to_owned(),
        partition: None,
        pass: Pass::Nodes,
        part,
        next_block: 0,
        end_block: Some(10),
        relfilenode: 16_400,
        rows: 0,
        done: false,
        is_owed: false,
        spares: false,
    }
}

fn chunk(from_block: u32, to_block: u32) -> ChunkStep {
    ChunkStep {
        table: "public.orders".to_owned(),
        pass: Pass::Nodes,
        part: 0,
        from_block,
        to_block,
        relfilenode: 16_400,
        rows: 50,
        done: false,
    }
}
