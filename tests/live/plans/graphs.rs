//! Graphs that mislead a planner.

use wal2graph::graph::{
    Model,
    model::{Direction, NodeShape, RelationshipKey, Shape},
};

/// Nodes of a label, and relationships of a hub.
const ROWS: u32 = 2_000;
/// What is left of every other table in the end.
const FEW: u32 = 3;

/// What a graph holds when a plan is made.
#[derive(Clone, Copy, Debug)]
pub enum State {
    Empty,
    /// As between the two passes of a copy.
    NodesAlone,
    Hub,
    FewOfTheFirst,
    FewOfTheSecond,
}

pub const ALL: [State; 5] =
    [State::Empty, State::NodesAlone, State::Hub, State::FewOfTheFirst, State::FewOfTheSecond];

impl State {
    /// What makes a graph of the model's labels so, whatever it is.
    pub fn texts(self, model: &Model) -> Vec<String> {
        let full = || [clear(model), nodes(model), relationships(model)].concat();
        match self {
            State::Empty => clear(model),
            State::NodesAlone => [clear(model), nodes(model)].concat(),
            State::Hub => full(),
            State::FewOfTheFirst => [full(), few(model, 0)].concat(),
            State::FewOfTheSecond => [full(), few(model, 1)].concat(),
        }
    }
}

fn few(model: &Model, parity: usize) -> Vec<String> {
    let every_other = labels(model).skip(parity).step_by(2);
    let delete = |(label, node): (String, &NodeShape)| {
        format!("MATCH (n:{label}) WHERE n.{} > {FEW} DETACH DELETE n", name(&node.key[0]))
    };
    every_other.map(delete).collect()
}

fn labels(model: &Model) -> impl Iterator<Item = (String, &NodeShape)> {
    model.tables.iter().filter_map(|table| match &table.shape {
        Shape::Node(node) => Some((name(&node.label), node)),
        Shape::Relationship(_) => None,
    })
}

fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn clear(model: &Model) -> Vec<String> {
    labels(model).map(|(label, _)| format!("MATCH (n:{label}) DETACH DELETE n")).collect()
}

fn nodes(model: &Model) -> Vec<String> {
    let of = |(label, node): (String, &NodeShape)| {
        let names = node.key.iter().chain(&node.properties);
        let properties: Vec<_> = names.map(|it| format!("{}: i", name(it))).collect();
        format!("UNWIND range(1, {ROWS}) AS i CREATE (:{label} {{{}}})", properties.join(", "))
    };
    labels(model).map(of).collect()
}

/// Every owner points at the first target, every join row leads to the first node.
fn relationships(model: &Model) -> Vec<String> {
    let hub = |node: &NodeShape| format!("(p:{} {{{}: 1}})", name(&node.label), name(&node.key[0]));
    let mut texts = Vec::new();
    for table in &model.tables {
        match &table.shape {
            Shape::Node(node) => texts.extend(node.references.iter().map(|reference| {
                let kind = name(&reference.relationship_type);
                let pattern = match reference.direction {
                    Direction::Outgoing => format!("(c)-[:{kind}]->(p)"),
                    Direction::Incoming => format!("(c)<-[:{kind}]-(p)"),
                };
                let target = hub(model.node(reference.target));
                format!("MATCH (c:{}) MATCH {target} CREATE {pattern}", name(&node.label))
            })),
            Shape::Relationship(join) => {
                let from = model.node(join.from);
                let own = match &join.key {
                    RelationshipKey::Ends => &[],
                    RelationshipKey::Own(own) => own.as_slice(),
                };
                let id = format!("a.{}", name(&from.key[0]));
                let set =
                    own.iter().chain(&join.properties).map(|it| format!("{}: {id}", name(it)));
                texts.push(format!(
                    "MATCH (a:{}) MATCH {} CREATE (a)-[:{} {{{}}}]->(p)",
                    name(&from.label),
                    hub(model.node(join.to)),
                    name(&join.relationship_type),
                    set.collect::<Vec<_>>().join(", ")
                ));
            }
        }
    }
    texts
}
