//! One HTTP request and its response, as they are: no authorization, no redirect, no second try.
//! Whether its URL may be asked at all is looked at here (`reach`), so that none goes out unseen.
//!
//! Every wait is bounded: for the head of an answer, between two pieces of a body, and by a least
//! pace for all of it. A body that is held in memory has a limit of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use reqwest::Url;
use tokio::time::Instant;

use crate::clients::HttpClients;
use crate::error::Error;
use crate::observer::{Observer, RequestDone};
use crate::pace::Pace;
use crate::policy::Timeouts;
use crate::reach::Reach;
use crate::redact::{RequestLine, sanitize};
use crate::retry::retry_after;
use crate::source::BlobSource;
use crate::status::{StatusError, messages};
use crate::verdict::{Asked, verdict};

/// Limit of the body of an error, in bytes.
const ERROR_LIMIT: usize = 64 << 10;

/// Where registries and storages put a request's identifier.
const REQUEST_IDS: [&str; 4] =
    ["x-amzn-requestid", "x-amz-request-id", "docker-request-id", "x-request-id"];

/// The registry that a call is made to.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    /// As the user names it, for credentials and messages.
    pub(crate) name: String,
    /// The root of its API, `https://host:port/`. `Authorization` goes to this origin only.
    pub(crate) base: Url,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    None,
    Bytes(Bytes),
    Source(BlobSource),
}

impl Payload {
    fn size(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source(source) => source.size(),
        }
    }
}

/// The HTTP clients, and what holds for every request of them.
pub(crate) struct HttpExchange {
    pub(crate) clients: HttpClients,
    pub(crate) plain_http: bool,
    pub(crate) reach: Reach,
    pub(crate) timeouts: Timeouts,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl HttpExchange {
    /// One request on behalf of `registry` and the head of its response, with `headers` as they are.
    pub(crate) async fn exchange(
        &self,
        registry: &Registry,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Reply, Error> {
        let request = RequestLine::new(method, url);
        if let Err(reason) = self.reach.admit(&registry.base, url) {
            return Err(Error::TargetRefused { request, reason: reason.to_string() });
        }
        let client = self.clients.get(&registry.base, &registry.name, url)?;
        let mut builder = client.request(method.clone(), url.clone()).headers(headers);
        // The length of a streamed body is unknown to the library, which would send it in chunks;
        // storages refuse those. An empty POST needs its 0 as well.
        if matches!(*method, Method::PUT | Method::POST | Method::PATCH) {
            builder = builder.header(CONTENT_LENGTH, payload.size());
        }
        builder = match payload {
            Payload::None => builder,
            Payload::Bytes(bytes) => builder.body(bytes.clone()),
            Payload::Source(source) => builder.body(source.body()),
        };
        // The head of the answer comes after the body was sent, so this is the time for both.
        let waited = self.timeouts.response_to(payload.size());
        let sent = Instant::now();
        let result = tokio::time::timeout(waited, builder.send()).await;
        let status = match &result {
            Ok(Ok(response)) => Some(response.status()),
            _ => None,
        };
        if let Some(observer) = &self.observer {
            observer.request(&RequestDone { request: &request, status, elapsed: sent.elapsed() });
        }
        tracing::debug!(%request, status = status.map(|s| s.as_u16()), "exchange");
        let proxy = self.clients.proxy(url);
        match result {
            Err(_) => Err(Error::Stalled { request, waited }),
            Ok(Err(source)) => Err(Error::connection(request, source, proxy)),
            Ok(Ok(response)) => {
                if let Some(proxy) = proxy {
                    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
                        return Err(Error::proxy_login(request, proxy));
                    }
                    self.clients.proxy_works();
                }
                let Timeouts { stall, min_download_rate, .. } = self.timeouts;
                let pace = Pace::new(min_download_rate, stall);
                Ok(Reply {
                    response,
                    request,
                    url: url.clone(),
                    redirected: false,
                    stall,
                    min_rate: min_download_rate,
                    pace,
                    error_body: None,
                })
            }
        }
    }
}

/// A response whose body has not been read.
#[derive(Debug)]
pub(crate) struct Reply {
    response: reqwest::Response,
    request: RequestLine,
    url: Url,
    redirected: bool,
    stall: Duration,
    min_rate: u64,
    pace: Pace,
    /// The body, if it was read as that of an error.
    error_body: Option<Bytes>,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// What the `Content-Length` header says, also of a HEAD, whose body is empty.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    /// The media type of the body, without parameters.
    pub(crate) fn media_type(&self) -> &str {
        let value = self.header(http::header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// The request, after redirects the last one.
    pub(crate) fn request(&self) -> &RequestLine {
        &self.request
    }

    /// Whether it comes from where a redirect led.
    pub(crate) fn is_redirected(&self) -> bool {
        self.redirected
    }

    /// Notes that it does.
    pub(crate) fn note_redirect(&mut self) {
        self.redirected = true;
    }

    /// The URL that answered.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The next piece of the body, `None` at its end. Neither silence nor a drip is put up with,
    /// so that the limit of a body bounds the time it takes as well.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let asked = Instant::now();
        let request = || self.request.clone();
        let chunk = match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Err(_) => return Err(Error::Stalled { request: request(), waited: self.stall }),
            Ok(Err(source)) => return Err(Error::transport(request(), source)),
            Ok(Ok(chunk)) => chunk,
        };
        if let Some(chunk) = &chunk {
            self.pace.received(chunk.len(), asked.elapsed()).map_err(|slow| Error::TooSlow {
                request: request(),
                received: slow.received,
                waited: slow.waited,
                min_rate: self.min_rate,
            })?;
        }
        Ok(chunk)
    }

    /// Whether the body has arrived fast enough for a whole period.
    pub(crate) fn kept_pace(&self) -> bool {
        self.pace.was_kept()
    }

    /// The whole body, if it is at most `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            // Before it is added, so that no more than the limit is ever held.
            if chunk.len() > limit - body.len() {
                return Err(Error::TooLarge { request: self.request, limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The response as an error, with what its body says; `asked` is what it answers.
    pub(crate) async fn into_error(mut self, asked: Asked<'_>) -> Error {
        verdict(asked, Box::new(self.status_error().await))
    }

    /// What the response says as an error. It can be asked for again.
    pub(crate) async fn status_error(&mut self) -> StatusError {
        let body = match self.error_body.take() {
            Some(body) => body,
            None => self.read_error().await,
        };
        let now = SystemTime::now();
        let id = REQUEST_IDS.iter().find_map(|name| self.headers().get(*name)?.to_str().ok());
        let answer = StatusError {
            messages: messages(&body),
            request_id: id.map(sanitize),
            retry_after: self.header(RETRY_AFTER).and_then(|value| retry_after(value, now)),
            request: self.request.clone(),
            status: self.status(),
        };
        // The body can be read once and is judged twice: for the authorization, then for the call.
        self.error_body = Some(body);
        answer
    }

    async fn read_error(&mut self) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < ERROR_LIMIT {
            // The status is the error; a body that breaks off only makes it terser.
            let Ok(Some(chunk)) = self.chunk().await else { break };
            let room = ERROR_LIMIT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        body.freeze()
    }
}

/// Removes user name and password from a URL of a server: the HTTP library would send them.
pub(crate) fn strip_userinfo(url: &mut Url) {
    // Both fail only for URLs without a host, which have no user information.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}
