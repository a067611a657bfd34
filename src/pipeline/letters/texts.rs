//! What a letter says of a change.

use serde_json::{Map, Value as Json};

use crate::{
    change::{Before, Cell, Change, Relation, Tuple},
    graph::{Key, Model, Row, TableIndex},
    shown::Shown,
};

use super::{super::shortened, Rules};

/// A letter leaves out the columns behind so many bytes of names and values.
const VALUES_BYTES_MAX: usize = 16 << 10;

pub fn shown_table(model: &Model, table: TableIndex) -> String {
    Shown(&model.table(table).name).to_string()
}

pub fn shown_row(model: &Model, table: TableIndex, key: Option<&Key>) -> String {
    let key = key.map(|key| shortened(&model.shown_key(table, key))).unwrap_or_default();
    format!("{} ({key})", shown_table(model, table))
}

/// The row of a change: as it is, or as it was.
fn row_of(change: &Change) -> Option<(&Relation, &Tuple)> {
    match change {
        Change::Insert { relation, new } | Change::Update { relation, new, .. } => {
            Some((relation, new))
        }
        Change::Delete { relation, before: Before::Key(old) | Before::Full(old) } => {
            Some((relation, old))
        }
        Change::Delete { .. } | Change::Truncate { .. } | Change::Message { .. } => None,
    }
}

/// Why a change is too large to be sent, if it is.
pub fn too_large(change: &Change, rules: Rules) -> Option<String> {
    let bytes = change.size_bytes();
    if bytes <= rules.smallest() {
        return None;
    }
    let (relation, tuple) = row_of(change)?;
    let size = |cell: &Cell| if let Cell::Text(text) = cell { text.len() } else { 0 };
    let columns = relation.columns.iter().zip(tuple);
    let sizes = columns.map(|(column, cell)| (column.name.as_str(), size(cell)));
    of_limits(sizes.max_by_key(|(_, bytes)| *bytes), bytes, rules)
}

/// The same of a row that was read. `name` has the names of its properties.
pub fn too_large_row<'a>(
    row: &Row,
    rules: Rules,
    name: impl Fn(usize) -> &'a str,
) -> Option<String> {
    let largest = row.largest().map(|(property, bytes)| (name(property), bytes));
    of_limits(largest, row.size_bytes(), rules)
}

fn of_limits(largest: Option<(&str, usize)>, row: usize, rules: Rules) -> Option<String> {
    let Rules { value_bytes, row_bytes, .. } = rules;
    match largest {
        Some((name, bytes)) if bytes > value_bytes => Some(format!(
            "the value of {} has {bytes} bytes as text, and limits.value_bytes allows {value_bytes}",
            Shown(name)
        )),
        _ if row > row_bytes => Some(format!(
            "its values have {row} bytes, and limits.transaction_bytes allows {row_bytes}"
        )),
        _ => None,
    }
}

/// The values of a change as JSON. Long ones are cut.
pub fn values(change: &Change) -> String {
    let Some((relation, tuple)) = row_of(change) else { return String::new() };
    let (mut values, mut bytes) = (Map::new(), 0);
    for (column, cell) in relation.columns.iter().zip(tuple) {
        let value = match cell {
            Cell::Unchanged => continue,
            Cell::Null => Json::Null,
            Cell::Text(text) => Json::String(shortened(&String::from_utf8_lossy(text))),
        };
        bytes += column.name.len() + value.as_str().map_or(0, str::len);
        if bytes > VALUES_BYTES_MAX {
            break;
        }
        values.insert(column.name.clone(), value);
    }
    Json::Object(values).to_string()
}
