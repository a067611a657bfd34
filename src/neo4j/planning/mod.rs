//! Texts are planned before they are needed, on connections of their own.
//!
//! ```text
//! likely texts (of the model) --when nothing is written--> lanes --no rows, rolled back--> Neo4j's plan cache
//! texts of a batch that have no plan --before BEGIN------> lanes                              |
//!                                                   the batch's transaction <-----------------+
//! ```
//!
//! Neo4j plans each text at its first use, on one processor, for tens of milliseconds, and some
//! hundred on a server that was just started. A batch that meets hundreds of new texts would wait for
//! one after the other, within a transaction that nobody sees until its end.
//!
//! A plan belongs to the text, to the type of `$rows`, and to whether the transaction has written
//! before: so a text is run with no rows, behind a write, in a transaction that is rolled back.
//!
//! Nothing here is an error for the pipeline: a text that can not be planned ahead is planned where
//! it is used, and fails there if it has to.

mod work;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use neo4rs::Query;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{graph, pipeline::Narrow};

use super::{
    checkpoint,
    connect::{Connection, Options},
    error::Error,
    parameter::{self, KEEP_PLAN},
    schema,
};
use work::{Task, Work};

/// How many texts are planned at once while a batch waits.
const LANES: usize = 4;
/// How many of these lanes plan what nobody waits for.
const LANES_AHEAD: usize = 2;
/// A batch with fewer new texts plans them where it uses them.
const WORTH_A_WAIT: usize = 2;
/// How long one text may be planned for, on a server that has much else to do.
const TEXT_LIMIT: Duration = Duration::from_secs(60);
/// After this a wait is told.
const LONG_WAIT: Duration = Duration::from_secs(3);
/// How often it is asked whether Neo4j is there: it takes longer than this to be started again.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After this without a write, there is time for what nobody waits for.
const IDLE_AFTER: Duration = Duration::from_millis(250);
/// Beside writes that never end, what nobody waits for is planned one part in so many of the time.
const SHARE: u32 = 40;
/// How often a text is run for its plan to be kept.
const USES: usize = 2;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Is told how many texts a batch waits for, whenever that changes; 0: it waits no more.
pub type TellWaiting = Arc<dyn Fn(usize) + Send + Sync>;

/// Plans texts for the writers of a pipeline. Ends when it is dropped.
pub struct Planner {
    shared: Arc<Shared>,
    _lanes: Vec<AbortOnDropHandle<()>>,
}

struct Shared {
    work: Mutex<Work>,
    /// Counts what happens to the work, for those who wait for that.
    happened: watch::Sender<u64>,
    writing: Mutex<Writes>,
    /// A batch may meet texts that have no plan.
    narrow: Arc<Narrow>,
    tell: TellWaiting,
    started: Instant,
    told: AtomicBool,
}

/// Batches and pieces of a copy that are being written, and when the last one was.
#[derive(Default)]
struct Writes {
    now: usize,
    ended: Option<Instant>,
}

/// Something is being written.
pub struct Writing<'a>(&'a Shared);

impl Planner {
    /// Plans the likely texts from now on, and those that batches wait for first.
    pub fn start(
        options: &Options,
        likely: Vec<Arc<str>>,
        tell: TellWaiting,
    ) -> Result<Arc<Self>, Error> {
        let shared = Arc::new(Shared {
            narrow: Arc::default(),
            work: Mutex::new(Work::new(likely)),
            happened: watch::Sender::default(),
            writing: Mutex::default(),
            tell,
            started: Instant::now(),
            told: AtomicBool::new(false),
        });
        shared.narrow.begin();
        let mut lanes = Vec::with_capacity(LANES + 1);
        let looks = Connection::new(options, TEXT_LIMIT)?;
        lanes.push(AbortOnDropHandle::new(tokio::spawn(shared.clone().look(looks))));
        for lane in 0..LANES {
            let connection = Connection::new(options, TEXT_LIMIT)?;
            let lane = shared.clone().lane(connection, lane);
            lanes.push(AbortOnDropHandle::new(tokio::spawn(lane)));
        }
        Ok(Arc::new(Planner { shared, _lanes: lanes }))
    }

    /// Says while batches should be of few texts, because some may have no plan.
    pub fn narrow(&self) -> Arc<Narrow> {
        self.shared.narrow.clone()
    }

    /// Waits until the queries' texts have plans, or can not be planned ahead.
    pub async fn ready(&self, queries: &[graph::Query]) {
        let shared = &*self.shared;
        let texts: Vec<Arc<str>> = queries.iter().map(|query| query.text.clone()).collect();
        let unplanned = {
            let mut work = shared.work();
            let unplanned = work.unplanned(&texts);
            if unplanned.len() < WORTH_A_WAIT {
                unplanned.iter().for_each(|text| work.used(text));
                return;
            }
            work.want(&unplanned);
            unplanned
        };
        shared.happen();
        shared.wait_for(&unplanned).await;
    }

