//! The layer in front of the registry: the way of a request through the fake.
//!
//! 1. The request is read as far as its head, and the quirks that hit it are looked up.
//! 2. What a test has ordered comes first, even before the login, as a fault of the network would.
//! 3. The login. The token endpoint is behind it.
//! 4. The registry's habits, of which some answer in the registry's place.
//! 5. The registry itself, the same that `soci-index-builder local` runs.
//! 6. What the quirks make of its answer, and the log.
//!
//! The storage is a second server in front of the same content. It knows no login; it refuses
//! requests that bring one, as object storage does that is asked by a signed URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{CONTENT_TYPE, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::quirk::Effect;
use super::request::{Asked, Host, LoggedRequest, RequestKind};
use super::state::{Fake, Signature};
use super::{access, distort};
use crate::api;
use crate::reply::{empty, with_header};
use crate::route::parameter;

/// Answers a request that came to one of the two servers.
pub(super) async fn answer(fake: Arc<Fake>, request: Request, host: Host) -> Response {
    let (mut head, body) = request.into_parts();
    let (body, body_size) = counted(body);
    let asked = Asked::read(&head, host, &fake.context);
    let (ordered, habits) = fake.state().effects(&asked);
    let effects: Vec<Effect> = ordered.iter().cloned().chain(habits.iter().cloned()).collect();
    for effect in &effects {
        change_request(effect, &mut head);
        match effect {
            Effect::Late(time) => tokio::time::sleep(*time).await,
            Effect::Silence => std::future::pending().await,
            Effect::HangUp => hang_up(),
            _ => {}
        }
    }
    let response = match instead(&fake, &asked, ordered.as_slice()) {
        Some(response) => {
            drain(body).await;
            response
        }
        None => carry_out(&fake, &asked, &habits, head, body).await,
    };
    if effects.contains(&Effect::HangUpAfter) {
        hang_up();
    }
    // Its answer is lost, so what became of the request does not show.
    let lost = effects.iter().find_map(|effect| match effect {
        Effect::LoseAnswer(status) => Some(distort::status_of(*status)),
        _ => None,
    });
    let response = lost.map_or(response, empty);
    let response = distort::head(response, &effects, fake.address, fake.storage);
    let response = match asked.method {
        Method::HEAD => response,
        _ => distort::body(response, &effects).await,
    };
    fake.state().log.push(LoggedRequest {
        kind: asked.kind,
        method: asked.method,
        path: asked.path,
        query: asked.query,
        range: asked.range,
        content_range: asked.content_range,
        referer: asked.referer,
        authorization: asked.authorization,
        body_size: body_size.load(Ordering::Relaxed),
        status: response.status().as_u16(),
    });
    response
}

async fn carry_out(
    fake: &Fake,
    asked: &Asked,
    habits: &[Effect],
    mut head: Parts,
    body: Body,
) -> Response {
    let refusal = match asked.host {
        _ if asked.kind == RequestKind::Token => {
            let form = drain(body).await;
            let token = access::token(fake, asked, &form);
            return instead(fake, asked, habits).unwrap_or(token);
        }
        Host::Registry => access::refuse(fake, asked),
        Host::Storage if asked.authorization.is_some() => {
            Some(xml(StatusCode::BAD_REQUEST, "Only one auth mechanism allowed"))
        }
        Host::Storage => None,
    };
    if let Some(response) = refusal.or_else(|| instead(fake, asked, habits)) {
        drain(body).await;
        return response;
    }
    if asked.host == Host::Storage && asked.path.starts_with("/store/") {
        let Some(path) = redeem(fake, asked) else {
            return xml(StatusCode::FORBIDDEN, "Request has expired");
        };
        head.uri = path;
        let response =
            api::answer(Arc::clone(&fake.context), Request::from_parts(head, body)).await;
        if response.status() == StatusCode::NOT_FOUND {
            return xml(StatusCode::NOT_FOUND, "NoSuchKey");
        }
        return without_registry_headers(response);
    }
    api::answer(Arc::clone(&fake.context), Request::from_parts(head, body)).await
}

