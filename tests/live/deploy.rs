//! What deploy/ hands out, on real servers.

use std::{fs, path::Path};

use crate::{
    http::Served,
    support::{Pipeline, neo4j, output, program},
};

/// The rights on the source, for a role of another name: roles belong to the whole server.
fn rights(role: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sql/role.sql");
    fs::read_to_string(path).unwrap().replace("wal2graph", role)
}

#[tokio::test]
async fn the_rights_that_are_handed_out_are_enough_and_let_nothing_be_written() {
    let schema = "CREATE TABLE shipped_orders (id int PRIMARY KEY, note text); \
        INSERT INTO shipped_orders VALUES (1, 'first')";
    let pipeline = Pipeline::new("shipped", schema).await;
    let role = format!("reader_{}", pipeline.name);
    pipeline.sql.batch_execute(&rights(&role)).await.unwrap();
    // Made later by the same owner: the default privileges have it.
    let later =
        "CREATE TABLE shipped_lines (id int PRIMARY KEY, order_id int REFERENCES shipped_orders)";
    pipeline.sql.batch_execute(later).await.unwrap();
    let said =
        String::from_utf8(output(pipeline.command_as(&role, &["check"])).await.stdout).unwrap();
    let create = said.lines().find(|line| line.trim().starts_with("CREATE PUBLICATION"));
    pipeline.sql.batch_execute(create.unwrap_or_else(|| panic!("{said}"))).await.unwrap();
    for arguments in [&["check"][..], &["run", "--until", "current"], &["verify"]] {
        let done = output(pipeline.command_as(&role, arguments)).await;
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
    for statement in [
        "INSERT INTO shipped_orders VALUES (2, 'second')",
        "CREATE TABLE shipped_more (id int PRIMARY KEY)",
        "ALTER TABLE shipped_orders ADD COLUMN more int",
    ] {
        let statement = format!("SET ROLE {role}; {statement}");
        let refused = pipeline.sql.batch_execute(&statement).await.expect_err("it may only read");
        let code = refused.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused:?}");
        pipeline.sql.batch_execute("RESET ROLE").await.unwrap();
    }
}

#[tokio::test]
async fn a_health_check_beside_the_program_hears_when_it_is_ready() {
    let schema = "CREATE TABLE shipped_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("healthy", schema).await;
    let graph = neo4j().url();
    let arguments = ["run", "--source-url", &pipeline.source_url, "--graph-url", &graph];
    let served = Served::of(&arguments, "{}").await;
    served.until_ready_says(200, "ready").await;
    let check = ["status", "--ready", "--http", served.address()];
    let asked = output(program(&check, &pipeline.source_url, &graph)).await;
    assert!(asked.status.success() && asked.stdout == b"ready\n", "{asked:?}");
    let address = served.address().to_owned();
    drop(served);
    let check = ["status", "--ready", "--http", &address];
    let asked = output(program(&check, &pipeline.source_url, &graph)).await;
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
}
