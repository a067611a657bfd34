//! Tables in parts, truncated together, published in part.

use wal2graph_servers::PostgresOptions;

use crate::support::{Pipeline, holds};

#[tokio::test]
async fn a_partitioned_table_is_one_label_also_when_a_row_moves_between_partitions() {
    let schema = "CREATE TABLE ptn_stores (region text, id int, name text, PRIMARY KEY (region, id)) PARTITION BY LIST (region); \
        CREATE TABLE ptn_eu PARTITION OF ptn_stores FOR VALUES IN ('eu'); \
        CREATE TABLE ptn_us PARTITION OF ptn_stores FOR VALUES IN ('us'); \
        CREATE TABLE ptn_sales (id int PRIMARY KEY, region text, store int, \
            FOREIGN KEY (region, store) REFERENCES ptn_stores ON UPDATE CASCADE); \
        INSERT INTO ptn_stores VALUES ('eu', 1, 'one'), ('us', 2, 'two'); INSERT INTO ptn_sales VALUES (7, 'eu', 1)";
    let pipeline = Pipeline::new("partitions", schema).await;
    pipeline.catch_up().await;
    let copied = "MATCH (s:PtnStore) WITH count(s) AS stores OPTIONAL MATCH (l) WHERE l:PtnEu OR l:PtnUs \
        WITH stores, count(l) AS parts RETURN stores = 2 AND parts = 0 AS yes";
    assert!(holds(copied).await);
    let moves = "INSERT INTO ptn_stores VALUES ('eu', 3, 'three'); UPDATE ptn_stores SET name = 'tres' WHERE id = 3; \
        UPDATE ptn_stores SET region = 'us' WHERE id = 3; DELETE FROM ptn_stores WHERE id = 2";
    pipeline.sql.batch_execute(moves).await.unwrap();
    pipeline.catch_up().await;
    let moved = "MATCH (s:PtnStore) WITH collect(s.region + s.id + s.name) AS stores \
        RETURN size(stores) = 2 AND 'eu1one' IN stores AND 'us3tres' IN stores \
        AND NOT EXISTS { MATCH (l) WHERE l:PtnEu OR l:PtnUs } \
        AND EXISTS { (:PtnSale {id: 7})-->(:PtnStore {region: 'eu', id: 1}) } AS yes";
    assert!(holds(moved).await);
    let cascades = "UPDATE ptn_stores SET region = 'us' WHERE id = 1";
    let cascaded = pipeline.sql.batch_execute(cascades).await;
    if PostgresOptions::default().version == 14 {
        assert!(cascaded.is_err(), "PostgreSQL 14 takes such a move for a delete");
        return;
    }
    cascaded.unwrap();
    pipeline.catch_up().await;
    let followed = "RETURN EXISTS { (:PtnSale {id: 7, region: 'us'})-->(:PtnStore {region: 'us', id: 1}) } \
        AND COUNT { (:PtnSale)-->() } = 1 AND COUNT { (s:PtnStore) } = 2 AS yes";
    assert!(holds(followed).await);
}

#[tokio::test]
async fn a_truncate_reaches_all_its_tables_and_no_others() {
    let schema = "CREATE TABLE tr_a (id int PRIMARY KEY); \
        CREATE TABLE tr_b (id int PRIMARY KEY, a_id int REFERENCES tr_a); \
        CREATE TABLE tr_c (id int PRIMARY KEY, b_id int REFERENCES tr_b); \
        CREATE TABLE tr_d (id int PRIMARY KEY); CREATE TABLE tr_kept (id int PRIMARY KEY); \
        INSERT INTO tr_a VALUES (1); INSERT INTO tr_b VALUES (1, 1); INSERT INTO tr_c VALUES (1, 1); \
        INSERT INTO tr_d VALUES (1); INSERT INTO tr_kept VALUES (1)";
    let pipeline = Pipeline::new("truncates", schema).await;
    pipeline.catch_up().await;
    // Around it: what was there before goes, what comes after stays.
    let changes = "BEGIN; INSERT INTO tr_d VALUES (2); TRUNCATE tr_a, tr_d RESTART IDENTITY CASCADE; \
        INSERT INTO tr_a VALUES (9); INSERT INTO tr_b VALUES (9, 9); COMMIT";
    pipeline.sql.batch_execute(changes).await.unwrap();
    pipeline.catch_up().await;
    let left = "MATCH (n) WHERE n:TrA OR n:TrB OR n:TrC OR n:TrD OR n:TrKept \
        WITH collect(labels(n)[0] + n.id) AS left \
        RETURN size(left) = 3 AND 'TrA9' IN left AND 'TrB9' IN left AND 'TrKept1' IN left \
        AND EXISTS { (:TrB {id: 9})-[:A]->(:TrA {id: 9}) } AS yes";
    assert!(holds(left).await);
}

