//! Asks the server how it folds case, because `citext` compares by that.
//!
//! `citext` folds by the database's default collation, not the column's. `lower(chr(i))` has that
//! collation. So the server itself tells its result for each character, under any provider, locale
//! and version.

use tokio_postgres::{Row, Transaction};

use crate::value::{CaseFolding, PROBES};

/// The characters of all scripts with case, and room for new ones: Unicode's first two planes,
/// without ideographs, Hangul, surrogates and private use.
const CHARACTERS: &str = "
    SELECT i FROM pg_catalog.generate_series(1, 12287) i
    UNION ALL SELECT i FROM pg_catalog.generate_series(42560, 44031) i
    UNION ALL SELECT i FROM pg_catalog.generate_series(64256, 65533) i
    UNION ALL SELECT i FROM pg_catalog.generate_series(65536, 131069) i";

/// How the database folds case.
pub(super) async fn read(
    transaction: &Transaction<'_>,
) -> Result<CaseFolding, tokio_postgres::Error> {
    let query = "
        SELECT pg_catalog.getdatabaseencoding()::text AS encoding,
               pg_catalog.pg_encoding_max_length(d.encoding) AS longest,
               pg_catalog.to_jsonb(d) ->> 'datlocprovider' AS provider, d.datctype::text AS ctype
        FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let row = transaction.query_one(query, &[]).await?;
    let (encoding, longest): (String, i32) = (row.try_get("encoding")?, row.try_get("longest")?);
    let provider: Option<String> = row.try_get("provider")?;
    let ctype: String = row.try_get("ctype")?;
    let is_libc = provider.is_none_or(|provider| provider == "c");
    match encoding.as_str() {
        _ if is_libc && matches!(ctype.as_str(), "C" | "POSIX") => Ok(CaseFolding::Ascii),
        "UTF8" => ask(transaction, CHARACTERS).await,
        "SQL_ASCII" => Ok(CaseFolding::Unknown(
            "the database's encoding is SQL_ASCII with an LC_CTYPE other than C, so that it folds \
             bytes of which it does not know what they are",
        )),
        _ if longest == 1 => {
            ask(transaction, "SELECT i FROM pg_catalog.generate_series(1, 255) i").await
        }
        _ => Ok(CaseFolding::Unknown(
            "the database's encoding has several bytes a character and is not UTF8, so that it \
             can not be asked how it folds case",
        )),
    }
}

async fn ask(
    transaction: &Transaction<'_>,
    characters: &str,
) -> Result<CaseFolding, tokio_postgres::Error> {
    let query = format!(
        "SELECT c.one::text, pg_catalog.lower(c.one) AS lower
         FROM ({characters}) AS codes (code), LATERAL (SELECT pg_catalog.chr(code) AS one) c
         WHERE pg_catalog.lower(c.one) <> c.one"
    );
    let rows = transaction.query(&query, &[]).await?;
    let changed = rows.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let changed = changed.into_iter().filter_map(|(from, to)| Some((from.chars().next()?, to)));
    let mut probed = Vec::new();
    for probe in PROBES {
        // A character that the encoding lacks is an error.
        let savepoint = "SAVEPOINT probe";
        transaction.batch_execute(savepoint).await?;
        let said = transaction.query_one("SELECT pg_catalog.lower($1::text)", &[&probe]).await;
        match said {
            Ok(row) => probed.push(Some(row.try_get(0)?)),
            Err(error) if error.code().is_some() => {
                transaction.batch_execute("ROLLBACK TO probe").await?;
                probed.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(CaseFolding::of_server(changed, &probed))
}

fn pair(row: &Row) -> Result<(String, String), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}
