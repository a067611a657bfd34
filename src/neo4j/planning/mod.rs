//! Plans texts before they are needed, on separate connections.
//!
//! ```text
//! likely texts (of the model) --when nothing is written--> lanes --no rows, rolled back--> Neo4j's plan cache
//! texts of a batch that have no plan --before BEGIN------> lanes                              |
//!                                                   the batch's transaction <-----------------+
//! ```
//!
//! Neo4j plans each text at its first use, on one processor: tens of milliseconds, or some hundred
//! on a freshly started server. A batch with hundreds of new texts would wait for one after the
//! other, in a transaction that nobody sees before its end.
//!
//! A plan belongs to the text, to the type of `$rows`, and to whether the transaction has written
//! before. So the planner runs a text without rows, after a write, in a transaction that it rolls
//! back.
//!
//! Nothing here is an error for the pipeline. If a text can not be planned in advance, its first
//! use plans it, and fails there if it must.

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

use crate::{pipeline::Narrow, shown::seconds};

use super::{
    connect::{Connection, Options},
    cypher,
    error::Error,
    names::CHECKPOINT,
    parameter::{self, KEEP_PLAN},
    schema,
};
use work::{Task, Work};

/// The number of texts planned at once while a batch waits.
const LANES: usize = 4;
/// The number of these lanes that plan in advance, without a waiting batch.
const LANES_AHEAD: usize = 2;
/// A batch with fewer new texts plans them at their use.
const WORTH_A_WAIT: usize = 2;
/// The time limit for planning one text on a busy server.
const TEXT_LIMIT: Duration = Duration::from_secs(60);
/// A wait longer than this is reported.
const LONG_WAIT: Duration = Duration::from_secs(3);
/// The interval of checks whether Neo4j answers. A restart takes longer.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After this long without a write, the planner plans in advance.
const IDLE_AFTER: Duration = Duration::from_millis(250);
/// Under continuous writes, planning in advance gets one part in this many of the time.
const SHARE: u32 = 40;
/// A text runs this often, so that the cache keeps its plan.
const USES: usize = 2;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Receives the number of texts that a batch waits for, at every change; 0: it no longer waits.
pub type TellWaiting = Arc<dyn Fn(usize) + Send + Sync>;

/// Plans texts for the writers of a pipeline. Ends when dropped.
pub struct Planner {
    shared: Arc<Shared>,
    _lanes: Vec<AbortOnDropHandle<()>>,
}

struct Shared {
    work: Mutex<Work>,
    /// Counts events of the work, for tasks that wait for them.
    happened: watch::Sender<u64>,
    writing: Mutex<Writes>,
    /// Set while a batch may meet texts without plans.
    narrow: Arc<Narrow>,
    tell: TellWaiting,
    started: Instant,
    told: AtomicBool,
}

/// Batches and pieces of a copy in progress, and the time of the last one.
#[derive(Default)]
struct Writes {
    now: usize,
    ended: Option<Instant>,
}

/// Something is being written.
pub struct Writing<'a>(&'a Shared);

impl Planner {
    /// Starts planning: the likely texts, but first those that batches wait for.
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

    /// The flag for narrow batches, set while some texts may have no plan.
    pub fn narrow(&self) -> Arc<Narrow> {
        self.shared.narrow.clone()
    }

    /// Waits until the queries' texts have plans, or can not be planned in advance.
    pub async fn ready(&self, queries: &[cypher::Query]) {
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

    /// Pauses planning in advance until the result is dropped.
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
            let seconds = seconds(began.elapsed());
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
            // If the server refuses a text, or takes too long for it, a retry is no better.
            let is_away = matches!(planned, Ok(Err(Error::Transient(_) | Error::Lost(_))));
            self.after(task, is_away);
            if is_away {
                sleep(PAUSE).await;
            }
        }
    }

    /// Whether nothing has been written for a moment.
    fn is_idle(&self) -> bool {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.now == 0 && writing.ended.is_none_or(|ended| ended.elapsed() >= IDLE_AFTER)
    }

    /// Records the result of a lane's task.
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
            let seconds = seconds(self.started.elapsed());
            tracing::info!(statements, seconds, "statements are planned ahead");
        }
        self.happen();
    }

    /// Reads how many plans the server keeps. Then checks from time to time whether it answers. A
    /// server that was unreachable may have restarted and lost its plans. If it has not, planning
    /// costs a millisecond for each.
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
            // At once: changes may come as soon as it is back.
            if was_there && !is_there {
                self.work().forget();
                self.narrow.begin();
                self.happen();
            }
        }
    }
}

/// Reports the end of a wait, also when the wait was abandoned.
struct TellOver<'a>(&'a TellWaiting);

impl Drop for TellOver<'_> {
    fn drop(&mut self) {
        (self.0)(0);
    }
}

/// Makes Neo4j plan the text as in a writer's transaction.
async fn plan(connection: &Connection, text: &str) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    transaction.run(Query::new(format!("CREATE (:{CHECKPOINT})"))).await?;
    let no_rows = parameter::list([parameter::list([].into_iter())].into_iter());
    let query = Query::new(format!("{KEEP_PLAN}{text}")).param("rows", no_rows);
    // A full cache may not accept a plan after one use: it prefers texts that come often.
    for _ in 0..USES {
        transaction.run(query.clone()).await?;
    }
    transaction.rollback().await;
    Ok(())
}
