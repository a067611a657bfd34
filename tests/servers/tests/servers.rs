//! The servers start, die and start again.
#![allow(clippy::unwrap_used)]

use std::{net::TcpStream, time::Duration};

use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions, Stop};

#[test]
fn postgres_starts_dies_and_starts_again() {
    let mut server = Postgres::start(&PostgresOptions::default()).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    server.kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start_again().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    assert!(server.stop(Stop::Fast).unwrap() < Duration::from_secs(5));
}

#[test]
fn neo4j_starts_dies_and_starts_again() {
    let mut server = Neo4j::start(&Neo4jOptions::default()).unwrap();
    server.kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start_again().unwrap();
    assert!(server.url().ends_with(&server.port().to_string()));
}
