//! One HTTP exchange with a registry: authorization, redirects, limits.
//!
//! - Registries send blobs from a storage that they redirect to, and a server may redirect
//!   anywhere. So the HTTP library follows none: [`Transport::send`] does, at most five, of GET and
//!   HEAD only, never from https to plain http unless the user allowed that.
//! - `Authorization` goes to the registry's own scheme, host and port, whatever URL it hands out.
//!   It is put on for each hop anew and so cannot be forwarded. User name and password in a URL of
//!   a server are dropped before the library would send them.
//! - Every wait is bounded: for the head of an answer, between two pieces of a body, and by a least
//!   pace for all of it. A body that is held in memory has a limit of its own.
//! - A 401 is answered once, by renewing. A second one stands.
//! - [`Transport::pause`] decides by [`Error::is_transient`] and the policy whether a failure is
//!   tried again. The loop is the caller's, who knows where to resume.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Url;
use soci_oci::Repository;
use tokio::time::Instant;

use crate::auth::{Authorizer, Scope};
use crate::error::Error;
use crate::observer::{Observer, RequestDone, RetryScheduled};
use crate::pace::Pace;
use crate::policy::{RetryPolicy, Timeouts, Transfer};
use crate::put_limit::PutLimit;
use crate::redact::{RequestLine, sanitize};
use crate::retry::{Retries, retry_after};
use crate::source::BlobSource;
use crate::status::{StatusError, messages};
use crate::verdict::{Asked, is_redirect, verdict};

/// Redirects followed for one request. Registries need one, to their storage.
const MAX_REDIRECTS: usize = 5;

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

/// A request to a registry.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) scope: Scope,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// The HTTP client with what every request needs.
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) plain_http: bool,
    pub(crate) retry: RetryPolicy,
    pub(crate) transfer: Transfer,
    pub(crate) timeouts: Timeouts,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) put_limit: Option<Arc<dyn PutLimit>>,
    pub(crate) authorizer: Authorizer,
    /// Origin of the times that retries are measured in.
    pub(crate) started: Instant,
}

impl Transport {
    pub(crate) fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// The registry that serves `repository`.
    pub(crate) fn registry(&self, repository: &Repository) -> Result<Registry, Error> {
        let scheme = if self.plain_http { "http" } else { "https" };
        let text = format!("{scheme}://{}/", repository.api_host());
        match Url::parse(&text) {
            Ok(base) => Ok(Registry { name: repository.registry().to_owned(), base }),
            Err(_) => Err(Error::Url { url: text }),
        }
    }

