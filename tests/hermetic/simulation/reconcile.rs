//! What others do to the graph, and the requests of people to compare and repair it.

use std::fmt;

use fastrand::Rng;
use wal2graph::{
    checkpoint::Claim,
    copy::{Progress, RECONCILED},
    graph::{
        Key, Pass, TableIndex,
        memory::{Damage, ToJoined, ToNode},
        model::{RelationshipKey, Shape},
    },
    pipeline::Report,
    request::{Purpose, Request, RequestId, State},
    value::Value,
};

use super::{
    faults::Fault,
    moments::Sometimes,
    schema::{Schema, Tables, to_key},
    store::PIPELINE,
    world::World,
};

/// A history ends.
const COMMITS_MAX: u32 = 60;

/// People and other applications.
pub struct People {
    /// A separate generator, so that histories stay the same as without them.
    rng: Rng,
    /// The graph may differ from the tables, until a repair has settled.
    pub is_damaged: bool,
    /// Somebody has damaged the graph, ever.
    pub was_damaged: bool,
    /// How many requests there were.
    asked: u64,
    /// Transactions that they committed beside looks.
    commits: u32,
    /// They do something in this history.
    are_here: bool,
    /// They only damage, and put nothing of their own on rows: so the graph may be damaged at any time.
    pub are_rough: bool,
    /// How often they still damage the graph when all is applied.
    rounds: u8,
}

impl People {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.rotate_left(17) ^ 0x5eed);
        let are_here = rng.bool();
        let are_rough = are_here && rng.bool();
        let (is_damaged, was_damaged) = (false, false);
        let rounds = if are_rough { 2 } else { 0 };
        People { rng, is_damaged, was_damaged, asked: 0, commits: 0, are_here, are_rough, rounds }
    }
}

impl World {
    /// Between two lives: others damage the graph, and people ask.
    pub fn people_act(&mut self) {
        if !self.people.are_here || self.poison.is_here || self.checkpoint().is_none() {
            return;
        }
        for _ in 0..if self.people.are_rough { 3 } else { 1 } {
            if self.people.rng.bool() {
                self.damage();
            }
        }
        match self.people.rng.u8(0..8) {
            0 | 1 => self.ask(Purpose::Repair),
            2 | 3 => self.ask(Purpose::Verify),
            4 => {
                let open = self.open_requests();
                if let Some(id) = self.people.rng.choice(open) {
                    self.moments.trace(|| format!("request {id} is cancelled"));
                    self.graph.records.cancel(PIPELINE, &id);
                }
            }
            _ => {}
        }
    }

    /// At the end: whether a repair has to come, which is asked then.
    pub fn must_be_repaired(&mut self) -> bool {
        let is_quiet = !self.people.is_damaged && self.open_requests().is_empty();
        if is_quiet && self.people.rounds > 0 && !self.poison.is_here {
            self.people.rounds -= 1;
            (0..3).for_each(|_| self.damage());
            if self.people.is_damaged && self.people.rng.bool() {
                self.ask(Purpose::Verify);
            }
        }
        // A verification waits for marked rows. Where others have marked what has no row, only a repair ends that, as
        // the log says.
        let repairs = |it: &Request| it.purpose == Purpose::Repair && it.state.is_open();
        if self.people.is_damaged && !self.graph.records.requests(PIPELINE).iter().any(repairs) {
            self.ask(Purpose::Repair);
        }
        self.people.is_damaged || !self.open_requests().is_empty()
    }

    fn open_requests(&self) -> Vec<RequestId> {
        let requests = self.graph.records.requests(PIPELINE).iter();
        requests.filter(|it| it.state.is_open()).map(|it| it.id.clone()).collect()
    }

    fn ask(&mut self, purpose: Purpose) {
        self.people.asked += 1;
        let id = RequestId(format!("{}-{}", purpose.name(), self.people.asked));
        self.moments.trace(|| format!("request {id}"));
        let request = Request::new(id, purpose, Vec::new(), Default::default());
        self.graph.records.ask(PIPELINE, &request);
    }

