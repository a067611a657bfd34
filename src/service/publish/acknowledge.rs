//! What the source's log waits for: Kafka, or the graph behind it.
//!
//! ```text
//! ack: kafka    pipeline --published--> slot
//! ack: graph    pipeline --published--> min --> slot
//!               checkpoint in the graph --^
//! ```

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    change::Event,
    checkpoint::{Checkpoint, complete_through},
    config::Config,
    kafka::Ack,
    lsn::Lsn,
    pipeline::{Failure, Source, Store, StoreError},
    service::{
        ServiceError,
        graph::{Wait, open},
    },
};

/// How often the graph's checkpoint is read.
const INTERVAL: Duration = Duration::from_millis(200);

/// When the slot is acknowledged.
pub enum Rule {
    /// Once Kafka has it.
    Published,
    /// Once the graph has it too. Nothing is acknowledged before the graph has a checkpoint.
    Graph(watch::Receiver<Lsn>),
}

/// A source that is acknowledged by a rule.
pub struct Acknowledging<S> {
    source: S,
    rule: Rule,
    published: Lsn,
    acknowledged: Lsn,
}

impl<S> Acknowledging<S> {
    /// Nothing is published yet. The slot has `confirmed` this: a graph that is behind a gap is behind it too, and
    /// some servers let a slot go back.
    pub fn new(source: S, rule: Rule, confirmed: Lsn) -> Self {
        Acknowledging { source, rule, published: Lsn::ZERO, acknowledged: confirmed }
    }

    /// The source alone.
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Acknowledging<S> {
    fn pass_on(&mut self) {
        let lsn = match &mut self.rule {
            Rule::Published => self.published,
            Rule::Graph(graph) => self.published.min(*graph.borrow_and_update()),
        };
        if lsn > self.acknowledged {
            self.acknowledged = lsn;
            self.source.acknowledge(lsn);
        }
    }
}

/// Resolves when the graph has moved.
async fn moved(rule: &mut Rule) {
    if let Rule::Graph(graph) = rule
        && graph.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl<S: Source> Source for Acknowledging<S> {
    type Error = S::Error;

    async fn next(&mut self) -> Result<Vec<Event>, S::Error> {
        loop {
            tokio::select! {
                events = self.source.next() => return events,
                () = moved(&mut self.rule) => self.pass_on(),
            }
        }
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.published = self.published.max(lsn);
        self.pass_on();
    }
}

/// The rule that the configuration names. What it needs to know is looked up for as long as `tasks`
/// lives.
pub fn rule(
    config: &Config,
    system_identifier: &str,
    tasks: &mut JoinSet<()>,
) -> Result<Rule, ServiceError> {
    Ok(match config.kafka()?.ack {
        Ack::Kafka => Rule::Published,
        Ack::Graph => Rule::Graph(follow(config, system_identifier, tasks)?),
    })
}

/// Reads how far the graph is, for as long as `tasks` lives. The position only goes forward.
fn follow(
    config: &Config,
    system_identifier: &str,
    tasks: &mut JoinSet<()>,
) -> Result<watch::Receiver<Lsn>, ServiceError> {
    let (mut graph, config) = (open(config, Wait::Usual)?, config.clone());
    let system_identifier: Arc<str> = system_identifier.into();
    let (sender, receiver) = watch::channel(Lsn::ZERO);
    tasks.spawn(async move {
        let mut timer = interval(INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = Answers::default();
        loop {
            timer.tick().await;
            match position(&graph, &config.pipeline, &system_identifier).await {
                Ok(found) => {
                    answers.answered(&found);
                    let lsn = found.lsn();
                    sender.send_if_modified(|last| {
                        let further = lsn > *last;
                        *last = lsn.max(*last);
                        further
                    });
                }
                Err(error) => {
                    answers.failed(&error);
                    // A file may have another log-in by now.
                    if let (Some(_), Ok(again)) =
                        (error.refused_login(), open(&config, Wait::Usual))
                    {
                        graph = again;
                    }
                }
            }
        }
    });
    Ok(receiver)
}

/// What is in the graph of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Position(Lsn),
    /// The graph was made from another cluster: its positions say nothing of this one.
    Another(String),
}

impl Found {
    fn lsn(&self) -> Lsn {
        match self {
            Found::Position(lsn) => *lsn,
            Found::Nothing | Found::Another(_) => Lsn::ZERO,
        }
    }
}

async fn position(
    graph: &impl Store,
    pipeline: &str,
    system_identifier: &str,
) -> Result<Found, StoreError> {
    let checkpoints = graph.positions(pipeline).await?;
    let of = |checkpoint: &Checkpoint| checkpoint.origin.system_identifier.clone();
    let another = checkpoints.iter().map(of).find(|it| it != system_identifier);
    Ok(match (another, complete_through(&checkpoints)) {
        (Some(another), _) => Found::Another(another),
        (None, Some(lsn)) => Found::Position(lsn),
        (None, None) => Found::Nothing,
    })
}

/// What was said last, so that only news is logged.
#[derive(Default)]
struct Answers {
    last: Option<Said>,
}

#[derive(PartialEq)]
enum Said {
    Waiting,
    Following,
    Another,
    Away,
}

impl Answers {
    fn is_news(&mut self, said: Said) -> bool {
        let is_news = self.last.as_ref() != Some(&said);
        self.last = Some(said);
        is_news
    }

    fn answered(&mut self, found: &Found) {
        match found {
            Found::Nothing if self.is_news(Said::Waiting) => {
                tracing::info!(
                    "the slot waits: the graph has no checkpoint yet (`wal2graph apply` makes it)"
                );
            }
            Found::Position(lsn) if self.is_news(Said::Following) => {
                tracing::info!(%lsn, "the slot follows the graph");
            }
            Found::Another(system) if self.is_news(Said::Another) => tracing::error!(
                system,
                "the slot waits: the graph was made from another cluster. Name another pipeline, \
                 or see graph.url"
            ),
            _ => {}
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if self.is_news(Said::Away) {
            tracing::warn!(%error, "the slot waits: the graph's position can not be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Slot(Vec<Lsn>);

    impl Source for Slot {
        type Error = crate::postgres::replication::StreamError;

        async fn next(&mut self) -> Result<Vec<Event>, Self::Error> {
            std::future::pending().await
        }

        fn acknowledge(&mut self, lsn: Lsn) {
            self.0.push(lsn);
        }
    }

    #[test]
    fn a_graph_before_a_gap_does_not_take_the_new_slot_back() {
        let (graph, rule) = watch::channel(Lsn(50));
        let mut source = Acknowledging::new(Slot::default(), Rule::Graph(rule), Lsn(70));
        source.acknowledge(Lsn(80));
        assert!(source.source.0.is_empty());
        graph.send_replace(Lsn(75));
        source.acknowledge(Lsn(90));
        assert_eq!(source.source.0, [Lsn(75)]);
    }
}
