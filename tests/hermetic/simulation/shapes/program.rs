//! Lives of the program with tables that change: look, judge, follow, stream.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use wal2graph::{
    change::Change,
    checkpoint::Claim,
    engine::Limits,
    graph::{self, Model, Statement, TableIndex},
    lsn::Lsn,
    mapping::{Mapping, TranslateError, Translator},
    pipeline::{
        Ended, Lane, Letters, Named, Note, Observed, Pipeline, PipelineError, Reshaped, Status,
        Store, TableCopier, Translate, Translated, TurnLength, Until,
    },
    service::{
        ServiceError,
        begin::{Begun, begin},
        left_over,
        requests::{Passes, Taken, take_up},
    },
    start::{
        TableFacts,
        following::{Changed, Watched, step},
        rules::Rules,
        shape::ReadAt,
        tables::Now,
    },
};

use super::{
    super::{
        copy::pause,
        program::{Prepared, SimSink},
        reader::SimReader,
        source::SimSlot,
        store::{PUBLICATION, SimStore, identity},
        world::Shared,
    },
    drawn,
    faults::Unfollowed,
    reader::Reader,
    stream::{Agreed, Learned, Slot},
};

/// What a look has found.
pub struct Looked {
    pub mapping: Arc<Mapping>,
    pub now: Now,
    pub at: ReadAt,
    pub trace: String,
}

/// Why a life has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Reached,
    /// The tables are looked at again.
    Reshaped,
    Failed,
}

/// One run of the program, from its start to its crash.
pub struct Program {
    world: Shared,
    learned: Learned,
    /// What the file said when it started.
    rules: Rules,
    /// The look that a planted fault goes on with.
    kept: Option<Arc<Looked>>,
}

impl Program {
    pub fn new(world: &Shared) -> Self {
        {
            let mut world = world.lock();
            if world.shapes().fault == Some(Unfollowed::MarksForgotten) {
                world.progress().retain(|range| !range.is_owed);
            }
        }
        let rules = world.lock().rules();
        Program { world: world.clone(), learned: Arc::new(Mutex::default()), rules, kept: None }
    }

    fn store(&self) -> SimStore {
        let id = self.world.lock().shapes().session() as u32;
        SimStore { world: self.world.clone(), id, is_calm: false }
    }

    /// The tables that the graph follows.
    async fn known(&self, store: &SimStore) -> Result<Option<TableFacts>, ServiceError> {
        let checkpoint = store.checkpoint(&identity()).await?;
        let facts = checkpoint.and_then(|it| it.table_facts);
        Ok(facts.and_then(|it| TableFacts::parse(&it).ok()))
    }

    /// One connected life.
    pub async fn run(&mut self, until: Until) -> Ending {
        let ended = self.life(until).await;
        let is_of_tables = matches!(&ended, Err(ServiceError::Reshaped(_)));
        self.world.lock().moments.trace(|| match &ended {
            Ok(_) => "the life has reached its end".to_owned(),
            Err(error) => format!("the life ends: {error}"),
        });
        if ended.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        match ended {
            Ok(()) => Ending::Reached,
            Err(_) if is_of_tables => {
                self.kept = None;
                Ending::Reshaped
            }
            Err(_) => Ending::Failed,
        }
    }

