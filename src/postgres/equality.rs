//! Finds rows by key, by the equality of the key's own index.
//!
//! An unqualified `=` depends on the search path, which is pinned to `pg_catalog`. It would compare
//! a type of another schema (citext, ltree) by the `=` of the type that it casts to, or not at all.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

use crate::{
    catalog::{TableName, quote_identifier, quote_literal},
    value::postgres_array,
};

/// The equality of each column in a unique index, by the column's name.
#[derive(Clone, Debug, Default)]
pub struct Equalities(BTreeMap<String, Equality>);

#[derive(Clone, Debug)]
struct Equality {
    /// `OPERATOR(schema.=)`.
    operator: String,
    /// The column's type in SQL, without a length.
    type_name: String,
}

impl Equalities {
    /// Reads those of a table from the current catalog.
    pub async fn of(client: &Client, table: &TableName) -> Result<Self, Error> {
        // Strategy 3 of a btree is its equality. A length would truncate the compared texts. The
        // unnest of several arrays is not a function in a schema.
        let sql = "SELECT DISTINCT ON (a.attnum) a.attname::text, \
                pg_catalog.format_type(a.atttypid, -1), \
                pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) \
            FROM pg_catalog.pg_index i \
            CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) AS k (attnum, opclass) \
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
            JOIN pg_catalog.pg_opclass c ON c.oid = k.opclass \
            JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree' \
            JOIN pg_catalog.pg_amop s ON s.amopfamily = c.opcfamily AND s.amoplefttype = c.opcintype \
                AND s.amoprighttype = c.opcintype AND s.amopstrategy = 3 \
            JOIN pg_catalog.pg_operator o ON o.oid = s.amopopr \
            JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
            WHERE i.indrelid = pg_catalog.to_regclass($1)::oid AND i.indisunique AND i.indisvalid \
            ORDER BY a.attnum, i.indisreplident DESC, i.indisprimary DESC";
        let rows = client.query(sql, &[&table.sql()]).await?;
        let equality = |row: &tokio_postgres::Row| {
            (row.get(0), Equality { type_name: row.get(1), operator: row.get(2) })
        };
        Ok(Equalities(rows.iter().map(equality).collect()))
    }

    /// `FROM` and `WHERE` of a table's rows whose columns equal one of these rows of texts; `None` where
    /// the texts can not be arrays of the columns' types.
    pub fn equals_any(
        &self,
        from: &str,
        columns: &[String],
        texts: &[Vec<String>],
    ) -> Option<String> {
        let known: Option<Vec<&Equality>> =
            columns.iter().map(|column| self.0.get(column)).collect();
        // An array of arrays is one array of their elements.
        let known = known.filter(|known| known.iter().all(|it| !it.type_name.ends_with("[]")))?;
        let arrays = known.iter().enumerate().map(|(index, equality)| {
            let texts = texts.iter().map(|texts| texts[index].as_str());
            format!("{}::{}[]", quote_literal(&postgres_array(texts)), equality.type_name)
        });
        let arrays: Vec<String> = arrays.collect();
        let pairs = columns.iter().zip(&known);
        if let ([column], [Equality { operator, .. }], [array]) =
            (columns, known.as_slice(), arrays.as_slice())
        {
            let name = quote_identifier(column);
            return Some(format!("{from} WHERE {name} {operator} ANY ({array})"));
        }
        // No column of a table has such a name, so that the others need no qualification.
        let key = |index: usize| quote_identifier(&format!("wal2graph: key, {index}"));
        let names: Vec<String> = (0..columns.len()).map(key).collect();
        let equal = pairs.zip(&names).map(|((column, Equality { operator, .. }), key)| {
            format!("{} {operator} {key}", quote_identifier(column))
        });
        let equal: Vec<String> = equal.collect();
        Some(format!(
            "unnest({}) AS {} ({}), {from} WHERE {}",
            arrays.join(", "),
            quote_identifier("wal2graph: keys"),
            names.join(", "),
            equal.join(" AND ")
        ))
    }

    /// The condition that a column equals a value, by its text.
    pub fn equals(&self, column: &str, text: &str) -> String {
        let (name, text) = (quote_identifier(column), quote_literal(text));
        match self.0.get(column) {
            Some(Equality { operator, type_name }) => {
                format!("{name} {operator} {text}::{type_name}")
            }
            None => format!("{name} OPERATOR(pg_catalog.=) {text}"),
        }
    }
}
