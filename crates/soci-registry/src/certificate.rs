//! What is wrong with a server's certificate, and what a person can do about it, in a sentence.

use rustls::CertificateError;

use crate::redact::sanitize;

/// Names of a certificate that are told.
const NAMES_TOLD: usize = 5;

/// Why a certificate was not taken, and what helps.
pub(crate) fn advice(error: &CertificateError) -> String {
    use CertificateError as E;
    let text = match error {
        E::UnknownIssuer => {
            "no authority that is known here has signed it; name the file with the certificate of its authority: --ca-file FILE, or SSL_CERT_FILE for a service"
        }
        E::Expired | E::ExpiredContext { .. } => {
            "it has expired; have it renewed, or set this machine's clock"
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet; set this machine's clock"
        }
        E::NotValidForName => {
            "it is for another name; use a name that it is for, or have the name added to it as subjectAltName"
        }
        E::NotValidForNameContext { expected, presented } => {
            let mut names: Vec<&str> = presented.iter().map(String::as_str).collect();
            names.truncate(NAMES_TOLD);
            let names = match names.as_slice() {
                [] => "no name at all (a common name does not count)".to_owned(),
                names => sanitize(&names.join(", ")),
            };
            let expected = expected.to_str();
            return format!(
                "it is for {names} and not for {expected}; use a name that it is for, or have {expected} added to it as subjectAltName"
            );
        }
        E::BadSignature => {
            "its signature is wrong; another authority of the same name may be known here: name the file with the right one: --ca-file FILE, or SSL_CERT_FILE for a service"
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not one for servers; have one made with the extendedKeyUsage serverAuth"
        }
        E::Revoked => "it was revoked; have a new one made",
        E::Other(other) => match other.to_string().as_str() {
            // A webpki::Error, whose text is its name.
            "CaUsedAsEndEntity" => {
                "it is that of an authority (CA:TRUE), which a server may not use; make it with -addext basicConstraints=critical,CA:FALSE (openssl req -x509)"
            }
            "UnsupportedCertVersion" => {
                "it is of an old version (X.509 v1), as it has no extensions; have it made anew with a subjectAltName"
            }
            other => return sanitize(other),
        },
        // The library's own words are in the chain.
        _ => "it cannot be used; have another one made",
    };
    text.to_owned()
}
