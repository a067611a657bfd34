//! What a failure of TLS means, with the fix.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

fn is_of_another_version(what: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(cause)) = what else { return false };
    cause.downcast_ref() == Some(&webpki::Error::UnsupportedCertVersion)
}

/// The explanation of an I/O error by TLS, with the fix; `None` if it is about something else.
pub fn explain(error: &io::Error, host: &str) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    use CertificateError::{BadSignature, NotValidForName, NotValidForNameContext, UnknownIssuer};
    Some(match error {
        // A bad signature: a trusted authority has that name, but another key.
        Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "nobody who is trusted signed the server's certificate: name the authority's certificate \
             with sslrootcert=FILE"
                .to_owned()
        }
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => format!(
            "the server's certificate is not for {host}: connect by a name that it has (as a \
             subjectAltName), or use sslmode=verify-ca"
        ),
        Error::InvalidCertificate(what) if is_of_another_version(what) => format!(
            "the server's certificate is of X.509 version 1, which has no names and can not be checked: make one of \
             version 3 (openssl x509 -req with -extfile FILE, with subjectAltName=DNS:{host} in that file), or use \
             sslmode=require, which looks at no certificate"
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