    async fn life(&mut self, until: Until) -> Result<(), ServiceError> {
        let store = self.store();
        let fault = self.world.lock().shapes().fault;
        let known = self.known(&store).await?;
        let looked = match self.kept.clone() {
            Some(kept) => kept,
            None => {
                let looked = look(&self.world, (known.as_ref(), &self.rules)).await;
                looked.ok_or_else(not_mapped)?
            }
        };
        if fault == Some(Unfollowed::NoLook) {
            self.kept = Some(looked.clone());
        }
        let model = Arc::new(looked.mapping.model.clone());
        let before = store.checkpoint(&identity()).await?;
        let slot = SimSlot { world: self.world.clone(), id: store.id };
        let (learned, rules) = (self.learned.clone(), self.rules.clone());
        let slot = Slot { slot, looked: looked.clone(), learned, rules };
        let begun = begin(&store, slot, (&identity(), Some(PUBLICATION)), before, &model).await?;
        let engine =
            begun.engine(Limits { idle_interval: Duration::from_millis(50), ..limits(self) });
        let copies = begun.copies();
        let Begun { log: mut source, agreed, claim, progress, is_left, ended_before, .. } = begun;
        let Agreed { facts, outlines, labels } = agreed;
        let left = (outlines.as_deref(), labels.as_slice());
        left_over::clear(&store, &claim, left, (&model, &looked.mapping.labels())).await?;
        self.world.lock().check_frozen(&facts, &looked.mapping);
        let translator = Translator::new(looked.mapping.clone());
        let translator = match fault {
            Some(Unfollowed::EveryFormTaken) => translator,
            _ => {
                let learned = self.learned.lock().expect("nobody panics");
                let mut followed = learned.followed(&facts, looked.at);
                if fault == Some(Unfollowed::PausedApplied) {
                    followed.paused.clear();
                }
                translator.following(followed)
            }
        };
        let new = async |_: &[TableIndex]| Ok(Vec::new());
        let passes =
            take_up(&store, &claim, (&model, looked.mapping.paused()), (progress, is_left), new)
                .await?;
        let Passes { progress, taken } = passes;
        let named = Named::default();
        let works = copies || !progress.is_empty();
        let copier = works.then(|| {
            let lane = || Lane {
                reader: Reader::new(&self.world, &translator),
                writer: SimSink::new(&store, &claim),
                graph: SimReader::new(self.world.clone(), false),
            };
            let (lanes, blocks, waiting) =
                drawn(&self.world, |rng| (rng.usize(1..=2), rng.u32(1..=2), rng.u64(1..30)));
            let lanes = (0..lanes).map(|_| lane()).collect();
            let blocks = model.iter().map(|(table, _)| (table, blocks)).collect();
            let waiting = Duration::from_millis(waiting);
            let turn = TurnLength { waiting, idle: Duration::from_millis(200) };
            let copier = TableCopier::new(model.clone(), lanes, blocks, ended_before, progress);
            let copier = copier.passing_over(looked.mapping.paused().clone());
            match &taken {
                None => copier.in_turns(turn),
                Some(Taken { purpose, reported, .. }) => copier.in_turns(turn).reconciling(
                    *purpose,
                    named.clone(),
                    reported.clone(),
                    None,
                ),
            }
        });
        let finish: Finish = |_, statements| Prepared::alone(statements);
        let pipeline = Pipeline {
            source: &mut source,
            preparer: Translated {
                translator: Translates(translator),
                named,
                letters: Letters::none(),
                finish,
            },
            sink: Observed { sink: SimSink::new(&store, &claim), observer: () },
            copier,
            engine,
            until,
            status: watch::Sender::new(Status::default()),
        };
        let (labels, digest) = (looked.mapping.labels(), looked.mapping.digest());
        let rules = self.rules.clone();
        let watched =
            Watched { facts: facts.clone(), labels, digest, follows: true, by_names: false, rules };
        let ended = tokio::select! {
            biased;
            ended = pipeline.run(std::future::pending()) => ended,
            () = changed(&self.world, (&store, &claim), watched, looked.trace.clone()) => {
                return Err(ServiceError::Reshaped("the tables have changed".to_owned()));
            }
        };
        self.world.lock().check_frozen(&facts, &looked.mapping);
        self.ended(ended, &looked)
    }

    fn ended(
        &self,
        ended: Result<Ended, PipelineError>,
        looked: &Looked,
    ) -> Result<(), ServiceError> {
        let Err(error) = ended else { return Ok(()) };
        if let Some(reshaped) = error.reshaped() {
            if let Reshaped::Before(sent) = reshaped {
                self.learned.lock().expect("nobody panics").met(sent);
            }
            return Err(ServiceError::Reshaped(error.to_string()));
        }
        let mut world = self.world.lock();
        let visible = world.snapshot().0;
        let has_changed = world.shapes().states[visible].trace() != looked.trace;
        match &error {
            PipelineError::Prepare(_) if has_changed => {
                return Err(ServiceError::Reshaped(error.to_string()));
            }
            // It would end, and nobody would start it again.
            PipelineError::Prepare(_) | PipelineError::Engine(_) | PipelineError::Bug(_) => {
                world.violate(error.to_string());
            }
            _ => {}
        }
        Err(ServiceError::NotYet(error.to_string()))
    }

    /// Whether a look finds nothing that the graph does not know.
    pub async fn is_idle(&self) -> bool {
        if self.world.lock().shapes().fault == Some(Unfollowed::NoLook) {
            return true;
        }
        let store = self.store();
        let Ok(known) = self.known(&store).await else { return false };
        let looked = look(&self.world, (known.as_ref(), &self.rules)).await;
        let Some(looked) = looked else { return false };
        let Ok(Some(checkpoint)) = store.checkpoint(&identity()).await else { return false };
        let facts = checkpoint.table_facts.as_deref().map(TableFacts::parse);
        let Some(Ok(facts)) = facts else { return false };
        let unexplained = self.learned.lock().expect("nobody panics").unexplained();
        let seen = (&*looked.mapping, &looked.now, looked.at);
        step(&checkpoint, &facts, seen, &unexplained).1.is_none()
    }
}

