//! What can go wrong between the client and a registry, and whether trying again may help.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use rustls::InvalidMessage;
use serde::Deserialize;
use soci_oci::{Digest, Tag};

use crate::auth::credentials::CredentialsError;
use crate::redact::RequestLine;
use crate::resolve::ResolveError;

/// Most entries kept of a registry's list of errors.
const MAX_MESSAGES: usize = 4;

/// Most characters kept of a registry's error code or message.
const MAX_TEXT: usize = 300;

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
    /// The connection could not be made or broke.
    #[error("{request}: the connection failed")]
    Transport {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
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
    #[error("{request}: the host name {host} cannot be resolved; is it spelled correctly?")]
    UnknownHost {
        /// The request.
        request: RequestLine,
        /// The host, which is the proxy's if one is used.
        host: String,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The server answers to TLS with something else.
    #[error(
        "{request}: the server does not speak TLS; it seems to serve plain http instead of https"
    )]
    PlainHttp {
        /// The request.
        request: RequestLine,
        /// What the HTTP library says, without the URL.
        source: reqwest::Error,
    },
    /// The server's certificate is not one that the client trusts.
    #[error("{request}: the server's certificate is not trusted")]
    Certificate {
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
    /// The registry no longer knows the upload that it began; a new one may succeed.
    #[error("the registry lost the upload: {status}")]
    UploadLost {
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
    /// A redirect or an upload location cannot be followed.
    #[error("{request}: the redirect cannot be followed: {reason}")]
    Redirect {
        /// The request that was redirected.
        request: RequestLine,
        /// Why not.
        reason: &'static str,
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
    #[error("gave up after {failures} failed tries and {idle:?} without progress")]
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
    /// The failure of a request or of its response's body.
    pub(crate) fn transport(request: RequestLine, source: reqwest::Error) -> Self {
        let source = source.without_url();
        let unknown =
            find_source::<ResolveError>(&source).filter(|e| !e.known).map(|e| e.host.clone());
        if let Some(host) = unknown {
            return Self::UnknownHost { request, host, source };
        }
        match find_source::<rustls::Error>(&source) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))
                if source.is_connect() =>
            {
                Self::PlainHttp { request, source }
            }
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate { request, source },
            _ => Self::Transport { request, source },
        }
    }

    pub(crate) fn mismatch(request: RequestLine, expected: Digest, actual: Digest) -> Self {
        Self::DigestMismatch { request, expected: Box::new(expected), actual: Box::new(actual) }
    }

    /// Whether the same call may succeed later. Everything else needs a person, or is gone.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { source, .. } => !source.is_builder(),
            Self::Stalled { .. }
            | Self::TooSlow { .. }
            | Self::UnknownHost { .. }
            | Self::ShortBody { .. }
            | Self::UploadLost { .. }
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
            | Self::UploadLost { status }
            | Self::StorageRefused { status }
            | Self::TagImmutable { status, .. } => Some(status),
            Self::Exhausted { source, .. } => source.status(),
            _ => None,
        }
    }

    /// Most tries that this failure is worth, whatever the policy says.
    pub(crate) fn max_tries(&self) -> u32 {
        match self {
            // A name that was never found is more likely to be misspelled than to appear.
            Self::UnknownHost { .. } => 2,
            _ => u32::MAX,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.status().and_then(|status| status.retry_after)
    }
}

/// A response with an error status, with what helps to find it in the registry's logs.
#[derive(Debug, thiserror::Error)]
pub struct StatusError {
    /// The request.
    pub request: RequestLine,
    /// The status.
    pub status: StatusCode,
    /// The registry's own words, shortened and without control characters.
    pub messages: Vec<RegistryMessage>,
    /// The request's identifier in the registry, if it sent one.
    pub request_id: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl StatusError {
    /// Whether the status stands for a passing condition: 408, 429, a 5xx other than 501 and
    /// 505, or a throttling code under another status.
    pub fn is_transient(&self) -> bool {
        let passing = match self.status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
            status => status.is_server_error(),
        };
        passing || self.has_code("TOOMANYREQUESTS") || self.has_code("ThrottlingException")
    }

    /// Whether one of the registry's errors has this code; upper and lower case are the same.
    pub fn has_code(&self, code: &str) -> bool {
        self.messages.iter().any(|message| message.code.eq_ignore_ascii_case(code))
    }

