//! The model as a drawing: labels, and arrows between them.

use std::fmt::Write;

use serde::Serialize;

use super::model::{Direction, Model, Shape, TableIndex};

/// What a model looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drawing {
    /// The labels; an arrow names them by their place here.
    pub labels: Vec<String>,
    /// The kinds of relationships.
    pub arrows: Vec<Arrow>,
}

/// A kind of relationship.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Arrow {
    /// The label at its start.
    pub from: usize,
    /// The label at its end.
    pub to: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub relationship_type: String,
}

impl Drawing {
    /// Of a model.
    pub fn of(model: &Model) -> Self {
        let nodes: Vec<TableIndex> = model
            .iter()
            .filter(|(table, _)| model.label(*table).is_some())
            .map(|it| it.0)
            .collect();
        // Ends of relationships are node tables.
        let place = |table: TableIndex| nodes.partition_point(|node| *node < table);
        let mut arrows = Vec::new();
        for (index, table) in model.iter() {
            match &table.shape {
                Shape::Node(node) => arrows.extend(node.references.iter().map(|reference| {
                    let (owner, target) = (place(index), place(reference.target));
                    let (from, to) = match reference.direction {
                        Direction::Outgoing => (owner, target),
                        Direction::Incoming => (target, owner),
                    };
                    Arrow { from, to, relationship_type: reference.relationship_type.clone() }
                })),
                Shape::Relationship(join) => arrows.push(Arrow {
                    from: place(join.from),
                    to: place(join.to),
                    relationship_type: join.relationship_type.clone(),
                }),
            }
        }
        arrows.sort();
        arrows.dedup();
        let labels = nodes.iter().filter_map(|table| model.label(*table).cloned()).collect();
        Drawing { labels, arrows }
    }

    /// As a Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (place, label) in self.labels.iter().enumerate() {
            let _ = writeln!(text, "  n{place}[\"{}\"]", in_mermaid(label));
        }
        for Arrow { from, to, relationship_type } in &self.arrows {
            let _ = writeln!(text, "  n{from} -->|\"{}\"| n{to}", in_mermaid(relationship_type));
        }
        text
    }

    /// In the language of Graphviz.
    pub fn dot(&self) -> String {
        let mut text =
            "digraph wal2graph {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
        for (place, label) in self.labels.iter().enumerate() {
            let _ = writeln!(text, "  n{place} [label=\"{}\"];", in_dot(label));
        }
        for Arrow { from, to, relationship_type } in &self.arrows {
            let _ = writeln!(text, "  n{from} -> n{to} [label=\"{}\"];", in_dot(relationship_type));
        }
        text + "}\n"
    }
}

/// Mermaid reads markdown and its own codes in a quoted text.
fn in_mermaid(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            '"' | '#' | '`' | '<' | '>' | '&' | ';' | '\\' | '*' | '|' => {
                let _ = write!(text, "#{};", u32::from(letter));
            }
            letter if letter.is_control() => text.push(' '),
            letter => text.push(letter),
        }
    }
    text
}

fn in_dot(name: &str) -> String {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    quoted.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_part_of_the_language() {
        let arrow = Arrow { from: 0, to: 0, relationship_type: "A\"|B\\".to_owned() };
        let drawing = Drawing { labels: vec!["x\"]\n; y`#<b>".to_owned()], arrows: vec![arrow] };
        assert_eq!(
            drawing.mermaid(),
            "flowchart LR\n  n0[\"x#34;] #59; y#96;#35;#60;b#62;\"]\n  n0 -->|\"A#34;#124;B#92;\"| n0\n"
        );
        assert_eq!(
            drawing.dot(),
            "digraph wal2graph {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n  \
             n0 [label=\"x\\\"] ; y`#<b>\"];\n  n0 -> n0 [label=\"A\\\"|B\\\\\"];\n}\n"
        );
    }
}
