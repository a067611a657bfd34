//! Batches, order and acknowledgements: the pure state machine between a source and a sink.
//!
//! ```text
//! source --Event--> [ open transaction ] --piece--> [ waiting pieces ] --Batch--> sink
//!                                                        ^                          |
//! source <--Ack-- the checkpoint's lsn <-------------- Applied ---------------------+
//! ```
//!
//! One batch is in flight; what arrives meanwhile forms the next one, so that low load gives small
//! batches and high load large ones. Only a batch that can grow no further is ordered while another
//! is in flight: it can be made ready meanwhile. A batch holds whole source transactions; only one
//! above [`Limits::part_changes`] or [`Limits::part_bytes`] is cut into parts; and, while batches are
//! to be narrow, one of more kinds of changes than [`Limits::narrow_kinds`], because each kind needs
//! statements that the sink has not made before.
//!
//! Why nothing is lost: a position is acknowledged only when the sink has applied a batch that
//! leads to it, and the position between transactions that a keepalive names goes through the same
//! queue as the data, into the checkpoint first. `acked <= applied <= ordered <= received` is
//! asserted after every input.
//!
//! Before anything of a slot's stream is ordered or acknowledged, it has shown that it is of the
//! graph's history: see [`Engine::continuing`].

mod batches;
mod kinds;
mod open;
mod piece;
mod portion;
mod proof;
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

pub use portion::{Portion, Refused};
pub use talk::{Batch, Difference, EngineError, Input, Limits, Output, Share};

/// How many batches may be ordered and not applied: one is being written, one is being made ready.
const FLIGHTS_MAX: usize = 2;

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    portion: Portion,
    /// The furthest position the source has named.
    received: End,
    /// Where the last ordered batch leads.
    ordered: Position,
    /// Where the last applied batch led.
    applied: Position,
    acked: Lsn,
    /// The source's position through which the graph is complete.
    complete: Lsn,
    open: Option<Open>,
    waiting: VecDeque<Piece>,
    waiting_changes: usize,
    waiting_bytes: usize,
    idle: Idle,
    /// Batches that are ordered and not applied.
    flights: VecDeque<Flight>,
    hold: Hold,
    proof: Proof,
    /// The newest transaction that anything was ordered of.
    newest: Option<Newest>,
    /// Batches are to be of few kinds of changes that are new.
    narrow: Option<u64>,
    /// The kinds that were ordered since then.
    met: Kinds,
    acknowledge: Option<Lsn>,
}

/// A batch that is ordered and not applied.
#[derive(Debug)]
struct Flight {
    to: Position,
    source: Lsn,
    /// When the oldest transaction in it committed.
    oldest: Option<Timestamp>,
    changes: usize,
}

/// The position between transactions that a keepalive named.
#[derive(Debug, Default)]
struct Idle {
    position: End,
    /// The server asked again at the same position: it waits for the answer.
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
    /// An engine for a stream that is started at the checkpoint's position.
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
    /// known. The stream begins at that transaction or before it, and has to show that it is of the
    /// graph's history. Until it has, nothing is ordered, held or acknowledged: an acknowledgement
    /// would take from the slot what shows that its source was put back to an older state.
    pub fn continuing(mut self, newest: Option<Newest>, confirmed: Lsn) -> Self {
        self.newest = newest;
        self.proof = Proof::of(self.applied, newest, confirmed);
        self.acknowledge = self.proof.is_made().then_some(self.applied.lsn);
        self
    }

    /// The newest transaction that anything was ordered of, if it is known.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// The stream has shown that it is of the graph's history.
    pub fn is_proven(&self) -> bool {
        self.proof.is_made()
    }

    /// The same for a log that is not the source's own: there the graph is complete through
    /// `source`.
    pub fn complete_through(mut self, source: Lsn) -> Self {
        self.received.source = source;
        self.complete = source;
        self
    }

    /// The same with batches of what the sink was found to take at once.
    pub fn in_portions(mut self, portion: Portion) -> Self {
        self.portion = portion;
        self
    }

    /// How many changes the sink is believed to take at once.
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

    /// The furthest of the source's positions that is known.
    pub fn received(&self) -> Lsn {
        self.received.source
    }

    /// When the oldest source transaction committed that was received and is not in the graph.
    pub fn oldest_unapplied(&self) -> Option<Timestamp> {
        if let Some(Flight { oldest: oldest @ Some(_), .. }) = self.flights.front() {
            return *oldest;
        }
        let open = self.open.as_ref().filter(|open| open.skip != Skip::Everything);
        let waiting = self.waiting.front().map(|piece| piece.begin.committed_at);
        waiting.or(open.map(|open| open.begin.committed_at)).and_then(Timestamp::known)
    }

    /// Whether the source should be read on: what waits is below its limit.
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

    /// The position to acknowledge, if a new one is applied. [`Engine::poll`] gives it too; this
    /// gives nothing else, for a shell that is stopping.
    pub fn take_acknowledgement(&mut self) -> Option<Lsn> {
        let lsn = self.acknowledge.take()?;
        self.acked = lsn;
        Some(lsn)
    }

    /// Whether everything received is applied, but for a transaction that is still arriving.
    pub fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.flights.is_empty()
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

    /// The graph's position is acknowledged once the source is known to be the graph's.
    fn acknowledge_if_proven(&mut self) {
        if self.proof.is_made() && self.acked == Lsn::ZERO && self.applied.lsn > Lsn::ZERO {
            self.acknowledge = Some(self.applied.lsn);
        }
    }

    /// Where the graph will be once everything that waits is applied.
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
            // Nothing for the graph: its end is a position like a keepalive's, not worth a write of
            // its own.
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

    /// A position is a fact about progress only between transactions.
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
