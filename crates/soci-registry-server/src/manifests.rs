//! Manifests: reading, writing, and the lists of tags, repositories and referrers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LINK, LOCATION};
use http::request::Parts;
use serde_json::json;
use soci_oci::{
    Algorithm, Descriptor, Digest, Document, Hasher, Index, Tag, TagOrDigest, media_type, referrers,
};

use crate::catalogue::{Known, Page};
use crate::reply::{ApiError, Code, empty, json_response, with_header};
use crate::route::{Name, parameter};
use crate::server::{Push, Shared, blocking, digest_header};
use crate::uploads::next;

/// Bytes of manifests that one page of referrers is made from, unless a single one has more. Clients
/// take pages of 4 MiB.
const REFERRERS_PAGE: usize = 3 << 20;

/// `GET` and `HEAD /v2/<name>/manifests/<reference>`
pub(crate) async fn get(
    shared: &Arc<Shared>,
    name: Name,
    target: TagOrDigest,
) -> Result<Response, ApiError> {
    let found = shared
        .store
        .catalogue()
        .manifest(&name, &target)
        .map(|(digest, known)| (digest, known.media_type.clone()));
    let unknown = || ApiError::new(Code::ManifestUnknown, format!("{name} has no {target}"));
    let (digest, media_type) = found.ok_or_else(unknown)?;
    let read = move |shared: &Shared| shared.store.read(&digest).map_err(|e| ApiError::disk(&e));
    let bytes = blocking(shared, read).await?;
    // The length follows from the body, which is left out of the answer to a HEAD request.
    let response = Response::new(Body::from(bytes));
    Ok(digest_header(with_header(response, CONTENT_TYPE.as_str(), media_type), &digest))
}

/// `PUT /v2/<name>/manifests/<reference>`
pub(crate) async fn put(
    shared: Arc<Shared>,
    head: Parts,
    body: Body,
    name: Name,
    target: TagOrDigest,
) -> Result<Response, ApiError> {
    let bytes = read_body(body, shared.limits.manifest, shared.limits.stall).await?;
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_owned();
    // Room for the news is made first, so that a manifest that is stored is always told. Without
    // anybody who listens there is nothing to tell.
    let news = shared.pushes.clone().reserve_owned().await.ok();
    blocking(&shared, move |shared| {
        let (response, push) = store(shared, &name, &target, media_type, &bytes)?;
        if let Some(news) = news {
            news.send(push);
        }
        Ok(response)
    })
    .await
}

/// `GET /v2/<name>/tags/list`
pub(crate) fn tags(shared: &Shared, head: &Parts, name: &Name) -> Result<Response, ApiError> {
    let page = page(shared, head)?;
    let listed = shared.store.catalogue().tags(name, &page);
    let listed = listed.ok_or_else(|| {
        ApiError::new(Code::NameUnknown, format!("there is no repository {name}"))
    })?;
    let body = json!({ "name": name.as_str(), "tags": listed.entries });
    let next = listed.entries.last().filter(|_| listed.more);
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={}&last={last}", page.max));
    Ok(linked(json_response(StatusCode::OK, "application/json", &body), next))
}

/// `GET /v2/_catalog`
pub(crate) fn catalogue(shared: &Shared, head: &Parts) -> Result<Response, ApiError> {
    let page = page(shared, head)?;
    let listed = shared.store.catalogue().repositories(&page);
    let body = json!({ "repositories": listed.entries });
    let next = listed.entries.last().filter(|_| listed.more);
    let next = next.map(|last| format!("/v2/_catalog?n={}&last={last}", page.max));
    Ok(linked(json_response(StatusCode::OK, "application/json", &body), next))
}