    /// Whether the answer to a manifest PUT says that the tag exists and cannot move. Registries
    /// agree on no code: ECR sends `TAG_INVALID` or `ImageTagAlreadyExistsException` (400 or
    /// 409), others `DENIED` (403) or a precondition (412), all of them say "immutable" in words.
    pub(crate) fn is_immutable_tag(&self) -> bool {
        self.status.is_client_error()
            && self.messages.iter().any(|RegistryMessage { code, message }| {
                let message = message.to_ascii_lowercase();
                code.contains("TagAlreadyExists")
                    || message.contains("tagalreadyexists")
                    || message.contains("immutable")
                    || code == "TAG_INVALID" && message.contains("already exists")
            })
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the server answered {}", self.request, self.status)?;
        for message in &self.messages {
            write!(f, "; {message}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

/// One entry of the error list of the OCI distribution specification, "Error Codes".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryMessage {
    /// The code, for example `MANIFEST_UNKNOWN`; empty if there was none.
    pub code: String,
    /// The message; of a body in another format, its beginning.
    pub message: String,
}

impl fmt::Display for RegistryMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (true, _) => f.write_str(&self.message),
            (false, true) => f.write_str(&self.code),
            (false, false) => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// Reads the error list of a response body; a body in another format becomes one message.
pub(crate) fn messages(body: &[u8]) -> Vec<RegistryMessage> {
    #[derive(Deserialize)]
    struct List {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let entries = match serde_json::from_slice::<List>(body) {
        Ok(list) => list.errors,
        Err(_) if body.is_empty() => Vec::new(),
        Err(_) => {
            vec![Entry { code: String::new(), message: String::from_utf8_lossy(body).into_owned() }]
        }
    };
    let entry = |entry: Entry| RegistryMessage {
        code: sanitize(&entry.code),
        message: sanitize(&entry.message),
    };
    entries.into_iter().take(MAX_MESSAGES).map(entry).collect()
}

/// The first error of this type in a chain of sources. An `io::Error` does not count what it wraps
/// among its sources, so that is looked at as well.
fn find_source<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Text of a server as a log line may hold it: without control characters, shortened.
pub(crate) fn sanitize(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c })
        .collect();
    clean.truncate(clean.trim_end().len());
    clean
}

/// Whether a character changes the direction of the text around it in a terminal.
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use reqwest::Url;

    fn status(code: u16, body: &str) -> StatusError {
        let url = Url::parse("https://r.example/v2/a/manifests/t?secret=1").unwrap();
        StatusError {
            request: RequestLine::new(&Method::PUT, &url),
            status: StatusCode::from_u16(code).unwrap(),
            messages: messages(body.as_bytes()),
            request_id: Some("abc".to_owned()),
            retry_after: None,
        }
    }

    #[test]
    fn an_error_list_is_read_and_shown() {
        let error =
            status(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such\u001b[2J"}]}"#);
        assert_eq!(
            error.to_string(),
            "PUT https://r.example/v2/a/manifests/t: the server answered 404 Not Found; \
             NAME_UNKNOWN: no such [2J (request id abc)"
        );
    }

    #[test]
    fn a_body_in_another_format_is_cut() {
        let long = "<html>".repeat(1000);
        assert_eq!(messages(long.as_bytes())[0].message.len(), MAX_TEXT);
        assert_eq!(messages(b""), []);
        let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"code":"A"},"#.repeat(100));
        assert_eq!(messages(many.as_bytes()).len(), MAX_MESSAGES);
    }

    #[test]
    fn statuses_are_passing_or_permanent() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(status(code, "").is_transient(), "{code}");
        }
        for code in [400, 401, 403, 404, 409, 501, 505] {
            assert!(!status(code, "").is_transient(), "{code}");
        }
        assert!(status(400, r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#).is_transient());
    }

    #[test]
    fn an_immutable_tag_is_told_from_a_bad_one() {
        let ecr = r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag 'a' already exists in the 'b' repository and cannot be overwritten because the tag is immutable."}]}"#;
        assert!(status(400, ecr).is_immutable_tag());
        let api = r#"{"errors":[{"code":"ImageTagAlreadyExistsException"}]}"#;
        assert!(status(409, api).is_immutable_tag());
        let other = r#"{"errors":[{"code":"TAG_INVALID","message":"bad character"}]}"#;
        assert!(!status(400, other).is_immutable_tag());
        assert!(!status(500, ecr).is_immutable_tag());
    }
}