#[tokio::test]
async fn a_row_that_leaves_the_row_filter_goes_and_one_that_enters_it_comes() {
    let schema =
        "CREATE TABLE rf_things (id int, active bool, name text, PRIMARY KEY (id, active))";
    let pipeline = Pipeline::new("filtered", schema).await;
    let rows = format!(
        "CREATE PUBLICATION wal2graph_{} FOR TABLE rf_things WHERE (active) WITH (publish_via_partition_root = true); \
         INSERT INTO rf_things VALUES (1, true, 'in'), (2, false, 'out')",
        pipeline.name
    );
    let made = pipeline.sql.batch_execute(&rows).await;
    if PostgresOptions::default().version == 14 {
        assert!(made.is_err(), "PostgreSQL 14 has no row filters");
        return;
    }
    made.unwrap();
    pipeline.catch_up().await;
    let copied = "MATCH (t:RfThing) RETURN collect(t.id) = [1] AS yes";
    assert!(holds(copied).await, "the copy honours it");
    let moves = "UPDATE rf_things SET active = NOT active; INSERT INTO rf_things VALUES (3, false, 'out'), (4, true, 'in')";
    pipeline.sql.batch_execute(moves).await.unwrap();
    pipeline.catch_up().await;
    let moved = "MATCH (t:RfThing) WITH t ORDER BY t.id RETURN collect(t.id) = [2, 4] AS yes";
    assert!(holds(moved).await, "the stream does");
}

/// Their rows have keys of their own, which may be equal: the type alone does not say whose a
/// relationship is.
#[tokio::test]
async fn two_join_tables_of_one_type_keep_their_own_relationships() {
    let schema = "CREATE TABLE jt_users (id int PRIMARY KEY); CREATE TABLE jt_bots (id int PRIMARY KEY); \
        CREATE TABLE jt_groups (id int PRIMARY KEY); \
        CREATE TABLE jt_user_groups (id int PRIMARY KEY, user_id int NOT NULL REFERENCES jt_users, \
            group_id int NOT NULL REFERENCES jt_groups, since int); \
        CREATE TABLE jt_bot_groups (id int PRIMARY KEY, bot_id int NOT NULL REFERENCES jt_bots, \
            group_id int NOT NULL REFERENCES jt_groups, since int); \
        INSERT INTO jt_users VALUES (1), (2); INSERT INTO jt_bots VALUES (1), (2); \
        INSERT INTO jt_groups VALUES (7); \
        INSERT INTO jt_user_groups VALUES (1, 1, 7, 2020), (2, 2, 7, 2020); \
        INSERT INTO jt_bot_groups VALUES (1, 1, 7, 2021), (2, 2, 7, 2021)";
    let pipeline = Pipeline::new("joins", schema).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    let join = |table: &str, column: &str, to: &str| {
        format!(
            "  public.{table}: {{relationship: {{type: JT_MEMBER, from: {{columns: [{column}], to: public.{to}}}, \
             to: {{columns: [group_id], to: public.jt_groups}}}}}}\n"
        )
    };
    let joins = [("jt_user_groups", "user_id", "jt_users"), ("jt_bot_groups", "bot_id", "jt_bots")];
    let joins: String = joins.map(|(table, column, to)| join(table, column, to)).concat();
    std::fs::write(&path, format!("tables:\n{joins}")).unwrap();
    let path = path.to_str().unwrap();
    let later = "INSERT INTO jt_user_groups VALUES (3, 1, 7, 2030); INSERT INTO jt_bot_groups VALUES (3, 1, 7, 2031); \
        DELETE FROM jt_bot_groups WHERE id = 1";
    for (sql, members) in [
        ("", "[[1, 2020], [2, 2020], [1, 2021], [2, 2021]]"),
        (later, "[[1, 2020], [2, 2020], [3, 2030], [2, 2021], [3, 2031]]"),
    ] {
        pipeline.sql.batch_execute(sql).await.unwrap();
        let output = pipeline.output(&["run", "--until", "current", "-c", path]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = format!(
            "MATCH (a)-[x:JT_MEMBER]->(:JtGroup) WITH collect([x.id, x.since]) AS found, \
             count(CASE WHEN a:JtUser = (x.since % 10 = 0) THEN 1 END) AS right \
             RETURN size(found) = size({members}) AND right = size(found) AND all(it IN {members} WHERE it IN found) AS yes"
        );
        assert!(holds(&expected).await, "{expected}");
    }
}