type Finish = fn(&Model, Vec<Statement>) -> Prepared;

fn limits(program: &Program) -> Limits {
    let (batch_changes, part_changes) =
        drawn(&program.world, |rng| (rng.usize(1..20), rng.usize(1..10)));
    Limits { batch_changes, part_changes, ..Limits::DEFAULT }
}

fn not_mapped() -> ServiceError {
    ServiceError::NotYet("the tables can not be mapped".to_owned())
}

/// Looks, as `run` does it: the tables are locked before the snapshot, if nobody has one of them.
async fn look(
    world: &Shared,
    (known, rules): (Option<&TableFacts>, &Rules),
) -> Option<Arc<Looked>> {
    let (fault, session, names) = {
        let mut world = world.lock();
        let (fault, session) = (world.shapes().fault, world.shapes().session());
        let visible = world.snapshot().0;
        let (mapping, _) = world.shapes().states[visible].followed(known, rules, fault)?;
        let names: Vec<String> = mapping.published_tables().map(|it| it.name.clone()).collect();
        (fault, session, names)
    };
    pause(world, 6).await;
    let from = Lsn(world.lock().server.end);
    pause(world, 6).await;
    let (is_locked, visible) = {
        let mut world = world.lock();
        let state = world.latest_state();
        let oids: Option<BTreeSet<u32>> =
            names.iter().map(|name| Some(state.named(name)?.is.oid)).collect();
        let oids = oids.filter(|oids| oids.iter().all(|oid| world.is_free(*oid)));
        let is_locked = oids.is_some();
        if fault != Some(Unfollowed::LookWithoutLocks) {
            world.shapes().held.extend(oids.map(|oids| (session, oids)));
        }
        (is_locked || fault == Some(Unfollowed::LookWithoutLocks), world.snapshot().0)
    };
    let _held = Session { world: world.clone(), session };
    pause(world, 6).await;
    let (mapping, now, trace) = {
        let mut world = world.lock();
        let state = &world.shapes().states[visible];
        let (mapping, now) = state.followed(known, rules, fault)?;
        (mapping, now, state.trace())
    };
    // One that went on, or came, meanwhile was not locked.
    let is_locked = is_locked && mapping.published_tables().all(|it| names.contains(&it.name));
    drop(_held);
    let through = Lsn(world.lock().server.end);
    let at = match fault {
        Some(Unfollowed::PositionsSwapped) => ReadAt { from: through, through: from, is_locked },
        _ => ReadAt { from, through, is_locked },
    };
    Some(Arc::new(Looked { mapping: Arc::new(mapping), now, at, trace }))
}

/// Whose locks go with it.
struct Session {
    world: Shared,
    session: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.world.lock().shapes().held.remove(&self.session);
    }
}

/// Resolves once the tables have changed so that a life has to begin anew.
async fn changed(
    world: &Shared,
    (store, claim): (&SimStore, &Claim),
    mut watched: Watched,
    mut trace: String,
) {
    let mut stored = watched.facts.clone();
    if world.lock().shapes().fault == Some(Unfollowed::NoLook) {
        std::future::pending::<()>().await;
    }
    loop {
        let interval = world.lock().shapes().rng.u64(1..120);
        sleep(Duration::from_millis(interval)).await;
        let is_same = {
            let mut world = world.lock();
            let visible = world.snapshot().0;
            world.shapes().states[visible].trace() == trace
        };
        if is_same {
            continue;
        }
        let known = watched.facts.clone();
        let looked = look(world, (Some(&known), &watched.rules)).await;
        let Some(looked) = looked else { return };
        if let Some(Changed::Follow | Changed::Blocked(_)) =
            watched.changed(&looked.now, &looked.mapping, looked.at)
        {
            return;
        }
        if looked.at.is_locked && stored != watched.facts {
            if store.note(claim, Note::Tables(&watched.facts.text())).await.is_err() {
                continue;
            }
            stored.clone_from(&watched.facts);
        }
        trace.clone_from(&looked.trace);
    }
}

struct Translates(Translator);

impl Translate for Translates {
    type Error = TranslateError;

    fn translate(
        &mut self,
        change: &Change,
        committed: Lsn,
    ) -> Result<Option<graph::Event>, TranslateError> {
        self.0.translate(change, committed)
    }

    fn model(&self) -> &Model {
        &self.0.mapping().model
    }
}
