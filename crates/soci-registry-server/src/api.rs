//! The way of a request to the part of the registry that answers it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::context::Context;
use crate::reply::{ApiError, Code, json_response, with_header};
use crate::route::Route;
use crate::{blobs, lists, manifests, uploads};

/// What is said at the root, where only people look.
const WELCOME: &str = "This is an OCI registry. Its API begins at /v2/.\n";

/// The answer to a request.
pub(crate) async fn answer(context: Arc<Context>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let response = route(context, head, body).await.unwrap_or_else(ApiError::into_response);
    tracing::debug!(%method, path, status = response.status().as_u16(), "registry request");
    with_header(response, "docker-distribution-api-version", "registry/2.0")
}

async fn route(context: Arc<Context>, head: Parts, body: Body) -> Result<Response, ApiError> {
    // Browsers name the page that a request comes from, registry clients do not. Without this, any
    // page that is open could push to an address of this machine.
    if head.headers.contains_key(ORIGIN) {
        return Err(ApiError::new(Code::Denied, "web pages have no access to this registry"));
    }
    let route = Route::parse(head.uri.path())?;
    let read = matches!(head.method, Method::GET | Method::HEAD);
    match route {
        Route::Root if read => {
            let welcome = Response::new(Body::from(WELCOME));
            Ok(with_header(welcome, CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"))
        }
        Route::Version if read => {
            Ok(json_response(StatusCode::OK, "application/json", &serde_json::json!({})))
        }
        Route::Catalog if read => lists::repositories(&context, &head),
        Route::Tags(name) if read => lists::tags(&context, &head, &name),
        Route::Manifest(name, target) if read => manifests::get(&context, name, target).await,
        Route::Manifest(name, target) if head.method == Method::PUT => {
            manifests::put(context, head, body, name, target).await
        }
        Route::Manifest(name, target) if head.method == Method::DELETE => {
            manifests::delete(&context, name, target).await
        }
        Route::Referrers(name, subject) if read => {
            lists::referrers(&context, &head, name, subject).await
        }
        Route::Blob(name, digest) if read => blobs::get(&context, &head, &name, digest).await,
        Route::Uploads(name) if head.method == Method::POST => {
            uploads::begin(context, head, body, name).await
        }
        Route::Upload(name, id) => uploads::go_on(context, head, body, name, id).await,
        _ => Err(ApiError::new(Code::Unsupported, "this registry does not do that here")),
    }
}
