//! Which rows of a table fulfil a condition that a person has written, and how many rows there are.
//!
//! The condition is pasted into SQL. Two things keep it a condition: the transaction can only read, and
//! the text has to stand between parentheses in two places that have nothing else in common. A text that
//! closes its parenthesis to say more is wrong in one of them.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Error};

use crate::{
    catalog::quote_identifier,
    graph::{Counted, TableIndex},
    mapping::Mapping,
};

use super::sources::Sources;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// For this transaction, operators of the table's types are found where the types are: without them `citext = 'a'`
/// compares as texts, in silence.
const OPERATORS: &str = "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', \
    (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(n.nspname), ', ') FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_type u ON u.oid IN (t.oid, t.typbasetype) \
     JOIN pg_catalog.pg_namespace n ON n.oid = u.typnamespace AND n.nspname <> 'pg_catalog' \
     WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped)), true)";

/// The keys of the rows that fulfil the condition, at most `limit`, by the texts of their columns.
pub async fn keys_where(
    client: &Client,
    sources: &Sources,
    table: TableIndex,
    condition: &str,
    limit: usize,
) -> Result<Vec<Vec<String>>, Error> {
    let source = sources.get(table);
    let (from, filter) = (&source.from, &source.filter);
    // The text of a type's own output, as COPY has it.
    let key =
        source.key.iter().map(|it| format!("pg_catalog.format('%s', {})", quote_identifier(it)));
    let key = key.collect::<Vec<_>>().join(", ");
    // A comment at its end must not hide what follows.
    let elsewhere = format!("SELECT CASE WHEN ({condition}\n) THEN 1 END FROM {from}");
    let select = format!("SELECT {key} FROM {from} WHERE ({condition}\n){filter} LIMIT {limit}");
    client.batch_execute(BEGIN).await?;
    let read = async {
        client.query(OPERATORS, &[&from.trim_start_matches("ONLY ")]).await?;
        let select = client.prepare(&select).await?;
        client.prepare(&elsewhere).await?;
        // Parentheses of its own have to be whole.
        client.prepare(&format!("SELECT FROM {from} WHERE {condition}")).await?;
        client.query(&select, &[]).await
    };
    let read = read.await;
    client.batch_execute("ROLLBACK").await?;
    let texts = |row: &tokio_postgres::Row| (0..row.len()).map(|column| row.get(column)).collect();
    Ok(read?.iter().map(texts).collect())
}

/// How many rows there are, and how many of them refer to something, in one snapshot.
pub async fn counts(
    client: &Client,
    sources: &Sources,
    mapping: &Mapping,
    wanted: &BTreeSet<Counted>,
) -> Result<BTreeMap<Counted, u64>, Error> {
    client.batch_execute(BEGIN).await?;
    let mut counts = BTreeMap::new();
    let read = async {
        let tables: BTreeSet<TableIndex> = wanted.iter().map(|(table, _)| *table).collect();
        for table in tables {
            let (source, columns) = (sources.get(table), mapping.columns(table));
            let of: Vec<&Counted> = wanted.iter().filter(|(of, _)| *of == table).collect();
            let number = |(_, reference): &&Counted| match reference {
                None => "count(*)".to_owned(),
                Some(reference) => {
                    let slots = columns.references[*reference].slots.iter();
                    let name = |slot| quote_identifier(&columns.column(slot).name);
                    let are_there = slots.map(|slot| format!("{} IS NOT NULL", name(slot)));
                    let are_there = are_there.collect::<Vec<_>>().join(" AND ");
                    format!("count(*) FILTER (WHERE {are_there})")
                }
            };
            let numbers = of.iter().map(number).collect::<Vec<_>>().join(", ");
            let (from, filter) = (&source.from, &source.filter);
            let select = format!("SELECT {numbers} FROM {from} WHERE true{filter}");
            let row = client.query_one(&select, &[]).await?;
            for (place, of) in of.into_iter().enumerate() {
                counts.insert(*of, row.get::<_, i64>(place).unsigned_abs());
            }
        }
        Ok(())
    };
    let read = read.await;
    client.batch_execute("ROLLBACK").await?;
    read.map(|()| counts)
}
