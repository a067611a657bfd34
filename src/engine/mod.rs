//! Batches, order and acknowledgements: the pure state machine between a source and a sink.
//!
//! ```text
//! source --Event--> [ open transaction ] --piece--> [ waiting pieces ] --Batch--> sink
//!                                                        ^                          |
//! source <--Ack-- the checkpoint's lsn <-------------- Applied ---------------------+
//! ```
//!
//! One batch is in flight; the changes that arrive meanwhile form the next one. So low load gives
//! small batches, and high load large ones. While a batch is in flight, the engine orders the next
//! one only if that can grow no further: the shell prepares it meanwhile. A batch holds whole
//! source transactions. The engine cuts a transaction into parts only above
//! [`Limits::part_changes`] or [`Limits::part_bytes`]. While batches are narrow, it also cuts one
//! with more kinds of changes than [`Limits::narrow_kinds`], because each kind needs statements
//! that the sink has not prepared yet.
//!
//! Why nothing is lost: the engine acknowledges a position only after the sink has applied a batch
//! that leads to it. A position that a keepalive names between transactions goes through the same
//! queue as the data, into the checkpoint first. After every input the engine asserts
//! `acked <= applied <= ordered <= received`.
//!
//! A slot's stream must first prove that it belongs to the graph's history. Before that the engine
//! orders and acknowledges nothing of it: see [`Engine::continuing`].

mod batches;
mod kinds;
mod open;
mod piece;
mod portion;
mod proof;
mod refusal;
mod talk;

use std::{collections::VecDeque, time::Duration};

use crate::{
    change::{Begin, Change, Commit, Event, Timestamp},
    checkpoint::{Newest, Position},
    lsn::Lsn,
};

use kinds::Kinds;
use open::{Open, Skip};
use piece::{End, Piece, PieceEnd};
use proof::Proof;
use refusal::{Content, Ordered};

pub use portion::{Portion, Refused};
pub use proof::shows;
pub use talk::{Batch, Difference, EngineError, Input, Limits, Output, Place, Share};

/// The maximum of ordered batches that are not applied: one is written, one is prepared.
pub const FLIGHTS_MAX: usize = 2;

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    portion: Portion,
    /// The furthest position the source has named.
    received: End,
    /// The last ordered batch's end position.
    ordered: Position,
    /// The last applied batch's end position.
    applied: Position,
    acked: Lsn,
    /// The source's position through which the graph is complete.
    complete: Lsn,
    open: Option<Open>,
    waiting: VecDeque<Piece>,
    /// Of how many of the waiting pieces each of the next batches is made, while a change is looked for that the sink
    /// refuses.
    search: VecDeque<usize>,
    waiting_changes: usize,
    waiting_bytes: usize,
    idle: Idle,
    /// Batches that are ordered but not applied.
    flights: VecDeque<Flight>,
    hold: Hold,
    proof: Proof,
    /// The newest transaction with an ordered change.
    newest: Option<Newest>,
    /// Set while a batch may bring only few new kinds of changes.
    narrow: Option<u64>,
    /// The kinds that were ordered since then.
    met: Kinds,
    acknowledge: Option<Lsn>,
}

/// A batch that is ordered but not applied.
#[derive(Debug)]
struct Flight {
    to: Position,
    source: Lsn,
    /// The commit time of its oldest transaction.
    oldest: Option<Timestamp>,
    changes: usize,
    content: Content,
}

/// The latest position between transactions that a keepalive named.
#[derive(Debug, Default)]
struct Idle {
    position: End,
    /// The server asked again at the same position, so it waits for the answer.
    urgent: bool,
    written_at: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Hold {
    Off,
    Wanted,
    On,
}

impl Engine {
    /// An engine for a stream that starts at the checkpoint's position.
    pub fn new(limits: Limits, position: Position) -> Self {
        Engine {
            limits,
            portion: Portion::WHOLE,
            received: End { lsn: position.lsn, source: position.lsn },
            ordered: position,
            applied: position,
            acked: Lsn::ZERO,
            complete: position.lsn,
            open: None,
            waiting: VecDeque::new(),
            search: VecDeque::new(),
            waiting_changes: 0,
            waiting_bytes: 0,
            idle: Idle::default(),
            flights: VecDeque::new(),
            hold: Hold::Off,
            proof: Proof::Made,
            newest: None,
            narrow: None,
            met: Kinds::default(),
            acknowledge: Some(position.lsn),
        }
    }

    /// The same for a slot that has confirmed `confirmed`, and a graph whose newest transaction is
    /// known. The stream begins at or before that transaction, and must prove that it belongs to
    /// the graph's history. Until then the engine orders, holds and acknowledges nothing: an
    /// acknowledgement would remove from the slot the evidence that its source was restored to an
    /// older state.
    pub fn continuing(mut self, newest: Option<Newest>, confirmed: Lsn) -> Self {
        self.newest = newest;
        self.proof = Proof::of(self.applied, newest, confirmed);
        self.acknowledge = self.proof.is_made().then_some(self.applied.lsn);
        self
    }

