//! Rows that lack values which the stream did not carry are completed, whatever their keys are.

use neo4rs::Query;

use crate::support::{Pipeline, graph, holds};

/// A table for each type of key: its end of the name, the type, two values.
const KEYS: [(&str, &str, &str, &str); 20] = [
    ("citext", "public.citext", "'Foo'", "'ÄRGER'"),
    ("ltree", "public.ltree", "'Top.Science'", "'Top'"),
    ("bc", "date", "'0044-03-15 BC'", "'10001-01-01'"),
    ("far", "timestamp", "'0001-12-31 23:59:59.5 BC'", "'infinity'"),
    ("zoned", "timestamptz", "'0044-03-15 05:06:07 BC'", "'2024-01-01 12:00+05'"),
    ("interval", "interval", "'1 mon'", "'-3 hours 0.5 seconds'"),
    ("ints", "int[]", "'{1,2}'", "'{}'"),
    ("texts", "text[]", r#"'{"a\"b","c\\d","e,f"}'"#, "'{NULL,x}'"),
    ("nested", "int[]", "'{{1,2},{3,4}}'", "'{5}'"),
    ("range", "numrange", "'[1.50,2)'", "'empty'"),
    ("pair", "ckt.pair", r#"'(1.50,"a,b ""c""")'"#, r#"'(,"")'"#),
    ("jsonb", "jsonb", r#"'{"a": 1.0, "b": "x''y"}'"#, "'null'"),
    ("bytea", "bytea", r"'\x00ff5c'", r"'\x'"),
    ("money", "money", "'12.50'", "'-1'"),
    ("mood", "ckt.mood", "'so so'", "'it''s'"),
    ("domain", "ckt.code", "'AbC'", "'d'"),
    ("char", "char(5)", "'de'", "'abcde'"),
    ("numeric", "numeric(10,2)", "1.10", "-0.01"),
    ("inet", "inet", "'10.0.0.1/8'", "'::1'"),
    ("timetz", "timetz", "'12:00:00+05:30'", "'24:00:00-01'"),
];

#[tokio::test]
async fn rows_that_an_earlier_run_left_incomplete_are_found_by_any_type_of_key() {
    let mut schema =
        "CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION ltree SCHEMA public; \
        CREATE SCHEMA ckt; CREATE TYPE ckt.mood AS ENUM ('so so', 'it''s'); \
        CREATE TYPE ckt.pair AS (n numeric, t text); CREATE DOMAIN ckt.code AS public.citext; "
            .to_owned();
    for (name, of, one, two) in KEYS {
        schema += &format!(
            "CREATE TABLE ck_{name} (k {of} PRIMARY KEY, big text); \
             INSERT INTO ck_{name} VALUES ({one}, 'big'), ({two}, 'big'); "
        );
    }
    let pipeline = Pipeline::new("completed", &schema).await;
    pipeline.catch_up().await;
    let rows = 2 * KEYS.len();
    let spoilt = "MATCH (n {big: 'big'}) WHERE any(l IN labels(n) WHERE l STARTS WITH 'Ck') \
        SET n:_Incomplete REMOVE n.big RETURN count(n) AS n";
    let spoilt = graph().rows(Query::new(spoilt.to_owned())).await.unwrap();
    assert_eq!(spoilt[0].get::<i64>("n").unwrap(), rows as i64);
    pipeline.catch_up().await;
    let complete = format!(
        "MATCH (n) WHERE any(l IN labels(n) WHERE l STARTS WITH 'Ck') \
         WITH count(n) AS rows, count(CASE WHEN n:_Incomplete THEN 1 END) AS incomplete, \
            count(CASE n.big WHEN 'big' THEN 1 END) AS whole \
         RETURN rows = {rows} AND incomplete = 0 AND whole = {rows} AS yes"
    );
    assert!(holds(&complete).await);
}

/// A start looked at nodes only.
#[tokio::test]
async fn a_join_row_that_an_earlier_run_left_incomplete_is_completed_at_the_next_start() {
    let schema = "CREATE TABLE cj_users (id int PRIMARY KEY); CREATE TABLE cj_teams (id int PRIMARY KEY); \
        CREATE TABLE cj_members (user_id int REFERENCES cj_users, team_id int REFERENCES cj_teams, \
            big text, PRIMARY KEY (user_id, team_id)); \
        INSERT INTO cj_users VALUES (1); INSERT INTO cj_teams VALUES (1), (2); \
        INSERT INTO cj_members VALUES (1, 1, 'big'), (1, 2, 'big')";
    let pipeline = Pipeline::new("joincompleted", schema).await;
    pipeline.catch_up().await;
    let spoilt =
        "MATCH (:CjUser)-[x {big: 'big'}]->(:CjTeam {id: 2}) SET x._incomplete = true REMOVE x.big";
    graph().run(Query::new(spoilt.to_owned())).await.unwrap();
    pipeline.catch_up().await;
    let whole = "MATCH (:CjUser)-[x]->(:CjTeam) \
        RETURN collect(properties(x)) = [{big: 'big'}, {big: 'big'}] AS yes";
    assert!(holds(whole).await);
}

#[tokio::test]
async fn a_row_that_lacks_values_and_is_not_found_again_ends_the_run_with_a_reason() {
    let schema = "CREATE TABLE cn_things (id int PRIMARY KEY, big text); INSERT INTO cn_things VALUES (1, 'x')";
    let pipeline = Pipeline::new("notfound", schema).await;
    pipeline.catch_up().await;
    let lost = "CREATE (:CnThing:_Incomplete {id: 777000777})";
    graph().rows(Query::new(lost.to_owned())).await.unwrap();
    let output = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("public.cn_things") && log.contains("same id"), "{log}");
    assert!(log.contains("`wal2graph repair` removes"), "{log}");
    assert!(!log.contains("777000777"), "no values in the log: {log}");
}

/// The completion of rows came first, and ended each start before the repair was taken up.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_marked_node_that_is_no_row_keeps_no_repair_away() {
    let schema = "CREATE TABLE nrw_things (id int PRIMARY KEY, big text); CREATE TABLE nrw_uses \
            (thing_id int REFERENCES nrw_things, use int, note text, PRIMARY KEY (thing_id, use)); \
        INSERT INTO nrw_things VALUES (1, 'x'), (2, 'y'); INSERT INTO nrw_uses VALUES (1, 1, 'z'); \
        SET session_replication_role = replica; INSERT INTO nrw_uses VALUES (3, 1, 'z')";
    let pipeline = Pipeline::new("norow", schema).await;
    pipeline.catch_up().await;
    let run = async |text: &str| graph().run(Query::new(text.to_owned())).await.unwrap();
    run("MATCH (n:NrwThing:_Placeholder {id: 3}) SET n:_Incomplete").await;
    // It is no row, and lacks nothing.
    pipeline.catch_up().await;
    run("CREATE (:NrwThing:_Incomplete {id: 4}) WITH 1 AS one MATCH (n:NrwThing {id: 2}) SET n:_Incomplete REMOVE n.big")
        .await;
    // The repair of another table meets it, and keeps none away, either.
    pipeline.output(&["repair", "nrw_uses"]).await;
    let output = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("public.nrw_things"), "{log}");
    let repaired = pipeline.output(&["repair"]).await;
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stderr));
    pipeline.catch_up().await;
    let whole = "MATCH (n:NrwThing) WITH n ORDER BY n.id \
        RETURN collect([n.id, coalesce(n.big, ''), n:_Placeholder, n:_Incomplete]) = [[1, 'x', false, false], \
            [2, 'y', false, false], [3, '', true, false]] AS yes";
    assert!(holds(whole).await);
}

