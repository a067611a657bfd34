//! What deploy/ hands out, on real servers.

use std::{fs, path::Path, process::Command};

use wal2graph_servers::tool;

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

/// What `check` prints with these arguments, run by psql as the owner of the tables.
async fn run_by_psql(pipeline: &Pipeline, arguments: &[&str]) -> String {
    let printed = output(pipeline.command(&[&["check"], arguments].concat())).await;
    assert!(printed.status.success(), "{printed:?}");
    let sql = String::from_utf8(printed.stdout).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &sql).unwrap();
    let mut psql = Command::new(tool("psql").unwrap());
    psql.args(["-v", "ON_ERROR_STOP=1", "-d", &pipeline.source_url, "-f"]).arg(file.path());
    let ran = psql.output().unwrap();
    assert!(ran.status.success(), "{}\n{sql}", String::from_utf8_lossy(&ran.stderr));
    sql
}

#[tokio::test]
async fn the_rights_that_check_prints_are_enough_for_a_new_role() {
    let schema = "CREATE SCHEMA \"printed Sales\"; \
        CREATE TABLE printed_orders (id int PRIMARY KEY, note text); \
        CREATE TABLE \"printed Sales\".\"printed \"\"Lines\" (id int PRIMARY KEY, order_id int REFERENCES printed_orders); \
        CREATE TABLE printed_secrets (id int PRIMARY KEY, secret text); \
        ALTER TABLE printed_orders ENABLE ROW LEVEL SECURITY; \
        INSERT INTO printed_orders VALUES (1, 'first'); \
        INSERT INTO \"printed Sales\".\"printed \"\"Lines\" VALUES (1, 1)";
    let pipeline = Pipeline::new("printed", schema).await;
    let close = format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", pipeline.name);
    pipeline.sql.batch_execute(&close).await.unwrap();
    let pipeline = pipeline.configured("tables: {public.printed_secrets: {skip: true}}");
    let role = format!("reader_{}", pipeline.name);
    let sql = run_by_psql(&pipeline, &["--sql", &role]).await;
    assert!(!sql.contains("printed_secrets"), "{sql}");
    for arguments in [&["check"][..], &["run", "--until", "current"], &["verify"]] {
        let done = output(pipeline.command_as(&role, arguments)).await;
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
    for refused in ["SELECT * FROM printed_secrets", "DELETE FROM printed_orders"] {
        let statement = format!("SET ROLE {role}; {refused}");
        let error = pipeline.sql.batch_execute(&statement).await.expect_err("it may not");
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{refused}: {error:?}");
        pipeline.sql.batch_execute("RESET ROLE").await.unwrap();
    }
    // It is there, and is not made again; what is new is added.
    pipeline.sql.batch_execute("CREATE TABLE printed_more (id int PRIMARY KEY)").await.unwrap();
    let sql = run_by_psql(&pipeline, &["--sql", &role]).await;
    assert!(!sql.contains("\nCREATE ") && sql.contains("\nALTER PUBLICATION"), "{sql}");
    let done = output(pipeline.command_as(&role, &["run", "--until", "current"])).await;
    assert!(done.status.success(), "{done:?}");
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
