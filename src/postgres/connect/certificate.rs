//! Extracts the few parts of a certificate that unverified connections need. Any bytes give them,
//! or nothing.
//!
//! ```text
//! Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID }, ... }
//! TBSCertificate ::= SEQUENCE { [0] version OPTIONAL, serialNumber, signature, issuer, validity, subject,
//!                               subjectPublicKeyInfo, ... }
//! ```
//!
//! webpki reads only version 3. OpenSSL's `x509 -req` without `-extfile`, which PostgreSQL's manual
//! recommends, created version 1 for a long time.

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, constructed.
const VERSION: u8 = 0xA0;

/// The public key, as a `SubjectPublicKeyInfo` with its tag and length.
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut rest = to_be_signed(certificate)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = next(rest)?;
    }
    // serialNumber, signature, issuer, validity, subject
    for _ in 0..5 {
        (_, rest) = next(rest)?;
    }
    let (_, after) = element(rest, SEQUENCE)?;
    Some(&rest[..rest.len() - after.len()])
}

/// The signature algorithm's object identifier.
pub fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(certificate, SEQUENCE)?;
    let (_, after_tbs) = element(content, SEQUENCE)?;
    let (algorithm, _) = element(after_tbs, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

fn to_be_signed(certificate: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(certificate, SEQUENCE)?;
    Some(element(content, SEQUENCE)?.0)
}

/// The content of the DER element at the start of `bytes`, and the rest.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    next(bytes).filter(|_| bytes.first() == Some(&tag))
}

/// The same for any tag.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = bytes.split_first_chunk::<2>()?;
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
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{public_key, signature_algorithm};

    #[test]
    fn the_key_of_a_certificate_is_found() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rcgen::PublicKeyData::subject_public_key_info(&made.signing_key);
        assert_eq!(public_key(made.cert.der()), Some(&key[..]));
        // ecdsa-with-SHA256
        let algorithm = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
        assert_eq!(signature_algorithm(made.cert.der()), Some(&algorithm[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_key_or_none(bytes: Vec<u8>, at: proptest::sample::Index) {
            let _ = (public_key(&bytes), signature_algorithm(&bytes));
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let der = made.cert.der();
            let cut = &der[..at.index(der.len())];
            prop_assert_eq!(signature_algorithm(cut), None);
        }
    }
}
