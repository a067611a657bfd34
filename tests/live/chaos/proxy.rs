//! A network that fails: cut, frozen, one-way, slow.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It passes everything on.
    Well,
    /// Connections break, and none is made.
    Cut,
    /// Nothing comes through, and nobody learns of it.
    Frozen,
    /// What the program sends comes through, and nothing comes back.
    OneWay,
    /// Each piece takes this long, and up to as long again.
    Slow(Duration),
}

/// A way to a server.
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    network: watch::Sender<Network>,
}

impl Proxy {
    /// A way to this port.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = watch::Sender::new(Network::Well);
        let state = Arc::new(network.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = watch::Receiver::clone(&state);
                tokio::spawn(async move {
                    // Frozen, it takes no connection either.
                    let _ = state.wait_for(|it| !matches!(it, Network::Frozen)).await;
                    if *state.borrow() == Network::Cut {
                        return;
                    }
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        join(client, server, state).await;
                    }
                });
            }
        });
        Proxy { port, network }
    }

    pub fn is(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn join(client: TcpStream, server: TcpStream, state: watch::Receiver<Network>) {
    // Else each answer waits for the other side's delayed acknowledgement.
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = state.clone();
    tokio::select! {
        _ = cut.wait_for(|it| *it == Network::Cut) => {}
        () = pass(from_client, to_server, state.clone(), false) => {}
        () = pass(from_server, to_client, state, true) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
    is_back: bool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) if read > 0 => read,
            _ => return,
        };
        let stands = |it: &Network| match it {
            Network::Frozen => true,
            Network::OneWay => is_back,
            Network::Well | Network::Cut | Network::Slow(_) => false,
        };
        let network = match state.wait_for(|it| !stands(it)).await {
            Ok(network) => *network,
            Err(_) => return,
        };
        if let Network::Slow(delay) = network {
            sleep(delay + delay.mul_f64(fastrand::f64())).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