    /// The progress of passes that compare.
    pub fn compared_progress(&mut self, tables: &[TableIndex]) -> Vec<Progress> {
        let mut progress = Vec::new();
        for table in tables {
            let name = self.schema.model.table(*table).name.clone();
            for pass in RECONCILED {
                if pass == Pass::Graph && self.is_left_out(*table) {
                    continue;
                }
                let relfilenode = match pass {
                    Pass::Graph => 0,
                    _ => self.server.relfilenodes[table.0],
                };
                progress.push(Progress { relfilenode, ..Progress::new(&name, pass) });
            }
        }
        super::records::sort(&mut progress);
        progress
    }

    /// A planted fault leaves the table out of the pass over the graph.
    fn is_left_out(&self, table: TableIndex) -> bool {
        match self.fault {
            Some(Fault::NoPassOverTheGraph) => true,
            Some(Fault::JoinRowsNotCompared) => {
                matches!(self.schema.model.table(table).shape, Shape::Relationship(_))
            }
            _ => false,
        }
    }

    pub fn take_up(&mut self, claim: &Claim, request: &RequestId, progress: &[Progress]) -> bool {
        let is_taken = self.graph.records.take_up(claim, request, progress);
        if is_taken && !progress.is_empty() {
            self.graph.settled = false;
        }
        is_taken
    }

    /// Before a look's snapshot, and between it and the log's end, others commit now and then.
    pub fn commits_beside_a_look(&mut self) {
        let is_running = |it: &Request| it.state == State::Running;
        let is_compared = self.graph.records.requests(PIPELINE).iter().any(is_running);
        if is_compared && self.people.commits < COMMITS_MAX && self.people.rng.u8(0..4) == 0 {
            for _ in 0..self.people.rng.u8(1..5) {
                self.people.commits += 1;
                self.commit_transaction();
            }
        }
    }

    /// A repair is under way.
    pub fn is_repaired(&mut self) -> bool {
        self.progress().iter().any(|range| RECONCILED.contains(&range.pass))
    }

    /// The copy, or a repair, is over.
    pub fn settle(&mut self) {
        self.graph.settled = true;
        let was_repaired = self.is_repaired();
        let is_open = |it: &Request| it.purpose == Purpose::Repair && it.state == State::Running;
        let was_owed = self.progress().iter().any(|range| range.is_owed);
        if was_owed {
            self.moments.sometimes(Sometimes::Renewed);
        }
        let is_whole = was_owed || self.graph.records.requests(PIPELINE).iter().any(is_open);
        if was_repaired && is_whole && self.people.is_damaged {
            self.moments.sometimes(Sometimes::Repaired);
            self.people.is_damaged = false;
        }
        self.graph.records.settle(PIPELINE);
    }

    /// A verification is over.
    pub fn verified(&mut self, report: &Report) {
        if !self.people.was_damaged && !report.first.is_empty() {
            self.violate(format!("a false alarm: {:?}", report.first));
        }
        let position = self.checkpoint().map(|it| it.position);
        let Some(position) = position.filter(|it| it.part.is_none()) else { return };
        if self.people.is_damaged && self.differs(position.lsn) {
            self.moments.sometimes(Sometimes::DamageVerified);
            if report.first.is_empty() && report.undecided.is_empty() {
                self.violate("a verification has not seen the damage".to_owned());
            }
        }
    }

    /// A repair is over that nobody owed: what it reports was different, not only still to be streamed.
    pub fn repaired(&mut self, report: &Report) {
        if !self.people.was_damaged && !report.first.is_empty() {
            self.violate(format!("a false alarm of a repair: {:?}", report.first));
        }
    }