    /// Sends a call, authorizes it, follows redirects of GET and HEAD. Any other status is the
    /// caller's to judge; a 401 that renewal does not cure is an error.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Reply, Error> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            // Tokens and passwords are for the registry itself, whatever URL it hands out.
            let reply = if url.origin() == call.registry.base.origin() {
                self.authorized(call, &url).await?
            } else {
                self.exchange(&call.method, &url, call.headers.clone(), &call.payload).await?
            };
            let safe = call.method == Method::GET || call.method == Method::HEAD;
            if !safe || !is_redirect(reply.status()) {
                return Ok(reply);
            }
            url = self.location(&reply)?;
        }
        let request = RequestLine::new(&call.method, &call.url);
        Err(Error::Redirect { request, reason: "too many redirects" })
    }

    /// The URL of a `Location` header, absolute or relative, if it may be followed.
    pub(crate) fn location(&self, reply: &Reply) -> Result<Url, Error> {
        let fail = |reason| Error::Redirect { request: reply.request.clone(), reason };
        let value = reply.headers().get(LOCATION).ok_or_else(|| fail("it has no Location"))?;
        let text = value.to_str().map_err(|_| fail("its Location is not text"))?;
        resolve(&reply.url, text, self.plain_http).map_err(fail)
    }

    async fn authorized(&self, call: &Call<'_>, url: &Url) -> Result<Reply, Error> {
        let (registry, scope) = (call.registry, &call.scope);
        let used = self.authorizer.current(self, registry, scope).await?;
        let headers = with_authorization(&call.headers, used.header.as_ref());
        let reply = self.exchange(&call.method, url, headers, &call.payload).await?;
        if reply.status() != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let (request, challenge) = (&reply.request, reply.headers());
        let renewed =
            self.authorizer.renew(self, registry, scope, &used, request, challenge).await?;
        // Gives its connection back before the next request needs one.
        drop(reply);
        let headers = with_authorization(&call.headers, renewed.header.as_ref());
        let reply = self.exchange(&call.method, url, headers, &call.payload).await?;
        if reply.status() != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        Err(reply.into_error(Asked::WithNewCredentials(&registry.name)).await)
    }

    /// One request and the head of its response, with `headers` as they are.
    pub(crate) async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Reply, Error> {
        let request = RequestLine::new(method, url);
        let mut builder = self.http.request(method.clone(), url.clone()).headers(headers);
        // The length of a streamed body is unknown to the library, which would send it in chunks;
        // storages refuse those. An empty POST needs its 0 as well.
        if *method == Method::PUT || *method == Method::POST {
            builder = builder.header(CONTENT_LENGTH, payload.size());
        }
        builder = match payload {
            Payload::None => builder,
            Payload::Bytes(bytes) => builder.body(bytes.clone()),
            Payload::Source(source) => builder.body(source.body()),
        };
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
        match result {
            Err(_) => Err(Error::Stalled { request, waited }),
            Ok(Err(source)) => Err(Error::transport(request, source)),
            Ok(Ok(response)) => {
                let Timeouts { stall, min_download_rate, .. } = self.timeouts;
                let pace = Pace::new(min_download_rate, stall);
                let url = url.clone();
                Ok(Reply { response, request, url, stall, min_rate: min_download_rate, pace })
            }
        }
    }

    /// The state that [`Transport::pause`] keeps of one operation.
    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.retry, self.started.elapsed())
    }

    /// Notes that bytes arrived.
    pub(crate) fn progress(&self, retries: &mut Retries) {
        retries.progress(self.started.elapsed());
    }

    /// Waits before the next try, or gives `error` back: as it is if it is permanent, as
    /// [`Error::Exhausted`] if the policy is used up.
    pub(crate) async fn pause(&self, retries: &mut Retries, error: Error) -> Result<(), Error> {
        if !error.is_transient() {
            return Err(error);
        }
        let now = self.started.elapsed();
        // Bytes had come and counted as progress. They came too slowly to be any.
        if let Error::TooSlow { waited, .. } = &error {
            retries.too_slow(now, *waited);
        }
        let wait = retries.failed(now, error.retry_after(), fastrand::f64());
        let worth = retries.in_a_row() < error.max_tries();
        let Some(wait) = wait.filter(|_| worth) else {
            return Err(Error::Exhausted {
                failures: retries.failures(),
                idle: retries.idle(),
                source: Box::new(error),
            });
        };
        if let Some(observer) = &self.observer {
            observer.retry(&RetryScheduled { error: &error, failed: retries.in_a_row(), wait });
        }
        tracing::debug!(%error, ?wait, "retry");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A response whose body has not been read.
#[derive(Debug)]
pub(crate) struct Reply {
    response: reqwest::Response,
    request: RequestLine,
    url: Url,
    stall: Duration,
    min_rate: u64,
    pace: Pace,
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
            if chunk.len() > limit - body.len() {
                return Err(Error::TooLarge { request: self.request, limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The response as an error, with what its body says; `asked` is what it answers.
    pub(crate) async fn into_error(mut self, asked: Asked<'_>) -> Error {
        let mut body = BytesMut::new();
        while body.len() < ERROR_LIMIT {
            // The status is the error; a body that breaks off only makes it terser.
            let Ok(Some(chunk)) = self.chunk().await else { break };
            let room = ERROR_LIMIT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let status = self.status();
        let now = SystemTime::now();
        let id = REQUEST_IDS.iter().find_map(|name| self.headers().get(*name)?.to_str().ok());
        let answer = StatusError {
            messages: messages(&body),
            request_id: id.map(sanitize),
            retry_after: self.header(RETRY_AFTER).and_then(|value| retry_after(value, now)),
            request: self.request,
            status,
        };
        verdict(asked, Box::new(answer))
    }
}

/// Removes user name and password from a URL of a server: the HTTP library would send them.
pub(crate) fn strip_userinfo(url: &mut Url) {
    // Both fail only for URLs without a host, which have no user information.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

/// The URL that `location` stands for at `base`, if it may be followed.
fn resolve(base: &Url, location: &str, plain_http: bool) -> Result<Url, &'static str> {
    let mut url = base.join(location).map_err(|_| "its Location is not a URL")?;
    match url.scheme() {
        "https" => {}
        "http" if plain_http => {}
        "http" => return Err("it leads to plain http"),
        _ => return Err("it leads to neither https nor http"),
    }
    strip_userinfo(&mut url);
    Ok(url)
}

fn with_authorization(headers: &HeaderMap, value: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some(value) = value {
        headers.insert(AUTHORIZATION, value.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_and_stripped_of_user_information() {
        let base = Url::parse("https://r.example:5000/v2/a/blobs/x?q=1").unwrap();
        let follow = |location| resolve(&base, location, false).map(String::from);
        assert_eq!(follow("/u/1?s=2").unwrap(), "https://r.example:5000/u/1?s=2");
        assert_eq!(follow("//s.example/b").unwrap(), "https://s.example/b");
        assert_eq!(follow("https://u:p@s.example/b").unwrap(), "https://s.example/b");
    }

    #[test]
    fn a_location_in_plain_http_is_followed_only_if_allowed() {
        let base = Url::parse("https://r.example/").unwrap();
        assert_eq!(resolve(&base, "http://r.example/b", false), Err("it leads to plain http"));
        assert!(resolve(&base, "http://r.example/b", true).is_ok());
        for bad in ["ftp://r.example/", "file:///etc/passwd", "data:,x", "http://"] {
            assert!(resolve(&base, bad, true).is_err(), "{bad}");
        }
    }
}