    /// Until the result is dropped, what nobody waits for stands back.
    pub fn writing(&self) -> Writing<'_> {
        self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner).now += 1;
        Writing(&self.shared)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.now -= 1;
        writing.ended = Some(Instant::now());
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happen(&self) {
        self.happened.send_modify(|count| *count += 1);
    }

    async fn wait_for(&self, texts: &[Arc<str>]) {
        let _over = TellOver(&self.tell);
        let mut happened = self.happened.subscribe();
        let (began, mut told) = (Instant::now(), false);
        loop {
            let left = self.work().left(texts);
            (self.tell)(left);
            if left == 0 {
                break;
            }
            tokio::select! {
                changed = happened.changed() => if changed.is_err() { break },
                () = sleep_until(began + LONG_WAIT), if !told => {
                    told = true;
                    let statements = texts.len();
                    tracing::info!(statements, left, "changes wait: Neo4j plans statements that are new to it");
                }
            }
        }
        if told {
            let seconds = began.elapsed().as_secs_f32();
            tracing::info!(statements = texts.len(), seconds, "new statements are planned");
        }
    }

    async fn lane(self: Arc<Self>, connection: Connection, lane: usize) {
        let mut happened = self.happened.subscribe();
        let mut ahead_at = Instant::now() + IDLE_AFTER;
        loop {
            happened.mark_unchanged();
            let has_stood_back = lane == 0 && Instant::now() >= ahead_at;
            let ahead = lane < LANES_AHEAD && (self.is_idle() || has_stood_back);
            let (task, more) = {
                let mut work = self.work();
                (work.take(ahead), lane < LANES_AHEAD && work.finished_ahead().is_none())
            };
            let Some(task) = task else {
                let look_again = if more { IDLE_AFTER } else { Duration::MAX };
                match timeout(look_again, happened.changed()).await {
                    Ok(Err(_)) => return,
                    Ok(Ok(())) | Err(_) => continue,
                }
            };
            let began = Instant::now();
            let planned = timeout(TEXT_LIMIT, plan(&connection, &task.text)).await;
            if let Ok(Err(error)) = &planned {
                tracing::debug!(%error, "a statement was not planned ahead");
            }
            if task.ahead {
                ahead_at = Instant::now() + began.elapsed() * SHARE;
            }
            // What the server refuses, or takes too long for, is no better the next time.
            let is_away = matches!(planned, Ok(Err(Error::Transient(_) | Error::Lost(_))));
            self.after(task, is_away);
            if is_away {
                sleep(PAUSE).await;
            }
        }
    }

    /// Nothing has been written for a moment.
    fn is_idle(&self) -> bool {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.now == 0 && writing.ended.is_none_or(|ended| ended.elapsed() >= IDLE_AFTER)
    }

    /// Takes note of what a lane did.
    fn after(&self, task: Task, is_away: bool) {
        let was_ahead = task.ahead;
        let finished = {
            let mut work = self.work();
            match is_away {
                true => work.failed(task),
                false => work.planned(&task),
            }
            if work.is_ready() {
                self.narrow.end();
            }
            work.finished_ahead().filter(|_| was_ahead && !is_away)
        };
        if let Some(statements) = finished
            && !self.told.swap(true, Ordering::Relaxed)
        {
            let seconds = self.started.elapsed().as_secs_f32();
            tracing::info!(statements, seconds, "statements are planned ahead");
        }
        self.happen();
    }

    /// How many plans the server keeps; and now and then, whether it is there. A server that was away
    /// may have been started again, and has no plans then; those that it has cost a millisecond each.
    async fn look(self: Arc<Self>, connection: Connection) {
        let entries = schema::plan_cache_entries(&connection).await.unwrap_or_default();
        let room =
            entries.unwrap_or(schema::PLAN_CACHE_ENTRIES).saturating_sub(schema::OTHERS_PLANS);
        {
            let mut work = self.work();
            work.keep_to(room);
            if work.is_ready() {
                self.narrow.end();
            }
        }
        let mut is_there = true;
        loop {
            sleep(LOOK_INTERVAL).await;
            let was_there = is_there;
            is_there = match connection.begin().await {
                Ok(transaction) => {
                    transaction.rollback().await;
                    true
                }
                Err(_) => false,
            };
            // At once: changes may come the moment it is back.
            if was_there && !is_there {
                self.work().forget();
                self.narrow.begin();
                self.happen();
            }
        }
    }
}

/// Nobody waits any more, also when it was given up.
struct TellOver<'a>(&'a TellWaiting);

impl Drop for TellOver<'_> {
    fn drop(&mut self) {
        (self.0)(0);
    }
}

/// Has the text planned, as a writer's transaction would.
async fn plan(connection: &Connection, text: &str) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    transaction.run(Query::new(format!("CREATE (:{})", checkpoint::LABEL))).await?;
    let no_rows = parameter::list([parameter::list([].into_iter())].into_iter());
    let query = Query::new(format!("{KEEP_PLAN}{text}")).param("rows", no_rows);
    // A full cache may not take in a plan that was used only once: it goes by how often texts come.
    for _ in 0..USES {
        transaction.run(query.clone()).await?;
    }
    transaction.rollback().await;
    Ok(())
}
