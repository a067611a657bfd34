//! TLS with rustls, as libpq's `sslmode` has it, and the channel binding that ties a log-in to the
//! certificate.

use std::{io, path::Path, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{ConnectError, Tls, TlsMode};

/// The protocol inside, which a server that is not asked first wants to hear.
const ALPN: &[u8] = b"postgresql";

/// What rustls needs for the settings. Reads the certificates that they name.
pub fn client_config(tls: &Tls) -> Result<ClientConfig, ConnectError> {
    let wrong = |error: Error| ConnectError::Tls(error.to_string());
    let provider = ring::default_provider();
    let (trusted, named) = trusted(tls)?;
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Verifier { mode: tls.mode, trusted, named, algorithms };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = read_certificates("sslcert", certificate)?;
            builder.with_client_auth_cert(chain, read_key(key)?).map_err(|error| {
                ConnectError::Tls(format!("sslcert and sslkey do not fit: {error}"))
            })?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

type Certificates = Vec<CertificateDer<'static>>;

/// The authorities that the mode asks for, and the certificates that the URL names; none where
/// certificates are not looked at.
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

/// Looks at a server's certificate as far as the mode asks for.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    trusted: RootCertStore,
    /// What `sslrootcert` names, as it is in the file.
    named: Certificates,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// An authority that is trusted signed it, or it is itself one of those that are trusted: many
    /// servers have a certificate that they signed themselves.
    fn is_trusted(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let all = self.algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(parsed, &self.trusted, chain, now, all) {
            // Not one of the reasons that have a name, such as its time: an authority's certificate
            // is no server's.
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
        if matches!(self.mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
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
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What an I/O error says about TLS, with the fix; `None` if it is about something else.
pub fn explain(error: &io::Error, host: &str) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    use CertificateError::{BadSignature, NotValidForName, NotValidForNameContext, UnknownIssuer};
    Some(match error {
        // A bad signature: an authority of that name is trusted, but it has another key.
        Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "nobody who is trusted signed the server's certificate: name the authority's certificate \
             with sslrootcert=FILE"
                .to_owned()
        }
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => format!(
            "the server's certificate is not for {host}: connect by a name that it has (as a \
             subjectAltName), or use sslmode=verify-ca"
        ),
        Error::InvalidCertificate(what) => format!("the server's certificate is refused: {what}"),
        Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired),
        ) => format!("the server refuses our certificate ({alert:?}): check sslcert and sslkey"),
        other => other.to_string(),
    })
}

/// The `tls-server-end-point` binding (RFC 5929): the certificate's hash by the algorithm it was
/// signed with, SHA-256 where that is weaker. `None` where the RFC defines none.
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_algorithm(certificate)? {
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

/// The object identifier in `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE
/// { OID }, ... }`.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(certificate, 0x30)?;
    let (_, after_tbs) = element(content, 0x30)?;
    let (algorithm, _) = element(after_tbs, 0x30)?;
    Some(element(algorithm, 0x06)?.0)
}

/// The content of the DER element that `bytes` begins with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            let length = digits.iter().try_fold(0usize, |length, digit| {
                length.checked_mul(256)?.checked_add(usize::from(*digit))
            })?;
            (length, rest)
        }
    };
    rest.split_at_checked(length).filter(|_| found == tag)
}
