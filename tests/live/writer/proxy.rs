//! A TCP relay that loses a COMMIT, or a statement that commits by itself, or its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A COMMIT as a Bolt message: its length, an empty structure with tag 12 (hexadecimal), the end.
pub const COMMIT: &[u8] = &[0x00, 0x02, 0xB0, 0x12, 0x00, 0x00];
/// In a transaction that is one statement.
pub const FUSED: &[u8] = b"CALL () { UNWIND $rows[0] AS r";

/// What happens to what is to be lost.
#[derive(Clone, Copy, Debug)]
pub enum Lose {
    /// The server never sees it.
    Request,
    /// The server commits, and nobody hears of it.
    Answer,
}

/// Starts a relay to `server` that loses the first `count` of what has this in it, and cuts their
/// connections. Returns its port.
pub async fn relay(server: String, what: &'static [u8], lose: Lose, count: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicU32::new(count));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(serve(client, server, what, lose, left.clone()));
        }
    });
    port
}

async fn serve(
    mut client: TcpStream,
    mut server: TcpStream,
    what: &'static [u8],
    lose: Lose,
    left: Arc<AtomicU32>,
) {
    let (mut from_client, mut from_server) = ([0; 65_536], [0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &from_client[..length];
                let is_it = sent.windows(what.len()).any(|bytes| bytes == what);
                let lost = is_it && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok();
                if lost && matches!(lose, Lose::Request) {
                    return;
                }
                if server.write_all(sent).await.is_err() {
                    return;
                }
                if lost {
                    // There may be an answer to each of several messages. A busy server takes its
                    // time for the first one: it plans the statement.
                    let mut patience = Duration::from_secs(60);
                    while let Ok(Ok(1..)) = timeout(patience, server.read(&mut from_server)).await {
                        patience = Duration::from_secs(2);
                    }
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