#[tokio::test]
async fn a_row_that_an_update_brings_into_a_row_filter_has_the_values_that_were_left_alone() {
    let schema = "CREATE EXTENSION citext SCHEMA public; \
        CREATE TABLE rf_docs (id public.citext, status text, big text, PRIMARY KEY (id, status)); \
        ALTER TABLE rf_docs ALTER big SET STORAGE EXTERNAL; \
        INSERT INTO rf_docs VALUES ('One', 'draft', repeat('x', 5000)), ('two', 'live', repeat('y', 5000))";
    let pipeline = Pipeline::new("filtered", schema).await;
    let version = pipeline.sql.query_one("SHOW server_version_num", &[]).await.unwrap();
    if version.get::<_, &str>(0).parse::<u32>().unwrap() < 150_000 {
        return; // There are no row filters.
    }
    let publication = format!(
        "CREATE PUBLICATION wal2graph_{} FOR TABLE rf_docs WHERE (status = 'live') \
         WITH (publish_via_partition_root = true)",
        pipeline.name
    );
    pipeline.sql.batch_execute(&publication).await.unwrap();
    pipeline.catch_up().await;
    pipeline
        .sql
        .batch_execute("UPDATE rf_docs SET status = 'live' WHERE id = 'one'")
        .await
        .unwrap();
    pipeline.catch_up().await;
    let whole = "MATCH (n:RfDoc) WITH count(n) AS rows, \
            count(CASE WHEN size(n.big) = 5000 AND NOT n:_Incomplete THEN 1 END) AS whole \
        RETURN rows = 2 AND whole = 2 AS yes";
    assert!(holds(whole).await);
}

/// The stream does not send a wide value that an UPDATE leaves as it is, and a foreign key of two columns names a row
/// only with both.
#[tokio::test]
async fn a_reference_of_two_columns_stayed_at_the_old_row_as_one_of_them_was_not_sent() {
    let schema = "CREATE TABLE ctu_to (a int, k text, PRIMARY KEY (a, k)); \
        CREATE TABLE ctu_from (id int PRIMARY KEY, a int, k text, n int, FOREIGN KEY (a, k) REFERENCES ctu_to); \
        ALTER TABLE ctu_from ALTER k SET STORAGE EXTERNAL; \
        INSERT INTO ctu_to SELECT i, repeat('Ab', 1250) FROM generate_series(1, 5) i; \
        INSERT INTO ctu_from SELECT i, i, repeat('Ab', 1250), 0 FROM generate_series(1, 4) i";
    let pipeline = Pipeline::new("together", schema).await;
    pipeline.catch_up().await;
    let changes = [
        "UPDATE ctu_from SET a = 5 WHERE id = 1",
        "UPDATE ctu_from SET a = NULL WHERE id = 2",
        "UPDATE ctu_from SET n = 7 WHERE id = 3",
        "UPDATE ctu_from SET a = 3 WHERE id = 2",
    ];
    for change in changes {
        pipeline.sql.batch_execute(change).await.unwrap();
    }
    pipeline.catch_up().await;
    let ends = "MATCH (f:CtuFrom) OPTIONAL MATCH (f)-->(t:CtuTo) WITH f, collect(t.a) AS to ORDER BY f.id \
        RETURN collect(to) = [[5], [3], [3], [4]] AS yes";
    assert!(holds(ends).await);
    let output = pipeline.output(&["verify"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
