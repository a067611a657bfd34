//! Seeded histories in which tables change their shape: the real judgement, translator, comparison and stream.
//!
//! ```text
//! rows, ALTER TABLE, ... -> log -> SimSource -> Pipeline -> Memory  ==  what a fresh copy of the tables makes
//!           |                                     ^
//!           +-> catalog, seen later -> look -> judge -> next shape, marks
//! ```
//!
//! `SEED=n` runs one history, `TRACE=1` prints it. `FAULT=name` plants only that fault.

mod catalog;
mod ddl;
mod faults;
mod graph;
mod paused;
mod program;
mod reader;
mod stream;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{sleep, timeout};
use wal2graph::{
    change::Change,
    graph::{
        Circumstances, LeftOver, Model, Mutations, TableIndex,
        memory::{Contents, Memory, NodeIdentity},
        model::{Shape, Table},
        plan,
        statement::PLACEHOLDER,
    },
    lsn::Lsn,
    mapping::Translator,
    pipeline::Until,
};

use super::{
    ARRIVAL, each_fault_is_caught, each_history, in_its_own_time,
    moments::Moments,
    poison::Poison,
    schema::Schema,
    store::PIPELINE,
    world::{Shared, World, difference},
};

use catalog::State;
use ddl::{VISITS, Visit};
use faults::{ALL, PAUSED, RARE, Unfollowed};
use graph::Named;
use paused::Operator;
use program::{Ending, Program};
use traffic::{Ids, Transaction, first_state};

/// Histories that `make test` runs.
const HISTORIES: u64 = 300;
/// The search must find a planted fault within this many histories.
const HISTORIES_PER_FAULT: u64 = 4_000;
/// In virtual time; a program that is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of the world changes its shape.
pub struct Shapes {
    pub rng: Rng,
    pub fault: Option<Unfollowed>,
    /// `states[n]`: the source after the first `n` transactions of its log.
    pub states: Vec<State>,
    /// The relations that each of these had to itself.
    locks: Vec<BTreeSet<u32>>,
    /// The relations that others have locked against changes.
    pub held: BTreeMap<u64, BTreeSet<u32>>,
    sessions: u64,
    ids: Ids,
    /// What is in the graph and has no name in the mapping.
    left: Named,
    /// The slot was made.
    pub has_slot: bool,
    /// Who pauses tables, if somebody does.
    pub operator: Option<Operator>,
}

impl Shapes {
    fn new(seed: u64, fault: Option<Unfollowed>) -> Self {
        let mut rng = Rng::with_seed(seed.rotate_left(17) ^ 0xdd1);
        let first = first_state(rng.u8(0..4) == 0);
        Shapes {
            rng,
            fault,
            states: vec![first],
            locks: Vec::new(),
            held: BTreeMap::new(),
            sessions: 0,
            ids: Ids(2_000),
            left: Named::default(),
            has_slot: false,
            operator: None,
        }
    }

    pub fn session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }
}

impl World {
    pub fn shapes(&mut self) -> &mut Shapes {
        self.shapes.as_mut().expect("a world whose tables change")
    }

    pub fn latest_state(&self) -> &State {
        let shapes = self.shapes.as_ref().expect("a world whose tables change");
        shapes.states.last().expect("there is always a state")
    }

    /// No transaction that is still to be seen has it to itself.
    pub fn is_free(&mut self, oid: u32) -> bool {
        let visible = self.server.visible;
        !self.shapes().locks[visible..].iter().any(|locks| locks.contains(&oid))
    }

