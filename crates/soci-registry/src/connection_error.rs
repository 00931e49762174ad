//! Which error a request is that failed before an answer came.

use std::io::ErrorKind;

use rustls::InvalidMessage;

use crate::cause::{
    breaks_off, fault_of, find_source, has_io_error, is_about_clients, is_about_handshakes,
};
use crate::certificate;
use crate::error::Error;
use crate::proxy::{ProxyFault, ProxyUse};
use crate::reach::ForbiddenAddress;
use crate::redact::RequestLine;
use crate::resolve::ResolveError;

impl Error {
    /// The failure of a response's body.
    pub(crate) fn transport(request: RequestLine, source: reqwest::Error) -> Self {
        Self::connection(request, source, None)
    }

    /// The failure of a request, which went through this proxy.
    pub(crate) fn connection(
        request: RequestLine,
        source: reqwest::Error,
        proxy: Option<ProxyUse>,
    ) -> Self {
        let source = source.without_url();
        if let Some(forbidden) = find_source::<ForbiddenAddress>(&source) {
            return Self::TargetRefused { request, reason: forbidden.to_string() };
        }
        if let Some(proxy) = proxy
            && let Some(fault) = fault_of(&proxy, &source)
        {
            return Self::of_proxy(request, proxy, fault, Some(source));
        }
        if let Some(unknown) = find_source::<ResolveError>(&source).filter(|e| !e.known) {
            let (host, why) = (unknown.host.clone(), unknown.why());
            return Self::UnknownHost { request, host, why, cause: source };
        }
        if source.is_connect() && has_io_error(&source, &[ErrorKind::ConnectionRefused]) {
            return Self::Refused { host: request.url.host().to_owned(), request, cause: source };
        }
        // These come again however often they are tried, and a person can mend them.
        match find_source::<rustls::Error>(&source) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))
                if source.is_connect() =>
            {
                Self::PlainHttp { request, source }
            }
            Some(rustls::Error::InvalidCertificate(error)) => {
                Self::Certificate { advice: certificate::advice(error), request, source }
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_clients(*alert) => {
                Self::ClientCertificate { request, source }
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_handshakes(*alert) => {
                Self::Handshake { request, source }
            }
            _ => Self::Transport { request, source },
        }
    }

    /// A proxy's answer that it wants a login.
    pub(crate) fn proxy_login(request: RequestLine, proxy: ProxyUse) -> Self {
        let fault = ProxyFault::Login(proxy.server.variable());
        Self::of_proxy(request, proxy, fault, None)
    }

    fn of_proxy(
        request: RequestLine,
        proxy: ProxyUse,
        fault: ProxyFault,
        source: Option<reqwest::Error>,
    ) -> Self {
        let ProxyUse { server, worked } = proxy;
        let variable = server.variable();
        Self::Proxy { request, proxy: server.to_string(), variable, fault, worked, source }
    }

    /// Whether the server may be one without TLS, which was spoken to by https: it answered with something
    /// else, broke off, or stayed silent. `or_closed` counts a port that is not open as well.
    pub(crate) fn may_lack_tls(&self, or_closed: bool) -> bool {
        match self {
            Self::PlainHttp { .. } => true,
            Self::Refused { .. } => or_closed,
            Self::Transport { source, .. } if source.is_connect() => {
                source.is_timeout() || breaks_off(source)
            }
            _ => false,
        }
    }

    /// Whether the server has spoken TLS, though nothing came of it.
    pub(crate) fn speaks_tls(&self) -> bool {
        matches!(
            self,
            Self::Certificate { .. } | Self::ClientCertificate { .. } | Self::Handshake { .. }
        )
    }
}
