//! Other pipelines of the same graph: what has a label of theirs may be a row of theirs.
//!
//! ```text
//! checkpoints of the graph, but this pipeline's -> Others -> a label of ours that one of them has, too -> it stays
//! ```
//!
//! Nothing without a row goes under such a label, whoever asks: a first copy that adopts, a repair, a new mapping.

use std::collections::BTreeSet;

use crate::{
    checkpoint::Checkpoint,
    graph::{
        Model, TableIndex,
        model::{Shape, Table},
    },
    pipeline::{Reported, Store, StoreError},
    shown::Shown,
};

/// The other pipelines of a graph, with their checkpoints.
pub struct Others(Vec<(String, Checkpoint)>);

impl Others {
    /// Those that the graph has beside this one.
    pub async fn look(graph: &impl Store, own: &str) -> Result<Self, StoreError> {
        let all = graph.all_checkpoints().await?;
        Ok(Others(all.into_iter().filter(|(pipeline, _)| pipeline != own).collect()))
    }

    /// All labels that they have.
    pub fn labels(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|(_, it)| it.labels.iter().cloned()).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of which this is so.
    pub fn find(&self, is_so: impl Fn(&Checkpoint) -> bool) -> Option<&str> {
        let found = self.0.iter().find(|(_, checkpoint)| is_so(checkpoint));
        found.map(|(pipeline, _)| pipeline.as_str())
    }

    /// One that an earlier build made. It does not say its labels, and may have any.
    pub fn silent(&self) -> Option<&str> {
        let all = self.0.iter().map(|(pipeline, _)| pipeline.as_str());
        let mut all = all.collect::<BTreeSet<_>>().into_iter();
        all.find(|pipeline| {
            self.0.iter().all(|(name, it)| name != pipeline || it.labels.is_empty())
        })
    }

    /// One that has this label.
    pub fn having(&self, label: &String) -> Option<&str> {
        self.find(|it| it.labels.contains(label))
    }

    /// The tables of a model whose labels another pipeline has, too, or may have: each with the label and the
    /// pipeline. Of a join table that is a label of one of its ends.
    pub fn shared<'a>(&'a self, model: &'a Model) -> Vec<(TableIndex, &'a String, &'a str)> {
        let silent = self.silent();
        let labels = |table: &'a Table| match &table.shape {
            Shape::Node(node) => vec![&node.label],
            Shape::Relationship(join) => {
                vec![&model.node(join.from).label, &model.node(join.to).label]
            }
        };
        let of_table = |(index, table): (TableIndex, &'a Table)| {
            let mut labels = labels(table).into_iter();
            let may_have = |label| self.having(label).or(silent);
            labels.find_map(|label| Some((index, label, may_have(label)?)))
        };
        model.iter().filter_map(of_table).collect()
    }

    /// Says what a comparison of the tables of these names leaves alone, if there is anything. None: of all.
    pub fn warn(&self, model: &Model, names: &[String]) {
        let is_asked = |table| names.is_empty() || names.contains(&model.table(table).name);
        let shared = self.shared(model);
        let mut told = BTreeSet::new();
        for (_, label, other) in shared.into_iter().filter(|(table, ..)| is_asked(*table)) {
            if told.insert(label) {
                tracing::warn!(
                    label = %Shown(label),
                    other,
                    "what has no row under this label is not compared and stays: the other pipeline has the label, \
                     too, or does not say its labels"
                );
            }
        }
    }

    /// A comparison leaves alone what may be theirs.
    pub fn spare(&self, model: &Model, reported: &Reported) {
        let shared = self.shared(model);
        reported.get().spared = shared.into_iter().map(|(table, ..)| table).collect();
    }
}
