//! TLS with Neo4j, whose certificate an authority of one's own has signed.

use wal2graph_servers::{Neo4j, Neo4jOptions};

use super::Authority;
use crate::support::{Pipeline, output, program};

#[tokio::test]
async fn an_authority_of_ones_own_is_named_by_graph_ca() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let certificate = authority.file("public.crt", &identity.certificate);
    let key = authority.file("private.key", &identity.key);
    let (ca, empty) = (
        authority.file("ca.crt", &authority.certificate()),
        authority.file("empty.crt", "no certificate"),
    );
    let other = authority.file("other.crt", &Authority::new().certificate());
    let settings = vec![
        // The suite looks without TLS whether it is up.
        "server.bolt.tls_level=OPTIONAL".to_owned(),
        "dbms.ssl.policy.bolt.enabled=true".to_owned(),
        format!("dbms.ssl.policy.bolt.base_directory={}", certificate.parent().unwrap().display()),
        format!("dbms.ssl.policy.bolt.private_key={}", key.display()),
        format!("dbms.ssl.policy.bolt.public_certificate={}", certificate.display()),
        "dbms.ssl.policy.bolt.client_auth=NONE".to_owned(),
    ];
    let server = Neo4j::start(&Neo4jOptions { settings, ..Neo4jOptions::default() }).unwrap();
    let schema = "CREATE TABLE tls_things (id int PRIMARY KEY); INSERT INTO tls_things VALUES (1)";
    let pipeline = Pipeline::new("graphca", schema).await;
    let at = |host: &str| format!("bolt+s://{host}:{}", server.port());
    let run = async |url: String, ca: &str| {
        let with = ["run", "--until", "current", "--graph-ca", ca];
        let arguments = if ca.is_empty() { &with[..3] } else { &with };
        let output = output(program(arguments, &pipeline.source_url, &url)).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{url} {ca}: {log}");
        (output.status.code(), log)
    };
    let path = |file: &std::path::Path| file.display().to_string();
    let (code, log) = run(at("localhost"), "").await;
    assert!(code == Some(1) && log.contains("graph.ca"), "{log}");
    let (code, log) = run(at("localhost"), &path(&other)).await;
    assert!(code == Some(1) && log.contains("TLS with Neo4j failed"), "{log}");
    let (code, log) = run(at("localhost"), &path(&empty)).await;
    assert!(code == Some(1) && log.contains("it has no certificate"), "{log}");
    let (code, log) = run(at("127.0.0.1"), &path(&ca)).await;
    assert!(code == Some(1) && log.contains("TLS with Neo4j failed"), "{log}");
    let (code, log) = run(server.url(), &path(&ca)).await;
    assert!(code == Some(2) && log.contains("write +s there"), "{log}");
    let (code, log) = run(at("localhost"), &path(&ca)).await;
    assert_eq!(code, Some(0), "{log}");
    let (code, log) = run(format!("bolt+ssc://localhost:{}", server.port()), "").await;
    assert_eq!(code, Some(0), "{log}");
}
