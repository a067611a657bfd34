//! Looks at topics, on clients of their own: what they find holds whether or not anything is applied.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    checkpoint::TopicPartition,
    config::Config,
    health::Side,
    kafka::{Error, Options, dead_letters::Shelf, offsets::Asking},
    metrics::{DeadLetterLook, Metrics, SOURCE_INTERVAL, TopicLook, now},
    pipeline::Store,
    service::graph::{Wait, open},
};

use super::looks::Looks;

/// How long a look at the topics' ends may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the topics' ends for the lag, until it is dropped. It begins once the topics are known.
pub async fn at_topics(
    config: Config,
    topics: watch::Receiver<Vec<String>>,
    metrics: Arc<Metrics>,
) {
    let Ok(options) = config.kafka() else { return };
    let (mut client, mut logins) = (None, Renewals::of(options));
    let mut looks = Looks::new(Side::Kafka, "Kafka".to_owned(), metrics.clone());
    let mut timer = timer();
    loop {
        timer.tick().await;
        let at = now();
        if client.is_none() {
            client = Asking::new(options).ok();
        }
        let Some(asking) = &client else { continue };
        let topics = topics.borrow().clone();
        let ends = match timeout(PATIENCE, ends(asking, &topics)).await {
            Ok(ends) => ends.map_err(|error| error.to_string()),
            Err(_) => Err(asking.silence(PATIENCE)),
        };
        let ends = looks.told(at, ends);
        if ends.is_none() && logins.have_changed(options) {
            client = None;
        }
        metrics.looked_at_topic(ends.map(|ends| TopicLook { at, ends }));
    }
}

/// What clients were made with: each keeps it for its life.
struct Renewals(BTreeMap<String, String>);

impl Renewals {
    fn of(options: &Options) -> Self {
        Renewals(options.properties.now())
    }

    /// The files have another log-in than when this was asked last.
    fn have_changed(&mut self, options: &Options) -> bool {
        let now = options.properties.now();
        let have_changed = now != self.0;
        self.0 = now;
        have_changed
    }
}

/// Looks at the position that heartbeats have brought to the graph, where each table has a topic, until it is
/// dropped. Another member of the group may have applied them.
pub async fn at_position(config: Config, metrics: Arc<Metrics>) {
    if !config.kafka().is_ok_and(|kafka| kafka.is_by_table()) {
        return;
    }
    if config.graph().is_err() {
        return;
    }
    let mut graph = None;
    let mut timer = timer();
    loop {
        timer.tick().await;
        if graph.is_none() {
            graph = open(&config, Wait::Usual).ok();
        }
        let Some(open_graph) = &graph else { continue };
        // While it is away, the last position is still true.
        match open_graph.positions(&config.pipeline).await {
            Ok(checkpoints) => {
                let whole = checkpoints.iter().find(|it| it.is_whole);
                metrics.looked_at_position(whole.map(|it| it.lsn));
            }
            // The next connection reads the log-in again.
            Err(_) => graph = None,
        }
    }
}

/// Looks how many dead letters wait, until it is dropped. The first look reads all of them.
pub async fn at_dead_letters(config: Config, metrics: Arc<Metrics>) {
    let Ok(options) = config.kafka() else { return };
    let mut shelf = match Shelf::open(options) {
        Ok(Some(shelf)) => shelf,
        Ok(None) => return,
        Err(error) => return tracing::warn!(%error, "dead letters can not be counted"),
    };
    let (mut is_told, mut logins) = (false, Renewals::of(options));
    let mut timer = timer();
    loop {
        timer.tick().await;
        let at = now();
        let look = match shelf.read_on().await {
            Ok(letters) => Some(DeadLetterLook { at, waiting: letters.count() }),
            Err(error) => {
                if !is_told {
                    tracing::warn!(%error, "dead letters can not be counted");
                }
                None
            }
        };
        is_told = look.is_none();
        if is_told
            && logins.have_changed(options)
            && let Ok(Some(renewed)) = Shelf::open(options)
        {
            shelf = renewed;
        }
        metrics.looked_at_dead_letters(look);
    }
}

fn timer() -> tokio::time::Interval {
    let mut timer = interval(SOURCE_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// Where the partitions of topics end.
pub async fn ends(
    asking: &Asking,
    topics: &[String],
) -> Result<BTreeMap<TopicPartition, u64>, Error> {
    let mut ends = BTreeMap::new();
    for topic in topics {
        let count = asking.partitions(topic).await?.unwrap_or_default();
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let at = TopicPartition { topic: topic.clone(), partition };
            let end = asking.log(&at).await?.end;
            ends.insert(at, end);
        }
    }
    Ok(ends)
}
