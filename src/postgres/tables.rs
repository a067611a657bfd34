//! Which tables and columns the mapped ones are, and how they are published: for
//! [`crate::start::tables`], which compares.
//!
//! Only catalogs are read, in one statement, and no table is locked: it is asked every few seconds.

use tokio_postgres::{Client, Error, Row};

use crate::{
    catalog::TableName,
    start::{
        shape::{ColumnTrace, Trace},
        tables::{Now, PartitionIdentity, PublicationIs, TableFacts, TableIs, Wanted, Way},
    },
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

/// Of a table's columns: name, number, type, the transaction that wrote the definition, and whether rows have a value
/// that was stored with it.
const ATTRIBUTES: &str = "
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
        a.attname, a.attnum, a.atttypid::int8, a.xmin::text::int8, a.atthasmissing) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped";

/// Of a table's leaves: the object id, the transactions that attached it and those above it with its file, and
/// whether it has no row.
const LEAVES: &str = "
    WITH RECURSIVE tree AS (
        SELECT c.oid, ''::text AS path WHERE c.relkind = 'p'
        UNION ALL
        SELECT i.inhrelid, tree.path || i.xmin::text || ':'
        FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
        WHERE NOT i.inhdetachpending)
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(l.oid::int8, tree.path || l.relfilenode::text,
        l.relkind = 'r' AND coalesce(pg_catalog.pg_relation_size(l.oid) = 0, false)))
    FROM tree JOIN pg_catalog.pg_class l ON l.oid = tree.oid AND l.relkind IN ('r', 'f')";

/// Of a table's partitions: the columns that some have a stored value of. The table itself has none.
const LEAF_DEFAULTS: &str = "
    WITH RECURSIVE tree AS (
        SELECT c.oid WHERE c.relkind = 'p'
        UNION ALL
        SELECT i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid)
    SELECT pg_catalog.jsonb_agg(DISTINCT a.attname)
    FROM tree JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid AND a.atthasmissing";

/// The types of a table's columns, and all that they are made of: elements, base types, attributes, bounds.
const USED_TYPES: &str = "
    WITH RECURSIVE used (oid) AS (
        SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT part.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS part (oid)
    )";

/// Of the enums among them: the labels.
const LABELS: &str = "
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(e.oid::int8, e.enumlabel))
    FROM used JOIN pg_catalog.pg_enum e ON e.enumtypid = used.oid";

/// Of the composite types among them: the attributes.
const ATTRIBUTES_OF_TYPES: &str = "
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(t.oid::int8, (
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod), ', '
            ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)))
    FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid AND t.typtype = 'c'";

/// Looks. Tables that are gone are left out of the answer.
pub async fn now(client: &Client, publication: &str, wanted: &[Wanted]) -> Result<Now, Error> {
    // There may be no table to look at.
    let server = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), p.oid,
            coalesce(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, false), p.xmin::text::int8
        FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1";
    let server = client.query_one(server, &[&publication]).await?;
    let by_schema = match server.get::<_, i32>(0) >= SCHEMAS_SINCE {
        true => {
            "(SELECT s.oid FROM pg_catalog.pg_publication_namespace s \
             WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)"
        }
        false => "NULL::oid",
    };
    // A table of FOR ALL TABLES EXCEPT has a row too, from PostgreSQL 19 on.
    let sql = format!(
        "SELECT w.place::int4, c.oid, c.relnatts, c.relfilenode,
            ({ATTRIBUTES})::text AS attributes, ({LEAVES})::text AS leaves, ({USED_TYPES} {LABELS})::text AS labels,
            ({USED_TYPES} {ATTRIBUTES_OF_TYPES})::text AS composites,
            ({LEAF_DEFAULTS})::text AS leaf_defaults,
            (SELECT t.xmin::text::int8 FROM pg_catalog.pg_type t WHERE t.oid = c.reltype) AS named_by,
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
    let oid = server.get::<_, Option<u32>>(2);
    let altered_by = server.get::<_, Option<i64>>(4).and_then(|xmin| u32::try_from(xmin).ok());
    let publication =
        oid.map(|oid| PublicationIs { name: publication.to_owned(), oid, altered_by });
    let tables = rows.iter().zip(wanted).filter_map(|(row, wanted)| table(row, wanted));
    let (tables, traces) = tables.unzip();
    Ok(Now {
        unmapped: Default::default(),
        paused: Default::default(),
        facts: TableFacts::new(publication, tables),
        traces,
        in_recovery: server.get(1),
        all_operations: server.get(3),
        identities: rows.iter().flat_map(identities).collect(),
    })
}

fn table(row: &Row, wanted: &Wanted) -> Option<(TableIs, Trace)> {
    let oid = row.get::<_, Option<u32>>(1)?;
    let trace = trace_of(row);
    let columns = trace.columns.iter().map(|column| (column.name.clone(), column.number));
    let by_all = row.get::<_, Option<bool>>("by_all").unwrap_or(false).then_some(Way::All);
    let by_table = row.get::<_, Option<u32>>("by_table").map(Way::Table);
    let by_schema = row.get::<_, Option<u32>>("by_schema").map(Way::Schema);
    // Its changes come in the names of its partitions otherwise.
    let as_itself = row.get::<_, Option<bool>>("as_itself").unwrap_or(false);
    let by = [by_all, by_table, by_schema].into_iter().flatten().filter(|_| as_itself);
    let table = TableIs {
        schema: wanted.name.schema.clone(),
        name: wanted.name.name.clone(),
        oid,
        columns: columns.filter(|(name, _)| wanted.columns.contains(name)).collect(),
        key: wanted.key.clone(),
        by: by.collect(),
        shape: None,
        definition: None,
        names: None,
        paused: None,
    };
    Some((table, trace))
}

