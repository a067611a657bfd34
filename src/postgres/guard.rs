//! Ends the readers' sessions when this program can not: it is stopped, or the network is cut.
//!
//! ```text
//! on the server:  somebody has waited for a lock of a reader for 5 s -> the readers' sessions end
//! ```
//!
//! A healthy program releases its locks within a second ([`super::locks`]), and the guard has
//! nothing to do. The guard is one statement that runs on the server as long as there are readers,
//! so it does not depend on the program. A time limit of the sessions would not help. None ends a
//! session that sends rows to a program that does not read, and a short one would end a copy into a
//! slow graph even if no session waits.

use tokio_postgres::Client;

use super::sessions::{Process, look_for_client};

/// A session may wait for a reader this long.
const WAIT_SECONDS: u32 = 5;

/// Guards the readers until their sessions have ended.
pub(super) fn stand(client: Client, readers: &[Process]) {
    let statement = statement(readers);
    tokio::spawn(async move {
        // If the network is cut, it has to outlive the readers.
        look_for_client(&client).await;
        if let Err(error) = client.batch_execute(&statement).await {
            tracing::debug!(%error, "nobody on the server guards the copy's locks");
        }
    });
}

/// Each check is a separate transaction, so sessions that wait for old transactions need not wait
/// for the guard. Process id and start time identify a process, because the server reuses ids.
fn statement(readers: &[Process]) -> String {
    let readers = readers.iter().map(|it| format!("({}, {})", it.number, it.started));
    let readers = readers.collect::<Vec<_>>().join(", ");
    format!(
        "DO $guard$ \
         DECLARE readers int4[]; \
         BEGIN \
             LOOP \
                 SELECT array_agg(pid) INTO readers FROM pg_catalog.pg_stat_activity \
                 WHERE (pid, (extract(epoch FROM backend_start) * 1000000)::int8) IN (VALUES {readers}); \
                 EXIT WHEN readers IS NULL; \
                 IF EXISTS (SELECT FROM pg_catalog.pg_locks \
                            WHERE NOT granted AND locktype IN ('relation', 'virtualxid') \
                            AND waitstart < clock_timestamp() - make_interval(secs => {WAIT_SECONDS}) \
                            AND pg_catalog.pg_blocking_pids(pid) && readers) THEN \
                     PERFORM pg_catalog.pg_terminate_backend(pid) FROM unnest(readers) AS ended (pid); \
                 END IF; \
                 COMMIT; \
                 PERFORM pg_catalog.pg_sleep(0.5); \
             END LOOP; \
         END $guard$"
    )
}
