//! The servers start, die and start again.
#![allow(clippy::unwrap_used)]

use std::{net::TcpStream, time::Duration};

use wal2graph_servers::{
    Kafka, KafkaOptions, Neo4j, Neo4jOptions, Postgres, PostgresOptions, Stop,
};

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

#[test]
fn kafka_starts_dies_and_starts_again_and_its_tools_answer() {
    let mut server = Kafka::start(&KafkaOptions::default()).unwrap();
    server.create_topic("kept", 2, &["retention.ms=-1"]).unwrap();
    server.kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start_again().unwrap();
    let topics = ["--describe", "--topic", "kept"];
    let topics = server.tool("org.apache.kafka.tools.TopicCommand", &topics).unwrap();
    assert!(topics.contains("PartitionCount: 2"), "{topics}");
    assert!(server.reset_offsets("nobody", "not_there", &["--to-earliest"]).is_err());
    server.stop().unwrap();
}
