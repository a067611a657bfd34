#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{SourceUrl, Target, UrlError};
use crate::postgres::connect::{ChannelBinding, TlsMode, Versions};

type Variables<'a> = &'a [(&'a str, &'a str)];

fn with(url: &str, variables: Variables<'_>) -> Result<SourceUrl, UrlError> {
    SourceUrl::with_environment(url, &|name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn shown(url: &str, variables: Variables<'_>) -> String {
    format!("{:?}", with(url, variables).unwrap_or_else(|error| panic!("{url}: {error}")))
}

/// The error of an environment or a URL. It must not contain a password.
fn error(url: &str, variables: Variables<'_>) -> String {
    let error = with(url, variables).expect_err(url).to_string();
    assert!(!error.contains("secret"), "{error}");
    error
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn libpqs_parameters_are_understood() {
    let url = "postgres://cdc:secret@db:5433/shop?sslmode=verify-full&sslrootcert=%2Fca.pem&require_auth=md5\
        &sslcert=/c.pem&sslkey=/k.pem&channel_binding=require&sslnegotiation=direct&sslsni=0\
        &ssl_min_protocol_version=TLSv1.3&keepalives_count=5&tcp_user_timeout=1500&gssencmode=prefer";
    let url: SourceUrl = url.parse().unwrap();
    assert_eq!((url.tls.mode, url.tls.direct), (TlsMode::VerifyFull, true));
    assert_eq!((url.tls.names_host, url.tls.versions), (false, Versions::Only13));
    assert_eq!(url.tls.root_certificates.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(url.tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
    assert!(url.authentication.md5 && !url.authentication.password);
    assert!(!url.authentication.scram && !url.authentication.none, "only what is named");
    assert_eq!(url.authentication.binding, ChannelBinding::Require);
    assert_eq!(url.silence.keepalive.unwrap().1, 5);
    assert_eq!(url.silence.unanswered, Some(Duration::from_millis(1_500)));
    assert_eq!((url.database(), url.password.as_deref()), ("shop", Some("secret")));
    assert_eq!(format!("{url:?}"), "postgres://cdc@db:5433/shop");
}

#[test]
fn without_parameters_nothing_weak_is_allowed() {
    let url: SourceUrl = "postgres://u@h/d".parse().unwrap();
    assert_eq!((url.tls.mode, url.tls.direct), (TlsMode::Prefer, false));
    let allowed = url.authentication;
    assert!(allowed.none && allowed.scram && !allowed.md5 && !allowed.password);
}

#[test]
fn hosts_ports_and_socket_directories() {
    for (url, servers) in [
        ("postgres://u@a/d", "a:5432"),
        ("postgres://u@/d", "localhost:5432"),
        ("postgres://u@a:1,b:2/d", "a:1,b:2"),
        ("postgres://u@a,b:2/d", "a:5432,b:2"),
        ("postgres://u@%2Frun%2Fpg:7/d", "/run/pg:7"),
        ("postgres://u@/d?host=/run/pg&port=7", "/run/pg:7"),
        ("postgres://u@x:1/d?host=a,b&port=7", "a:7,b:7"),
        ("postgresql://u@[::1]:7/d", "::1:7"),
        ("postgres://u@/d?hostaddr=127.0.0.1,::1", "127.0.0.1:5432,::1:5432"),
        ("postgres://u@db/d?hostaddr=127.0.0.1", "db:5432"),
    ] {
        assert_eq!(shown(url, &[]), format!("postgres://u@{servers}/d"), "{url}");
    }
}

#[test]
fn a_list_of_hosts_in_pghost_was_one_host_with_a_comma() {
    for (variables, servers) in [
        (&[("PGHOST", "a,b")][..], "a:5432,b:5432"),
        (&[("PGHOST", "a, /run/pg"), ("PGPORT", "1,5501")], "a:1,/run/pg:5501"),
        (&[("PGHOST", "a,b"), ("PGPORT", "7")], "a:7,b:7"),
        (&[("PGHOSTADDR", "127.0.0.1")], "127.0.0.1:5432"),
    ] {
        assert_eq!(shown("postgres://u@/d", variables), format!("postgres://u@{servers}/d"));
    }
    assert_eq!(shown("postgres://u@h/d", &[("PGPORT", "7")]), "postgres://u@h:7/d");
    assert_eq!(shown("postgres://u@h:1/d", &[("PGPORT", "abc")]), "postgres://u@h:1/d");
}

#[test]
fn a_port_in_the_environment_that_is_none_was_ignored() {
    for port in ["abc", "70000", "0", "-1", "1,abc"] {
        let error = error("postgres://u@/d", &[("PGHOST", "h"), ("PGPORT", port)]);
        assert!(error.contains(&format!("PGPORT={port}")), "{error}");
        let error = self::error(&format!("postgres://u@/d?port={port}"), &[]);
        assert!(error.contains(&format!("port={port}")), "{error}");
    }
    let error = error("postgres://u@h/d", &[("PGPORT", "1,5501")]);
    assert!(error.contains("neither one port nor one for each host"), "{error}");
}

#[test]
fn a_connect_timeout_of_0_was_no_time_at_all() {
    let limit = |variables| with("postgres://u@h/d", variables).unwrap().connect_limit;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(limit(&[]), seconds(15));
    assert_eq!(limit(&[("PGCONNECT_TIMEOUT", "0")]), None);
    assert_eq!(limit(&[("PGCONNECT_TIMEOUT", "-1")]), None);
    assert_eq!(limit(&[("PGCONNECT_TIMEOUT", "1")]), seconds(2));
    assert_eq!(limit(&[("PGCONNECT_TIMEOUT", "7")]), seconds(7));
    let url: SourceUrl = "postgres://u@h/d?connect_timeout=0".parse().unwrap();
    assert_eq!(url.connect_limit, None);
    let error = error("postgres://u@h/d", &[("PGCONNECT_TIMEOUT", "soon")]);
    assert!(error.contains("PGCONNECT_TIMEOUT=soon"), "{error}");
}

#[test]
fn the_primary_is_looked_for_among_several_hosts() {
    let target = |url: &str| url.parse::<SourceUrl>().unwrap().target;
    assert_eq!(target("postgres://u@a/d"), Target::Any);
    assert_eq!(target("postgres://u@a,b/d"), Target::Primary);
    assert_eq!(target("postgres://u@a,b/d?target_session_attrs=any"), Target::Any);
    for word in ["primary", "read-write"] {
        assert_eq!(
            target(&format!("postgres://u@a/d?target_session_attrs={word}")),
            Target::Primary
        );
    }
}

#[test]
fn a_named_authority_is_looked_at() {
    let mode = |query: &str| {
        let url = format!("postgres://u@h/d?{query}").parse::<SourceUrl>();
        url.map(|url| (url.tls.mode, url.tls.root_certificates.is_some()))
    };
    assert_eq!(mode("sslmode=require&sslrootcert=/ca"), Ok((TlsMode::VerifyCa, true)));
    assert_eq!(mode("sslrootcert=system"), Ok((TlsMode::VerifyFull, false)));
    assert_eq!(mode("sslmode=verify-full&sslrootcert=system"), Ok((TlsMode::VerifyFull, false)));
    assert!(mode("sslmode=require&sslrootcert=system").is_err());
}

#[test]
fn files_in_the_home_directory_are_libpqs() {
    let files =
        [".postgresql/root.crt", ".postgresql/postgresql.crt", ".postgresql/postgresql.key"];
    let home = folder(&files.map(|name| (name, "")));
    let path = |name: &str| home.path().join(name);
    let home_variable = [("HOME", home.path().to_str().unwrap())];
    let url = |query: &str| with(&format!("postgres://u@h/d?{query}"), &home_variable);
    let required = url("sslmode=require").unwrap();
    assert_eq!(required.tls.mode, TlsMode::VerifyCa);
    assert_eq!(required.tls.root_certificates, Some(path(files[0])));
    assert_eq!(required.tls.identity, Some((path(files[1]), path(files[2]))));
    assert_eq!(required.passfile, Some(path(".pgpass")));
    assert_eq!(url("sslcertmode=disable").unwrap().tls.identity, None);
    assert_eq!(url("sslmode=prefer").unwrap().tls.mode, TlsMode::Prefer);
    fs::write(path(".postgresql/root.crl"), "").unwrap();
    assert!(url("sslmode=require").unwrap_err().to_string().contains("root.crl"));
    assert!(url("sslmode=prefer").is_ok());
}

#[test]
fn the_environment_completes_the_url_and_never_overrides_it() {
    let variables = [
        ("PGHOST", "/run/pg"),
        ("PGPORT", "7"),
        ("PGUSER", "env"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "envdb"),
        ("PGSSLMODE", "require"),
        ("PGOPTIONS", "-c work_mem=1MB"),
        ("PGPASSFILE", "/pass"),
        ("PGAPPNAME", "me"),
    ];
    assert_eq!(shown("postgres://", &variables), "postgres://env@/run/pg:7/envdb");
    let url =
        with("postgres://u:p@h:1/d?sslmode=verify-ca&application_name=a", &variables).unwrap();
    assert_eq!(format!("{url:?}"), "postgres://u@h:1/d");
    assert_eq!((url.password.as_deref(), url.tls.mode), (Some("p"), TlsMode::VerifyCa));
    assert_eq!((url.application_name.as_str(), url.passfile), ("a", Some("/pass".into())));
    assert!(url.options.starts_with("-c work_mem=1MB -c DateStyle=ISO"), "{}", url.options);
    let url = with("postgres://u@h/d", &variables).unwrap();
    assert_eq!((url.password.as_deref(), url.application_name.as_str()), (Some("secret"), "me"));
    let required = with("postgres://u@h/d", &[("PGREQUIRESSL", "1")]).unwrap();
    assert_eq!(required.tls.mode, TlsMode::Require);
    let asked = [("PGREQUIRESSL", "1"), ("PGSSLMODE", "verify-full")];
    assert_eq!(with("postgres://u@h/d", &asked).unwrap().tls.mode, TlsMode::VerifyFull);
}

#[test]
fn a_service_was_ignored() {
    let own =
        "[shop]\nhost=db\nport=7\nuser=cdc\npassword=secret\ndbname=shop\nsslmode=verify-ca\n";
    let wrong =
        "[unknown]\ncolour=red\n[refused]\nsslcrl=/x\n[nothing]\n[port]\nport=abc\nuser=u\n";
    let files = folder(&[
        (".pg_service.conf", own),
        ("system/pg_service.conf", "[far]\nhost=far\n"),
        ("other.conf", wrong),
    ]);
    let path = |name: &str| -> PathBuf { files.path().join(name) };
    let (home, system, other) = (path(""), path("system"), path("other.conf"));
    let variables = |service: &'static str, file: &'static str| -> Vec<(&str, &str)> {
        let mut variables = vec![
            ("HOME", home.to_str().unwrap()),
            ("PGSYSCONFDIR", system.to_str().unwrap()),
            ("PGHOST", "environment"),
            ("PGUSER", "me"),
            ("PGSERVICE", service),
        ];
        variables.extend(Some(("PGSERVICEFILE", file)).filter(|_| !file.is_empty()));
        variables
    };
    let url = with("postgres://", &variables("shop", "")).unwrap();
    assert_eq!(format!("{url:?}"), "postgres://cdc@db:7/shop");
    assert_eq!((url.tls.mode, url.password.as_deref()), (TlsMode::VerifyCa, Some("secret")));
    let url = "postgres://u@/d?service=shop&port=8";
    assert_eq!(shown(url, &variables("other", "")), "postgres://u@db:8/d", "the URL wins");
    assert_eq!(shown("postgres://", &variables("far", "")), "postgres://me@far:5432/me");
    let file = other.to_str().unwrap().to_owned().leak();
    for (service, named) in [
        ("none", "the service \"none\": it is not in"),
        ("unknown", "\"colour\""),
        ("refused", "sslcrl: lists of revoked"),
        ("port", "port=abc"),
    ] {
        let error = error("postgres://", &variables(service, file));
        assert!(error.contains(named) && error.contains("other.conf"), "{error}");
    }
    let url = format!("postgres://u@/d?service=nothing&servicefile={file}");
    assert_eq!(shown(&url, &variables("", "/not/there")), "postgres://u@environment:5432/d");
    assert!(error("postgres://", &variables("shop", "/not/there")).contains("/not/there"));
}

#[test]
fn what_is_not_understood_is_named_without_the_password() {
    for (url, named) in [
        ("postgres://u:secret@h/d?sslmode=maybe", "sslmode=maybe"),
        ("postgres://u:secret@h/d?sslmode=", "sslmode="),
        ("postgres://u:secret@h/d?require_auth=gss", "require_auth=gss"),
        ("postgres://u:secret@h/d?channel_binding=1", "channel_binding=1"),
        ("postgres://u:secret@h/d?sslnegotiation=direct", "sslnegotiation=direct without"),
        ("postgres://u:secret@h/d?sslcert=/c", "one of sslcert and sslkey"),
        ("postgres://u:secret@h/d?target_session_attrs=standby", "target_session_attrs=standby"),
        ("postgres://u:secret@h/d?load_balance_hosts=random", "load_balance_hosts"),
        ("postgres://u:secret@h/d?colour=red", "colour"),
        ("postgres://u:secret@h/d?sslcrl=/x", "sslcrl"),
        ("postgres://u:secret@h/d?gssencmode=require", "gssencmode"),
        ("postgres://u:secret@h/d?hostaddr=h", "hostaddr=h"),
        ("postgres://u:secret@h/d?hostaddr=::1,::2", "host and hostaddr"),
        ("postgres://u:secret@h/d?options=-B 10", "options=-B 10"),
        ("postgres://u:secret@h/d?replication=database", "replication"),
        ("postgres://u:secret@%2Frun/d?requirepeer=postgres", "requirepeer"),
        (
            "postgres://u:secret@h/d?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "no version",
        ),
        ("postgres://u:secret@h/d?keepalives_idle=1s", "keepalives_idle=1s"),
        ("mysql://u:secret@h/d", "source URL"),
        // libpq understands this, but this program would ignore its sslmode.
        ("host=h user=u password=secret sslmode=verify-full", "source URL"),
    ] {
        let error = error(url, &[]);
        assert!(error.contains(named), "{error}");
    }
    for (variable, value) in [
        ("PGSSLMODE", "maybe"),
        ("PGSSLCRL", "/x"),
        ("PGGSSENCMODE", "require"),
        ("PGTARGETSESSIONATTRS", "prefer-standby"),
        ("PGHOSTADDR", "h"),
        ("PGOPTIONS", "-B 10"),
        ("PGMINPROTOCOLVERSION", "3.2"),
        ("PGSSLMAXPROTOCOLVERSION", "TLSv1.1"),
    ] {
        let error = error("postgres://u@h/d", &[(variable, value)]);
        assert!(error.contains("the environment has"), "{variable}: {error}");
    }
    let harmless = [
        ("PGGSSENCMODE", "prefer"),
        ("PGKRBSRVNAME", "x"),
        ("PGMINPROTOCOLVERSION", "3.0"),
        ("PGMAXPROTOCOLVERSION", "latest"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGREQUIREPEER", "postgres"),
        ("PGSSLCOMPRESSION", "0"),
        ("PGDATESTYLE", "German"),
    ];
    assert!(with("postgres://u@h/d", &harmless).is_ok());
    assert_eq!("postgres://h/d".parse::<SourceUrl>().unwrap_err(), UrlError::NoUser);
}
