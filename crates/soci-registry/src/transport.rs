//! A call to a registry: authorization, redirects, tries. `exchange.rs` sends a single request.
//!
//! - Registries send blobs from a storage that they redirect to, and a server may redirect
//!   anywhere. So the HTTP library follows none: [`Transport::send`] does, by the rules of `redirect`,
//!   and only to where a server may lead (`reach`). A write keeps its body or is not led anywhere.
//! - `Authorization` goes to the registry's own scheme, host and port, whatever URL it hands out.
//!   It is put on for each hop anew and so cannot be forwarded. User name and password in a URL of
//!   a server are dropped before the library would send them.
//! - A 401 is answered once, by renewing. A second one stands. So is an answer that may mean the same
//!   without saying so, if authorization was sent (`verdict`).
//! - [`Transport::pause`] decides by [`Error::is_transient`] and the policy whether a failure is
//!   tried again. The loop is the caller's, who knows where to resume.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use soci_oci::Repository;
use tokio::time::Instant;

use crate::auth::{Authorizer, Refusal, Scope};
use crate::error::Error;
use crate::exchange::{HttpExchange, Payload, Registry, Reply};
use crate::immutable_tag::immutable_tag;
use crate::lacking::Lacking;
use crate::loopback::{LoopbackSchemes, plain_url};
use crate::observer::RetryScheduled;
use crate::policy::{RetryPolicy, Transfer};
use crate::put_limit::PutLimit;
use crate::redact::RequestLine;
use crate::redirect::{self, MAX_REDIRECTS, Turn};
use crate::registry_table::RegistryTable;
use crate::retry::Retries;
use crate::upload_habits::UploadHabits;
use crate::verdict::{Asked, doubts_credentials};

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

/// What every call needs beside the HTTP client.
pub(crate) struct Transport {
    pub(crate) http: HttpExchange,
    pub(crate) loopback: LoopbackSchemes,
    pub(crate) retry: RetryPolicy,
    pub(crate) transfer: Transfer,
    pub(crate) put_limit: Option<Arc<dyn PutLimit>>,
    pub(crate) authorizer: Authorizer,
    pub(crate) lacking: Lacking,
    pub(crate) upload_habits: UploadHabits,
    /// How many parts of a blob at once were of use.
    pub(crate) found_breadths: RegistryTable<usize>,
    /// Origin of the times that retries are measured in.
    pub(crate) started: Instant,
}

impl Transport {
    /// The registry that serves `repository`.
    pub(crate) fn registry(&self, repository: &Repository) -> Result<Registry, Error> {
        let scheme = if self.http.plain_http { "http" } else { "https" };
        let text = format!("{scheme}://{}/", repository.api_host());
        match Url::parse(&text) {
            Ok(base) => {
                let plain = self.loopback.is_plain(&base).then(|| plain_url(&base)).flatten();
                let base = plain.unwrap_or(base);
                Ok(Registry { name: repository.registry().to_owned(), base })
            }
            Err(_) => Err(Error::Url { url: text }),
        }
    }

    /// Sends a call, authorizes it, follows redirects that keep it as it is. Any other status is the
    /// caller's to judge; a 401 that renewal does not cure is an error.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Reply, Error> {
        match self.loopback.settle(&self.http, call.registry).await {
            None => self.send_as_it_is(call).await,
            Some(registry) => {
                let own = call.url.origin() == call.registry.base.origin();
                let plain = if own { plain_url(&call.url) } else { None };
                let url = plain.unwrap_or_else(|| call.url.clone());
                let call = Call { registry: &registry, url, ..call.clone() };
                // Once for each registry at most, as then it is known.
                Box::pin(self.send_as_it_is(&call)).await
            }
        }
    }

    async fn send_as_it_is(&self, call: &Call<'_>) -> Result<Reply, Error> {
        let (mut url, mut headers) = (call.url.clone(), call.headers.clone());
        for hops in 0..=MAX_REDIRECTS {
            // Tokens and passwords are for the registry itself, whatever URL it hands out.
            let mut reply = if url.origin() == call.registry.base.origin() {
                self.authorized(call, &url, &headers).await?
            } else {
                let headers = headers.clone();
                self.http
                    .exchange(call.registry, &call.method, &url, headers, &call.payload)
                    .await?
            };
            if hops > 0 {
                reply.note_redirect();
            }
            let Some(turn) = redirect::turn(&call.method, reply.status()) else {
                return Ok(reply);
            };
            let next = redirect::location(&reply)?;
            if turn == Turn::Get {
                return Err(Error::WriteRedirected {
                    request: reply.request().clone(),
                    status: reply.status(),
                    to: (&next).into(),
                });
            }
            redirect::refer(&mut headers, &url, &next);
            url = next;
        }
        let request = RequestLine::new(&call.method, &call.url);
        Err(Error::Redirect { request, reason: "too many redirects" })
    }

    async fn authorized(
        &self,
        call: &Call<'_>,
        url: &Url,
        bare: &HeaderMap,
    ) -> Result<Reply, Error> {
        let (registry, scope) = (call.registry, &call.scope);
        let used = self.authorizer.current(&self.http, registry, scope).await?;
        let headers = with_authorization(bare, used.header.as_ref());
        let http = &self.http;
        let mut reply = http.exchange(registry, &call.method, url, headers, &call.payload).await?;
        let doubted = match reply.status() {
            // GitLab says even of a tag that cannot move that nobody is authorized.
            StatusCode::UNAUTHORIZED if immutable_tag(&reply.status_error().await).is_some() => {
                return Ok(reply);
            }
            StatusCode::UNAUTHORIZED => false,
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if used.header.is_some() => {
                if !doubts_credentials(&reply.status_error().await) {
                    return Ok(reply);
                }
                true
            }
            _ => return Ok(reply),
        };
        let (request, challenge) = (reply.request(), reply.headers());
        let refusal = if doubted { Refusal::Doubted } else { Refusal::Challenged(challenge) };
        let renewed = self.authorizer.renew(http, registry, scope, &used, request, refusal).await?;
        let Some(renewed) = renewed else { return Ok(reply) };
        // Gives its connection back before the next request needs one.
        drop(reply);
        let headers = with_authorization(bare, renewed.header.as_ref());
        let reply = http.exchange(registry, &call.method, url, headers, &call.payload).await?;
        if reply.status() != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        Err(reply.into_error(Asked::WithNewCredentials(&registry.name)).await)
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
        if let Some(observer) = &self.http.observer {
            observer.retry(&RetryScheduled { error: &error, failed: retries.in_a_row(), wait });
        }
        tracing::debug!(%error, ?wait, "retry");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn with_authorization(headers: &HeaderMap, value: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some(value) = value {
        headers.insert(AUTHORIZATION, value.clone());
    }
    headers
}
