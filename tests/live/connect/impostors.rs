//! What listens where the server should: one that wants passwords, and one in the middle.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::Identity;

/// Cleartext password; MD5 with a salt.
pub const ASKS_FOR_PASSWORD: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 3];
pub const ASKS_FOR_MD5: &[u8] = &[b'R', 0, 0, 0, 12, 0, 0, 0, 5, 1, 2, 3, 4];

/// Asks the first client for its password: the port, and in the end what the client answered.
pub async fn asking(question: &'static [u8]) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut length = client.read_u32().await.unwrap();
        if length == 8 {
            client.read_u32().await.unwrap();
            client.write_all(b"N").await.unwrap();
            length = client.read_u32().await.unwrap();
        }
        let mut startup = vec![0; length as usize - 4];
        client.read_exact(&mut startup).await.unwrap();
        client.write_all(question).await.unwrap();
        let mut answer = Vec::new();
        // The client may hang up in any way. One that answers is left alone.
        let _ = client.read_buf(&mut answer).await;
        answer
    });
    (port, answer)
}

/// Shows a certificate to all clients, and has another key than the one in it: its port.
pub async fn without_the_key(
    shown: &Identity,
    key: &Identity,
    version: &'static SupportedProtocolVersion,
) -> u16 {
    let provider = Arc::new(ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let accepting = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let acceptor = TlsAcceptor::from(Arc::new(accepting));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            client.read_exact(&mut request).await.unwrap();
            client.write_all(b"S").await.unwrap();
            // The client is to hang up.
            let _ = acceptor.accept(client).await;
        }
    });
    port
}

/// Ends the client's TLS with a certificate of its own and speaks TLS to the real server: its port.
pub async fn in_the_middle(identity: &Identity, authority: &str, server: u16) -> u16 {
    let provider = Arc::new(ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let accepting = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let connecting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(accepting));
    let connector = TlsConnector::from(Arc::new(connecting));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(pass_on(client, acceptor.clone(), connector.clone(), server));
        }
    });
    port
}

async fn pass_on(
    mut client: TcpStream,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server: u16,
) {
    let mut request = [0; 8];
    client.read_exact(&mut request).await.unwrap();
    client.write_all(b"S").await.unwrap();
    let mut client = acceptor.accept(client).await.unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    server.write_all(&request).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'S');
    let name = ServerName::try_from("localhost").unwrap();
    let mut server = connector.connect(name, server).await.unwrap();
    // Either may hang up.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
