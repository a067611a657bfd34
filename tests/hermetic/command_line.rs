//! Help texts, exit codes, output streams.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use clap::CommandFactory;
use wal2graph::cli::Cli;

fn wal2graph(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    for name in ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGUSER", "NEO4J_PASSWORD"] {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the program starts")
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// Compares the short and long help of every command with `tests/help`.
#[test]
fn help_is_what_was_agreed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let mut cli = Cli::command().term_width(98);
    cli.build();
    let mut pages = vec![("wal2graph".to_owned(), cli.clone())];
    pages.extend(cli.get_subcommands().map(|it| (it.get_name().to_owned(), it.clone())));
    for (name, mut command) in pages {
        for (kind, text) in [
            ("short", command.clone().render_help().to_string()),
            ("long", command.render_long_help().to_string()),
        ] {
            let path = folder.join(format!("{name}.{kind}.txt"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let agreed = fs::read_to_string(&path).unwrap_or_default();
            assert!(agreed == text, "UPDATE_GOLDEN=1 writes {}:\n{text}", path.display());
        }
    }
}

#[test]
fn usage_and_configuration_errors_exit_with_2_and_say_so_on_stderr() {
    for (arguments, said) in [
        (vec!["fly"], "unrecognized subcommand"),
        (vec!["run", "--until", "tomorrow"], "expected `current` or an LSN"),
        (vec!["plan"], "no source"),
        (vec!["verify", "--dry-run"], "--dry-run"),
        (vec!["verify", "--where", "true"], "<TABLE>"),
        (vec!["verify", "t", "--where", "true", "--counts"], "cannot be used with"),
        (vec!["plan", "-c", "/not/there.yaml"], "/not/there.yaml"),
        (
            vec!["plan", "--log-level", "wal2graph=loud", "--source-url", "postgres://u@h/d"],
            "--log-level",
        ),
    ] {
        let output = wal2graph(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(said) && output.stdout.is_empty(), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_server_that_is_not_there_exits_with_1_and_leaks_nothing() {
    let arguments = [
        "plan",
        "--source-url",
        "postgres://u:secret@127.0.0.1:1/d",
        "--graph-url",
        "bolt://127.0.0.1:1",
    ];
    let output = wal2graph(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("127.0.0.1:1 can not be reached") && !errors.contains("secret"),
        "{errors}"
    );
    let json = wal2graph(&[&arguments[..], &["--log-format", "json"]].concat());
    let line = String::from_utf8_lossy(&json.stderr).into_owned();
    let line: serde_json::Value =
        serde_json::from_str(line.trim()).expect("one JSON object a line");
    assert_eq!(line["level"], "ERROR");
}
