//! Letters: rows that are set aside.

use crate::{
    graph::{
        letter::{DEAD_LETTER, LastChange, Letter, LetterId, Refusal},
        model::{Model, Shape, TableIndex},
        statement::{INCOMPLETE, INCOMPLETE_PROPERTY},
    },
    value::Value,
};

use super::{super::names::KEY_PROPERTY, Parameter, Query, joins::row_match, text::seek};

/// The columns of a row before its key.
const COLUMNS: usize = 13;

/// One text for each length of a key, and one that takes marks away.
pub fn keep(model: &Model, table: TableIndex, letters: Vec<Letter>) -> Vec<Query> {
    let keys = letters.iter().map(|letter| super::key_columns(letter.key.clone()));
    let marks = match &model.table(table).shape {
        Shape::Node(node) => {
            let found = seek("c", node, 0);
            Some(format!("UNWIND $rows[0] AS r {found} REMOVE c:{INCOMPLETE}"))
        }
        Shape::Relationship(join) if join.properties.is_empty() => None,
        Shape::Relationship(join) => {
            let found = row_match(model, join);
            Some(format!("UNWIND $rows[0] AS r {found} REMOVE x.{INCOMPLETE_PROPERTY}"))
        }
    };
    let marks = marks.map(|text| Query::new(text, keys));
    [kept(model, table, letters)].into_iter().chain(marks).collect()
}

fn kept(model: &Model, table: TableIndex, letters: Vec<Letter>) -> Query {
    let width = letters.first().map_or(0, |letter| letter.key.0.len());
    let key = (0..width).map(|part| format!(", d.{KEY_PROPERTY}{part} = r[{}]", COLUMNS + part));
    let text = format!(
        "UNWIND $rows[0] AS r MERGE (d:{DEAD_LETTER} {{pipeline: r[0], name: r[1]}}) \
         ON CREATE SET d.changes = 0, d.attempts = 0, d.at = datetime.transaction() \
         SET d.log = r[2], d.table = r[3], d.key = r[4], d.changes = d.changes + r[5], \
         d.operation = coalesce(r[6], d.operation), d.position = coalesce(r[7], d.position), \
         d.place = coalesce(r[8], d.place), d.values = coalesce(r[9], d.values), \
         d.reason = coalesce(r[10], d.reason), d.error = coalesce(r[11], d.error), \
         d.attempts = d.attempts + r[12], d.updated_at = datetime.transaction(){}",
        key.collect::<String>()
    );
    let rows = letters.into_iter().map(|letter| row(model, table, letter));
    Query::new(text, rows)
}

pub fn remove(letters: Vec<LetterId>) -> Query {
    let text = format!(
        "UNWIND $rows[0] AS r MATCH (d:{DEAD_LETTER} {{pipeline: r[0], name: r[1]}}) DETACH DELETE d"
    );
    Query::new(text, letters.into_iter().map(|id| Vec::from(columns_of(id))))
}

fn row(model: &Model, table: TableIndex, letter: Letter) -> Vec<Parameter> {
    let Letter { id, log, key, shown_key, changes, last, refusal } = letter;
    let attempts = i64::from(refusal.is_some());
    let [operation, position, place, values] = match last {
        None => [const { Parameter::Null }; 4],
        Some(LastChange { operation, at, place, values }) => [
            text(operation),
            // Positions stay far below 2^63.
            Parameter::Value(Value::Integer(at.0 as i64)),
            text(place),
            text(values),
        ],
    };
    let (reason, error) = match refusal {
        None => (Parameter::Null, Parameter::Null),
        Some(Refusal { reason, error }) => (text(reason), text(error)),
    };
    let [pipeline, name] = columns_of(id);
    let mut columns = vec![
        pipeline,
        name,
        text(&*log),
        text(model.table(table).name.as_str()),
        text(shown_key),
        Parameter::Value(Value::Integer(changes as i64)),
        operation,
        position,
        place,
        values,
        reason,
        error,
        Parameter::Value(Value::Integer(attempts)),
    ];
    assert_eq!(columns.len(), COLUMNS, "the key's columns are behind these");
    columns.extend(super::key_columns(key));
    columns
}

fn columns_of(id: LetterId) -> [Parameter; 2] {
    [text(&*id.pipeline), text(id.name)]
}

fn text(text: impl Into<String>) -> Parameter {
    Parameter::Value(Value::String(text.into()))
}