/// `GET /v2/<name>/referrers/<digest>`. A manifest that does not exist has no referrers.
pub(crate) async fn referrers(
    shared: &Arc<Shared>,
    head: &Parts,
    name: Name,
    subject: Digest,
) -> Result<Response, ApiError> {
    let wanted = parameter(head.uri.query(), "artifactType").filter(|kind| !kind.is_empty());
    let after = parameter(head.uri.query(), "last").and_then(|digest| digest.parse().ok());
    blocking(shared, move |shared| {
        let (index, next) = list_referrers(shared, &name, subject, wanted.as_deref(), after)?;
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

/// Checks a manifest and stores it. Blocks.
fn store(
    shared: &Shared,
    name: &Name,
    target: &TagOrDigest,
    media_type: String,
    bytes: &[u8],
) -> Result<(Response, Push), ApiError> {
    let invalid = |error: &dyn std::fmt::Display| ApiError::new(Code::ManifestInvalid, error);
    let document = Document::decode(&media_type, bytes).map_err(|error| invalid(&error))?;
    let own = match &document {
        Document::Manifest(manifest) => &manifest.media_type,
        Document::Index(index) => &index.media_type,
    };
    if !own.is_empty() && *own != media_type {
        return Err(invalid(&format!("the document is of type {own:?}, not {media_type:?}")));
    }
    let (digest, tag) = match target {
        TagOrDigest::Digest(digest) => (hash(digest.algorithm(), bytes), None),
        TagOrDigest::Tag(tag) => (hash(Algorithm::Sha256, bytes), Some(tag)),
    };
    if let TagOrDigest::Digest(stated) = target
        && *stated != digest
    {
        let message = format!("the manifest has digest {digest}, not {stated}");
        return Err(ApiError::new(Code::DigestInvalid, message));
    }
    if let Some(missing) = missing(shared, name, &document) {
        let message = format!("{name} has no {missing}, which the manifest names");
        return Err(ApiError::new(Code::ManifestBlobUnknown, message));
    }
    let (subject, artifact_type) = match document {
        Document::Manifest(manifest) => {
            let kind = match manifest.artifact_type.as_str() {
                "" => manifest.config.media_type,
                _ => manifest.artifact_type,
            };
            (manifest.subject, kind)
        }
        Document::Index(index) => (index.subject, index.artifact_type),
    };
    let subject = subject.map(|subject| subject.digest);
    let push = pushed(name, digest, tag, &media_type, artifact_type);
    let known = Known { media_type, subject };
    let stored = shared.store.put_manifest(name, digest, known, bytes, tag);
    stored.map_err(|error| ApiError::disk(&error))?;
    let location = format!("/v2/{name}/manifests/{digest}");
    let mut response = with_header(empty(StatusCode::CREATED), LOCATION.as_str(), location);
    if let Some(subject) = subject {
        response = with_header(response, "oci-subject", subject);
    }
    Ok((digest_header(response, &digest), push))
}

fn pushed(
    name: &Name,
    digest: Digest,
    tag: Option<&Tag>,
    media_type: &str,
    artifact_type: String,
) -> Push {
    Push {
        repository: name.as_str().to_owned(),
        digest,
        tag: tag.cloned(),
        manifest_media_type: media_type.to_owned(),
        artifact_media_type: (!artifact_type.is_empty()).then_some(artifact_type),
    }
}

/// The first thing that a manifest names and its repository lacks. A subject may come later, and
/// layers that are not distributable never do.
fn missing(shared: &Shared, name: &Name, document: &Document) -> Option<Digest> {
    match document {
        Document::Manifest(manifest) => {
            let layers = manifest.layers().iter();
            let layers = layers.filter(|layer| !media_type::is_nondistributable(&layer.media_type));
            let catalogue = shared.store.catalogue();
            std::iter::once(&manifest.config)
                .chain(layers)
                .map(|blob| blob.digest)
                .find(|digest| !catalogue.has_blob(name, digest))
        }
        Document::Index(index) => {
            let mut manifests = index.manifests().iter().map(|manifest| manifest.digest);
            manifests.find(|digest| !shared.store.has_manifest(name, digest))
        }
    }
}

/// One page of referrers, and the last one on it if others follow. Blocks.
fn list_referrers(
    shared: &Shared,
    name: &Name,
    subject: Digest,
    wanted: Option<&str>,
    after: Option<Digest>,
) -> Result<(Index, Option<Digest>), ApiError> {
    let all = shared.store.catalogue().referrers(name, &subject);
    let (mut page, mut read) = (Vec::new(), 0);
    for digest in all.into_iter().filter(|digest| after.is_none_or(|after| *digest > after)) {
        let bytes = shared.store.read(&digest).map_err(|error| ApiError::disk(&error))?;
        let Some(descriptor) = referrer(shared, name, digest, &bytes) else { continue };
        if wanted.is_some_and(|wanted| descriptor.artifact_type != wanted) {
            continue;
        }
        read += bytes.len();
        let full = page.len() >= shared.limits.page || read > REFERRERS_PAGE;
        if let Some(last) = page.last().filter(|_| full).map(|last: &Descriptor| last.digest) {
            return Ok((Index::new(page), Some(last)));
        }
        page.push(descriptor);
    }
    Ok((Index::new(page), None))
}

/// How a list of referrers names a manifest that is stored.
fn referrer(shared: &Shared, name: &Name, digest: Digest, bytes: &[u8]) -> Option<Descriptor> {
    let target = TagOrDigest::Digest(digest);
    let media_type = shared.store.catalogue().manifest(name, &target)?.1.media_type.clone();
    let document = Document::decode(&media_type, bytes).ok()?;
    let named = Descriptor::new(media_type, digest, bytes.len() as u64);
    Some(match &document {
        Document::Manifest(manifest) => referrers::manifest(manifest, named),
        Document::Index(index) => referrers::index(index, named),
    })
}

/// The page that a request for a list asks for: at most `n` entries behind `last`.
fn page(shared: &Shared, head: &Parts) -> Result<Page, ApiError> {
    let query = head.uri.query();
    let invalid = |_| ApiError::new(Code::PaginationInvalid, "n is not a number");
    let asked = parameter(query, "n").map(|n| n.parse::<usize>().map_err(invalid)).transpose()?;
    let max = asked.map_or(shared.limits.page, |n| n.min(shared.limits.page));
    Ok(Page { after: parameter(query, "last"), max })
}

/// The answer with a link to the next page.
fn linked(response: Response, next: Option<String>) -> Response {
    match next {
        Some(next) => with_header(response, LINK.as_str(), format!("<{next}>; rel=\"next\"")),
        None => response,
    }
}

/// A whole body of at most `limit` bytes.
async fn read_body(body: Body, limit: usize, stall: Duration) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut stream, stall).await? {
        if bytes.len() + piece.len() > limit {
            let message = format!("a manifest has at most {limit} bytes");
            return Err(ApiError::new(Code::TooLarge, message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}
