//! Keys and foreign keys: deferred, cascading, equal but not the same.

use crate::support::{Pipeline, eventually, holds};

/// A transaction's last word, and then what the graph must say.
async fn after(pipeline: &Pipeline, sql: &str, cypher: &str) {
    pipeline.sql.batch_execute(sql).await.unwrap();
    pipeline.catch_up().await;
    assert!(holds(cypher).await, "after {sql}: {cypher}");
}

#[tokio::test]
async fn a_deferrable_key_is_refused_before_the_applications_updates_would_be() {
    let schema = "CREATE TABLE dk_things (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text); \
        CREATE TABLE dk_others (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("deferrable", schema).await;
    for command in ["plan", "check"] {
        let said = pipeline.output(&[command]).await;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let text = text + &String::from_utf8_lossy(&said.stderr);
        assert!(
            text.contains("dk_things") && text.to_lowercase().contains("deferrable"),
            "{command}: {text}"
        );
    }
    let refused = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{log}");
    assert!(log.contains("Make the key NOT DEFERRABLE"), "{log}");
    // In a publication it would have no replica identity, and this would fail in the application.
    let update = "INSERT INTO dk_things VALUES (1, 'a'); UPDATE dk_things SET name = 'b'";
    pipeline.sql.batch_execute(update).await.unwrap();
    let made = "ALTER TABLE dk_things DROP CONSTRAINT dk_things_pkey, ADD PRIMARY KEY (id)";
    after(&pipeline, made, "RETURN EXISTS { (:DkThing {id: 1, name: 'b'}) } AS yes").await;
    after(
        &pipeline,
        "UPDATE dk_things SET name = 'c'",
        "RETURN EXISTS { (:DkThing {name: 'c'}) } AS yes",
    )
    .await;
}

#[tokio::test]
async fn a_row_that_goes_and_comes_back_keeps_the_relationship_of_its_child() {
    let schema = "CREATE TABLE gb_parents (id int PRIMARY KEY, name text); \
        CREATE TABLE gb_children (id int PRIMARY KEY, parent_id int REFERENCES gb_parents DEFERRABLE INITIALLY DEFERRED); \
        INSERT INTO gb_parents VALUES (5, 'old'); INSERT INTO gb_children VALUES (1, 5)";
    let pipeline = Pipeline::new("comeback", schema).await;
    pipeline.catch_up().await;
    after(
        &pipeline,
        "BEGIN; DELETE FROM gb_parents WHERE id = 5; INSERT INTO gb_parents VALUES (5, 'new'); COMMIT",
        "RETURN EXISTS { (:GbChild {id: 1})-[:PARENT]->(:GbParent {id: 5, name: 'new'}) } AS yes",
    )
    .await;
    after(
        &pipeline,
        "BEGIN; INSERT INTO gb_children VALUES (2, 6); INSERT INTO gb_parents VALUES (6, 'later'); COMMIT",
        "RETURN EXISTS { (:GbChild {id: 2})-[:PARENT]->(p:GbParent {id: 6, name: 'later'}) WHERE NOT p:_Placeholder } AS yes",
    )
    .await;
}

/// A plain foreign key is checked at the end of the statement, and a session in the role of a replica
/// checks none: no event speaks of the children.
#[tokio::test]
async fn a_parent_that_is_deleted_and_inserted_again_keeps_its_children() {
    let schema = "CREATE TABLE di_parents (id int PRIMARY KEY, name text); \
        CREATE TABLE di_children (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES di_parents); \
        INSERT INTO di_parents VALUES (1, 'one'), (2, 'two'); \
        INSERT INTO di_children VALUES (10, 1), (11, 1), (12, 2)";
    let pipeline = Pipeline::new("again", schema).await;
    pipeline.catch_up().await;
    let children = |name: &str| {
        format!(
            "MATCH (c:DiChild)-[:PARENT]->(p:DiParent) WHERE p.name ENDS WITH '{name}' AND NOT p:_Placeholder \
             WITH collect([c.id, p.id]) AS found MATCH (n:DiParent) WITH found, count(n) AS parents \
             RETURN parents = 2 AND size(found) = 3 AND all(it IN found WHERE it IN [[10, 1], [11, 1], [12, 2]]) AS yes"
        )
    };
    let statement = "WITH gone AS (DELETE FROM di_parents RETURNING *) \
        INSERT INTO di_parents SELECT id, name || ' again' FROM gone";
    after(&pipeline, statement, &children(" again")).await;
    let unchecked = "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM di_parents; \
        INSERT INTO di_parents VALUES (1, 'uno, restored'), (2, 'dos, restored'); COMMIT";
    after(&pipeline, unchecked, &children(", restored")).await;
}

