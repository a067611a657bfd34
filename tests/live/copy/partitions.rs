//! Partitioned tables, copied partition by partition.

use neo4rs::Query;

use crate::support::{Pipeline, eventually, graph, holds, until};

/// A table with partitions of two levels, one with its columns in another order.
fn schema(prefix: &str, rows: u32) -> String {
    format!(
        "CREATE TABLE {prefix}_rows (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id); \
         CREATE TABLE {prefix}_1 PARTITION OF {prefix}_rows FOR VALUES FROM (0) TO (10000); \
         CREATE TABLE {prefix}_2 (v text, id int NOT NULL, gone int); \
         ALTER TABLE {prefix}_2 DROP COLUMN gone; \
         ALTER TABLE {prefix}_rows ATTACH PARTITION {prefix}_2 FOR VALUES FROM (10000) TO (20000); \
         CREATE TABLE {prefix}_3 PARTITION OF {prefix}_rows FOR VALUES FROM (20000) TO (100000) \
            PARTITION BY RANGE (id); \
         CREATE TABLE {prefix}_4 PARTITION OF {prefix}_3 FOR VALUES FROM (20000) TO (30000); \
         CREATE TABLE {prefix}_5 PARTITION OF {prefix}_3 DEFAULT; \
         CREATE TABLE {prefix}_other (id int PRIMARY KEY); \
         INSERT INTO {prefix}_rows SELECT g, 'v' || g FROM generate_series(0, {rows} - 1) g"
    )
}

/// Rows that the progress of finished chunks counts.
async fn written(pipeline: &Pipeline) -> i64 {
    let text = "MATCH (p:_Wal2GraphCopy {pipeline: $pipeline}) WHERE p.partition IS NOT NULL \
        RETURN coalesce(sum(p.rows), 0) AS rows";
    let query = Query::new(text.to_owned()).param("pipeline", pipeline.name.as_str());
    graph().rows(query).await.unwrap()[0].get("rows").unwrap()
}

#[tokio::test]
async fn the_copy_of_a_partitioned_table_goes_on_where_it_was_killed_and_lets_the_stream_through() {
    let pipeline = Pipeline::new("leaves", &schema("pkl", 60_000)).await;
    let running = pipeline.start();
    until("chunks are written", async || written(&pipeline).await > 0).await;
    pipeline.sql.batch_execute("INSERT INTO pkl_other VALUES (1)").await.unwrap();
    eventually("the stream goes on", "RETURN EXISTS { (:PklOther {id: 1}) } AS yes").await;
    let (before, all) = (written(&pipeline).await, 60_000);
    assert!(0 < before && before < all, "the copy is under way: {before}");
    running.kill();
    assert!(written(&pipeline).await >= before, "what was copied is remembered");
    // Partitions come and go while the copy is away.
    let changes = "ALTER TABLE pkl_rows DETACH PARTITION pkl_1; DROP TABLE pkl_1; \
        DELETE FROM pkl_rows WHERE id < 10100; UPDATE pkl_rows SET v = 'w' WHERE id = 20000; \
        CREATE TABLE pkl_6 (id int PRIMARY KEY, v text); \
        INSERT INTO pkl_6 SELECT g, 'v' || g FROM generate_series(100000, 101999) g; \
        ALTER TABLE pkl_rows ATTACH PARTITION pkl_6 FOR VALUES FROM (100000) TO (200000); \
        ALTER TABLE pkl_4 RENAME TO pkl_four; VACUUM FULL pkl_5";
    for change in changes.split("; ") {
        pipeline.sql.batch_execute(change).await.unwrap();
    }
    pipeline.catch_up().await;
    let equal = "MATCH (n:PklRow) WHERE n.id >= 10000 WITH count(n) AS rows, \
            count(CASE n.v WHEN 'v' + n.id THEN 1 END) AS same \
        RETURN rows = 51900 AND same = 51899 AND EXISTS { (:PklRow {id: 20000, v: 'w'}) } AS yes";
    assert!(holds(equal).await);
}

#[tokio::test]
async fn a_role_with_rights_to_the_root_alone_copies_its_partitions_by_the_publications_filter() {
    let filtered = "CREATE ROLE pkr_reader LOGIN REPLICATION; GRANT SELECT ON pkr_rows, pkr_other TO pkr_reader";
    let pipeline = Pipeline::new("rooted", &format!("{}; {filtered}", schema("pkr", 30_000))).await;
    let version = pipeline.sql.query_one("SHOW server_version_num", &[]).await.unwrap();
    let can_filter = version.get::<_, &str>(0).parse::<u32>().unwrap() >= 150_000;
    let (filter, rows) = if can_filter { (" WHERE (id >= 15000)", 15_000) } else { ("", 30_000) };
    let publication = format!(
        "CREATE PUBLICATION wal2graph_{} FOR TABLE pkr_rows{filter}, pkr_other \
         WITH (publish_via_partition_root = true)",
        pipeline.name
    );
    pipeline.sql.batch_execute(&publication).await.unwrap();
    let run = pipeline.command_as("pkr_reader", &["run", "--until", "current"]);
    let output = crate::support::output(run).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(holds(&format!("RETURN COUNT {{ (:PkrRow) }} = {rows} AS yes")).await);
}
