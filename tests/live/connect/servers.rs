//! Several servers, and what names them: lists, addresses, services, password files.

use std::{fs, os::unix::fs::PermissionsExt};

use wal2graph::{
    pipeline::Failure,
    postgres::connect::{SourceUrl, replication, sql},
};
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{Pipeline, client, holds, output, postgres, unique};

use super::{dead_port, log_in, program, refused, secured};

/// A server that follows nobody, and is no primary.
async fn standby() -> Postgres {
    let files = vec![("standby.signal".to_owned(), String::new())];
    let options = PostgresOptions { files, ..PostgresOptions::default() };
    tokio::task::spawn_blocking(move || Postgres::start(&options)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_standby_first_in_the_list_ended_the_run() {
    let (standby, dead) = (standby().await, dead_port());
    // Both have the same databases.
    let primary = tokio::task::spawn_blocking(|| Postgres::start(&PostgresOptions::default()));
    let primary = primary.await.unwrap().unwrap();
    let schema = "CREATE TABLE sb_things (id int PRIMARY KEY); INSERT INTO sb_things VALUES (1)";
    client(&primary.url("postgres")).await.batch_execute(schema).await.unwrap();
    let (first, second) = (standby.port(), primary.port());
    let list = format!("127.0.0.1:{dead},127.0.0.1:{first},127.0.0.1:{second}");
    for query in ["", "?target_session_attrs=primary", "?target_session_attrs=read-write"] {
        let url = format!("postgres://postgres@{list}/postgres{query}");
        assert!(log_in(&url).await.is_ok(), "{query}");
    }
    let source = format!("postgres://postgres@{list}/postgres");
    let mut command = program(&["run", "--until", "current", "--pipeline", &unique("sb")]);
    command.args(["--source-url", &source]);
    let done = output(command).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(holds("RETURN EXISTS { (:SbThing {id: 1}) } AS yes").await);
    // `any` takes a standby, and so does a URL with one host.
    let any = "target_session_attrs=any";
    for url in [
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres?{any}"),
        format!("postgres://postgres@127.0.0.1:{first}/postgres"),
    ] {
        let url: SourceUrl = url.parse().unwrap();
        let client = sql(&url).await.unwrap().client;
        let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap();
        assert!(row.get::<_, bool>(0));
    }
    // It may be promoted: that is waited for.
    for url in [
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{dead}/postgres"),
        format!("postgres://postgres@127.0.0.1:{first}/postgres?target_session_attrs=primary"),
    ] {
        let error = log_in(&url).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("is a standby"), "{error}");
    }
}

/// On a busy machine a standby is behind: it does not have what the primary has just been given.
#[tokio::test]
async fn a_standby_that_does_not_know_the_database_yet_ended_the_run() {
    let standby = standby().await;
    let schema = "CREATE TABLE sby_things (id int PRIMARY KEY); INSERT INTO sby_things VALUES (1)";
    let Pipeline { name, sql, .. } = Pipeline::new("behind", schema).await;
    let list = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), postgres().port());
    let pipeline = Pipeline::of(name.clone(), sql, format!("postgres://postgres@{list}/{name}"));
    pipeline.catch_up().await;
    assert!(holds("RETURN EXISTS { (:SbyThing {id: 1}) } AS yes").await);
    // What no server has is refused for good, and each says why.
    let error = log_in(&format!("postgres://postgres@{list}/nowhere")).await.unwrap_err();
    let said = error.to_string();
    assert!(
        !error.is_transient() && said.matches("Name a database that exists").count() == 2,
        "{said}"
    );
    // What one refuses may be right for the other, which may come back.
    let dead = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), dead_port());
    let error = log_in(&format!("postgres://postgres@{dead}/{name}")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn check_says_that_the_source_is_a_standby() {
    let standby = standby().await;
    let mut command = program(&["check"]);
    command.args(["--source-url", &standby.url("postgres")]);
    let checked = output(command).await;
    let report = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{report}");
    assert!(report.contains("standby") && report.contains("primary"), "{report}");
}

#[tokio::test]
async fn an_address_in_the_url_was_ignored() {
    let port = postgres().port();
    let name = format!("postgres://postgres@no.such.host.invalid:{port}/postgres");
    assert!(log_in(&format!("{name}?hostaddr=127.0.0.1")).await.is_ok());
    let error = log_in(&name).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

/// Whether `plan` succeeds where only variables say where the source is, and its log.
async fn plan(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = program(&["plan"]);
    command.env_remove("PGPASSWORD").envs(variables.iter().copied());
    let done = output(command).await;
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[tokio::test]
async fn services_password_files_and_lists_in_the_environment_were_ignored() {
    let server = &secured().await.server;
    let (port, dead) = (server.port(), dead_port());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (passfile, services) = (path("pass"), path("services"));
    let text = format!("*:{dead}:*:*:wrong\nlocalhost:{port}:*:anywhere:right\n");
    fs::write(&passfile, text).unwrap();
    let text = "[there]\nhost=127.0.0.1,localhost\nuser=anywhere\ndbname=postgres\n";
    fs::write(&services, text).unwrap();
    let allow = |mode| fs::set_permissions(&passfile, fs::Permissions::from_mode(mode)).unwrap();
    let ports = format!("{dead},{port}");
    let variables = [
        ("PGSERVICE", "there"),
        ("PGSERVICEFILE", services.as_str()),
        ("PGPORT", ports.as_str()),
        ("PGPASSFILE", passfile.as_str()),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c DateStyle=German"),
    ];
    allow(0o600);
    let (succeeds, log) = plan(&variables).await;
    assert!(succeeds, "{log}");
    allow(0o640);
    let (succeeds, log) = plan(&variables).await;
    assert!(!succeeds && log.contains("chmod 0600") && !log.contains("right"), "{log}");
    let warning = format!("WARN {passfile} is not used");
    assert_eq!(log.matches(&warning).count(), 1, "{log}");
    let missing = [&variables[..], &[("PGPASSFILE", "/not/there")]].concat();
    let (succeeds, log) = plan(&missing).await;
    assert!(!succeeds && log.contains("/not/there"), "{log}");
    let wrong = [("PGHOST", "127.0.0.1"), ("PGPORT", "abc"), ("PGUSER", "u")];
    let (succeeds, log) = plan(&wrong).await;
    assert!(!succeeds && log.contains("PGPORT=abc"), "{log}");
}

#[tokio::test]
async fn options_are_passed_on_and_what_is_pinned_wins() {
    let options = "-c%20work_mem=3MB%20-c%20statement_timeout=1s%20-c%20role=pg_monitor";
    let url = format!("{}?options={options}", postgres().url("postgres"));
    let url: SourceUrl = url.parse().unwrap();
    let client = sql(&url).await.unwrap().client;
    let query = "SELECT current_setting('work_mem'), current_setting('statement_timeout'), current_user::text";
    let row = client.query_one(query, &[]).await.unwrap();
    let found: [&str; 3] = [0, 1, 2].map(|index| row.get(index));
    assert_eq!(found, ["3MB", "0", "postgres"]);
    assert!(replication(&url).await.is_ok());
    let unknown = format!("{}?options=-c%20no_such_setting=1", postgres().url("postgres"));
    refused(&unknown, &["no_such_setting"]).await;
}
