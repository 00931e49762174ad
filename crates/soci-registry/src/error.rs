//! What can go wrong between the client and a registry, and whether trying again may help.
//!
//! [`Error::is_transient`] is the only place that decides the latter: the client's own retries and
//! everybody above it go by it. Which error an answer is stands in `verdict`, which one a failed connection in
//! `connection_error`.

use std::time::Duration;

use http::StatusCode;
use soci_oci::{Digest, Tag};

use crate::auth::credentials::CredentialsError;
use crate::proxy::ProxyFault;
use crate::redact::{RedactedUrl, RequestLine};
use crate::setup::SetupError;
use crate::status::StatusError;

/// A failed operation. [`Error::is_transient`] tells whether the same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP client cannot be set up, for example because the system has no CA certificates.
    #[error("the HTTP client cannot be set up (are CA certificates installed?)")]
    Setup {
        /// What the HTTP library says.
        source: reqwest::Error,
    },
    /// A proxy or a certificate that somebody named cannot be used.
    #[error(transparent)]
    Connections(#[from] SetupError),
    /// The proxy that the request had to go through did not let it pass.
    #[error("{request}: the proxy {proxy}, which {variable} names, {fault}")]
    Proxy {
        /// The request.
        request: RequestLine,
        /// Host and port of the proxy.
        proxy: String,
        /// The variable that names it.
        variable: &'static str,
        /// What is wrong.
        fault: ProxyFault,
        /// Whether something came through a proxy before.
        worked: bool,
        /// What the HTTP library says, without the URL, if the proxy gave no answer.
        source: Option<reqwest::Error>,
    },
    /// The connection could not be made or broke.
    #[error("{request}: the connection failed")]
    Transport {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// Nothing takes connections where the server should be.
    #[error(
        "{host} refuses the connection ({request}): nothing listens there, or a firewall rejects it; are host and port right, and is the registry running?"
    )]
    Refused {
        /// The request.
        request: RequestLine,
        /// Host and port.
        host: String,
        /// What the HTTP library says, without the URL. It says no more.
        cause: reqwest::Error,
    },
    /// The server sent nothing for too long.
    #[error("{request}: nothing was received for {waited:?}")]
    Stalled {
        /// The request.
        request: RequestLine,
        /// How long the client waited.
        waited: Duration,
    },
    /// The response body arrived more slowly than [`Timeouts::min_download_rate`].
    ///
    /// [`Timeouts::min_download_rate`]: crate::Timeouts::min_download_rate
    #[error(
        "{request}: only {received} bytes were received in {waited:?}, fewer than {min_rate} bytes/s"
    )]
    TooSlow {
        /// The request.
        request: RequestLine,
        /// Bytes received in the last period.
        received: u64,
        /// Length of the period.
        waited: Duration,
        /// The least rate, in bytes per second.
        min_rate: u64,
    },
    /// The host has no address, and had none before.
    #[error("the host name {host} cannot be resolved ({request}): {why}; is it spelled correctly?")]
    UnknownHost {
        /// The request.
        request: RequestLine,
        /// The host, which is the proxy's if one is used.
        host: String,
        /// What the system says.
        why: String,
        /// What the HTTP library says, without the URL. It says no more.
        cause: reqwest::Error,
    },
    /// The server answers to TLS with something else.
    #[error(
        "{request}: the server does not speak TLS; it seems to serve plain http instead of https: add --plain-http, or write http:// in REGISTRY_ENDPOINT_URL for a service"
    )]
    PlainHttp {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The server's certificate is not one that the client trusts.
    #[error("{request}: the server's certificate is not trusted: {advice}")]
    Certificate {
        /// The request.
        request: RequestLine,
        /// What is wrong with it, and what helps.
        advice: String,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The server wants a client certificate, or does not trust the one it was shown.
    #[error(
        "{request}: the server refuses without a client certificate that it trusts; put it and its key into /etc/docker/certs.d/HOST[:PORT], as NAME.cert and NAME.key"
    )]
    ClientCertificate {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The server ends the handshake of TLS by an alert that comes again.
    #[error(
        "{request}: the server speaks no TLS with this client; it may want a client certificate (/etc/docker/certs.d/HOST[:PORT]/NAME.cert and NAME.key), or know only versions before TLS 1.2 or keys of another kind"
    )]
    Handshake {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The response body ended early.
    #[error("{request}: the body ended at byte {offset} of {expected}")]
    ShortBody {
        /// The request.
        request: RequestLine,
        /// Offset in the blob, or in the body, at which it ended.
        offset: u64,
        /// Offset at which it should have ended.
        expected: u64,
    },
    /// The server sent more bytes than the descriptor or the range allows.
    #[error("{request}: the body is longer than the expected {expected} bytes")]
    LongBody {
        /// The request.
        request: RequestLine,
        /// How many bytes were expected.
        expected: u64,
    },
    /// A body that is held in memory exceeds its limit.
    #[error("{request}: the body exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The request.
        request: RequestLine,
        /// The limit in bytes.
        limit: usize,
    },
    /// The registry answered with a status that the operation does not expect.
    #[error(transparent)]
    Status(Box<StatusError>),
    /// The repository, manifest or blob does not exist (404).
    #[error("not found: {0}")]
    NotFound(Box<StatusError>),
    /// The registry wants credentials, or does not take those that were offered.
    #[error(
        "{request}: {registry} refuses access: {reason}; check the credentials for {registry} (docker login {registry}) and their permission for this repository"
    )]
    Unauthorized {
        /// The request.
        request: RequestLine,
        /// The registry as the user names it.
        registry: String,
        /// What was tried and what the server said.
        reason: String,
    },
    /// Credentials cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The tag exists, names other content, and the repository does not let it move.
    #[error("tag {tag} is immutable and names other content; choose another tag: {status}")]
    TagImmutable {
        /// The tag.
        tag: Tag,
        /// The registry's answer.
        status: Box<StatusError>,
    },
    /// The storage that the registry redirects to refuses the request, as it does when a presigned
    /// URL has expired or a role is not yet known everywhere.
    #[error("the registry's storage refuses: {status}")]
    StorageRefused {
        /// The storage's answer.
        status: Box<StatusError>,
    },
    /// No request of this size gets through to where blobs and manifests are stored (413). Where parts of it
    /// are taken, this is not seen.
    #[error(
        "{status}; the registry, or a proxy in front of it, takes no request of this size: raise its limit (client_max_body_size of nginx, for example)"
    )]
    BodyRefused {
        /// The answer.
        status: Box<StatusError>,
    },
    /// The registry no longer knows the upload that it began; a new one may succeed.
    #[error("the registry lost the upload: {status}")]
    UploadLost {
        /// The registry's answer.
        status: Box<StatusError>,
    },
    /// Nothing was written, as the tag does not name any longer what it had to
    /// ([`TagNames`](crate::TagNames)).
    #[error("tag {tag} {}", match now { Some(now) => format!("names {now} by now"), None => "does not exist any more".to_owned() })]
    TagMoved {
        /// The tag.
        tag: Tag,
        /// What it names.
        now: Option<Digest>,
    },
    /// The registry found no place for what is written: it answered 404 where something was to be put.
    /// What had been read from there was there, so this says nothing of the image.
    #[error("the registry finds no place for what is written: {status}")]
    WriteNotFound {
        /// The registry's answer.
        status: Box<StatusError>,
    },
    /// The registry received other bytes than were sent: their digest or size is not the one stated.
    #[error("the bytes were damaged on their way to the registry: {status}")]
    UploadDamaged {
        /// The registry's answer.
        status: Box<StatusError>,
    },
    /// The registry lacks blobs or manifests that a manifest names, whatever it said of them before.
    /// Pushing them again may help: [`Error::is_missing_content`].
    #[error("the registry lacks something that the manifest names: {status}")]
    MissingContent {
        /// The registry's answer.
        status: Box<StatusError>,
    },
    /// The bytes are not those that the digest names.
    #[error("{request}: the bytes have digest {actual}, not {expected}")]
    DigestMismatch {
        /// The request.
        request: RequestLine,
        /// The digest asked for.
        expected: Box<Digest>,
        /// The digest of the bytes, or the one that the server states.
        actual: Box<Digest>,
    },
    /// A partial response does not hold the bytes asked for.
    #[error("{request}: asked for bytes {start}-{end}, got Content-Range {value:?}")]
    ContentRange {
        /// The request.
        request: RequestLine,
        /// First byte asked for.
        start: u64,
        /// Last byte asked for.
        end: u64,
        /// The header as sent, shortened; empty if there was none.
        value: String,
    },
    /// A server led to a place that is not asked: plain http, or an address of this machine or of its
    /// link.
    #[error("{request}: a server led there, and it is not asked: {reason}")]
    TargetRefused {
        /// The request that was not sent.
        request: RequestLine,
        /// Why not.
        reason: String,
    },
    /// A redirect or an upload location cannot be followed.
    #[error("{request}: the redirect cannot be followed: {reason}")]
    Redirect {
        /// The request that was redirected.
        request: RequestLine,
        /// Why not.
        reason: &'static str,
    },
    /// A write was redirected by a status that makes a GET of it.
    #[error(
        "{request}: the server answered {status} and leads to {to}, which a write cannot follow; name the registry by the address to which it leads, or let it answer 307 or 308"
    )]
    WriteRedirected {
        /// The request that was redirected.
        request: RequestLine,
        /// The status.
        status: StatusCode,
        /// Where it leads.
        to: RedactedUrl,
    },
    /// The response breaks the protocol.
    #[error("{request}: {what}")]
    Protocol {
        /// The request.
        request: RequestLine,
        /// What is wrong.
        what: String,
    },
    /// A URL cannot be made of the registry's name.
    #[error("{url:?} is not a URL")]
    Url {
        /// The text.
        url: String,
    },
    /// The task that downloads a blob ended early: the runtime is shutting down.
    #[error("the download of {digest} was interrupted at byte {offset}")]
    Interrupted {
        /// The blob.
        digest: Digest,
        /// The byte reached.
        offset: u64,
    },
    /// The retry policy is used up; `source` is the last failure.
    #[error("{source} (gave up after {})", tries(*failures, *idle))]
    Exhausted {
        /// Tries that failed in all.
        failures: u32,
        /// Time spent without progress.
        idle: Duration,
        /// The last failure.
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn mismatch(request: RequestLine, expected: Digest, actual: Digest) -> Self {
        Self::DigestMismatch { request, expected: Box::new(expected), actual: Box::new(actual) }
    }

    /// Whether the same call may succeed later. Everything else needs a person, or is gone.
    pub fn is_transient(&self) -> bool {
        match self {
            // Of all that proxies do wrong, this one does not mend itself.
            Self::Proxy { fault, .. } => !matches!(fault, ProxyFault::Login(_)),
            // A request that cannot be built is the same the next time.
            Self::Transport { source, .. } => !source.is_builder(),
            Self::Stalled { .. }
            | Self::TooSlow { .. }
            | Self::UnknownHost { .. }
            | Self::Refused { .. }
            | Self::ShortBody { .. }
            | Self::UploadLost { .. }
            | Self::WriteNotFound { .. }
            | Self::UploadDamaged { .. }
            | Self::MissingContent { .. }
            | Self::StorageRefused { .. }
            | Self::Interrupted { .. } => true,
            Self::Status(status) => status.is_transient(),
            Self::Credentials(error) => error.is_transient(),
            Self::Exhausted { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// The answer that the registry gave, if the error stems from one.
    pub fn status(&self) -> Option<&StatusError> {
        match self {
            Self::Status(status)
            | Self::NotFound(status)
            | Self::BodyRefused { status }
            | Self::UploadLost { status }
            | Self::WriteNotFound { status }
            | Self::UploadDamaged { status }
            | Self::MissingContent { status }
            | Self::StorageRefused { status }
            | Self::TagImmutable { status, .. } => Some(status),
            Self::Exhausted { source, .. } => source.status(),
            _ => None,
        }
    }

    /// Whether a manifest was not taken for want of what it names: whoever pushed that may push it again
    /// (`Client::upload_blob`), whatever the registry says of it. The registry's words, which
    /// may name it, are in [`Error::status`].
    pub fn is_missing_content(&self) -> bool {
        match self {
            Self::MissingContent { .. } => true,
            Self::Exhausted { source, .. } => source.is_missing_content(),
            _ => false,
        }
    }

    /// Whether the registry has said that it does no such thing, as those that delete nothing do.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Status(status) => {
                status.has_code("UNSUPPORTED") || matches!(status.status.as_u16(), 405 | 501)
            }
            Self::Exhausted { source, .. } => source.is_unsupported(),
            _ => false,
        }
    }

    /// Most tries that this failure is worth, whatever the policy says.
    pub(crate) fn max_tries(&self) -> u32 {
        match self {
            // A name that was never found is more likely to be misspelled than to appear.
            // What was pushed just now may be seen late, but not much later.
            // Nor does a proxy through which nothing came yet.
            Self::UnknownHost { .. }
            | Self::MissingContent { .. }
            | Self::Proxy { worked: false, .. } => 2,
            // A wrong answer is not the next one too.
            Self::WriteNotFound { .. } | Self::UploadDamaged { .. } => 3,
            _ => u32::MAX,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.status().and_then(|status| status.retry_after)
    }
}

/// How long it was tried, as far as somebody wants to know.
fn tries(failures: u32, idle: Duration) -> String {
    let noun = if failures == 1 { "try" } else { "tries" };
    match idle.as_secs_f64().round() {
        0.0..1.0 => format!("{failures} {noun}"),
        seconds => format!("{failures} {noun} in {seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_tries_are_rounded() {
        let times = [0, 499, 500, 13_013].map(Duration::from_millis);
        let told = times.map(|idle| tries(7, idle));
        assert_eq!(told, ["7 tries", "7 tries", "7 tries in 1 s", "7 tries in 13 s"]);
        assert_eq!(tries(1, Duration::ZERO), "1 try");
    }
}
