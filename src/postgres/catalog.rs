//! Reads the catalog into [`crate::catalog`].
//!
//! ```text
//! types, tables, columns, indexes, foreign keys: one query each  -->  Catalog
//! ```
//!
//! Every name is qualified with `pg_catalog`, so the result does not depend on the session's search
//! path. The queries read what PostgreSQL 14 to 19 have in common. They read columns of some
//! versions through `to_jsonb(row)`, where a missing column is NULL. All queries run in one
//! transaction, on one snapshot.

mod folding;
mod types;

use std::collections::HashMap;

use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use crate::{
    catalog::{
        Catalog, Column, ForeignKey, ForeignPartition, Publication, ReferentialAction,
        ReplicaIdentity, Table, TableKind, TableName, UniqueKey,
    },
    value::{CaseFolding, TypeFacts},
};

/// Reads all user tables: ordinary tables, partitioned tables and partitions, but no table of the
/// system or an extension.
///
/// Looks up the row filters and column lists of `publication`. If it does not exist, it restricts
/// nothing. Needs no right beyond a log-in. Returns the connection's errors.
pub async fn read(
    client: &mut Client,
    publication: Option<&str>,
) -> Result<Catalog, tokio_postgres::Error> {
    let transaction = client.build_transaction().read_only(true);
    let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let catalog = read_in(&transaction, publication).await?;
    transaction.commit().await?;
    Ok(catalog)
}

/// The same in a transaction that sees one snapshot.
pub async fn read_in(
    transaction: &Transaction<'_>,
    publication: Option<&str>,
) -> Result<Catalog, tokio_postgres::Error> {
    let mut tables = read_tables(transaction).await?;
    read_columns(transaction, &mut tables).await?;
    read_indexes(transaction, &mut tables).await?;
    read_foreign_keys(transaction, &mut tables).await?;
    if let Some(publication) = publication {
        read_publication(transaction, publication, &mut tables).await?;
    }
    let types = types::read(transaction).await?;
    let is_citext = |facts: &TypeFacts| facts.name == "citext";
    let case_folding = match types.iter().any(is_citext) {
        true => folding::read(transaction).await?,
        false => CaseFolding::default(),
    };
    let mut tables: Vec<Table> = tables.into_values().collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    add_up_partitions(&mut tables);
    Ok(Catalog { tables, types, case_folding })
}

/// The tables, by object id.
type Tables = HashMap<u32, Table>;

/// Every user table, with the columns that the other queries need.
const USER_TABLES: &str = "
    WITH user_tables AS (
        SELECT c.*, n.nspname AS schema
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
          AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
          AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_depend d
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass 
                AND d.objid = c.oid AND d.deptype = 'e'
          )
    )";

async fn read_tables(transaction: &Transaction<'_>) -> Result<Tables, tokio_postgres::Error> {
    let query = format!(
        "{USER_TABLES}
        SELECT t.oid, t.schema::text, t.relname::text AS name, t.relkind::text AS kind,
               t.relpersistence = 'p' AS logged, t.relreplident::text AS identity,
               CASE WHEN t.relkind = 'p' THEN -1 ELSE t.reltuples::float8 END AS rows,
               CASE WHEN t.relkind = 'p' THEN 0 ELSE t.relpages END AS pages,
               pg_catalog.convert_to(pg_catalog.obj_description(t.oid, 'pg_class'),
                   CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END
               ) AS comment,
               root_schema.nspname::text AS root_schema, root.relname::text AS root,
               foreign_part.schema AS foreign_schema, foreign_part.name AS foreign_name,
               foreign_part.parent_schema, foreign_part.parent
        FROM user_tables t
        LEFT JOIN pg_catalog.pg_class root
          ON t.relispartition AND root.oid = pg_catalog.pg_partition_root(t.oid)
        LEFT JOIN pg_catalog.pg_namespace root_schema ON root_schema.oid = root.relnamespace
        LEFT JOIN LATERAL (
            SELECT n.nspname::text AS schema, f.relname::text AS name,
                   parent_schema.nspname::text AS parent_schema, parent.relname::text AS parent
            FROM pg_catalog.pg_class f JOIN pg_catalog.pg_namespace n ON n.oid = f.relnamespace
            JOIN pg_catalog.pg_inherits i ON i.inhrelid = f.oid
            JOIN pg_catalog.pg_class parent ON parent.oid = i.inhparent
            JOIN pg_catalog.pg_namespace parent_schema ON parent_schema.oid = parent.relnamespace
            WHERE t.relkind = 'p' AND f.relkind = 'f' AND f.relispartition
              AND pg_catalog.pg_partition_root(f.oid) = t.oid
            ORDER BY schema, name LIMIT 1
        ) foreign_part ON true"
    );
    let rows = transaction.query(&query, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get("oid")?, table(row)?))).collect()
}