    /// The newest transaction with an ordered change, if known.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// Whether the stream has proved that it belongs to the graph's history.
    pub fn is_proven(&self) -> bool {
        self.proof.is_made()
    }

    /// The same for a log other than the source's own. The graph is complete through `source`.
    pub fn complete_through(mut self, source: Lsn) -> Self {
        self.received.source = source;
        self.complete = source;
        self
    }

    /// The same with batches of the size that the sink is known to accept.
    pub fn in_portions(mut self, portion: Portion) -> Self {
        self.portion = portion;
        self
    }

    /// The number of changes that the sink probably accepts at once.
    pub fn portion(&self) -> Portion {
        self.portion
    }

    /// How far the graph is.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The source's position through which the graph is complete.
    pub fn complete(&self) -> Lsn {
        self.complete
    }

    /// The furthest known position of the source.
    pub fn received(&self) -> Lsn {
        self.received.source
    }

    /// The commit time of the oldest source transaction that is received but not in the graph.
    pub fn oldest_unapplied(&self) -> Option<Timestamp> {
        if let Some(Flight { oldest: oldest @ Some(_), .. }) = self.flights.front() {
            return *oldest;
        }
        let open = self.open.as_ref().filter(|open| open.skip != Skip::Everything);
        let waiting = self.waiting.front().map(|piece| piece.begin.committed_at);
        waiting.or(open.map(|open| open.begin.committed_at)).and_then(Timestamp::known)
    }

    /// Whether to read on from the source: the waiting bytes are below their limit.
    pub fn wants_input(&self) -> bool {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        self.waiting_bytes + open < self.limits.waiting_bytes
    }

    /// Takes one input.
    ///
    /// # Panics
    /// When the shell breaks the grammar: a change outside a transaction, `Applied` with nothing in
    /// flight.
    pub fn handle(&mut self, input: Input) -> Result<(), EngineError> {
        match input {
            Input::Event(Event::Begin(begin)) => self.begin(begin)?,
            Input::Event(Event::Change(change)) => self.change(change)?,
            Input::Event(Event::Commit(commit)) => self.commit(commit),
            Input::Event(Event::Keepalive { wal_end, source_lsn, reply_requested }) => {
                self.keepalive(End { lsn: wal_end, source: source_lsn }, reply_requested)?;
            }
            Input::Applied => self.batch_applied(),
            Input::Back { refused, batches } => self.take_back(refused, batches),
            Input::Hold => self.hold = Hold::Wanted,
            Input::Release => self.hold = Hold::Off,
            Input::Narrow(narrow) => self.narrow(narrow),
        }
        self.check();
        Ok(())
    }

    /// The next thing to do, until there is none. `now` is any clock that only goes forward.
    pub fn poll(&mut self, now: Duration) -> Option<Output> {
        let output = self.next_output(now);
        self.check();
        output
    }

    /// The position to acknowledge, if a newer one is applied. [`Engine::poll`] returns it too.
    /// This function returns nothing else; a shell that stops uses it.
    pub fn take_acknowledgement(&mut self) -> Option<Lsn> {
        let lsn = self.acknowledge.take()?;
        self.acked = lsn;
        Some(lsn)
    }

    /// Whether everything received is applied. A transaction that is still arriving does not count.
    pub fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.flights.is_empty()
    }

    /// An idle position is written as soon as it can be: nothing more comes.
    pub fn write_idle_soon(&mut self) {
        self.idle.urgent = true;
    }

    /// When to [`Engine::poll`] again if nothing else happens.
    pub fn wakeup(&self) -> Option<Duration> {
        let waits = self.flights.is_empty() && self.hold == Hold::Off;
        (waits && self.waiting.is_empty() && self.idle_is_ahead()).then(|| self.idle_write_at())
    }

    fn check(&self) {
        assert!(self.acked <= self.applied.lsn, "acknowledged beyond the checkpoint");
        assert!(self.applied <= self.ordered, "applied what was never ordered");
        assert!(self.ordered.lsn <= self.received.lsn, "ordered what was never received");
        let nothing_done = self.acked == Lsn::ZERO && self.flights.is_empty();
        assert!(self.proof.is_made() || nothing_done, "went on without the proof");
    }

