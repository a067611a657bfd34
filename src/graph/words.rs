//! Keys and differences as people read them. They contain values of rows.

use std::fmt;

use crate::{shown::on_one_line, value::Value};

use super::{
    Difference, Key, Model, TableIndex,
    found::{End, Stored},
};

/// Longer values are cut.
const CHARACTERS_MAX: usize = 80;

/// A value as people read it: texts in quotes, on one line, and cut when they are long.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Value::List(values) = self.0 {
            let values: Vec<String> = values.iter().map(|it| Shown(it).to_string()).collect();
            return write!(f, "[{}]", values.join(", "));
        }
        let text = self.0.postgres_text().unwrap_or_else(|| format!("{:?}", self.0));
        let is_whole = |text: &str| !text.contains(['.', 'e', 'E', 'N', 'i']);
        let text = match self.0 {
            // Not the integer.
            Value::Float(_) if is_whole(&text) => format!("{text}.0"),
            _ => text,
        };
        let quote = if matches!(self.0, Value::String(_)) { "'" } else { "" };
        let line = on_one_line(&text);
        match line.char_indices().nth(CHARACTERS_MAX) {
            None => write!(f, "{quote}{line}{quote}"),
            Some((end, _)) => write!(f, "{quote}{}{quote}...", &line[..end]),
        }
    }
}

impl Model {
    /// A key as people read it: `id: 5`, or several names with values.
    pub fn shown_key(&self, table: TableIndex, key: &Key) -> String {
        let names = self.key_names(table);
        let parts = names.iter().zip(&key.0);
        let parts = parts.map(|(name, value)| format!("{}: {}", on_one_line(name), Shown(value)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

fn values(key: &Key) -> String {
    key.0.iter().map(|value| Shown(value).to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::At(key) => f.write_str(&values(key)),
            End::Keyless => f.write_str("a node without its label or key"),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::Nothing => f.write_str("nothing"),
            Stored::Value(value) => Shown(value).fmt(f),
            Stored::Foreign => f.write_str("a value of a type that is never written"),
        }
    }
}

fn ends(ends: &[End]) -> String {
    match ends {
        [] => "nowhere".to_owned(),
        _ => ends.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing { is_placeholder: false } => write!(f, "the graph lacks the row"),
            Difference::Missing { is_placeholder: true } => {
                write!(f, "the graph has a placeholder instead of the row")
            }
            Difference::Extra => write!(f, "the table has no such row"),
            Difference::Unheld => write!(f, "a placeholder, and nothing points at it"),
            Difference::Property { name, table, graph } => {
                let name = on_one_line(name);
                match table {
                    Some(value) => {
                        write!(f, "{name}: the table has {}, the graph {graph}", Shown(value))
                    }
                    None => write!(f, "{name}: the table has nothing, the graph {graph}"),
                }
            }
            Difference::Label { name, is_there: false } => {
                write!(f, "the label {} is missing", on_one_line(name))
            }
            Difference::Label { name, is_there: true } => {
                write!(f, "a placeholder has the label {}", on_one_line(name))
            }
            Difference::Incomplete => write!(f, "marked as lacking values"),
            Difference::Relationship { relationship_type, table, graph, .. } => write!(
                f,
                "{}: the table leads to {}, the graph to {}",
                on_one_line(relationship_type),
                ends(table),
                ends(graph)
            ),
            Difference::Ends { table: (from, to), graph } => write!(
                f,
                "the table joins {} and {}, the graph {} and {}",
                values(from),
                values(to),
                graph.0,
                graph.1
            ),
            Difference::Doubled { times } => write!(f, "it is there {times} times"),
        }
    }
}
