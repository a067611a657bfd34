//! TLS with rustls by libpq's `sslmode`, and the channel binding that ties a log-in to the
//! certificate.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature, verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
        pem::PemObject,
    },
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use webpki::RawPublicKeyEntity;

use super::{ConnectError, Tls, TlsMode, Versions, certificate};

/// The inner protocol. A server with direct TLS requires it.
const ALPN: &[u8] = b"postgresql";

/// The server shows a certificate that is not its own.
const WITHOUT_KEY: &str = "the server has no key that fits the certificate that it shows";

/// rustls' configuration for the settings. Reads the certificates that they name.
pub fn client_config(tls: &Tls) -> Result<ClientConfig, ConnectError> {
    let wrong = |error: Error| ConnectError::Tls(error.to_string());
    let provider = ring::default_provider();
    let (trusted, named) = trusted(tls)?;
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Verifier { mode: tls.mode, trusted, named, algorithms };
    let identity =
        tls.identity.as_ref().map(|(certificate, key)| identity(certificate, key, &provider));
    let versions: &[_] = match tls.versions {
        Versions::Both => &[&TLS13, &TLS12],
        Versions::Only12 => &[&TLS12],
        Versions::Only13 => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity.transpose()? {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = tls.names_host;
    Ok(config)
}

/// Our certificate, of any version: the server checks it, not we.
fn identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ConnectError> {
    let chain = read_certificates("sslcert", certificate)?;
    let wrong = |error: &dyn std::fmt::Display| {
        ConnectError::Tls(format!("sslcert and sslkey do not fit: {error}"))
    };
    let key =
        provider.key_provider.load_private_key(read_key(key)?).map_err(|error| wrong(&error))?;
    let of_certificate = chain.first().and_then(|first| certificate::public_key(first));
    match (of_certificate, key.public_key()) {
        (None, _) => Err(wrong(&"the certificate can not be read")),
        (Some(certified), Some(of_key)) if certified != of_key.as_ref() => {
            Err(wrong(&"the certificate is for another key"))
        }
        _ => Ok(CertifiedKey::new(chain, key)),
    }
}

type Certificates = Vec<CertificateDer<'static>>;

/// The authorities for the mode, and the certificates that the URL names; none if the mode verifies
/// no certificate.
fn trusted(tls: &Tls) -> Result<(RootCertStore, Certificates), ConnectError> {
    let (mut roots, mut named) = (RootCertStore::empty(), Vec::new());
    match (tls.mode, &tls.root_certificates) {
        (TlsMode::Disable | TlsMode::Prefer | TlsMode::Require, _) => return Ok((roots, named)),
        (TlsMode::VerifyCa | TlsMode::VerifyFull, Some(path)) => {
            named = read_certificates("sslrootcert", path)?;
            for certificate in &named {
                let added = roots.add(certificate.clone());
                added.map_err(|error| ConnectError::Tls(format!("sslrootcert: {error}")))?;
            }
        }
        (TlsMode::VerifyCa | TlsMode::VerifyFull, None) => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => {
            let text = "the system trusts no authority: name one with sslrootcert=FILE";
            Err(ConnectError::Tls(text.to_owned()))
        }
        false => Ok((roots, named)),
    }
}

fn read_certificates(name: &str, path: &Path) -> Result<Certificates, ConnectError> {
    let unreadable = |error| ConnectError::Tls(format!("{name} {}: {error}", path.display()));
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(unreadable)?;
    match certificates.is_empty() {
        true => Err(ConnectError::Tls(format!("{name} {} has no certificate", path.display()))),
        false => Ok(certificates),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        ConnectError::Tls(format!(
            "sslkey {}: {error} (a PEM file with a key that is not encrypted is expected)",
            path.display()
        ))
    })
}

/// Verifies a server's certificate as far as the mode requires.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    trusted: RootCertStore,
    /// The certificates of `sslrootcert`, as in the file.
    named: Certificates,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Whether the certificate counts, and not only that the server has its key.
    fn looks(&self) -> bool {
        self.mode >= TlsMode::VerifyCa
    }

    /// A trusted authority signed it, or it is one of the trusted certificates itself: many servers
    /// have a self-signed certificate.
    fn is_trusted(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let all = self.algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(parsed, &self.trusted, chain, now, all) {
            // Not a reason with a name, such as its time: an authority's certificate is not valid
            // for a server.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.named.iter().any(|named| named == certificate) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.looks() {
            let parsed = ParsedCertificate::try_from(certificate)?;
            self.is_trusted(certificate, &parsed, chain, now)?;
            if self.mode == TlsMode::VerifyFull {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.looks() {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        }
        let key = public_key(certificate)?;
        let key = RawPublicKeyEntity::try_from(&key)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let mapping = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) =
            mapping.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // In TLS 1.2 a scheme does not determine the curve.
        let mut verified = candidates
            .iter()
            .map(|algorithm| key.verify_signature(*algorithm, message, signed.signature()));
        match verified.any(|it| it.is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::General(WITHOUT_KEY.to_owned())),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.looks() {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = public_key(certificate)?;
        let verified = verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                Error::General(WITHOUT_KEY.to_owned())
            }
            error => error,
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The key for a handshake's signature, if nothing else of the certificate is verified.
fn public_key<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    let key = certificate::public_key(certificate).ok_or(CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(key))
}

/// The `tls-server-end-point` binding (RFC 5929): the certificate's hash by its signature
/// algorithm, or SHA-256 if that is weaker. `None` if the RFC defines none.
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match certificate::signature_algorithm(certificate)? {
        // sha256WithRSAEncryption, sha1WithRSAEncryption, md5WithRSAEncryption; ecdsa-with-SHA1,
        // -SHA256
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B | 0x05 | 0x04]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02] => Sha256::digest(certificate).to_vec(),
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03] => Sha384::digest(certificate).to_vec(),
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04] => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}