    fn narrow(&mut self, narrow: Option<u64>) {
        if self.narrow != narrow {
            self.narrow = narrow;
            self.met = Kinds::default();
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(), EngineError> {
        assert!(self.open.is_none(), "a transaction begins inside another");
        let mut denied = self.proof.begins(&begin)?;
        self.acknowledge_if_proven();
        let done = self.ordered_through();
        let skip = match done.part {
            _ if begin.commit_lsn < done.lsn => Skip::Everything,
            None => Skip::Nothing,
            Some(part) if part.commit_lsn == begin.commit_lsn => Skip::First(part.events),
            Some(part) => {
                let (expected, found) = (part.commit_lsn, begin.commit_lsn);
                let other = EngineError::PartOfAnotherTransaction { expected, found, log: None };
                // What comes before it had nothing for the graph, and has nothing now.
                if found > expected {
                    return Err(other);
                }
                denied = denied.or(Some(other));
                Skip::Nothing
            }
        };
        let split = matches!(skip, Skip::First(_));
        let (changes, bytes, kinds, events) = (Vec::new(), 0, Kinds::default(), 0);
        self.open = Some(Open { begin, skip, changes, bytes, kinds, events, split, denied });
        Ok(())
    }

    /// Acknowledges the graph's position once the source is known to be the graph's.
    fn acknowledge_if_proven(&mut self) {
        if self.proof.is_made() && self.acked == Lsn::ZERO && self.applied.lsn > Lsn::ZERO {
            self.acknowledge = Some(self.applied.lsn);
        }
    }

    /// The graph's position once all waiting pieces are applied.
    fn ordered_through(&self) -> Position {
        match self.waiting.back().map(|piece| piece.end) {
            Some(PieceEnd::Whole(end) | PieceEnd::LastPart(end)) => Position::at(end.lsn),
            Some(PieceEnd::Part(part)) => Position { part: Some(part), ..self.ordered },
            None => self.ordered,
        }
    }

    fn change(&mut self, change: Change) -> Result<(), EngineError> {
        let open = self.open.as_mut().expect("a change belongs to a transaction");
        if let Some(denied) = open.denied.take() {
            return Err(denied);
        }
        match &mut open.skip {
            Skip::Everything => return Ok(()),
            Skip::First(left) if *left > 0 => {
                let counted = u64::from(change.is_event());
                *left -= counted;
                open.events += counted;
                return Ok(());
            }
            Skip::First(_) | Skip::Nothing => {}
        }
        let too_wide = self.narrow.is_some()
            && open.kinds.count_with(&change, &self.met) > self.limits.narrow_kinds;
        let before = (too_wide && !open.changes.is_empty()).then(|| open.cut_part());
        open.events += u64::from(change.is_event());
        open.bytes += change.size_bytes();
        open.kinds.add(&change);
        open.changes.push(change);
        let part_changes = self.portion.bound(self.limits.part_changes);
        let full = open.changes.len() >= part_changes || open.bytes >= self.limits.part_bytes;
        let with_it = full.then(|| open.cut_part());
        before.into_iter().chain(with_it).for_each(|piece| self.wait(piece));
        Ok(())
    }

    fn commit(&mut self, commit: Commit) {
        let mut open = self.open.take().expect("a commit ends a transaction");
        assert!(open.begin.commit_lsn == commit.commit_lsn, "the commit of another transaction");
        let end = End { lsn: commit.end_lsn, source: commit.source_lsn };
        self.received = self.received.furthest(end);
        if open.skip == Skip::Everything {
            return;
        }
        if open.split {
            self.wait(open.cut(PieceEnd::LastPart(end)));
        } else if open.changes.is_empty() {
            // The graph needs nothing of it. Its end is an idle position, not worth its own write.
            self.idle.position = self.idle.position.later(end);
        } else {
            self.wait(open.cut(PieceEnd::Whole(end)));
        }
    }

    fn wait(&mut self, piece: Piece) {
        self.waiting_changes += piece.changes.len();
        self.waiting_bytes += piece.bytes;
        self.waiting.push_back(piece);
    }

    /// A position tells progress only between transactions.
    fn keepalive(&mut self, end: End, reply_requested: bool) -> Result<(), EngineError> {
        if self.open.is_some() {
            return Ok(());
        }
        self.proof.passes(end.lsn)?;
        self.acknowledge_if_proven();
        self.received = self.received.furthest(end);
        if end.lsn > self.idle.position.lsn {
            self.idle.position = end;
        } else if end.lsn == self.idle.position.lsn && reply_requested {
            self.idle.urgent = true;
        }
        Ok(())
    }

    fn batch_applied(&mut self) {
        let flight = self.flights.pop_front().expect("what is applied was in flight");
        let to = flight.to;
        self.applied = to;
        self.portion.taken(flight.changes);
        self.complete = self.complete.max(flight.source);
        if to.lsn > self.acked {
            self.acknowledge = Some(to.lsn);
        }
    }

    fn next_output(&mut self, now: Duration) -> Option<Output> {
        if let Some(lsn) = self.take_acknowledgement() {
            return Some(Output::Acknowledge(lsn));
        }
        if self.hold == Hold::On || !self.proof.is_made() {
            return None;
        }
        if !self.flights.is_empty() {
            let ahead = self.hold == Hold::Off && self.flights.len() < FLIGHTS_MAX;
            let batch = (ahead && self.has_full_batch()).then(|| self.next_batch());
            return batch.flatten().map(Output::Apply);
        }
        if self.hold == Hold::Wanted {
            self.hold = Hold::On;
            return Some(Output::Held);
        }
        self.next_batch().or_else(|| self.idle_batch(now)).map(Output::Apply)
    }
}
