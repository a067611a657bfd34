//! What a running `apply` serves over HTTP.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::support::PATIENCE;

/// The answer to `GET PATH`, the whole of it. The address is in the log.
pub async fn get(log: &NamedTempFile, path: &str) -> String {
    let started = Instant::now();
    let address = loop {
        let text = std::fs::read_to_string(log.path()).unwrap();
        let told = text.split_once("over HTTP address=").map(|(_, rest)| rest.to_owned());
        if let Some(address) = told.as_deref().and_then(|rest| rest.split_whitespace().next()) {
            break address.to_owned();
        }
        assert!(started.elapsed() < PATIENCE, "{text}");
        sleep(Duration::from_millis(50)).await;
    };
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the answer is such a one; the answer.
pub async fn until(log: &NamedTempFile, path: &str, is_it: impl Fn(&str) -> bool) -> String {
    let started = Instant::now();
    loop {
        let answer = get(log, path).await;
        if is_it(&answer) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{answer}");
        sleep(Duration::from_millis(100)).await;
    }
}
