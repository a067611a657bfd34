//! Keys WITHOUT OVERLAPS and foreign keys with a PERIOD, which PostgreSQL has since 18.

use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{Pipeline, holds};

#[tokio::test]
async fn a_key_without_overlaps_is_a_key_and_a_reference_with_a_period_is_none() {
    let options = PostgresOptions { version: 18, ..PostgresOptions::default() };
    let server = Postgres::start(&options).unwrap();
    let schema = "CREATE EXTENSION IF NOT EXISTS btree_gist; \
        CREATE TABLE wo_rooms (id int, during daterange, name text, PRIMARY KEY (id, during WITHOUT OVERLAPS)); \
        CREATE TABLE wo_stays (id int PRIMARY KEY, room_id int, during daterange, \
            FOREIGN KEY (room_id, PERIOD during) REFERENCES wo_rooms (id, PERIOD during)); \
        INSERT INTO wo_rooms VALUES (1, '[2024-01-01,2024-02-01)', 'a'), (1, '[2024-02-01,2024-03-01)', 'a'); \
        INSERT INTO wo_stays VALUES (7, 1, '[2024-01-20,2024-02-10)')";
    let pipeline = Pipeline::on(&server, "without_overlaps", schema).await;
    let plan = pipeline.output(&["plan"]).await;
    let said = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(
        plan.status.success() && said.contains("PERIOD") && !said.contains("enforced"),
        "{said}"
    );
    pipeline.catch_up().await;
    let changes = "UPDATE wo_rooms SET name = 'b' WHERE during @> '2024-01-05'::date; \
        UPDATE wo_rooms SET during = '[2024-02-01,2024-04-01)' WHERE during @> '2024-02-05'::date";
    pipeline.sql.batch_execute(changes).await.unwrap();
    pipeline.catch_up().await;
    let right = "MATCH (r:WoRoom) WITH collect(r.during + r.name) AS rooms, count(r) AS count \
        RETURN count = 2 AND '[2024-01-01,2024-02-01)b' IN rooms AND '[2024-02-01,2024-04-01)a' IN rooms \
        AND NOT EXISTS { (:WoStay)-->() } AND EXISTS { (:WoStay {id: 7}) } AS yes";
    assert!(holds(right).await);
}
