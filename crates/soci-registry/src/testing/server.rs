//! From a request to the part of the fake that answers it.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State as Extract};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, Method};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::fault::Effect;
use super::log::{Kind, Logged};
use super::respond::{self, Reply};
use super::state::{Shared, State};
use super::{access, store};

/// A request, taken apart.
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn media_type(&self) -> &str {
        self.header(CONTENT_TYPE).unwrap_or_default()
    }

    /// A parameter of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form_parameter(&self.query, name)
    }

    /// The path as repository, collection and rest: `/v2/<name>/<collection>/<rest>`.
    pub(super) fn parts(&self) -> Option<(&str, &str, &str)> {
        let path = self.path.strip_prefix("/v2/")?;
        ["blobs", "manifests", "referrers"].into_iter().find_map(|collection| {
            let (name, rest) = path.rsplit_once(&format!("/{collection}/"))?;
            Some((name, collection, rest))
        })
    }
}

/// A parameter of a form or a query, decoded.
pub(super) fn form_parameter(form: &str, name: &str) -> Option<String> {
    let url = Url::parse(&format!("form:?{form}")).ok()?;
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

/// Serves one of the fake's two addresses.
pub(super) fn spawn(listener: TcpListener, shared: Shared, storage: bool) -> AbortHandle {
    let handler = async move |Extract(shared): Extract<Shared>, request: Request| {
        handle(&shared, request, storage).await
    };
    let router = Router::new().fallback(handler).with_state(shared);
    let server = async move {
        // Ends when the task is aborted.
        let _ = axum::serve(listener, router).await;
    };
    tokio::spawn(server).abort_handle()
}

async fn handle(shared: &Shared, request: Request, storage: bool) -> Response {
    let (head, body) = request.into_parts();
    // A client that breaks off its upload sends nothing that counts.
    let body = to_bytes(body, usize::MAX).await;
    let mut asked = Asked {
        kind: Kind::Other,
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: Bytes::new(),
    };
    asked.kind = kind(&asked, storage);
    let Ok(body) = body else { return respond::plain(400).into_response(&asked, None) };
    asked.body = body;

    let mut state = shared.lock();
    let range = asked.header(RANGE).map(str::to_owned);
    let effect =
        state.faults.iter_mut().find_map(|f| f.hit(asked.kind, &asked.path, range.as_deref()));
    let reply = match &effect {
        Some(Effect::Answer { status, headers, body }) => {
            let reply = respond::plain(*status).with_body("application/json", body.clone());
            headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
        }
        Some(Effect::LoseAnswer(status)) => {
            let _ = answer(&mut state, &asked, storage);
            respond::plain(*status)
        }
        _ => answer(&mut state, &asked, storage),
    };
    let ignore = !state.options.ranges || effect == Some(Effect::IgnoreRange);
    let reply = if ignore { reply.without_ranges() } else { reply };
    let response = reply.into_response(&asked, effect.as_ref());
    state.log.push(Logged {
        kind: asked.kind,
        range,
        authorization: asked.header(AUTHORIZATION).map(str::to_owned),
        body_size: asked.body.len(),
        status: response.status().as_u16(),
        method: asked.method,
        path: asked.path,
        query: asked.query,
    });
    response
}

fn answer(state: &mut State, asked: &Asked, storage: bool) -> Reply {
    if storage {
        return store::storage(state, asked);
    }
    if asked.kind == Kind::Token {
        return access::token(state, asked);
    }
    if let Some(refusal) = access::refuse(state, asked) {
        return refusal;
    }
    store::registry(state, asked)
}

fn kind(asked: &Asked, storage: bool) -> Kind {
    let method = asked.method.as_str();
    let (_, collection, rest) = asked.parts().unwrap_or_default();
    match (method, collection) {
        ("GET", _) if storage => Kind::StorageGet,
        ("GET" | "POST", _) if asked.path == "/token" => Kind::Token,
        ("POST", "blobs") => Kind::UploadPost,
        ("PUT", "blobs") if rest.starts_with("uploads/") => Kind::UploadPut,
        ("HEAD", "blobs") => Kind::BlobHead,
        ("GET", "blobs") => Kind::BlobGet,
        ("HEAD", "manifests") => Kind::ManifestHead,
        ("GET", "manifests") => Kind::ManifestGet,
        ("PUT", "manifests") => Kind::ManifestPut,
        ("GET", "referrers") => Kind::Referrers,
        _ => Kind::Other,
    }
}
