//! What an earlier mapping made, and this one does not have, goes before tables and graph are compared.

use std::collections::BTreeSet;

use crate::{
    checkpoint::{Checkpoint, Claim},
    graph::{LeftOver, Model, Outlines},
    pipeline::{Footprint, Note, Rows, Store},
};

use super::{ServiceError, graph};

/// Removes it, under the claim. What another pipeline of the graph has, too, stays. Killed anywhere, the
/// next start goes on with it: the checkpoint says until the end what there was.
pub async fn clear(
    graph: &impl Store,
    claim: &Claim,
    checkpoint: &Checkpoint,
    (model, labels): (&Model, &[String]),
) -> Result<(), ServiceError> {
    let mut left =
        checkpoint.outlines.as_deref().map(Outlines::parse).unwrap_or_default().left_over();
    let gone = checkpoint.labels.iter().filter(|label| !labels.contains(label));
    left.extend(gone.map(|label| LeftOver::Nodes { label: label.clone() }));
    if left.is_empty() {
        return Ok(());
    }
    let pipeline = &claim.identity.pipeline;
    let others = graph.all_checkpoints().await?;
    let others: Vec<_> = others.into_iter().filter(|(name, _)| name != pipeline).collect();
    let spared: BTreeSet<String> =
        others.iter().flat_map(|(_, it)| it.labels.iter().cloned()).collect();
    if let Some((other, _)) = others.iter().find(|(_, it)| it.labels.is_empty()) {
        tracing::warn!(
            other,
            "what the mapping before made stays in the graph: an earlier build made another pipeline, which does not \
             say its labels"
        );
    } else {
        let claims = std::slice::from_ref(claim);
        left.retain(|it| !it.labels().iter().any(|label| spared.contains(*label)));
        let labels = left.iter().filter_map(|it| match it {
            LeftOver::Nodes { label } => Some(label.clone()),
            _ => None,
        });
        let rows = Rows { labels: labels.collect(), spared };
        if !rows.labels.is_empty() {
            tracing::info!(labels = ?rows.labels, "removing nodes that the mapping has no more");
            while graph.remove(pipeline, claims, &rows).await? != Default::default() {}
            // Under another key, a constraint of before may keep rows out.
            let of = Footprint { model: None, rows: &rows, is_alone: false };
            graph.unmake(&graph.made(of).await?.goes).await?;
            graph::establish(graph, model).await?;
        }
        for left in &left {
            tracing::info!(?left, "removing what the mapping has no more");
            while graph.clear(pipeline, claims, left).await? > 0 {}
        }
    }
    let outlines = Outlines::of(model).text();
    graph.note(claim, Note::Outlines { outlines: &outlines, labels }).await?;
    Ok(())
}
