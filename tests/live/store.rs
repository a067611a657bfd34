//! Neo4j keeps what [`Store`](wal2graph::pipeline::Store) promises, as the graph in memory does.

use std::sync::Arc;

use wal2graph::{
    graph::{
        Model,
        model::{NodeShape, Shape, Table},
    },
    neo4j::{Connection, Store, checkpoint::destroy, connect::ANSWER_LIMIT},
};

use crate::{contract, support::graph_options};

/// Stores of a graph that has nothing of the pipeline.
async fn stores(pipeline: &str) -> impl Fn() -> Store + use<> {
    let options = graph_options();
    let connection = Connection::new(&options, ANSWER_LIMIT).unwrap();
    destroy(&connection, pipeline).await.unwrap();
    move || Store::new(&options, ANSWER_LIMIT, Arc::new(())).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_made_once() {
    contract::a_checkpoint_is_made_once(stores("StoreOnce").await, "StoreOnce").await;
}

#[tokio::test]
async fn a_claim_fences_all_before_it() {
    contract::a_claim_fences_all_before_it(stores("StoreClaim").await, "StoreClaim").await;
}

#[tokio::test]
async fn the_last_request_that_was_done_stays() {
    let stores = stores("StoreRequests").await;
    contract::the_last_request_that_was_done_stays(stores, "StoreRequests").await;
}

#[tokio::test]
async fn a_request_is_done_once_all_its_shares_are_over() {
    let stores = stores("StoreShares").await;
    contract::requests::a_request_is_done_once_all_its_shares_are_over(stores, "StoreShares").await;
}

#[tokio::test]
async fn a_graph_keeps_its_id() {
    contract::requests::a_graph_keeps_its_id(stores("StoreId").await, "StoreId").await;
}

#[tokio::test]
async fn another_publication_hides_the_newest_transaction() {
    let stores = stores("StoreNewest").await;
    contract::another_publication_hides_the_newest_transaction(stores, "StoreNewest").await;
}

#[tokio::test]
async fn a_graph_goes_over_to_a_topic_in_one_step() {
    let stores = stores("StoreHandOver").await;
    contract::a_graph_goes_over_to_a_topic_in_one_step(stores, "StoreHandOver").await;
}

#[tokio::test]
async fn a_graph_begins_anew_at_a_new_slot_in_one_step() {
    let stores = stores("StoreAnew").await;
    contract::a_graph_begins_anew_at_a_new_slot_in_one_step(stores, "StoreAnew").await;
}

#[tokio::test]
async fn a_reset_goes_back_and_is_over_once_it_is_passed() {
    let stores = stores("StoreReset").await;
    contract::a_reset_goes_back_and_is_over_once_it_is_passed(stores, "StoreReset").await;
}

#[tokio::test]
async fn a_pipeline_leaves_the_graph_and_no_other_one_with_it() {
    let stores = stores("StoreLeaves").await;
    let node = |label: &str| Table {
        name: label.to_lowercase(),
        shape: Shape::Node(NodeShape {
            label: label.to_owned(),
            extra_labels: Vec::new(),
            key: vec!["id".to_owned()],
            properties: vec!["name".to_owned()],
            references: Vec::new(),
        }),
    };
    let model = Arc::new(Model { tables: vec![node("StoreLeaving"), node("StoreStaying")] });
    contract::a_pipeline_leaves_the_graph_and_no_other_one_with_it(stores, "StoreLeaves", &model)
        .await;
}

/// One after the other: they are about the same labels.
#[tokio::test]
async fn rows_are_read_as_they_were_written() {
    contract::reading::pages_have_every_key_once(stores("ReadOnce").await, "ReadOnce").await;
    let many = stores("ReadMany").await;
    contract::reading::pages_of_composite_keys_and_join_rows(many, "ReadMany").await;
    let equal = stores("ReadEqual").await;
    contract::reading::what_was_written_is_equal_when_it_is_read(equal, "ReadEqual").await;
}

#[tokio::test]
async fn a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back() {
    let stores = stores("StorePutBack").await;
    contract::a_graph_at_an_older_state_or_without_its_checkpoint_was_put_back(
        stores,
        "StorePutBack",
    )
    .await;
}
