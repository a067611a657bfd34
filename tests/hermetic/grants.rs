//! The statements of `check --sql` and `check --cypher`.

use std::{collections::BTreeSet, fs, path::Path};

use wal2graph::{
    catalog::TableName,
    start::{
        Publication,
        grants::{Grants, Read, Role, cypher},
    },
};

fn deployed(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)).unwrap()
}

fn read(schema: &str, name: &str) -> Read {
    Read { table: TableName::new(schema, name), owner: "boss".to_owned(), has_policies: false }
}

fn grants<'a>(role: &'a str, tables: &'a [Read]) -> Grants<'a> {
    Grants {
        role,
        is: None,
        database: "shop",
        is_closed: false,
        streams: true,
        has_rds_role: false,
        tables,
        publication: "wal2graph_shop",
        published: None,
    }
}

/// The statements that psql runs, without comments.
fn statements(sql: &str) -> Vec<&str> {
    sql.lines().filter(|line| !line.is_empty() && !line.starts_with("--")).collect()
}

#[test]
fn the_cypher_that_is_handed_out_is_the_one_that_is_printed() {
    assert_eq!(cypher("wal2graph", "neo4j"), deployed("cypher/role.cypher"));
    let other = cypher("a`b", "my-graph");
    assert!(other.contains("CREATE ROLE `a``b` IF NOT EXISTS"), "{other}");
    assert!(other.contains("GRANT WRITE ON GRAPH `my-graph` TO `a``b`"), "{other}");
}

/// Statements without what differs: whom and what they are about.
fn kinds(sql: &str) -> BTreeSet<String> {
    let statements = sql.lines().map(|line| line.trim_start_matches("-- "));
    let is_one = |line: &&str| {
        line.ends_with(';')
            && ["CREATE ROLE", "ALTER", "GRANT"].iter().any(|it| line.starts_with(it))
    };
    let kind = |line: &str| {
        let kind = line.replace("ALL TABLES IN SCHEMA ", "").replace("FOR ROLE \"boss\" ", "");
        let words = kind
            .trim_end_matches(';')
            .split(' ')
            .filter(|word| word.chars().all(char::is_uppercase));
        words.collect::<Vec<_>>().join(" ")
    };
    statements.filter(is_one).map(kind).collect()
}

#[test]
fn the_sql_that_is_handed_out_has_the_statements_that_are_printed() {
    let mut table = read("public", "orders");
    table.has_policies = true;
    let printed = Grants { is_closed: true, ..grants("wal2graph", &[table]) }.sql();
    assert_eq!(kinds(&printed), kinds(&deployed("sql/role.sql")), "{printed}");
}

#[test]
fn names_are_quoted_and_only_what_is_mapped_is_granted() {
    let tables = [read("public", "orders"), read("Sales Dept", "a\"b"), read("public", "items")];
    let sql = grants("the role", &tables).sql();
    assert_eq!(
        statements(&sql),
        [
            "CREATE ROLE \"the role\" LOGIN REPLICATION;",
            "GRANT USAGE ON SCHEMA \"Sales Dept\" TO \"the role\";",
            "GRANT SELECT ON \"Sales Dept\".\"a\"\"b\" TO \"the role\";",
            "GRANT USAGE ON SCHEMA \"public\" TO \"the role\";",
            "GRANT SELECT ON \"public\".\"orders\", \"public\".\"items\" TO \"the role\";",
            "CREATE PUBLICATION \"wal2graph_shop\" FOR TABLE ONLY \"public\".\"orders\", \
             ONLY \"Sales Dept\".\"a\"\"b\", ONLY \"public\".\"items\" WITH (publish_via_partition_root = true);",
        ],
        "{sql}"
    );
}

/// A name with a line break would end the comment that it stands in, and what follows would run.
#[test]
fn no_name_ends_a_comment() {
    let mut table = read("public", "orders");
    table.owner = "a\nDROP TABLE orders; --".to_owned();
    let sql = grants("r\nDROP TABLE orders; --", &[table]).sql();
    assert!(statements(&sql).iter().all(|line| !line.starts_with("DROP")), "{sql}");
}

#[test]
fn what_is_there_is_not_made_again() {
    let tables = [read("public", "orders"), read("public", "items")];
    let able = Role { may_log_in: true, may_replicate: true, bypasses_policies: false };
    let published = Publication { tables: vec![tables[0].table.clone()], ..Publication::default() };
    let there = Grants { is: Some(able), published: Some(&published), ..grants("r", &tables) };
    let sql = there.sql();
    let expected = "ALTER PUBLICATION \"wal2graph_shop\" ADD TABLE ONLY \"public\".\"items\";";
    assert_eq!(statements(&sql)[2..], [expected], "{sql}");
    let unable = Role { may_replicate: false, ..able };
    let sql = Grants { is: Some(unable), ..there.clone() }.sql();
    assert_eq!(statements(&sql)[0], "ALTER ROLE \"r\" LOGIN REPLICATION;", "{sql}");
    let sql = Grants { is: Some(unable), has_rds_role: true, ..there.clone() }.sql();
    assert_eq!(statements(&sql)[1], "GRANT rds_replication TO \"r\";", "{sql}");
    // Somebody else publishes.
    let sql = Grants { is: None, streams: false, ..there }.sql();
    assert_eq!(statements(&sql)[0], "CREATE ROLE \"r\" LOGIN;", "{sql}");
    assert!(!sql.contains("PUBLICATION"), "{sql}");
}
