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

#[test]
fn completions_and_manuals_have_every_command_and_need_no_configuration() {
    let commands: Vec<String> =
        Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = wal2graph(&["completions", shell]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for word in commands.iter().map(String::as_str).chain(["source-url"]) {
            assert!(text.contains(word), "{shell} knows no {word}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man1");
    let output = wal2graph(&["man", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for command in &commands {
        let page = fs::read_to_string(folder.join(format!("wal2graph-{command}.1"))).unwrap();
        assert!(page.starts_with(".ie") && page.contains(".SH SYNOPSIS"), "{command}: {page}");
    }
    assert!(fs::read_to_string(folder.join("wal2graph.1")).unwrap().contains("wal2graph\\-run(1)"));
    let file = folder.join("wal2graph.1");
    let output = wal2graph(&["man", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "a file is no folder");
}

#[test]
fn readiness_is_asked_without_source_and_graph() {
    let output = wal2graph(&["status", "--ready", "--http", "127.0.0.1:1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("does not answer at 127.0.0.1:1"), "{errors}");
    let output = wal2graph(&["status", "--ready", "--http", "off"]);
    assert_eq!(output.status.code(), Some(2));
}

/// What the program says when it starts with these variables.
fn with_variables(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.env_clear().args(arguments).envs(variables.iter().copied());
    String::from_utf8_lossy(&command.output().expect("the program starts").stderr).into_owned()
}

#[test]
fn each_flag_has_a_variable_and_flags_win_over_variables() {
    let variables = [("WAL2GRAPH_SOURCE_URL", "postgres://u:secret@127.0.0.1:1/d")];
    let said = with_variables(&["plan"], &variables);
    assert!(said.contains("127.0.0.1:1 can not be reached") && !said.contains("secret"), "{said}");
    // Before and behind the command.
    for arguments in [
        ["--source-url", "postgres://u@127.0.0.1:2/d", "plan"],
        ["plan", "--source-url", "postgres://u@127.0.0.1:2/d"],
    ] {
        let said = with_variables(&arguments, &variables);
        assert!(said.contains("127.0.0.1:2 can not be reached"), "{said}");
    }
    let said = with_variables(&["plan"], &[("WAL2GRAPH_CONFIG", "/not/there.yaml")]);
    assert!(said.contains("/not/there.yaml"), "{said}");
    let help = Cli::command().render_long_help().to_string();
    for argument in Cli::command().get_arguments().filter(|it| it.is_global_set()) {
        let name = argument.get_long().unwrap().replace('-', "_").to_uppercase();
        assert!(help.contains(&format!("[env: WAL2GRAPH_{name}]")), "--{name} has no variable");
    }
}