/// A table's name, where the columns for it hold one.
fn name(row: &Row, columns: [&str; 2]) -> Result<Option<TableName>, tokio_postgres::Error> {
    let [schema, name] = columns;
    let schema: Option<String> = row.try_get(schema)?;
    Ok(schema.zip(row.try_get(name)?).map(|(schema, name)| TableName { schema, name }))
}

fn table(row: &Row) -> Result<Table, tokio_postgres::Error> {
    let kind = match (name(row, ["root_schema", "root"])?, row.try_get("kind")?) {
        (Some(root), kind) => TableKind::Partition { root, holds_rows: kind != "p" },
        (None, "p") => TableKind::Partitioned,
        (None, _) => TableKind::Ordinary,
    };
    let replica_identity = match row.try_get("identity")? {
        "n" => ReplicaIdentity::Nothing,
        "f" => ReplicaIdentity::Full,
        // The index's columns come with the indexes. A dropped index leaves none.
        "i" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let foreign = name(row, ["foreign_schema", "foreign_name"])?;
    let foreign_partition = foreign.zip(name(row, ["parent_schema", "parent"])?);
    let rows: f64 = row.try_get("rows")?;
    let pages: i32 = row.try_get("pages")?;
    // A database without an encoding may hold any bytes, and a comment is only for people.
    let comment: Option<&[u8]> = row.try_get("comment")?;
    Ok(Table {
        name: TableName::new(row.try_get::<_, &str>("schema")?, row.try_get::<_, &str>("name")?),
        oid: row.try_get("oid")?,
        kind,
        logged: row.try_get("logged")?,
        foreign_partition: foreign_partition
            .map(|(name, parent)| ForeignPartition { name, parent }),
        columns: Vec::new(),
        primary_key: None,
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        replica_identity,
        // -1 means that the table was never analysed, or that only its partitions have rows. The
        // cast saturates.
        estimated_rows: (rows >= 0.0).then_some(rows as u64),
        pages: u64::try_from(pages).unwrap_or(0),
        comment: comment.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        published: Publication::default(),
    })
}

/// Since PostgreSQL 18 a NOT NULL may be NOT VALID: older rows may hold NULL.
async fn read_columns(
    transaction: &Transaction<'_>,
    tables: &mut Tables,
) -> Result<(), tokio_postgres::Error> {
    let query = format!(
        "{USER_TABLES}
        SELECT a.attrelid, a.attname::text AS name, a.attnum AS number, a.atttypid AS type_oid,
               a.atttypmod AS type_modifier,
               pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
               a.attnotnull AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_constraint k
                   WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
                     AND NOT k.convalidated
               ) AS not_null,
               a.attgenerated <> '' AS generated,
               COALESCE(l.collisdeterministic, true) AS deterministic
        FROM user_tables t
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid
        LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
        WHERE a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attrelid, a.attnum"
    );
    for row in transaction.query(&query, &[]).await? {
        let Some(table) = tables.get_mut(&row.try_get("attrelid")?) else { continue };
        table.columns.push(Column {
            name: row.try_get("name")?,
            number: row.try_get("number")?,
            type_oid: row.try_get("type_oid")?,
            type_modifier: row.try_get("type_modifier")?,
            type_name: row.try_get("type_name")?,
            not_null: row.try_get("not_null")?,
            generated: row.try_get("generated")?,
            deterministic: row.try_get("deterministic")?,
        });
    }
    Ok(())
}

