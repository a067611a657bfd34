//! Predicts the texts that a stream will need from the model, to plan them in advance.
//!
//! Rare texts are missing: rows without some values, key changes, truncates, and writes of a copy
//! beside the stream. The texts for many rows at once are missing too, see
//! [`in_few_texts`](crate::graph::in_few_texts).

use std::{collections::HashSet, sync::Arc};

use crate::graph::{
    model::{Model, NodeShape, ReferenceBy, RelationshipKey, RelationshipShape, Shape, TableIndex},
    plan::Circumstances,
    statement::{Beside, Completeness, Known, Presence, Statement},
};

use super::render;

/// Each text once, the most likely ones first: new and changed rows, then their references, then
/// deleted rows. Fallback texts are not among them.
pub fn likely_texts(model: &Model, circumstances: Circumstances) -> Vec<Arc<str>> {
    let beside = circumstances.beside();
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for step in Step::ALL {
        for (table, shape) in model.iter() {
            let of = Of { model, table, beside };
            let statements = match &shape.shape {
                Shape::Node(node) => of.node(step, node),
                Shape::Relationship(join) => of.join(step, join),
            };
            let rendered = statements.into_iter().flat_map(|statement| render(model, statement));
            texts.extend(rendered.map(|query| query.text).filter(|text| seen.insert(text.clone())));
        }
    }
    texts
}

/// The events of rows.
#[derive(Clone, Copy)]
enum Step {
    /// Inserts, and updates of their values.
    Filled,
    /// New ones refer to others.
    Referring,
    /// Their references may change.
    Changed,
    /// Deletes.
    Gone,
}

impl Step {
    const ALL: [Step; 4] = [Step::Filled, Step::Referring, Step::Changed, Step::Gone];
}

/// The statements of one table.
struct Of<'a> {
    model: &'a Model,
    table: TableIndex,
    /// Nobody, in a settled stream.
    beside: Beside,
}

impl Of<'_> {
    fn node(&self, step: Step, node: &NodeShape) -> Vec<Statement> {
        let table = self.table;
        match step {
            Step::Filled => vec![self.filled(node)],
            Step::Referring => self.referring(node),
            Step::Changed => self.changed(node),
            Step::Gone => {
                vec![Statement::DropNodes { table, keys: Vec::new(), beside: self.beside }]
            }
        }
    }

    fn filled(&self, node: &NodeShape) -> Statement {
        if self.beside == Beside::Nobody {
            return Statement::FillNodes { table: self.table, rows: Vec::new() };
        }
        let (table, known, rows) = (self.table, all(&node.properties), Vec::new());
        let (completeness, new) = (Completeness::Complete, false);
        Statement::UpsertNodes { table, known, completeness, new, rows }
    }

    fn referring(&self, node: &NodeShape) -> Vec<Statement> {
        let table = self.table;
        let references = node.references.iter().enumerate();
        let from_owner =
            references.filter_map(|(reference, shape)| match (&shape.by, self.beside) {
                // They are new with their owner.
                (ReferenceBy::Key, Beside::Nobody) => None,
                (ReferenceBy::Key, beside) => Some(Statement::ReplaceReferences {
                    table,
                    reference,
                    beside,
                    rows: Vec::new(),
                }),
                (ReferenceBy::Unique { .. }, _) => {
                    Some(Statement::MatchFromOwner { table, reference, rows: Vec::new() })
                }
            });
        let to_it = self.model.unique_references_to(table);
        let from_target = to_it.map(|(owner, reference, _)| Statement::MatchFromTarget {
            table: owner,
            reference,
            rows: Vec::new(),
        });
        from_owner.chain(from_target).collect()
    }

    fn changed(&self, node: &NodeShape) -> Vec<Statement> {
        let (table, beside) = (self.table, self.beside);
        if beside == Beside::Nobody {
            let (references, rows) = (node.keyed_references().collect(), Vec::new());
            return vec![Statement::RemoveOutdated { table, references, rows }];
        }
        let statements = node.keyed_references().flat_map(|reference| {
            let remove = Statement::RemoveReferences { table, reference, rows: Vec::new() };
            let (presence, rows) = (Presence::Unknown(beside), Vec::new());
            [remove, Statement::AddReferences { table, reference, presence, rows }]
        });
        statements.collect()
    }

    fn join(&self, step: Step, join: &RelationshipShape) -> Vec<Statement> {
        // A join row keyed by its ends changes only if it has properties.
        let can_change = join.key != RelationshipKey::Ends || !join.properties.is_empty();
        // One text then serves new and changed rows.
        let in_one = join.key == RelationshipKey::Ends && self.beside == Beside::Nobody;
        match step {
            Step::Filled if in_one => {
                vec![self.joined(join, Presence::Unknown(self.beside))]
            }
            Step::Changed if in_one => Vec::new(),
            Step::Filled => vec![self.joined(join, Presence::New)],
            Step::Changed if can_change => vec![self.joined(join, Presence::Known)],
            Step::Referring | Step::Changed => Vec::new(),
            Step::Gone => {
                let (table, beside) = (self.table, self.beside);
                vec![Statement::DropRelationships { table, keys: Vec::new(), beside }]
            }
        }
    }

    fn joined(&self, join: &RelationshipShape, presence: Presence) -> Statement {
        let (table, known, presence) = (self.table, all(&join.properties), self.presence(presence));
        let (completeness, rows) = (Completeness::Complete, Vec::new());
        Statement::UpsertRelationships { table, known, completeness, presence, rows }
    }

    /// Beside other writers, nothing is known.
    fn presence(&self, settled: Presence) -> Presence {
        match self.beside {
            Beside::Nobody => settled,
            beside => Presence::Unknown(beside),
        }
    }
}

fn all(properties: &[String]) -> Known {
    Known(vec![true; properties.len()].into())
}