/// Ends the task of the connection, and with it the connection. There is no other way to give no
/// answer at all: the server would answer a failed service, and sends a head before a body fails.
fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("the quirk closes the connection"))
}

/// What a quirk changes in a request that is carried out.
fn change_request(effect: &Effect, head: &mut Parts) {
    match effect {
        Effect::IgnoreRange => {
            head.headers.remove(RANGE);
        }
        Effect::NarrowRange(most) => {
            let asked = head.headers.get(RANGE).and_then(|range| range.to_str().ok());
            if let Some(narrow) = asked.and_then(|range| narrowed(range, *most)) {
                head.headers.insert(RANGE, distort::value_of(&narrow));
            }
        }
        Effect::TagIsDigest => {
            let path = head.uri.path().replacen("/manifests/sha256-", "/manifests/sha256:", 1);
            if let Ok(path) = path.parse() {
                head.uri = path;
            }
        }
        Effect::IgnoreQuery => {
            if let Ok(path) = head.uri.path().parse() {
                head.uri = path;
            }
        }
        _ => {}
    }
}

/// The first bytes of a range, at most so many.
fn narrowed(range: &str, most: u64) -> Option<String> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = first + most.checked_sub(1)?;
    let last = last.parse().unwrap_or(u64::MAX).min(end);
    Some(format!("bytes={first}-{last}"))
}

/// The answer of the first quirk that answers in the registry's place.
fn instead(fake: &Fake, asked: &Asked, effects: &[Effect]) -> Option<Response> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer { status, headers, body } => {
            let storage = fake.storage.to_string();
            let fill = |text: &str| asked.fill(text).replace("{storage}", &storage);
            let mut response = Response::new(Body::from(fill(body)));
            *response.status_mut() = distort::status_of(*status);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            for (name, value) in headers {
                let Ok(name) = name.parse::<HeaderName>() else {
                    panic!("{name:?} is no header's name")
                };
                response.headers_mut().insert(name, distort::value_of(&fill(value)));
            }
            Some(response)
        }
        // The storage does not send on what was sent to it.
        Effect::RedirectToStorage(status) if asked.host == Host::Registry => {
            let query = if asked.query.is_empty() { "" } else { "?" };
            let path = format!("{}{query}{}", asked.path, asked.query);
            Some(redirect(fake, *status, &path))
        }
        Effect::Presigned { status, uses } => {
            let mut state = fake.state();
            let signature = state.fresh("signature");
            let path = asked.path.trim_start_matches("/v2/");
            let url = format!("/store/{path}?X-Signature={signature}");
            let good_for = Signature { path: asked.path.clone(), left: *uses };
            state.signatures.insert(signature, good_for);
            Some(redirect(fake, *status, &url))
        }
        _ => None,
    })
}

fn redirect(fake: &Fake, status: u16, path: &str) -> Response {
    let url = format!("http://{}{path}", fake.storage);
    with_header(empty(distort::status_of(status)), LOCATION.as_str(), url)
}

/// The path at the registry that a signed URL is good for, which uses it once.
fn redeem(fake: &Fake, asked: &Asked) -> Option<Uri> {
    let signature = parameter(Some(&asked.query), "X-Signature")?;
    let mut state = fake.state();
    let signature = state.signatures.get_mut(&signature)?;
    if let Some(left) = &mut signature.left {
        *left = left.checked_sub(1)?;
    }
    signature.path.parse().ok()
}

fn without_registry_headers(mut response: Response) -> Response {
    for name in ["docker-content-digest", "docker-distribution-api-version"] {
        response.headers_mut().remove(name);
    }
    response
}

fn xml(status: StatusCode, message: &str) -> Response {
    let body = format!("<Error><Message>{message}</Message></Error>");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    with_header(response, CONTENT_TYPE.as_str(), "application/xml")
}

/// The body, and how many bytes of it have been read.
fn counted(body: Body) -> (Body, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let stream = body.into_data_stream().inspect_ok(move |piece| {
        counter.fetch_add(piece.len(), Ordering::Relaxed);
    });
    (Body::from_stream(stream), count)
}

/// Reads a body to its end, so that the client gets to read the answer.
async fn drain(body: Body) -> Bytes {
    // A client that breaks off sends nothing that counts.
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}
