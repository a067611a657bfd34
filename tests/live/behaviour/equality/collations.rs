//! `citext` folds as the database does, whatever its provider; what can not be compared is refused.

use neo4rs::Query;
use wal2graph_servers::PostgresOptions;

use crate::support::{Pipeline, client, graph, postgres, unique};

const WORDS: [&str; 14] = [
    "Ärger", "ärger", "Foo", "FOO", "ΣΑΣ", "σας", "σασ", "İx", "i̇x", "ix", "IX", "ıx", "Straße",
    "ΑΣ.Α",
];

/// Tags of all words and uses of all words, in a database that is made so; what the graph says must be
/// what PostgreSQL says.
async fn folds_as_the_database(prefix: &'static str, database: &str) {
    let name = unique(prefix);
    let admin = client(&postgres().url("postgres")).await;
    admin
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 {database}"))
        .await
        .unwrap();
    let source_url = postgres().url(&name);
    let sql = client(&source_url).await;
    let schema = format!(
        "CREATE EXTENSION citext; CREATE TABLE {prefix}_tags (name citext PRIMARY KEY, n int); \
         CREATE TABLE {prefix}_uses (id int PRIMARY KEY, tag citext REFERENCES {prefix}_tags)"
    );
    sql.batch_execute(&schema).await.unwrap();
    let pipeline = Pipeline::of(name, sql, source_url);
    for (half, from) in [(0, 0), (1, 7)] {
        for (at, word) in WORDS.iter().enumerate().skip(from).take(7) {
            let tag = format!(
                "INSERT INTO {prefix}_tags VALUES ('{word}', {at}) ON CONFLICT DO NOTHING; \
                 INSERT INTO {prefix}_uses VALUES ({at}, '{word}')"
            );
            pipeline.sql.batch_execute(&tag).await.unwrap();
        }
        pipeline.catch_up().await;
        println!("half {half}");
    }
    let sql = format!(
        "SELECT string_agg(u.id || '-' || t.n, ' ' ORDER BY u.id) FROM {prefix}_uses u JOIN {prefix}_tags t ON t.name = u.tag"
    );
    let expected: String = pipeline.sql.query_one(&sql, &[]).await.unwrap().get(0);
    let label = format!("{}{}", prefix[..1].to_uppercase(), &prefix[1..]);
    let cypher = format!(
        "MATCH (u:{label}Use)-[:TAG]->(t:{label}Tag) WITH u, t ORDER BY u.id RETURN u.id AS id, t.n AS n"
    );
    let rows = graph().rows(Query::new(cypher)).await.unwrap();
    let pair = |row: &neo4rs::Row| {
        let number = |name| row.get::<i64>(name).map_or("none".to_owned(), |it| it.to_string());
        format!("{}-{}", number("id"), number("n"))
    };
    let found: Vec<String> = rows.iter().map(pair).collect();
    assert_eq!(found.join(" "), expected, "{database}");
}

#[tokio::test]
async fn citext_folds_as_a_database_in_c_does() {
    folds_as_the_database("cfc", "LC_COLLATE 'C' LC_CTYPE 'C'").await;
}

#[tokio::test]
async fn citext_folds_as_a_database_in_utf8_does() {
    folds_as_the_database("cfu", "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'").await;
}

#[tokio::test]
async fn citext_folds_as_a_database_under_icu_does() {
    if PostgresOptions::default().version < 15 {
        return;
    }
    folds_as_the_database(
        "cfi",
        "LOCALE_PROVIDER icu ICU_LOCALE 'und' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    .await;
}

#[tokio::test]
async fn citext_folds_as_a_builtin_locale_does() {
    let version = PostgresOptions::default().version;
    if version >= 17 {
        folds_as_the_database("cfb", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'").await;
    }
    if version >= 18 {
        folds_as_the_database("cff", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'")
            .await;
    }
}

/// A plan that is refused, and says this.
async fn is_refused(pipeline: &Pipeline, parts: &[&str]) {
    let output = pipeline.output(&["plan"]).await;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn citext_keys_of_a_turkish_database_under_icu_are_refused() {
    if PostgresOptions::default().version < 15 {
        return;
    }
    let name = unique("turkish");
    let admin = client(&postgres().url("postgres")).await;
    let made = format!(
        "CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr' LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    admin.batch_execute(&made).await.unwrap();
    let source_url = postgres().url(&name);
    let sql = client(&source_url).await;
    sql.batch_execute("CREATE EXTENSION citext; CREATE TABLE tk_tags (name citext PRIMARY KEY)")
        .await
        .unwrap();
    let pipeline = Pipeline::of(name, sql, source_url);
    is_refused(&pipeline, &["tk_tags", "Turkish", "types: {name: string}"]).await;
}

#[tokio::test]
async fn a_nondeterministic_collation_on_a_unique_column_that_is_referred_to_is_refused() {
    let schema = "CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
        CREATE TABLE nd_users (id int PRIMARY KEY, email text COLLATE lax UNIQUE); \
        CREATE TABLE nd_logins (id int PRIMARY KEY, email text COLLATE lax REFERENCES nd_users (email))";
    let pipeline = Pipeline::new("lax_unique", schema).await;
    is_refused(&pipeline, &["nd_logins", "nondeterministic", "email"]).await;
}

#[tokio::test]
async fn a_char_key_that_is_kept_as_text_still_compares_without_its_padding() {
    let schema = "CREATE TABLE cs_countries (code char(5) PRIMARY KEY, name text); \
        CREATE TABLE cs_cities (id int PRIMARY KEY, code char(5) REFERENCES cs_countries); \
        INSERT INTO cs_countries VALUES ('de', 'Germany'); INSERT INTO cs_cities VALUES (1, 'de')";
    let pipeline = Pipeline::new("char_string", schema).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wal2graph.yaml").to_str().unwrap().to_owned();
    std::fs::write(&file, "tables: {public.cs_countries: {types: {code: string}}}\n").unwrap();
    for sql in ["", "INSERT INTO cs_cities VALUES (2, 'de')"] {
        pipeline.sql.batch_execute(sql).await.unwrap();
        let output = pipeline.output(&["run", "--until", "current", "-c", &file]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let right = "MATCH (c:CsCity)-->(t:CsCountry {name: 'Germany', code: 'de   '}) RETURN count(c) = 2 AS yes";
    assert!(crate::support::holds(right).await);
}