    /// Others damage the graph, while it equals the tables and nobody compares it.
    fn damage(&mut self) {
        let is_calm = self.graph.settled
            && self.progress().is_empty()
            && self.open_requests().is_empty()
            // What goes with a deleted row is gone.
            && self.others.are_absent()
            && !self.is_another_history();
        if !is_calm {
            return;
        }
        let schema = self.schema.clone();
        let latest = self.server.latest().clone();
        let Some(damage) = any_damage(&schema, &latest, &mut self.people.rng) else { return };
        self.moments.trace(|| format!("others damage the graph: {damage:?}"));
        let model = self.schema.model.clone();
        let before = self.graph.memory.contents(&model);
        damage.iter().for_each(|one| self.graph.memory.damage(&model, one));
        if self.graph.memory.contents(&model) != before {
            (self.people.is_damaged, self.people.was_damaged) = (true, true);
        }
    }
}

/// Something that others do to a graph of these tables.
pub fn any_damage(schema: &Schema, latest: &Tables, rng: &mut Rng) -> Option<Vec<Damage>> {
    let table = rng.choice(schema.tables().collect::<Vec<_>>())?;
    let mut key = |of: TableIndex| -> Key {
        let width = schema.key_width(of);
        let keys: Vec<_> = latest[of.0].keys().cloned().collect();
        match rng.choice(keys).filter(|_| rng.u8(0..4) > 0) {
            Some(key) => to_key(&key),
            None => to_key(&(0..width).map(|_| rng.i64(0..6)).collect::<Vec<_>>()),
        }
    };
    let one = match &schema.model.table(table).shape {
        Shape::Node(node) => {
            let own = key(table);
            let reference = rng.choice(0..node.references.len());
            match (rng.u8(0..9), reference) {
                (0, _) => {
                    let made = Damage::Node { table, key: own.clone(), what: ToNode::Make };
                    let what = ToNode::Placeholder(rng.bool());
                    return Some(vec![made, Damage::Node { table, key: own, what }]);
                }
                (1, _) => Damage::Node { table, key: own, what: ToNode::Placeholder(true) },
                (2, _) => Damage::Node { table, key: own, what: ToNode::Incomplete(true) },
                (3 | 4, Some(reference)) => {
                    let target = node.references[reference].target;
                    let target = to_key(&[rng.i64(0..6); 1][..schema.key_width(target).min(1)]);
                    Damage::Connect { table, reference, owner: own, target }
                }
                (5, Some(reference)) => Damage::Disconnect { table, reference, owner: own },
                _ if node.properties.is_empty() => {
                    Damage::Node { table, key: own, what: ToNode::Placeholder(false) }
                }
                (even, _) => {
                    let index = rng.usize(..node.properties.len());
                    let value = (even % 2 == 0).then(|| Value::Integer(rng.i64(90..99)));
                    Damage::Node { table, key: own, what: ToNode::Property(index, value) }
                }
            }
        }
        Shape::Relationship(join) => {
            let own = key(table);
            match rng.u8(0..5) {
                0 => Damage::Joined { table, key: own, what: ToJoined::Delete },
                1 => Damage::Joined { table, key: own, what: ToJoined::Double },
                2 => Damage::Joined { table, key: own, what: ToJoined::Incomplete(true) },
                3 if !join.properties.is_empty() => {
                    let value = Some(Value::Integer(rng.i64(90..99)));
                    Damage::Joined { table, key: own, what: ToJoined::Property(0, value) }
                }
                _ => {
                    let end = |rng: &mut Rng| to_key(&[rng.i64(0..6)]);
                    let (from, to) = ((join.from, end(rng)), (join.to, end(rng)));
                    let own = match &join.key {
                        RelationshipKey::Ends => None,
                        RelationshipKey::Own(_) => Some(own),
                    };
                    Damage::Join { table, own, from, to }
                }
            }
        }
    };
    Some(vec![one])
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").field("is_damaged", &self.is_damaged).finish_non_exhaustive()
    }
}
