//! What [`Store`] promises of requests that several logs answer together.

use std::collections::BTreeSet;

use wal2graph::{
    change::Timestamp,
    checkpoint::{Claim, Identity, Log},
    graph::Model,
    pipeline::Store,
    request::{Findings, Purpose, Request, RequestId, State, TableFindings},
};

use super::{new_checkpoint, partition};

/// Each partition answers for its share, under its own claim. The last share to be over ends the request.
pub async fn a_request_is_done_once_all_its_shares_are_over<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let (graph, beside) = (open(), open());
    graph.establish(&Model::default()).await.unwrap();
    let logs = [0, 1].map(|number| Log::Partition(partition(number)));
    for log in &logs {
        graph.create(pipeline, &new_checkpoint(log.clone()), &[]).await.unwrap();
    }
    let claimed = async |log: &Log| {
        let identity = Identity { pipeline: pipeline.to_owned(), log: log.clone() };
        Claim { epoch: graph.claim(&identity, None).await.unwrap().epoch, identity }
    };
    let zombie = claimed(&logs[0]).await;
    let (first, second) = (claimed(&logs[0]).await, claimed(&logs[1]).await);
    let all = logs.clone().map(|log| log.name());
    let found = |compared, is_over| {
        let table = TableFindings { table: "public.t".to_owned(), compared, ..Default::default() };
        Findings { is_over, tables: vec![table], first: Vec::new() }
    };
    let answer = async |graph: &S, claim: &Claim, id: &RequestId, found: &Findings| {
        graph.answer_share(claim, id, &all, found).await.unwrap()
    };
    let ask = async |id: &RequestId| {
        let asked_at = Timestamp { unix_micros: 1_700_000_000_000_000 };
        let request = Request::new(id.clone(), Purpose::Verify, Vec::new(), asked_at);
        graph.ask(pipeline, &request).await.unwrap();
    };
    let read = async |id: &RequestId| {
        let requests = graph.requests(pipeline).await.unwrap().into_iter();
        let request = requests.into_iter().find(|it| it.id == *id).expect("it was asked");
        let over: Vec<String> = request.shares_over.into_iter().collect();
        (request.state, over, request.findings.compared(), request.findings.is_over)
    };

    let id = RequestId("shared".to_owned());
    assert!(!answer(&graph, &first, &id, &found(1, true)).await, "nobody has asked it");
    ask(&id).await;
    assert!(!answer(&graph, &zombie, &id, &found(1, true)).await, "its claim has passed");
    assert_eq!(read(&id).await, (State::Asked, vec![], 0, false));
    assert!(answer(&graph, &first, &id, &found(1, false)).await);
    assert_eq!(read(&id).await, (State::Running, vec![], 1, false));
    for _ in 0..2 {
        assert!(answer(&beside, &second, &id, &found(10, true)).await);
        assert_eq!(read(&id).await, (State::Running, vec![all[1].clone()], 11, false));
    }
    // A late answer of before: the share is over, and stays so.
    assert!(answer(&beside, &second, &id, &found(5, false)).await);
    assert_eq!(read(&id).await, (State::Running, vec![all[1].clone()], 11, false));
    assert!(!answer(&graph, &zombie, &id, &found(100, true)).await);
    assert!(answer(&graph, &first, &id, &found(2, true)).await);
    let over = (State::Done, all.to_vec(), 12, true);
    assert_eq!(read(&id).await, over);
    assert!(!answer(&graph, &first, &id, &found(3, true)).await, "it is not open any more");
    assert_eq!(read(&id).await, over);

    // Of two that end at the same time, one sees the other's share.
    for round in 0..5 {
        let id = RequestId(format!("together {round}"));
        ask(&id).await;
        let (one, other) = (found(1, true), found(1, true));
        let kept =
            tokio::join!(answer(&graph, &first, &id, &one), answer(&beside, &second, &id, &other));
        assert_eq!(kept, (true, true));
        let (state, over, compared, is_over) = read(&id).await;
        assert_eq!((state, compared, is_over), (State::Done, 2, true), "{over:?}");
    }

    let ended = RequestId("ended".to_owned());
    ask(&ended).await;
    assert!(answer(&graph, &first, &ended, &found(1, true)).await);
    assert!(graph.cancel(pipeline, &ended).await.unwrap());
    assert!(!answer(&graph, &second, &ended, &found(1, true)).await, "a person has ended it");
    let over = BTreeSet::from([all[0].clone()]);
    let requests = graph.requests(pipeline).await.unwrap();
    let request = requests.iter().find(|it| it.id == ended).expect("it stays");
    assert_eq!((&request.state, &request.shares_over), (&State::Cancelled, &over));
}

/// All stores of a graph tell the same id of it, whatever is written meanwhile.
pub async fn a_graph_keeps_its_id<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let (first, second) = (open(), open());
    let id = first.id().await.unwrap().expect("this product tells");
    assert!(!id.is_empty());
    first.establish(&Model::default()).await.unwrap();
    first.create(pipeline, &new_checkpoint(super::log()), &[]).await.unwrap();
    super::claim(&first, pipeline).await;
    for graph in [&first, &second, &open()] {
        assert_eq!(graph.id().await.unwrap().as_deref(), Some(id.as_str()));
    }
}
