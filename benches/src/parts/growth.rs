//! The same drain into larger and larger graphs, with hubs of 100,000 relationships.
//!
//! The graph's additional nodes are orders with ids below zero. Most of them are spread over
//! customers and products; 100,000 belong to one customer and one product.

use neo4rs::Query;

use crate::{
    Result,
    figures::{Ratio, Taken},
    lab::Lab,
    parts::drain::Backlog,
};

const SIZES: [usize; 3] = [100_000, 1_000_000, 5_000_000];
const HUB: usize = 100_000;
const BATCH: usize = 10_000;

const FILL: &str = "UNWIND range($from, $to - 1) AS i \
    MATCH (c:Customer {id: CASE WHEN i < $hub THEN 1 ELSE 1 + i % 20000 END}) USING INDEX SEEK c:Customer(id) \
    MATCH (p:Product {id: CASE WHEN i < $hub THEN 1 ELSE 1 + i % 1000 END}) USING INDEX SEEK p:Product(id) \
    CREATE (o:Order {id: -i - 1, status: 'old', total: '1.00'}) \
    CREATE (o)-[:CUSTOMER]->(c) CREATE (o)-[:ORDER_ITEMS {qty: 1, price: '1.00'}]->(p)";

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    let backlog = Backlog::prepare(lab, "growth").await?;
    let mut filled = 0;
    for size in SIZES {
        while filled < size {
            let to = (filled + BATCH).min(size);
            let query = Query::new(FILL.to_owned()).param("hub", HUB as i64);
            let query = query.param("from", filled as i64).param("to", to as i64);
            lab.graph.run(query).await?;
            filled = to;
        }
        let (program, loader) =
            (format!("wal2graph at {size} nodes"), format!("bare loader at {size} nodes"));
        backlog.rounds("growth", [&program, &loader], &mut taken).await?;
    }
    let values = |who: &str, size: usize| {
        let name = format!("{who} at {size} nodes");
        let figure = taken.figures.iter().find(|figure| figure.name == name);
        figure.map(|figure| figure.values.clone()).unwrap_or_default()
    };
    let kept = |who: &str| -> Vec<f64> {
        let (small, large) = (values(who, SIZES[0]), values(who, SIZES[2]));
        large.iter().zip(&small).map(|(large, small)| large / small).collect()
    };
    let (program, loader) = (kept("wal2graph"), kept("bare loader"));
    let both = program.iter().zip(&loader).map(|(program, loader)| program / loader).collect();
    // Minutes pass between the sizes. The loader shows what the machine did meanwhile.
    for (name, values, at_least) in [
        ("at 5,000,000 nodes / at 100,000", program, Some(0.85)),
        ("the bare loader's", loader, None),
        ("the first by the second", both, None),
    ] {
        let (part, name) = ("growth".to_owned(), name.to_owned());
        taken.ratios.push(Ratio { part, name, values, at_least });
    }
    Ok(taken)
}
