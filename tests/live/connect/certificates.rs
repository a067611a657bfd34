//! An authority of the test's own, and what it signs.

use std::path::PathBuf;

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;

/// An authority, and a folder for what clients need as files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "the tests' authority");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        Authority { issuer, folder: tempfile::tempdir().unwrap() }
    }

    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server with these names.
    pub fn server(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(CertificateParams::new(names).unwrap())
    }

    /// A certificate for a role.
    pub fn client(&self, role: &str) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, role);
        self.sign(parameters)
    }

    fn sign(&self, parameters: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The same certificate in X.509 version 1, as OpenSSL makes it without a file of extensions.
    pub fn in_version_1(&self, identity: Identity) -> Identity {
        let whole = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let parts = elements(&whole);
        // Neither the version's number, which is 1 if there is none, nor extensions.
        let kept = elements(parts[0]).into_iter().filter(|part| ![0xA0, 0xA3].contains(&part[0]));
        let to_be_signed = tagged(0x30, &kept.collect::<Vec<_>>().concat());
        let signature = self.issuer.key().sign(&to_be_signed).unwrap();
        let signature = tagged(0x03, &[&[0], signature.as_slice()].concat());
        let certificate = tagged(0x30, &[&to_be_signed, parts[1], &signature].concat());
        let base64 = base64::engine::general_purpose::STANDARD.encode(certificate);
        let certificate =
            format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        Identity { certificate, key: identity.key }
    }

    /// A file that clients name in their URLs.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// The elements of a DER sequence, each with its tag and length.
fn elements(sequence: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (split(sequence).0, Vec::new());
    while !rest.is_empty() {
        let after = split(rest).1;
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    found
}

/// The first element's content, and what follows it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match bytes[1] {
        short @ 0..=0x7F => (usize::from(short), 2),
        0x81 => (usize::from(bytes[2]), 3),
        _ => (usize::from(bytes[2]) << 8 | usize::from(bytes[3]), 4),
    };
    bytes[start..].split_at(length)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let header = match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, short @ 0..=0x7F] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [header.as_slice(), content].concat()
}

/// A certificate that nobody but its owner signed, and that may sign others: what
/// `openssl req -x509` makes.
pub fn self_signed(name: &str) -> Identity {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}
