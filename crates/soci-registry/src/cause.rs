//! What lies beneath an error of the HTTP library. Its own types say little, and what they wrap says more: the
//! resolver, TLS, the system, a proxy.

use std::io::ErrorKind;

use rustls::AlertDescription;

use crate::proxy::{ProxyFault, ProxyUse};
use crate::resolve::ResolveError;

/// How the HTTP library says that a proxy wants another login.
const LOGIN: [&str; 4] = [
    "tunnel error: proxy authorization required",
    "SOCKS error: credentials not accepted",
    "SOCKS error: server does not support user/pass authentication",
    "SOCKS error: server implements authentication incorrectly",
];

/// What is wrong with the proxy, if it is the proxy that a connection failed for.
pub(crate) fn fault_of(proxy: &ProxyUse, source: &reqwest::Error) -> Option<ProxyFault> {
    if !source.is_connect() {
        return None;
    }
    let server = &proxy.server;
    let variable = server.variable();
    if let Some(unresolved) = find_source::<ResolveError>(source) {
        let its_name = unresolved.host.eq_ignore_ascii_case(server.host());
        return its_name.then_some(ProxyFault::UnknownHost(variable));
    }
    // Their types are the HTTP library's own.
    let said = |words: &str| chain(source).any(|error| error.to_string().starts_with(words));
    if LOGIN.iter().any(|words| said(words)) {
        return Some(ProxyFault::Login(variable));
    }
    // What comes after the tunnel is the server's, unless the proxy itself speaks TLS.
    let through = !said("tunnel error") && !said("SOCKS error");
    let tls = find_source::<rustls::Error>(source).is_some() && !server.speaks_tls();
    if through && (tls || breaks_off(source)) {
        return None;
    }
    Some(ProxyFault::Unusable(variable))
}

/// Whether an alert says something of a client certificate, or of the want of one.
pub(crate) fn is_about_clients(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// Whether an alert says that the two have no version, cipher or kind of key in common. Before TLS 1.3 servers also
/// say so for the want of a client certificate.
pub(crate) fn is_about_handshakes(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
    )
}

/// Whether the connection was there and went away.
pub(crate) fn breaks_off(source: &reqwest::Error) -> bool {
    has_io_error(
        source,
        &[
            ErrorKind::UnexpectedEof,
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
            ErrorKind::BrokenPipe,
        ],
    )
}

pub(crate) fn has_io_error(source: &reqwest::Error, kinds: &[ErrorKind]) -> bool {
    let mut errors = chain(source).filter_map(|error| error.downcast_ref::<std::io::Error>());
    errors.any(|error| kinds.contains(&error.kind()))
}

/// The first error of this type in a chain of sources.
pub(crate) fn find_source<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and its sources. An `io::Error` does not count what it wraps among its sources, so that is looked at
/// as well.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}