/// Unique indexes on plain columns. INCLUDE columns follow the key's columns (`indnkeyatts`). An
/// index WITHOUT OVERLAPS (since PostgreSQL 18) is unique by equality too, because it admits no
/// empty range, and PostgreSQL accepts it as a replica identity. Other exclusion constraints are
/// not unique. Nor is an index whose operator class has another equality than the type's, as
/// `record_image_ops`: it has two entries for equal values.
async fn read_indexes(
    transaction: &Transaction<'_>,
    tables: &mut Tables,
) -> Result<(), tokio_postgres::Error> {
    let query = format!(
        "{USER_TABLES}
        SELECT i.indrelid, ic.relname::text AS name, i.indisprimary AS primary_key,
               i.indimmediate AS immediate,
               i.indpred IS NOT NULL AS partial,
               i.indisreplident AND t.relreplident = 'i' AS identity, keys.columns
        FROM user_tables t
        JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
        JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
        CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place) AS columns
            FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
            WHERE k.place <= i.indnkeyatts
        ) keys
        WHERE i.indisunique AND i.indisvalid AND i.indexprs IS NULL AND keys.columns IS NOT NULL
          AND NOT EXISTS (
            SELECT FROM pg_catalog.unnest(i.indclass::oid[]) WITH ORDINALITY AS c (oid, place)
            JOIN pg_catalog.pg_opclass o ON o.oid = c.oid
            JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
            WHERE c.place <= i.indnkeyatts AND NOT o.opcdefault AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_opclass d
                JOIN pg_catalog.pg_amop usual ON usual.amopfamily = d.opcfamily AND usual.amopstrategy = 3
                JOIN pg_catalog.pg_amop own ON own.amopopr = usual.amopopr AND own.amopfamily = o.opcfamily
                WHERE d.opcmethod = o.opcmethod AND d.opcdefault AND d.opcintype = o.opcintype
                  AND own.amopstrategy = 3
                  AND own.amoplefttype = o.opcintype AND own.amoprighttype = o.opcintype
            )
          )
        ORDER BY i.indrelid, i.indisprimary DESC, ic.relname"
    );
    for row in transaction.query(&query, &[]).await? {
        let Some(table) = tables.get_mut(&row.try_get("indrelid")?) else { continue };
        let key = UniqueKey {
            name: row.try_get("name")?,
            columns: row.try_get("columns")?,
            immediate: row.try_get("immediate")?,
            partial: row.try_get("partial")?,
        };
        if row.try_get("identity")? {
            let (name, columns) = (key.name.clone(), key.columns.clone());
            table.replica_identity = ReplicaIdentity::Index { name, columns };
        }
        if row.try_get("primary_key")? {
            table.primary_key = Some(key);
        } else {
            table.unique_keys.push(key);
        }
    }
    Ok(())
}

