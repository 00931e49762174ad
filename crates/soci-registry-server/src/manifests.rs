//! Manifests: reading, writing and deleting.
//!
//! Source: OCI distribution specification 1.1, "Pulling Manifests", "Pushing Manifests" and "Content Management".

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use soci_oci::{Algorithm, Digest, Document, Hasher, Tag, TagOrDigest, media_type};

use crate::body::read_body;
use crate::catalogue::ManifestRecord;
use crate::context::{Context, blocking};
use crate::push::Push;
use crate::reply::{ApiError, Code, digest_header, empty, with_header};
use crate::route::Name;

/// `GET` and `HEAD /v2/<name>/manifests/<reference>`
pub(crate) async fn get(
    context: &Arc<Context>,
    name: Name,
    target: TagOrDigest,
) -> Result<Response, ApiError> {
    let found = context
        .store
        .catalogue()
        .manifest(&name, &target)
        .map(|(digest, record)| (digest, record.media_type.clone()));
    let unknown = move || ApiError::new(Code::ManifestUnknown, format!("{name} has no {target}"));
    let (digest, media_type) = found.ok_or_else(&unknown)?;
    let read = move |context: &Context| {
        context.store.read(&digest).map_err(|error| ApiError::unread(&error, unknown()))
    };
    let bytes = blocking(context, read).await?;
    // The length follows from the body, which is left out of the answer to a HEAD request.
    let response = Response::new(Body::from(bytes));
    Ok(digest_header(with_header(response, CONTENT_TYPE.as_str(), media_type), &digest))
}

/// `PUT /v2/<name>/manifests/<reference>`
pub(crate) async fn put(
    context: Arc<Context>,
    head: Parts,
    body: Body,
    name: Name,
    target: TagOrDigest,
) -> Result<Response, ApiError> {
    let bytes = read_body(body, context.limits.manifest, context.limits.stall).await?;
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_owned();
    // Room for the news is made first, so that a manifest that is stored is always told. Without
    // anybody who listens there is nothing to tell.
    let news = context.pushes.clone().reserve_owned().await.ok();
    blocking(&context, move |context| {
        let (response, push) = store(context, &name, &target, media_type, &bytes)?;
        if let Some(news) = news {
            news.send(push);
        }
        Ok(response)
    })
    .await
}

/// `DELETE /v2/<name>/manifests/<reference>`: by digest the manifest and all tags that name it, by tag only that. Blobs
/// stay.
pub(crate) async fn delete(
    context: &Arc<Context>,
    name: Name,
    target: TagOrDigest,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(Code::ManifestUnknown, format!("{name} has no {target}"));
    let (name, target) = (&name, &target);
    if context.store.catalogue().manifest(name, target).is_none() {
        return Err(unknown());
    }
    let (repository, reference) = (name.clone(), target.clone());
    let remove = move |context: &Context| {
        let removed = context.store.remove_manifest(&repository, &reference);
        removed.map_err(|error| ApiError::disk(&error))
    };
    blocking(context, remove).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// Checks a manifest and stores it. Blocks.
fn store(
    context: &Context,
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
    if context.check_references
        && let Some(missing) = missing(context, name, &document)
    {
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
    let record = ManifestRecord { media_type, subject };
    let stored = context.store.put_manifest(name, digest, record, bytes, tag);
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
fn missing(context: &Context, name: &Name, document: &Document) -> Option<Digest> {
    match document {
        Document::Manifest(manifest) => {
            let layers = manifest.layers().iter();
            let layers = layers.filter(|layer| !media_type::is_nondistributable(&layer.media_type));
            std::iter::once(&manifest.config)
                .chain(layers)
                .map(|blob| blob.digest)
                .find(|digest| !context.store.has_blob(name, digest))
        }
        Document::Index(index) => {
            let mut manifests = index.manifests().iter().map(|manifest| manifest.digest);
            manifests.find(|digest| !context.store.has_manifest(name, digest))
        }
    }
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}
