//! Nodes and relationships that have no key, and relationships between nodes that the mapping does not relate so: a
//! comparison can not name them, and a repair leaves them alone.

use std::sync::Arc;

use crate::{
    graph::{Model, TableIndex, model::Shape},
    pipeline::{GraphReader, Store},
    request::Findings,
    service::{ServiceError, graph::Graph, others::Others},
    shown::Shown,
};

/// Counts them, once all is compared. Nothing waits for it: the stream never makes one, so no moment matters.
/// Those under a label of another pipeline may be its rows.
pub async fn count(
    graph: &Graph,
    model: &Arc<Model>,
    others: &Others,
    findings: &mut Findings,
) -> Result<(), ServiceError> {
    let shared: Vec<TableIndex> =
        others.shared(model).into_iter().map(|(table, ..)| table).collect();
    let mut reader = graph.reader(model)?;
    for (index, table) in model.iter().filter(|(index, _)| !shared.contains(index)) {
        if let Some(found) = findings.tables.iter_mut().find(|it| it.table == table.name) {
            let strays =
                reader.strays(index).await.map_err(|error| ServiceError::of_write(error.into()))?;
            found.keyless = strays.count;
            if strays.count > 0 {
                found.keyless_queries = strays.queries;
            }
        }
    }
    Ok(())
}

/// Says which entities they are.
pub fn text(model: &Model, findings: &Findings) -> String {
    let mut text = String::new();
    for (_, table) in model.iter() {
        let found = findings.tables.iter().find(|it| it.table == table.name);
        let Some(found) = found.filter(|it| it.keyless > 0) else { continue };
        let what = match &table.shape {
            Shape::Node(node) => {
                format!("nodes with the label {} have no whole key", Shown(&node.label))
            }
            Shape::Relationship(join) => format!(
                "relationships of the type {} have no whole key, or are between nodes of other labels",
                Shown(&join.relationship_type)
            ),
        };
        text += &format!(
            "{}: {} {what}, so no row is theirs and `repair` leaves them: remove them, or give them another name. From \
             a node that is another table's row, remove the label only\n",
            table.name, found.keyless
        );
        for query in &found.keyless_queries {
            text += &format!("  to see them: {query} LIMIT 100\n");
        }
    }
    text
}