    /// A transaction commits, if nothing keeps it from that.
    fn commit_shaped(&mut self, work: impl FnOnce(&mut Transaction<'_>) -> Option<&'static str>) {
        let xid = self.server.next_xid as u32;
        let state = self.latest_state().clone();
        let shapes = self.shapes();
        let mut transaction = Transaction {
            rng: &mut shapes.rng,
            ids: &mut shapes.ids,
            xid,
            state,
            changes: Vec::new(),
            locks: BTreeSet::new(),
        };
        let what = work(&mut transaction);
        let Transaction { state, changes, locks, .. } = transaction;
        let Some(what) = what else { return };
        let all = state.tables.iter().map(|table| table.is.oid).collect();
        let is_mapped = state.mapping(&all).is_some() && state.mapping(&BTreeSet::new()).is_some();
        let is_held = shapes.held.values().any(|held| !held.is_disjoint(&locks));
        if is_held || !is_mapped {
            self.moments.trace(|| format!("rolled back: {what}"));
            return;
        }
        shapes.states.push(state);
        shapes.locks.push(locks);
        let gap = shapes.rng.u64(0..2) * 8;
        self.server.commit(Vec::new(), changes, gap);
        let logged = self.server.log.last().expect("just committed");
        let told: Vec<String> = logged.changes.iter().map(short).collect();
        self.moments.trace(|| format!("{:?} {what}: {told:?}", logged.begin.commit_lsn));
        match self.shapes().rng.u8(0..8) {
            0 => self.server.end += 64,
            1 => {
                let (visible, all) = (self.server.visible, self.server.log.len());
                self.server.visible = self.shapes().rng.usize(visible..=all);
            }
            _ => {}
        }
    }

    /// One random transaction.
    fn commit_any(&mut self) {
        self.commit_shaped(|it| {
            let mut what = "rows";
            for _ in 0..it.rng.usize(1..4) {
                match it.rng.u8(0..3) {
                    0 => what = it.ddl().unwrap_or(what),
                    _ => it.rows(),
                }
            }
            Some(what)
        });
    }

    /// The model of the graph is this one from now on.
    pub fn adopt(&mut self, model: &Model) {
        if *self.schema.model == *model {
            return;
        }
        let left = std::mem::take(&mut self.shapes().left);
        let named = Named::export(&self.graph.memory, &self.schema.model, &left);
        let (toast, unique, relations) = (Vec::new(), None, Vec::new());
        let model = Arc::new(model.clone());
        self.schema = Arc::new(Schema { model, toast, unique, enforced: false, relations });
        self.keep(named);
    }

    fn keep(&mut self, named: Named) {
        let (memory, left) = named.import(&self.schema.model);
        self.graph.memory = memory;
        self.shapes().left = left;
    }

    /// See [`wal2graph::pipeline::Store::clear`].
    pub fn clear(&mut self, of: &LeftOver) -> u64 {
        let Some(shapes) = &self.shapes else { return 0 };
        let model = self.schema.model.clone();
        let mut named = Named::export(&self.graph.memory, &model, &shapes.left);
        let done = named.clear(of);
        self.moments.trace(|| format!("{of:?} goes: {done}"));
        self.keep(named);
        done
    }

    /// Nodes of these labels go, with everything on them.
    pub fn remove_labels(&mut self, is_one: impl Fn(&String) -> bool) -> (u64, u64) {
        let model = self.schema.model.clone();
        let left = self.shapes().left.clone();
        let mut named = Named::export(&self.graph.memory, &model, &left);
        let done = named.remove(is_one);
        self.keep(named);
        done
    }

    /// What a fresh copy of the tables makes.
    fn copied(&self) -> Result<Contents, String> {
        let state = self.latest_state();
        let mapping = state.mapping(&BTreeSet::new()).ok_or("the tables can not be mapped")?;
        let mapping = Arc::new(mapping);
        let mut translator = Translator::new(mapping.clone());
        let mut memory = Memory::default();
        for table in &state.tables {
            for row in table.rows.values() {
                let new = table.is.tuple(row, |_| true);
                let change = Change::Insert { relation: table.is.relation(row.leaf), new };
                let event =
                    translator.translate(&change, Lsn::ZERO).map_err(|it| it.to_string())?;
                let events = Mutations::fold(event);
                for statement in plan(&mapping.model, events, Circumstances::Unsettled) {
                    memory.apply(&mapping.model, &statement);
                }
            }
        }
        Ok(memory.contents(&mapping.model))
    }

    fn check_copied(&mut self) {
        let expected = match self.copied() {
            Ok(expected) => expected,
            Err(why) => return self.violate(why),
        };
        let found = self.graph.memory.contents(&self.schema.model);
        let found = without_bare(found, &self.schema.model);
        if expected != found {
            self.violate(format!("at the end: {}", difference(&expected, &found)));
        }
        if !self.shapes().left.is_empty() {
            let left = format!("{:?}", self.shapes().left);
            self.violate(format!("an earlier mapping has left {left}"));
        }
    }
}

/// Without placeholders that nothing points at. Neo4j's removal of what a foreign key has left does not sweep them.
fn without_bare(mut contents: Contents, model: &Model) -> Contents {
    let ends = contents.relationships.keys().flat_map(|it| [&it.from, &it.to]);
    let held: BTreeSet<NodeIdentity> = ends.cloned().collect();
    contents.nodes.retain(|node| {
        let of_node = |(_, table): (TableIndex, &Table)| match &table.shape {
            Shape::Node(shape) if node.labels.contains(&shape.label) => {
                let key = shape.key.iter().map(|name| node.properties[name].clone());
                Some(NodeIdentity { label: shape.label.clone(), key: key.collect() })
            }
            _ => None,
        };
        let identity = model.iter().find_map(of_node);
        !node.labels.contains(PLACEHOLDER) || identity.is_some_and(|it| held.contains(&it))
    });
    contents
}

fn short(change: &Change) -> String {
    let text = |cells: &[wal2graph::change::Cell]| {
        let cell = |cell: &wal2graph::change::Cell| match cell {
            wal2graph::change::Cell::Null => "-".to_owned(),
            wal2graph::change::Cell::Unchanged => "=".to_owned(),
            wal2graph::change::Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
        };
        cells.iter().map(cell).collect::<Vec<_>>().join(" ")
    };
    let names: Vec<String> =
        change.relations().iter().map(|it| format!("{}/{}", it.name, it.oid)).collect();
    let names = names.join(",");
    match change {
        Change::Insert { new, .. } => format!("I {names} {}", text(new)),
        Change::Update { new, .. } => format!("U {names} {}", text(new)),
        Change::Delete { before, .. } => format!("D {names} {before:?}"),
        _ => format!("T {names}"),
    }
}

/// Whether tables are paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pauses {
    None,
    Some,
}

