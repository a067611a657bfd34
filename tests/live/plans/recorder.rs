//! A TCP relay that writes down every statement that passes.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::bolt::{Messages, Run};

/// Of a client's bytes, those before its messages.
const HANDSHAKE_BYTES: usize = 20;

/// What was said to the server so far.
pub struct Recorder {
    pub port: u16,
    said: Arc<Mutex<Vec<Run>>>,
}

impl Recorder {
    /// A relay to a server on this machine.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { port, said: said.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                for socket in [&client, &server] {
                    socket.set_nodelay(true).unwrap();
                }
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(record(from_client, to_server, said.clone()));
                tokio::spawn(pass(from_server, to_client));
            }
        });
        recorder
    }

    /// What was said since the last time.
    pub fn take(&self) -> Vec<Run> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

async fn record(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, said: Arc<Mutex<Vec<Run>>>) {
    let mut handshake = [0; HANDSHAKE_BYTES];
    if from.read_exact(&mut handshake).await.is_err() || to.write_all(&handshake).await.is_err() {
        return;
    }
    let mut messages = Messages::default();
    let mut bytes = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        messages.push(&bytes[..length]);
        while let Some(message) = messages.next() {
            said.lock().unwrap().extend(Run::of(&message));
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut bytes = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