#[tokio::test]
async fn a_cascade_sends_the_parent_first_and_leaves_nothing() {
    let schema = "CREATE TABLE cc_a (id int PRIMARY KEY); \
        CREATE TABLE cc_b (id int PRIMARY KEY, a_id int REFERENCES cc_a ON DELETE CASCADE); \
        CREATE TABLE cc_c (id int PRIMARY KEY, b_id int REFERENCES cc_b ON DELETE CASCADE); \
        INSERT INTO cc_a VALUES (1), (2); INSERT INTO cc_b VALUES (10, 1), (11, 1), (20, 2); \
        INSERT INTO cc_c VALUES (100, 10), (110, 11), (200, 20)";
    let pipeline = Pipeline::new("cascade", schema).await;
    pipeline.catch_up().await;
    after(
        &pipeline,
        "DELETE FROM cc_a WHERE id = 1",
        "MATCH (n) WHERE n:CcA OR n:CcB OR n:CcC WITH collect(n.id) AS ids, count(n) AS nodes \
         RETURN nodes = 3 AND all(id IN ids WHERE id IN [2, 20, 200]) \
         AND EXISTS { (:CcC {id: 200})-[:B]->(:CcB {id: 20})-[:A]->(:CcA {id: 2}) } AS yes",
    )
    .await;
}

#[tokio::test]
async fn a_foreign_key_that_is_equal_but_written_otherwise_finds_its_row() {
    let schema = "CREATE TABLE eq_prices (amount numeric PRIMARY KEY); \
        CREATE TABLE eq_offers (id int PRIMARY KEY, amount numeric REFERENCES eq_prices); \
        INSERT INTO eq_prices VALUES (1.0), (2.50); INSERT INTO eq_offers VALUES (1, 1.00)";
    let pipeline = Pipeline::new("equal", schema).await;
    pipeline.catch_up().await;
    after(
        &pipeline,
        "INSERT INTO eq_offers VALUES (2, 2.5)",
        "MATCH (o:EqOffer)-[:AMOUNT]->(p:EqPrice) WHERE NOT p:_Placeholder WITH count(*) AS found \
         MATCH (p:EqPrice) WITH found, count(p) AS prices RETURN found = 2 AND prices = 2 AS yes",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_is_stored_out_of_line_is_found_when_it_did_not_change() {
    let schema = "CREATE TABLE tk_things (id text PRIMARY KEY, note text); \
        CREATE TABLE tk_owned (id int PRIMARY KEY, thing_id text REFERENCES tk_things, note text); \
        ALTER TABLE tk_things ALTER COLUMN id SET STORAGE EXTERNAL; \
        ALTER TABLE tk_owned ALTER COLUMN thing_id SET STORAGE EXTERNAL; \
        INSERT INTO tk_things VALUES (repeat('k', 2600), 'old'), (repeat('l', 2600), 'old'); \
        INSERT INTO tk_owned VALUES (1, repeat('k', 2600), 'old')";
    let pipeline = Pipeline::new("toasted", schema).await;
    pipeline.catch_up().await;
    let changes = "UPDATE tk_things SET note = 'new'; UPDATE tk_owned SET note = 'new'; \
        DELETE FROM tk_things WHERE id LIKE 'l%'";
    after(
        &pipeline,
        changes,
        "MATCH (t:TkThing) WITH count(t) AS things, collect(t) AS rows \
         RETURN things = 1 AND rows[0].note = 'new' AND size(rows[0].id) = 2600 \
         AND EXISTS { (:TkOwned {id: 1, note: 'new'})-[:THING]->(:TkThing {note: 'new'}) } AS yes",
    )
    .await;
    after(
        &pipeline,
        "BEGIN; INSERT INTO tk_things VALUES (repeat('m', 2600), 'm'); UPDATE tk_owned SET thing_id = repeat('m', 2600); COMMIT",
        "RETURN EXISTS { (:TkOwned {id: 1})-[:THING]->(:TkThing {note: 'm'}) } \
         AND NOT EXISTS { (:TkOwned {id: 1})-[:THING]->(:TkThing {note: 'new'}) } AS yes",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_comes_and_goes_in_one_transaction_ends_as_it_ends() {
    let schema = "CREATE TABLE og_things (id int PRIMARY KEY, name text); INSERT INTO og_things VALUES (1, 'a')";
    let pipeline = Pipeline::new("oneidea", schema).await;
    let running = pipeline.start();
    eventually("the copy", "RETURN EXISTS { (:OgThing {id: 1}) } AS yes").await;
    drop(running);
    after(
        &pipeline,
        "BEGIN; INSERT INTO og_things VALUES (2, 'x'); UPDATE og_things SET name = 'y' WHERE id = 2; \
         DELETE FROM og_things WHERE id = 2; INSERT INTO og_things VALUES (2, 'z'); SAVEPOINT s; \
         INSERT INTO og_things VALUES (3, 'no'); ROLLBACK TO s; UPDATE og_things SET id = 4 WHERE id = 1; COMMIT",
        "MATCH (t:OgThing) WITH collect(t.id + t.name) AS rows \
         RETURN size(rows) = 2 AND '2z' IN rows AND '4a' IN rows AS yes",
    )
    .await;
}