/// The declared foreign keys. PostgreSQL adds more for partitions; those have a parent.
async fn read_foreign_keys(
    transaction: &Transaction<'_>,
    tables: &mut Tables,
) -> Result<(), tokio_postgres::Error> {
    let query = format!(
        "{USER_TABLES}
        SELECT k.conrelid, k.conname::text AS name, k.confrelid, k.confdeltype::text AS on_delete,
               k.confupdtype::text AS on_update, k.condeferrable AS deferrable,
               k.convalidated AS validated,
               COALESCE((pg_catalog.to_jsonb(k) ->> 'conperiod')::bool, false) AS period,
               own.columns, target.columns AS target_columns
        FROM user_tables t
        JOIN pg_catalog.pg_constraint k
          ON k.conrelid = t.oid AND k.contype = 'f' AND k.conparentid = 0
        CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(a.attname::text ORDER BY c.place) AS columns
            FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS c (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number
        ) own
        CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(a.attname::text ORDER BY c.place) AS columns
            FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS c (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.number
        ) target
        ORDER BY k.conrelid, k.conname"
    );
    for row in transaction.query(&query, &[]).await? {
        // A foreign key may refer to a table of the system or an extension. That is no user table,
        // so it is no node.
        let target: u32 = row.try_get("confrelid")?;
        let Some(target) = tables.get(&target).map(|table| table.name.clone()) else { continue };
        let Some(table) = tables.get_mut(&row.try_get("conrelid")?) else { continue };
        table.foreign_keys.push(ForeignKey {
            name: row.try_get("name")?,
            columns: row.try_get("columns")?,
            target,
            target_columns: row.try_get("target_columns")?,
            on_delete: action(row.try_get("on_delete")?),
            on_update: action(row.try_get("on_update")?),
            deferrable: row.try_get("deferrable")?,
            validated: row.try_get("validated")?,
            period: row.try_get("period")?,
        });
    }
    Ok(())
}

fn action(code: &str) -> ReferentialAction {
    match code {
        "r" => ReferentialAction::Restrict,
        "c" => ReferentialAction::Cascade,
        "n" => ReferentialAction::SetNull,
        "d" => ReferentialAction::SetDefault,
        _ => ReferentialAction::NoAction,
    }
}

/// Row filters and column lists. PostgreSQL has both since 15. A list of all columns counts as no
/// list. Several versions list generated columns, but only 18 can publish them.
async fn read_publication(
    transaction: &Transaction<'_>,
    publication: &str,
    tables: &mut Tables,
) -> Result<(), tokio_postgres::Error> {
    let query = "
        SELECT c.oid, pg_catalog.to_jsonb(p) ->> 'rowfilter' AS row_filter,
               pg_catalog.current_setting('server_version_num')::int4 >= 180000
                   AS can_publish_generated,
               ARRAY(
                   SELECT pg_catalog.jsonb_array_elements_text(pg_catalog.to_jsonb(p) -> 'attnames')
                   WHERE pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(p) -> 'attnames') = 'array'
               ) AS columns
        FROM pg_catalog.pg_publication_tables p
        JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
        WHERE p.pubname = $1";
    for row in transaction.query(query, &[&publication]).await? {
        let Some(table) = tables.get_mut(&row.try_get("oid")?) else { continue };
        let can_publish_generated: bool = row.try_get("can_publish_generated")?;
        let mut columns: Vec<String> = row.try_get("columns")?;
        let stored = |name: &String| table.column(name).is_some_and(|column| !column.generated);
        columns.retain(|name| can_publish_generated || stored(name));
        let all = table.columns.iter().map(|column| &column.name).filter(|name| stored(name));
        let limited = !columns.is_empty() && !all.eq(columns.iter());
        table.published = Publication {
            row_filter: row.try_get("row_filter")?,
            columns: limited.then_some(columns),
        };
    }
    Ok(())
}

/// A partitioned table has no rows or pages of its own: it gets the sums of its partitions.
fn add_up_partitions(tables: &mut [Table]) {
    let mut sums: HashMap<TableName, (Option<u64>, u64)> = HashMap::new();
    for table in tables.iter() {
        if let TableKind::Partition { root, .. } = &table.kind {
            let (rows, pages) = sums.entry(root.clone()).or_default();
            if let Some(estimate) = table.estimated_rows {
                *rows = Some(rows.unwrap_or(0) + estimate);
            }
            *pages += table.pages;
        }
    }
    for table in tables.iter_mut() {
        if let Some((rows, pages)) = sums.remove(&table.name) {
            (table.estimated_rows, table.pages) = (rows, pages);
        }
    }
}
