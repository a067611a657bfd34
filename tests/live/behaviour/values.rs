//! Values that a session's settings would change.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{Pipeline, client, eventually, holds, postgres, unique, until};

#[tokio::test]
async fn settings_of_database_and_role_change_no_value_copied_or_streamed() {
    let schema = "CREATE TABLE gs_things (id int PRIMARY KEY, day date, at timestamptz, span interval, bytes bytea, \
        number float8, price money, name text)";
    let pipeline = Pipeline::new("sessions", schema).await;
    let settings = format!(
        "ALTER DATABASE {0} SET datestyle = 'German'; ALTER DATABASE {0} SET timezone = 'Asia/Tokyo'; \
         ALTER DATABASE {0} SET intervalstyle = 'sql_standard'; ALTER DATABASE {0} SET bytea_output = 'escape'; \
         ALTER ROLE postgres IN DATABASE {0} SET extra_float_digits = -10; \
         ALTER ROLE postgres IN DATABASE {0} SET statement_timeout = '1s'; \
         ALTER ROLE postgres IN DATABASE {0} SET quote_all_identifiers = on; \
         ALTER ROLE postgres IN DATABASE {0} SET standard_conforming_strings = off; \
         ALTER ROLE postgres IN DATABASE {0} SET search_path = nowhere",
        pipeline.name
    );
    pipeline.sql.batch_execute(&settings).await.unwrap();
    let row = |id: i32| {
        format!(
            "INSERT INTO gs_things VALUES ({id}, '2024-03-04', '2024-03-04 05:06:07+00', '1 year 2 days 3 hours', \
             '\\x00ff', 0.1::float8 + 0.2::float8, '12.34', 'x')"
        )
    };
    pipeline.sql.batch_execute(&row(1)).await.unwrap();
    pipeline.catch_up().await;
    pipeline.sql.batch_execute(&row(2)).await.unwrap();
    pipeline.catch_up().await;
    let right = "MATCH (t:GsThing) WITH count(t) AS rows, collect(t) AS all \
        RETURN rows = 2 AND all(t IN all WHERE t.day = date('2024-03-04') \
        AND t.at = datetime('2024-03-04T05:06:07Z') AND t.span = duration('P1Y2DT3H') \
        AND t.number = 0.30000000000000004 AND t.name = 'x') \
        AND all[0].bytes = all[1].bytes AND all[0].price = all[1].price AS yes";
    assert!(holds(right).await);
}

#[tokio::test]
async fn a_limit_on_idle_sessions_ends_none_of_ours() {
    let pipeline = Pipeline::new("idlers", "CREATE TABLE il_things (id int PRIMARY KEY)").await;
    let settings = format!(
        "ALTER ROLE postgres IN DATABASE {0} SET idle_session_timeout = '500ms'; \
         ALTER ROLE postgres IN DATABASE {0} SET lock_timeout = '1ms'",
        pipeline.name
    );
    pipeline.sql.batch_execute(&settings).await.unwrap();
    let _running = pipeline.start();
    let walsender =
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'wal2graph_' || $1";
    pipeline.sql.batch_execute("INSERT INTO il_things VALUES (1)").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:IlThing {id: 1}) } AS yes").await;
    let mut before = None;
    until("the slot is in use", async || {
        let row = pipeline.sql.query_one(walsender, &[&pipeline.name]).await.unwrap();
        before = row.get::<_, Option<i32>>(0);
        before.is_some()
    })
    .await;
    // Longer than the limit and the moment that a server gets that seems to shut down.
    sleep(Duration::from_secs(4)).await;
    let after = pipeline.sql.query_one(walsender, &[&pipeline.name]).await.unwrap();
    assert_eq!(after.get::<_, Option<i32>>(0), before, "the same connection");
}

#[tokio::test]
async fn a_policy_that_hides_rows_is_an_error_and_not_a_copy_of_some_rows() {
    let role = unique("reader");
    let schema = format!(
        "CREATE TABLE rls_things (id int PRIMARY KEY, owner text); INSERT INTO rls_things VALUES (1, 'me'), (2, 'you'); \
         ALTER TABLE rls_things ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY mine ON rls_things USING (owner = 'me'); \
         CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON rls_things TO {role}"
    );
    let mut pipeline = Pipeline::new("hidden", &schema).await;
    let publication = format!(
        "CREATE PUBLICATION wal2graph_{} FOR TABLE rls_things WITH (publish_via_partition_root = true)",
        pipeline.name
    );
    pipeline.sql.batch_execute(&publication).await.unwrap();
    pipeline.source_url = pipeline.source_url.replace("postgres@", &format!("{role}@"));
    let refused = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{log}");
    assert!(log.contains("row level security") && log.contains("BYPASSRLS"), "{log}");
    let admin = client(&postgres().url("postgres")).await;
    admin.batch_execute(&format!("ALTER ROLE {role} BYPASSRLS")).await.unwrap();
    pipeline.catch_up().await;
    assert!(holds("MATCH (t:RlsThing) WITH count(t) AS rows RETURN rows = 2 AS yes").await);
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    pipeline.sql.batch_execute(&drop).await.unwrap();
}
