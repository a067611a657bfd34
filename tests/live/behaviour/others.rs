//! What others put on the nodes of rows.

use neo4rs::Query;

use crate::support::{Pipeline, graph, holds};

/// A property, a label, relationships of both directions, and one that looks like an item's.
const PUT: &str = "MATCH (s:OthShop {id: 1}) SET s.theirs = 1, s:OthTheirs \
    CREATE (s)-[:OTH_LIKES]->(x:OthFan)-[:OTH_KNOWS]->(s), (x)-[:SHOP]->(s), (s)-[:OTH_SELF]->(s) \
    WITH s MATCH (s)<-[m:SHOP]-(:OthItem) SET m.theirs = 2";
/// All of it, on the row's node.
const THERE: &str = "MATCH (s:OthShop:OthTheirs {id: 1, theirs: 1}) \
    RETURN EXISTS { (s)-[:OTH_LIKES]->(x:OthFan)-[:OTH_KNOWS]->(s) WHERE (x)-[:SHOP]->(s) } \
    AND EXISTS { (s)-[:OTH_SELF]->(s) } AND EXISTS { (s)<-[:SHOP {theirs: 2}]-(:OthItem) } AS yes";
/// Relationships of rows, and what others put on these.
const OF_ROWS: &str = "COUNT { (s)--() } = 2 AND EXISTS { (s)<-[:SHOP {theirs: 2}]-(:OthItem {id: 5}) } \
    AND EXISTS { (s)-[{weight: 3}]-(:OthItem {id: 5}) }";

async fn put_again() {
    for text in ["MATCH (x:OthFan) DETACH DELETE x", PUT] {
        graph().run(Query::new(text.to_owned())).await.unwrap();
    }
    assert!(holds(THERE).await);
}

/// They stayed on the placeholder, and the next row with the key had them.
#[tokio::test]
async fn what_others_put_on_a_row_goes_with_it_also_where_rows_refer_to_it() {
    let schema = "CREATE TABLE oth_shops (id int PRIMARY KEY, name text); \
        CREATE TABLE oth_items (id int PRIMARY KEY, shop_id int REFERENCES oth_shops); \
        CREATE TABLE oth_links (shop_id int REFERENCES oth_shops, item_id int REFERENCES oth_items, \
            weight int, PRIMARY KEY (shop_id, item_id)); \
        INSERT INTO oth_shops VALUES (1, 'one'); INSERT INTO oth_items VALUES (5, 1); \
        INSERT INTO oth_links VALUES (1, 5, 3)";
    let pipeline = Pipeline::new("others", schema).await;
    pipeline.catch_up().await;
    put_again().await;
    let change = async |sql: &str| {
        pipeline.sql.batch_execute(sql).await.unwrap();
        pipeline.catch_up().await;
    };
    change("UPDATE oth_shops SET name = 'eins'").await;
    assert!(holds(THERE).await, "it stays for as long as the row does");

    let delete = "SET session_replication_role = replica; DELETE FROM oth_shops; \
        RESET session_replication_role";
    change(delete).await;
    let placeholder = format!(
        "MATCH (s:OthShop) RETURN count(s) = 1 AND collect(properties(s)) = [{{id: 1}}] \
         AND all(s IN collect(s) WHERE size(labels(s)) = 2 AND s:_Placeholder AND {OF_ROWS}) AS yes"
    );
    assert!(holds(&placeholder).await, "a placeholder has nothing of theirs");
    change("INSERT INTO oth_shops VALUES (1, 'two')").await;
    let row = |name: &str| {
        format!(
            "MATCH (s:OthShop) RETURN collect(properties(s)) = [{{id: 1, name: '{name}'}}] \
             AND all(s IN collect(s) WHERE labels(s) = ['OthShop'] AND {OF_ROWS}) AS yes"
        )
    };
    assert!(holds(&row("two")).await, "nor has the next row");

    put_again().await;
    let again = "WITH gone AS (DELETE FROM oth_shops RETURNING *) INSERT INTO oth_shops SELECT id, 'three' FROM gone";
    change(again).await;
    assert!(holds(&row("three")).await, "nor one that comes in the same statement");
}
