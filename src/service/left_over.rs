//! What an earlier mapping made, and this one does not have, goes before tables and graph are compared.

use crate::{
    checkpoint::{Claim, Claims, Log},
    graph::{LeftOver, Model, Outlines},
    pipeline::{Footprint, Note, Rows, Store},
};

use super::{ServiceError, others::Others};

/// Removes it, under the claim. `outlines` and `before` are what the checkpoint has: mappings, and the labels of
/// rows. What another pipeline of the graph has, too, stays. Killed anywhere, the
/// next start goes on with it: the checkpoint says until the end what there was. The caller makes the
/// mapping's constraints after it: before, values under the names of a new key may not be unique.
pub async fn clear(
    graph: &impl Store,
    claim: &Claim,
    (outlines, before): (Option<&str>, &[String]),
    (model, labels): (&Model, &[String]),
) -> Result<(), ServiceError> {
    let mut left = outlines.map(Outlines::parse).unwrap_or_default().left_over();
    let gone = before.iter().filter(|label| !labels.contains(label));
    left.extend(gone.map(|label| LeftOver::Nodes { label: label.clone() }));
    if left.is_empty() {
        return Ok(());
    }
    let pipeline = &claim.identity.pipeline;
    let others = Others::look(graph, pipeline).await?;
    let spared = others.labels();
    if let Some(other) = others.silent() {
        tracing::warn!(
            other,
            "what the mapping before made stays in the graph: an earlier build made another pipeline, which does not \
             say its labels"
        );
    } else {
        // Other partitions of a topic go over by themselves, and clear what they have left.
        let claims = match &claim.identity.log {
            Log::Slot(_) => Claims::All(std::slice::from_ref(claim)),
            Log::Partition(_) => Claims::One(claim),
        };
        left.retain(|it| !it.labels().iter().any(|label| spared.contains(*label)));
        let labels = left.iter().filter_map(|it| match it {
            LeftOver::Nodes { label } => Some(label.clone()),
            _ => None,
        });
        let rows = Rows { labels: labels.collect(), spared };
        if !rows.labels.is_empty() {
            tracing::info!(labels = ?rows.labels, "removing nodes that the mapping has no more");
            while graph.remove(pipeline, claims, &rows).await? != Default::default() {}
        }
        // Constraints and indexes of before: under another key, one may keep rows out.
        let labels = left.iter().flat_map(LeftOver::labels).cloned().collect();
        let types = left.iter().filter_map(LeftOver::relationship_type).cloned().collect();
        let (types, rows) = (Some(&types), &Rows { labels, spared: rows.spared });
        let of = Footprint { types, rows, needed: Some(model), is_alone: false };
        let made = graph.made(of).await?.goes;
        if !made.is_empty() {
            tracing::info!(
                ?made,
                "dropping constraints and indexes that the mapping needs no more"
            );
            graph.unmake(&made).await?;
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
