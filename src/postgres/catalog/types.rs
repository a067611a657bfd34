//! The types of columns, with all types that they contain.

use tokio_postgres::{Row, Transaction};

use crate::value::{FieldFacts, TypeFacts, TypeKind};

use super::USER_TABLES;

/// The columns' types and all types inside them: elements, bases, fields.
pub(super) async fn read(
    transaction: &Transaction<'_>,
) -> Result<Vec<TypeFacts>, tokio_postgres::Error> {
    let query = format!(
        "{USER_TABLES},
        used AS (SELECT oid FROM reached),
        fields AS (
            SELECT a.attrelid, pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) AS names,
                   pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS types,
                   pg_catalog.array_agg(
                       COALESCE(l.collisdeterministic, true) ORDER BY a.attnum
                   ) AS deterministic
            FROM pg_catalog.pg_attribute a
            LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
            WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
        )
        SELECT t.oid, n.nspname::text AS schema, t.typname::text AS name,
               t.typdelim::text AS delimiter,
               t.typtype::text AS kind, t.typbasetype AS base,
               t.typtypmod AS modifier, t.typelem AS element,
               ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels,
               t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc AS is_array,
               COALESCE(r.rngsubtype, 0::oid) AS subtype,
               COALESCE(o.opcdefault AND COALESCE(rl.collisdeterministic, true), false) AS ordinary,
               COALESCE(m.rngtypid, 0::oid) AS ranges,
               COALESCE(f.names, '{{}}') AS field_names, COALESCE(f.types, '{{}}') AS field_types,
               COALESCE(f.deterministic, '{{}}') AS field_deterministic
        FROM used
        JOIN pg_catalog.pg_type t ON t.oid = used.oid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        LEFT JOIN fields f ON t.typtype = 'c' AND f.attrelid = t.typrelid
        LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
        LEFT JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
        LEFT JOIN pg_catalog.pg_collation rl ON rl.oid = r.rngcollation
        LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
        ORDER BY t.oid"
    );
    let query = query.replacen("WITH user_tables", "WITH RECURSIVE user_tables", 1);
    let query = query.replacen("used AS", &format!("{REACHED_TYPES}, used AS"), 1);
    let rows = transaction.query(&query, &[]).await?;
    rows.iter().map(type_facts).collect()
}

/// From the columns' types down through arrays, domains, ranges and row types.
const REACHED_TYPES: &str = "
    reached (oid) AS (
        SELECT a.atttypid FROM user_tables t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid
        WHERE a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT part.oid
        FROM reached
        JOIN pg_catalog.pg_type t ON t.oid = reached.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
            UNION ALL SELECT m.rngtypid FROM pg_catalog.pg_range m WHERE m.rngmultitypid = t.oid
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid
              AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part (oid)
    )";

fn type_facts(row: &Row) -> Result<TypeFacts, tokio_postgres::Error> {
    let kind = match row.try_get("kind")? {
        "d" => TypeKind::Domain { base: row.try_get("base")?, modifier: row.try_get("modifier")? },
        "e" => TypeKind::Enum { labels: row.try_get("labels")? },
        "r" => {
            TypeKind::Range { subtype: row.try_get("subtype")?, ordinary: row.try_get("ordinary")? }
        }
        "m" => TypeKind::Multirange { range: row.try_get("ranges")? },
        "p" => TypeKind::Pseudo,
        "c" => {
            let names: Vec<String> = row.try_get("field_names")?;
            let types: Vec<u32> = row.try_get("field_types")?;
            let deterministic: Vec<bool> = row.try_get("field_deterministic")?;
            let fields = names.into_iter().zip(types).zip(deterministic);
            let fields = fields.map(|((name, type_oid), deterministic)| FieldFacts {
                name,
                type_oid,
                deterministic,
            });
            TypeKind::Composite { fields: fields.collect() }
        }
        _ if row.try_get("is_array")? => TypeKind::Array { element: row.try_get("element")? },
        _ => TypeKind::Base,
    };
    let delimiter: &str = row.try_get("delimiter")?;
    Ok(TypeFacts {
        oid: row.try_get("oid")?,
        schema: row.try_get("schema")?,
        name: row.try_get("name")?,
        delimiter: delimiter.chars().next().unwrap_or(','),
        kind,
    })
}
