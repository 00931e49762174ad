//! The lists of tags, repositories and referrers, which come in pages.
//!
//! Source: OCI distribution specification 1.1, "Content Discovery", and docker's `_catalog`.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LINK};
use http::request::Parts;
use serde_json::json;
use soci_oci::{Descriptor, Digest, Document, Index, TagOrDigest, media_type, referrers};

use crate::catalogue::Page;
use crate::context::{Context, blocking};
use crate::reply::{ApiError, Code, json_response, with_header};
use crate::route::{Name, parameter};

/// Bytes of manifests that one page of referrers is made from, unless a single one has more. Clients
/// take pages of 4 MiB.
const REFERRERS_PAGE: usize = 3 << 20;

/// `GET /v2/<name>/tags/list`
pub(crate) fn tags(context: &Context, head: &Parts, name: &Name) -> Result<Response, ApiError> {
    let page = page(context, head)?;
    let listed = context.store.catalogue().tags(name, &page);
    let listed = listed.ok_or_else(|| {
        ApiError::new(Code::NameUnknown, format!("there is no repository {name}"))
    })?;
    let body = json!({ "name": name.as_str(), "tags": listed.entries });
    let next = listed.entries.last().filter(|_| listed.more);
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={}&last={last}", page.max));
    Ok(linked(json_response(StatusCode::OK, "application/json", &body), next))
}

/// `GET /v2/_catalog`
pub(crate) fn repositories(context: &Context, head: &Parts) -> Result<Response, ApiError> {
    let page = page(context, head)?;
    let listed = context.store.catalogue().repositories(&page);
    let body = json!({ "repositories": listed.entries });
    let next = listed.entries.last().filter(|_| listed.more);
    let next = next.map(|last| format!("/v2/_catalog?n={}&last={last}", page.max));
    Ok(linked(json_response(StatusCode::OK, "application/json", &body), next))
}

/// `GET /v2/<name>/referrers/<digest>`. A manifest that does not exist has no referrers.
pub(crate) async fn referrers(
    context: &Arc<Context>,
    head: &Parts,
    name: Name,
    subject: Digest,
) -> Result<Response, ApiError> {
    let wanted = parameter(head.uri.query(), "artifactType").filter(|kind| !kind.is_empty());
    let after = parameter(head.uri.query(), "last").and_then(|digest| digest.parse().ok());
    blocking(context, move |context| {
        let (index, next) = list_referrers(context, &name, subject, wanted.as_deref(), after)?;
        let response = Response::new(Body::from(index.encode()));
        let mut response = with_header(response, CONTENT_TYPE.as_str(), media_type::OCI_INDEX);
        let mut kind = String::new();
        if let Some(wanted) = &wanted {
            response = with_header(response, "oci-filters-applied", "artifactType");
            let encoded = form_urlencoded::byte_serialize(wanted.as_bytes()).collect::<String>();
            kind = format!("&artifactType={encoded}");
        }
        let next = next.map(|last| format!("/v2/{name}/referrers/{subject}?last={last}{kind}"));
        Ok(linked(response, next))
    })
    .await
}

/// One page of referrers, and the last one on it if others follow. Blocks.
fn list_referrers(
    context: &Context,
    name: &Name,
    subject: Digest,
    wanted: Option<&str>,
    after: Option<Digest>,
) -> Result<(Index, Option<Digest>), ApiError> {
    let all = context.store.catalogue().referrers(name, &subject);
    let (mut page, mut read) = (Vec::new(), 0);
    for digest in all.into_iter().filter(|digest| after.is_none_or(|after| *digest > after)) {
        let bytes = match context.store.read(&digest) {
            // Somebody has deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|error| ApiError::disk(&error))?,
        };
        let Some(descriptor) = referrer(context, name, digest, &bytes) else { continue };
        if wanted.is_some_and(|wanted| descriptor.artifact_type != wanted) {
            continue;
        }
        read += bytes.len();
        let full = page.len() >= context.limits.page || read > REFERRERS_PAGE;
        if let Some(last) = page.last().filter(|_| full).map(|last: &Descriptor| last.digest) {
            return Ok((Index::new(page), Some(last)));
        }
        page.push(descriptor);
    }
    Ok((Index::new(page), None))
}

/// How a list of referrers names a manifest that is stored.
fn referrer(context: &Context, name: &Name, digest: Digest, bytes: &[u8]) -> Option<Descriptor> {
    let target = TagOrDigest::Digest(digest);
    let media_type = context.store.catalogue().manifest(name, &target)?.1.media_type.clone();
    let document = Document::decode(&media_type, bytes).ok()?;
    let named = Descriptor::new(media_type, digest, bytes.len() as u64);
    Some(match &document {
        Document::Manifest(manifest) => referrers::manifest(manifest, named),
        Document::Index(index) => referrers::index(index, named),
    })
}

/// The page that a request for a list asks for: at most `n` entries behind `last`.
fn page(context: &Context, head: &Parts) -> Result<Page, ApiError> {
    let query = head.uri.query();
    let invalid = |_| ApiError::new(Code::PaginationInvalid, "n is not a number");
    let asked = parameter(query, "n").map(|n| n.parse::<usize>().map_err(invalid)).transpose()?;
    let max = asked.map_or(context.limits.page, |n| n.min(context.limits.page));
    Ok(Page { after: parameter(query, "last"), max })
}

/// The answer with a link to the next page.
fn linked(response: Response, next: Option<String>) -> Response {
    match next {
        Some(next) => with_header(response, LINK.as_str(), format!("<{next}>; rel=\"next\"")),
        None => response,
    }
}
