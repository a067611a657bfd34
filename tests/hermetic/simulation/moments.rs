//! What happens in a history: printed with `TRACE=1`, and counted where it is rare and matters.
//!
//! A test that explores nothing passes too. So the histories together must have met each of
//! [`Sometimes`], or they fail.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The states, and a list of all.
macro_rules! states {
    ($($(#[$doc:meta])* $state:ident,)*) => {
        /// A state that some of the histories must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sometimes { $($(#[$doc])* $state,)* }

        const ALL: &[Sometimes] = &[$(Sometimes::$state,)*];
    };
}

states! {
    /// An instance starts where a source transaction is applied in part.
    StartWithinATransaction,
    /// The same, and the copy is not complete.
    CopyGoesOnWithinATransaction,
    /// A copy goes on after a restart, with a part of its ranges done.
    CopyGoesOn,
    /// A table has another file than its progress says, so it is copied again.
    TableCopiedAgain,
    /// The copy reads rows by key, since the stream did not carry all their values.
    IncompleteRowsRead,
    /// A key has no text to search by, so it is looked for among all rows.
    KeyWithoutText,
    /// The copy completes while changes are still to come.
    CopyCompletesUnderTraffic,
    /// An application waits for a table that the copy has locked, and gets it.
    CopyGivesWay,
    /// The graph refuses a writer whose epoch has passed.
    StoppedWriterRefused,
    /// A write is in the graph, and its answer is lost.
    AnswerLost,
    /// A write is lost on its way to the graph.
    WriteLost,
    /// A second instance takes over.
    StandbyTakesOver,
    /// The server crashes, and its slot goes back.
    SlotGoesBack,
    /// The server sends a transaction again that the graph has.
    SentAgain,
    /// The graph refuses a batch that is too large.
    TooLarge,
    /// The graph refuses changes together that it takes one at a time.
    WrongTogether,
    /// A source transaction is applied in parts.
    Parts,
    /// The source is put back to an older state than the graph's, and refused.
    OlderSourceRefused,
    /// The source is put back to a state that the graph has not passed, and followed.
    OlderSourceFollowed,
    /// A repair settles in a graph that others had damaged.
    Repaired,
    /// A verification ends while the graph differs.
    DamageVerified,
    /// Rows that the graph refuses are set aside until the end.
    SetAside,
    /// The slot is lost.
    SlotLost,
    /// The graph has become equal again after that.
    Renewed,
    /// A transaction commits, and snapshots do not see it yet.
    CommittedUnseen,
}

/// How often each state was reached.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; ALL.len()]);

impl Counts {
    /// The states that were never reached.
    pub fn missing(&self) -> Vec<Sometimes> {
        let count = |it: &Sometimes| self.0[*it as usize].load(Ordering::Relaxed);
        println!("{:?}", ALL.iter().map(|it| (it, count(it))).collect::<Vec<_>>());
        ALL.iter().copied().filter(|it| count(it) == 0).collect()
    }
}

/// The moments of one history.
#[derive(Clone, Debug)]
pub struct Moments {
    counts: Arc<Counts>,
    /// Prints each.
    traces: bool,
    printed: u64,
}

impl Moments {
    /// Counts into `counts`.
    pub fn new(counts: Arc<Counts>) -> Self {
        Moments { counts, traces: std::env::var_os("TRACE").is_some(), printed: 0 }
    }

    /// Such a state is reached.
    pub fn sometimes(&mut self, state: Sometimes) {
        self.counts.0[state as usize].fetch_add(1, Ordering::Relaxed);
        self.trace(|| format!("-- {state:?}"));
    }

    /// Something happens.
    pub fn trace<T: Display>(&mut self, what: impl FnOnce() -> T) {
        if self.traces {
            self.printed += 1;
            println!("{:>5} {}", self.printed, what());
        }
    }
}
