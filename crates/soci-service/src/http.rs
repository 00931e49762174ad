//! What the service tells over HTTP. Nothing can be changed here, and nothing here is secret.
//!
//! | route | answer |
//! | --- | --- |
//! | `/` | the status page, for people; `?image=`, `outcome=` and `reason=` choose among the jobs that ended |
//! | `/status` | the same as JSON ([`Status`](crate::status_store::Status)) |
//! | `/status.txt` | the same for a terminal |
//! | `/metrics` | counters for Prometheus, as OpenMetrics |
//! | `/livez` | 200, or 503 when the receive loop has stopped turning |
//! | `/readyz` | 200 while the service takes messages as it should, else 503 with the state and what it means |
//!
//! `service_state.rs` has the rules of the last two. All of them answer from the same record, so that they agree.
//!
//! `GET` and `HEAD` work. No answer may be cached, and none can be framed. `serve.rs` and `places.rs` keep
//! clients from starving each other.

mod page;
mod places;
mod serve;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod slow_clients;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode, Uri};

pub use serve::{SiteLimits, serve};

use crate::health_socket;
use crate::metrics::{self, Metrics};
use crate::status_store::StatusStore;

const ROUTES: &str = "/            status page\n\
                      /status      the same as JSON\n\
                      /status.txt  the same for a terminal\n\
                      /metrics     counters for Prometheus\n\
                      /livez       whether the service is alive\n\
                      /readyz      whether the service takes messages\n";

/// What the answers are made from.
#[derive(Clone, Debug)]
pub struct Site {
    /// What runs and what was done.
    pub status_store: Arc<StatusStore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// All routes.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/status.txt", get(status_text))
        .route("/metrics", get(metrics_text))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response(guard))
        .with_state(site)
}

async fn page(State(site): State<Site>, uri: Uri) -> Response {
    let filter = page::Filter::of_query(uri.query().unwrap_or_default());
    let page = page::render(&site.status_store.snapshot(), &filter);
    ([(CONTENT_SECURITY_POLICY, page::policy())], axum::response::Html(page)).into_response()
}

async fn status(State(site): State<Site>) -> Response {
    let status = site.status_store.snapshot();
    match serde_json::to_string(&status) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        // Only a map with keys that are no strings can fail, and there is none.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status_text(State(site): State<Site>) -> Response {
    text::render(&site.status_store.snapshot()).into_response()
}

async fn metrics_text(State(site): State<Site>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], site.metrics.render()).into_response()
}

async fn livez(State(site): State<Site>) -> Response {
    let text = health_socket::answer(&site.status_store);
    let live = site.status_store.state().is_live();
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn readyz(State(site): State<Site>) -> Response {
    let status = site.status_store.snapshot();
    let state = status.service.state;
    if state.is_ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        let text = format!("{}: {}\n", state.word(), status.sentence());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn no_such_route(uri: Uri) -> Response {
    let text = format!("There is nothing at {}. What there is:\n\n{ROUTES}", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD work here.\n").into_response()
}

/// Adds what every response carries.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

#[cfg(test)]
mod tests;