fn trace_of(row: &Row) -> Trace {
    type Attribute = (String, i16, u32, u32, bool);
    let columns: Vec<Attribute> = listed(row, "attributes");
    let of_leaves: Vec<String> = listed(row, "leaf_defaults");
    let leaves: Vec<(u32, String, bool)> = listed(row, "leaves");
    let empty = leaves.iter().filter(|(.., is_empty)| *is_empty).map(|(oid, ..)| *oid);
    let columns = columns.into_iter().map(|(name, number, type_oid, xmin, is_stored)| {
        let has_default = is_stored || of_leaves.contains(&name);
        ColumnTrace { name, number, type_oid, xmin, has_default }
    });
    Trace {
        columns: columns.collect(),
        numbers: row.get("relnatts"),
        file: row.get("relfilenode"),
        named_by: row
            .get::<_, Option<i64>>("named_by")
            .and_then(|xmin| u32::try_from(xmin).ok())
            .unwrap_or(0),
        empty_leaves: empty.collect(),
        leaves: leaves.into_iter().map(|(oid, trace, _)| (oid, trace)).collect(),
        labels: listed::<(u32, String)>(row, "labels").into_iter().collect(),
        composites: listed::<(u32, String)>(row, "composites").into_iter().collect(),
    }
}

/// A text that is another one whenever something in the catalog has changed that a mapping, or the shape of a
/// table, depends on. What only VACUUM and ANALYZE change is not in it.
pub async fn trace(client: &Client, publication: &str) -> Result<String, Error> {
    // Hashes are added up: the order of rows says nothing.
    let sum = |rows: &str| {
        format!(
            "(SELECT pg_catalog.count(*) || ' ' || coalesce(pg_catalog.sum(\
             pg_catalog.hashtextextended(it.text, 0)), 0) FROM ({rows}) AS it (text))"
        )
    };
    let sql = format!(
        "WITH user_tables AS (
            SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast')
        SELECT {} || ';' || {} || ';' || {} || ';' || {} || ';' || {} || ';' || {} || ';' || {} || ';' || {}",
        sum("SELECT pg_catalog.concat_ws(' ', c.oid, c.relname, c.relnamespace, c.relkind, c.relpersistence, \
             c.relreplident, c.relfilenode, c.relacl, t.xmin::text) \
             FROM user_tables c LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype"),
        sum("SELECT pg_catalog.concat_ws(' ', n.oid, n.nspname) FROM pg_catalog.pg_namespace n"),
        sum("SELECT pg_catalog.concat_ws(' ', a.attrelid, a.attnum, a.attname, a.xmin::text) \
             FROM pg_catalog.pg_attribute a JOIN user_tables c ON c.oid = a.attrelid WHERE a.attnum > 0"),
        sum("SELECT pg_catalog.concat_ws(' ', x.indexrelid, x.xmin::text) \
             FROM pg_catalog.pg_index x JOIN user_tables c ON c.oid = x.indrelid"),
        sum("SELECT pg_catalog.concat_ws(' ', r.oid, r.xmin::text) \
             FROM pg_catalog.pg_constraint r JOIN user_tables c ON c.oid = r.conrelid"),
        sum("SELECT pg_catalog.concat_ws(' ', i.inhrelid, i.inhparent, i.xmin::text) \
             FROM pg_catalog.pg_inherits i"),
        sum("SELECT pg_catalog.concat_ws(' ', e.oid, e.enumlabel) FROM pg_catalog.pg_enum e \
             UNION ALL SELECT pg_catalog.concat_ws(' ', a.attrelid, a.attnum, a.attname, a.xmin::text) \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind = 'c'"),
        sum("SELECT p.oid || ' ' || p.xmin::text FROM pg_catalog.pg_publication p WHERE p.pubname = $1 \
             UNION ALL SELECT t.schemaname || ' ' || t.tablename || ' ' || pg_catalog.to_jsonb(t)::text \
             FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $1 \
             UNION ALL SELECT r.oid::text FROM pg_catalog.pg_publication_rel r \
             JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1"),
    );
    Ok(client.query_one(&sql, &[&publication]).await?.get(0))
}

/// A list that the statement has made of JSON; NULL is an empty one.
fn listed<T: serde::de::DeserializeOwned>(row: &Row, name: &str) -> Vec<T> {
    let text = row.get::<_, Option<&str>>(name).unwrap_or("[]");
    serde_json::from_str(text).unwrap_or_default()
}

fn identities(row: &Row) -> Vec<PartitionIdentity> {
    let root = row.get::<_, Option<u32>>(1).unwrap_or_default();
    let found: Vec<(String, String, Vec<String>)> = listed(row, "identities");
    let identity = |(schema, name, columns)| PartitionIdentity {
        root,
        partition: TableName::new(schema, name),
        columns,
    };
    found.into_iter().map(identity).collect()
}