/// Runs one history. The error describes the failure.
fn history(seed: u64, fault: Option<Unfollowed>, pauses: Pauses) -> Result<(), String> {
    let (toast, unique, relations) = (Vec::new(), None, Vec::new());
    let model = Arc::new(Model { tables: Vec::new() });
    let schema = Arc::new(Schema { model, toast, unique, enforced: false, relations });
    let mut world = World::new(seed, schema, None, Moments::new(Arc::default()));
    let operator = (pauses == Pauses::Some).then(|| Operator::new(seed));
    world.shapes = Some(Shapes { operator, ..Shapes::new(seed, fault) });
    // Nobody puts a row back here.
    world.poison = Poison::none();
    let world = Shared(Arc::new(Mutex::new(world)));
    in_its_own_time(live(&world));
    let mut world = world.lock();
    if world.violation.is_none() {
        world.check_copied();
    }
    world.violation.take().map_or(Ok(()), Err)
}

async fn live(world: &Shared) {
    for _ in 0..3 {
        world.lock().commit_any();
    }
    let traffic = tokio::spawn(traffic(world.clone()));
    let mut program = Program::new(world);
    while !traffic.is_finished() && world.lock().goes_on() {
        let life = world.lock().shapes().rng.u64(1..500);
        // Dropping the future is the crash.
        let crash = sleep(Duration::from_millis(life));
        tokio::select! {
            biased;
            () = crash => {
                world.lock().moments.trace(|| "the program is killed");
                program = Program::new(world);
            }
            _ = program.run(Until::Forever) => {}
        }
        sleep(Duration::from_millis(1)).await;
        if world.lock().shapes().rng.u8(0..3) == 0 {
            // What is on its way to the graph arrives.
            sleep(ARRIVAL).await;
        }
    }
    world.lock().commit_shaped(|it| {
        it.put_right();
        Some("all is put right")
    });
    world.lock().let_all_go_on();
    program = Program::new(world);
    let finish = async {
        loop {
            let end = Lsn(world.lock().server.end);
            {
                let mut world = world.lock();
                world.server.visible = world.server.log.len();
            }
            let ended = program.run(Until::Applied(end)).await;
            if !world.lock().goes_on() {
                return;
            }
            let is_over = world.lock().graph.records.progress(PIPELINE).is_empty();
            if ended == Ending::Reached && is_over && program.is_idle().await {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(PATIENCE, finish).await.is_err() {
        world.lock().violate("nothing moves any more");
    }
    traffic.abort();
}

async fn traffic(world: Shared) {
    let transactions = drawn(&world, |rng| rng.usize(3..25));
    for _ in 0..transactions {
        let pause = drawn(&world, |rng| if rng.bool() { 0 } else { rng.u64(0..150) });
        sleep(Duration::from_millis(pause)).await;
        world.lock().edit_file();
        let visit = drawn(&world, |rng| (rng.u8(0..5) == 0).then(|| rng.usize(0..VISITS.len())));
        // A graph that is made while a key is elsewhere has that one.
        let is_made = world.lock().checkpoint().is_some();
        match visit.map(|visit| VISITS[visit]).filter(|visit| is_made || *visit != Visit::Key) {
            None => world.lock().commit_any(),
            Some(visit) => commit_visit(&world, visit).await,
        }
    }
}

async fn commit_visit(world: &Shared, visit: Visit) {
    for step in 0..3 {
        world.lock().commit_shaped(|it| it.visit(visit, step));
        let pause = drawn(world, |rng| if rng.u8(0..4) > 0 { 0 } else { rng.u64(0..40) });
        sleep(Duration::from_millis(pause)).await;
    }
}

/// What chance says in this history.
pub fn drawn<T>(world: &Shared, draw: impl FnOnce(&mut Rng) -> T) -> T {
    draw(&mut world.lock().shapes().rng)
}

#[test]
fn every_history_of_changing_tables_ends_as_a_fresh_copy() {
    each_history(HISTORIES, |seed| history(seed, None, Pauses::None));
}

#[test]
fn every_history_with_paused_tables_ends_as_a_fresh_copy() {
    each_history(HISTORIES, |seed| history(seed, None, Pauses::Some));
}

#[test]
fn every_rule_of_following_is_needed() {
    let mut wanted: Vec<_> = ALL.iter().chain(PAUSED).copied().collect();
    if std::env::var_os("FAULT").is_some() {
        wanted.extend(RARE);
    }
    each_fault_is_caught(&wanted, HISTORIES_PER_FAULT, |seed, fault| {
        let pauses = match PAUSED.iter().any(|(it, _)| *it == fault) {
            true => Pauses::Some,
            false => Pauses::None,
        };
        history(seed, Some(fault), pauses)
    });
}
