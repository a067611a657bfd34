//! An application that reads while everything breaks.

use std::time::Duration;

use neo4rs::Query;
use tokio::time::{sleep, timeout};
use wal2graph::neo4j::{Connection, Error};

use super::{World, writers};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What reads under the lock are counted as.
pub const LOCKED: &str = "reads under the lock";

/// As docs/read-your-writes.md says. Rows of tables that are copied, or compared for a repair, are ahead of the stream;
/// those of other tables are not.
const LOCK: &str = "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'chaos'}) SET c:_Wal2GraphCheckpoint WITH c \
     WHERE c.part_events IS NULL AND NOT EXISTS { MATCH (p:_Wal2GraphCopy {pipeline: 'chaos'}) \
     WHERE p.table IN ['public.cha_accounts', 'public.cha_commits'] }";
const ROWS: &str = "MATCH (a:ChaAccount) WITH sum(a.balance) AS sum, count(a) AS count \
     OPTIONAL MATCH (k:ChaCommit) RETURN sum, count, coalesce(max(k.n), 0) AS commits";

/// What a read has found.
enum Found {
    /// The sum of all accounts, and the commits.
    Rows { sum: i64, commits: i64 },
    /// The rows are being copied or compared, or a transaction is applied in part.
    NotNow,
}

async fn look(graph: &Connection, text: &str) -> Result<Found, Error> {
    let mut transaction = graph.begin().await?;
    let rows = transaction.rows(Query::new(text.to_owned())).await?;
    transaction.rollback().await;
    let Some(row) = rows.into_iter().next() else { return Ok(Found::NotNow) };
    let number = |name| row.get::<i64>(name).expect("a number");
    let (sum, count, commits) = (number("sum"), number("count"), number("commits"));
    Ok(match count < writers::ACCOUNTS {
        true => Found::NotNow,
        false => Found::Rows { sum, commits },
    })
}

/// Reads several rows of a source transaction under the checkpoint's lock: they are of one commit. Reads without it,
/// too, and counts how often Neo4j mixes two commits then.
pub async fn read(world: World) {
    let locked = format!("{LOCK} {ROWS}");
    let (mut graph, mut last) = (world.graph(), 0);
    loop {
        sleep(PAUSE).await;
        for (text, is_locked) in [(locked.as_str(), true), (ROWS, false)] {
            let how = if is_locked { "under" } else { "without" };
            let (sum, commits) = match timeout(LIMIT, look(&graph, text)).await {
                Ok(Ok(Found::Rows { sum, commits })) => (sum, commits),
                Ok(Ok(Found::NotNow)) => {
                    world.counted(&format!("looks {how} the lock while rows are copied"));
                    continue;
                }
                failed => {
                    let why = match failed {
                        Ok(_) => "fail",
                        Err(_) => "get no answer",
                    };
                    world.counted(&format!("looks {how} the lock that {why}"));
                    // A connection whose answer nobody has waited for is of no use any more. It failed all looks since.
                    graph = world.graph();
                    sleep(PAUSE * 20).await;
                    continue;
                }
            };
            match (is_locked, sum == writers::SUM) {
                (true, true) => world.counted(LOCKED),
                (true, false) => {
                    world.violates(format!("{sum} on all accounts, not {}", writers::SUM));
                }
                (false, true) => world.counted("reads without the lock"),
                (false, false) => world.counted("reads without the lock that mix two commits"),
            }
            if is_locked {
                if commits < last {
                    world.violates(format!("{commits} commits after {last}"));
                }
                last = commits;
            }
        }
    }
}
