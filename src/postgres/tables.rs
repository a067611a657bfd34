//! Which tables and columns the mapped ones are, and how they are published: for
//! [`crate::start::tables`], which compares.
//!
//! Only catalogs are read, in one statement, and no table is locked: it is asked every few seconds.

use tokio_postgres::{Client, Error, Row};

use crate::{
    catalog::TableName,
    start::tables::{Now, PartitionIdentity, PublicationIs, TableFacts, TableIs, Wanted, Way},
};

/// `pg_publication_namespace` is there from PostgreSQL 15 on.
const SCHEMAS_SINCE: i32 = 150_000;

/// Of leaves, the sets of columns that are replica identities, each with one that has it. A partition with
/// all columns or none is left out: PostgreSQL refuses an UPDATE without an identity.
const IDENTITIES: &str = "
    SELECT DISTINCT ON (identity.columns) identity.columns, n.nspname::text AS schema, l.relname::text AS name
    FROM (
        WITH RECURSIVE tree AS (
            SELECT c.oid WHERE c.relkind = 'p'
            UNION ALL
            SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
            WHERE NOT i.inhdetachpending)
        SELECT oid FROM tree) AS tree
    JOIN pg_catalog.pg_class l ON l.oid = tree.oid AND l.relkind = 'r'
    JOIN pg_catalog.pg_namespace n ON n.oid = l.relnamespace
    JOIN pg_catalog.pg_index x ON x.indrelid = l.oid AND x.indisvalid AND x.indimmediate
        AND CASE l.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident ELSE false END
    CROSS JOIN LATERAL (SELECT ARRAY(
        SELECT a.attname::text
        FROM pg_catalog.unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = l.oid AND a.attnum = k.number
        WHERE k.place <= x.indnkeyatts ORDER BY 1) AS columns) AS identity
    ORDER BY identity.columns, schema, name";

/// Looks. Tables that are gone are left out of the answer.
pub async fn now(client: &Client, publication: &str, wanted: &[Wanted]) -> Result<Now, Error> {
    let server = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery()";
    let server = client.query_one(server, &[]).await?;
    let by_schema = match server.get::<_, i32>(0) >= SCHEMAS_SINCE {
        true => {
            "(SELECT s.oid FROM pg_catalog.pg_publication_namespace s \
             WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)"
        }
        false => "NULL::oid",
    };
    // A table of FOR ALL TABLES EXCEPT has a row too, from PostgreSQL 19 on.
    let sql = format!(
        "SELECT w.place::int4, c.oid,
            ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
            ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
            p.oid AS publication,
            coalesce(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, false) AS all_operations,
            p.puballtables AND except_rel.oid IS NULL AS by_all, rel.oid AS by_table, {by_schema} AS by_schema,
            c.relkind <> 'p' OR p.pubviaroot AS as_itself,
            (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(i.schema, i.name, i.columns))
             FROM ({IDENTITIES}) AS i)::text AS identities
        FROM unnest($2::text[], $3::text[], $4::oid[]) WITH ORDINALITY AS w (schema, name, oid, place)
        LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
        LEFT JOIN pg_catalog.pg_class named ON named.relnamespace = n.oid AND named.relname = w.name
        LEFT JOIN pg_catalog.pg_class c ON c.oid = coalesce(named.oid, w.oid)
        LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
        LEFT JOIN pg_catalog.pg_publication_rel rel ON rel.prpubid = p.oid AND rel.prrelid = c.oid
            AND NOT coalesce((pg_catalog.to_jsonb(rel) ->> 'prexcept')::bool, false)
        LEFT JOIN pg_catalog.pg_publication_rel except_rel
            ON except_rel.prpubid = p.oid AND except_rel.prrelid = c.oid
            AND coalesce((pg_catalog.to_jsonb(except_rel) ->> 'prexcept')::bool, false)
        ORDER BY w.place"
    );
    let schemas: Vec<&str> = wanted.iter().map(|it| it.name.schema.as_str()).collect();
    let names: Vec<&str> = wanted.iter().map(|it| it.name.name.as_str()).collect();
    let oids: Vec<u32> = wanted.iter().map(|it| it.oid).collect();
    let rows = client.query(&sql, &[&publication, &schemas, &names, &oids]).await?;
    let oid = rows.first().and_then(|row| row.get::<_, Option<u32>>("publication"));
    let publication = oid.map(|oid| PublicationIs { name: publication.to_owned(), oid });
    let tables = rows.iter().zip(wanted).filter_map(|(row, wanted)| table(row, wanted)).collect();
    Ok(Now {
        facts: TableFacts::new(publication, tables),
        in_recovery: server.get(1),
        all_operations: rows.first().is_none_or(|row| row.get("all_operations")),
        identities: rows.iter().flat_map(identities).collect(),
    })
}

fn table(row: &Row, wanted: &Wanted) -> Option<TableIs> {
    let oid = row.get::<_, Option<u32>>(1)?;
    let numbers: Vec<i16> = row.get(3);
    let columns = row.get::<_, Vec<String>>(2).into_iter().zip(numbers);
    let by_all = row.get::<_, Option<bool>>("by_all").unwrap_or(false).then_some(Way::All);
    let by_table = row.get::<_, Option<u32>>("by_table").map(Way::Table);
    let by_schema = row.get::<_, Option<u32>>("by_schema").map(Way::Schema);
    // Its changes come in the names of its partitions otherwise.
    let as_itself = row.get::<_, Option<bool>>("as_itself").unwrap_or(false);
    let by = [by_all, by_table, by_schema].into_iter().flatten().filter(|_| as_itself);
    Some(TableIs {
        schema: wanted.name.schema.clone(),
        name: wanted.name.name.clone(),
        oid,
        columns: columns.filter(|(name, _)| wanted.columns.contains(name)).collect(),
        key: wanted.key.clone(),
        by: by.collect(),
    })
}

fn identities(row: &Row) -> Vec<PartitionIdentity> {
    let root = row.get::<_, Option<u32>>(1).unwrap_or_default();
    let text = row.get::<_, Option<&str>>("identities").unwrap_or("[]");
    let found: Vec<(String, String, Vec<String>)> = serde_json::from_str(text).unwrap_or_default();
    let identity = |(schema, name, columns)| PartitionIdentity {
        root,
        partition: TableName::new(schema, name),
        columns,
    };
    found.into_iter().map(identity).collect()
}
