//! Data of other applications on the nodes of rows, outside of copies. It exists exactly as long as
//! the row.

use std::collections::BTreeSet;

use fastrand::Rng;
use wal2graph::{
    graph::{
        Model, Statement, TableIndex,
        memory::{Contents, Memory, OTHERS, RelationshipContent},
        model::Shape,
        statement::Beside,
    },
    value::Value,
};

use super::schema::{RowKey, Schema, SimRow, Tables, to_key};

pub struct Others {
    /// A separate generator, so that histories stay the same as without it.
    rng: Rng,
    /// Rows that have something, by [`SimRow::born`].
    rows: BTreeSet<u64>,
    /// Connected rows, each pair once.
    pairs: BTreeSet<(u64, u64)>,
}

impl Others {
    pub fn new(seed: u64) -> Self {
        Others { rng: Rng::with_seed(!seed), rows: BTreeSet::new(), pairs: BTreeSet::new() }
    }

    /// Nobody has put anything anywhere.
    pub fn are_absent(&self) -> bool {
        self.rows.is_empty() && self.pairs.is_empty()
    }

    /// Adds data now and then, when the graph equals the tables.
    pub fn act(&mut self, schema: &Schema, tables: &Tables, memory: &mut Memory) {
        let rows: Vec<_> = rows(schema, tables).collect();
        let mut any = || self.rng.choice(rows.iter().copied());
        let (Some((at, key, row)), Some((to, to_key_of, target))) = (any(), any()) else { return };
        let key = to_key(key);
        match self.rng.u8(0..4) {
            0 => {
                self.rows.insert(row.born);
                memory.put_others(at, &key, row.born as i64);
            }
            1 if self.pairs.insert((row.born, target.born)) => {
                memory.connect_others((at, &key), (to, &to_key(to_key_of)));
            }
            _ => {}
        }
    }

    /// Adds their expected data to that of the tables.
    pub fn expect(&self, schema: &Schema, tables: &Tables, contents: &mut Contents) {
        for (table, key, row) in rows(schema, tables) {
            let from = schema.identity(table, key[0]);
            if self.rows.contains(&row.born) {
                let is_its = |node: &&wal2graph::graph::memory::NodeContent| {
                    node.labels.contains(&from.label)
                        && node.properties.get("id") == Some(&from.key[0])
                };
                let mut node = contents.nodes.iter().find(is_its).expect("it is a row").clone();
                contents.nodes.remove(&node);
                node.labels.insert(OTHERS.to_owned());
                node.properties.insert(OTHERS.to_owned(), Value::Integer(row.born as i64));
                contents.nodes.insert(node);
            }
            for (to, to_key, target) in self::rows(schema, tables) {
                if self.pairs.contains(&(row.born, target.born)) {
                    let content = RelationshipContent {
                        relationship_type: OTHERS.to_owned(),
                        from: from.clone(),
                        to: schema.identity(to, to_key[0]),
                        properties: Default::default(),
                    };
                    contents.relationships.insert(content, 1);
                }
            }
        }
    }
}

/// The rows of all tables whose rows are nodes.
fn rows<'a>(
    schema: &'a Schema,
    tables: &'a Tables,
) -> impl Iterator<Item = (TableIndex, &'a RowKey, &'a SimRow)> {
    let of_nodes =
        schema.tables().filter(|table| matches!(schema.model.table(*table).shape, Shape::Node(_)));
    of_nodes.flat_map(|table| tables[table.0].iter().map(move |(key, row)| (table, key, row)))
}

/// Applies a statement, but drops their data where a row gets a key at which a row is.
pub fn apply_dropping_others(memory: &mut Memory, model: &Model, statement: &Statement) {
    let Statement::MoveNodes { table, moves } = statement else {
        return memory.apply(model, statement);
    };
    for (from, to) in moves {
        let is_row = |key| memory.missing(model, *table, std::slice::from_ref(key)).is_empty();
        let one = match from != to && is_row(from) && is_row(to) {
            true => Statement::DropNodes {
                table: *table,
                keys: vec![from.clone()],
                beside: Beside::Nobody,
            },
            false => {
                Statement::MoveNodes { table: *table, moves: vec![(from.clone(), to.clone())] }
            }
        };
        memory.apply(model, &one);
    }
}

/// Applies a statement, but leaves their data on the placeholders of deleted rows.
pub fn apply_leaving_others(memory: &mut Memory, model: &Model, statement: &Statement) {
    let before = memory.contents(model);
    memory.apply(model, statement);
    let (Statement::DropNodes { table, .. } | Statement::ClearNodes { table, .. }) = statement
    else {
        return;
    };
    let label = &model.node(*table).label;
    for node in before.nodes.iter().filter(|node| node.labels.contains(label)) {
        if let Some(Value::Integer(value)) = node.properties.get(OTHERS)
            && let Some(Value::Integer(id)) = node.properties.get("id")
        {
            memory.put_others(*table, &to_key(&[*id]), *value);
        }
    }
}
