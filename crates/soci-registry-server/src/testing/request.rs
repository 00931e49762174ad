//! What a request to the fake is for, and what is remembered of it.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RANGE, REFERER};
use http::request::Parts;
use http::{HeaderName, Method};
use soci_oci::TagOrDigest;

use crate::context::Context;
use crate::route::{Name, Route};

/// The kinds of requests that quirks and tests tell apart: a verb and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// HEAD of a blob.
    BlobHead,
    /// GET of a blob at the registry: its bytes, or the redirect to the storage.
    BlobGet,
    /// HEAD at the storage.
    StorageHead,
    /// GET of a blob at the storage.
    StorageGet,
    /// POST that begins an upload or mounts.
    UploadPost,
    /// PATCH that sends a part of an upload.
    UploadPatch,
    /// PUT that ends an upload.
    UploadPut,
    /// GET of how far an upload is.
    UploadGet,
    /// HEAD of a manifest.
    ManifestHead,
    /// GET of a manifest.
    ManifestGet,
    /// PUT of a manifest.
    ManifestPut,
    /// DELETE of a manifest or tag.
    ManifestDelete,
    /// GET of a list of referrers.
    Referrers,
    /// GET of a list of tags.
    Tags,
    /// GET of `/v2/`, by which clients ask whether this is a registry.
    Version,
    /// GET or POST of a token.
    Token,
    /// Anything else.
    Other,
}

/// A request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The kind.
    pub kind: RequestKind,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query as sent, without `?`; empty if there was none.
    pub query: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Content-Range` header.
    pub content_range: Option<String>,
    /// The `Referer` header.
    pub referer: Option<String>,
    /// The `Authorization` header, in full.
    pub authorization: Option<String>,
    /// Size of the request's body in bytes, as far as it was read.
    pub body_size: usize,
    /// Status of the answer.
    pub status: u16,
}

/// Which of the fake's two servers a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Registry,
    Storage,
}

/// What is known of a request before it is carried out.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: Host,
    pub(super) kind: RequestKind,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) range: Option<String>,
    pub(super) content_range: Option<String>,
    pub(super) referer: Option<String>,
    pub(super) authorization: Option<String>,
    /// What the head says of the body's size; 0 if it says nothing.
    pub(super) content_length: u64,
    /// Whether the tag that the path names exists.
    pub(super) tag_taken: bool,
    /// Whether the blob that the path names exists.
    pub(super) blob_there: bool,
    route: Option<Route>,
}

impl Asked {
    pub(super) fn read(head: &Parts, host: Host, context: &Context) -> Self {
        let header = |name: HeaderName| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let path = head.uri.path();
        let route = Route::parse(path).ok();
        let catalogue = context.store.catalogue();
        let tag_taken = matches!(
            &route,
            Some(Route::Manifest(name, target @ TagOrDigest::Tag(_)))
                if catalogue.manifest(name, target).is_some()
        );
        let blob_there = matches!(
            &route,
            Some(Route::Blob(name, digest)) if catalogue.has_blob(name, digest)
        );
        Self {
            host,
            kind: kind(&head.method, path, route.as_ref(), host),
            method: head.method.clone(),
            path: path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            range: header(RANGE),
            content_range: header(CONTENT_RANGE),
            referer: header(REFERER),
            authorization: header(AUTHORIZATION),
            content_length: header(CONTENT_LENGTH).and_then(|size| size.parse().ok()).unwrap_or(0),
            tag_taken,
            blob_there,
            route,
        }
    }

    /// The repository that the path names.
    pub(super) fn repository(&self) -> Option<&Name> {
        match self.route.as_ref()? {
            Route::Root | Route::Version | Route::Catalog => None,
            Route::Tags(name)
            | Route::Manifest(name, _)
            | Route::Referrers(name, _)
            | Route::Blob(name, _)
            | Route::Uploads(name)
            | Route::Upload(name, _) => Some(name),
        }
    }

    /// The text with `{name}` and `{reference}` replaced by the repository and the tag, digest or
    /// upload that the path names, `{path}` by the path itself, `{query}` by the query.
    pub(super) fn fill(&self, text: &str) -> String {
        let name = self.repository().map(Name::as_str).unwrap_or_default();
        let reference = self.path.rsplit('/').next().unwrap_or_default();
        text.replace("{path}", &self.path)
            .replace("{query}", &self.query)
            .replace("{name}", name)
            .replace("{reference}", reference)
    }
}

fn kind(method: &Method, path: &str, route: Option<&Route>, host: Host) -> RequestKind {
    let method = method.as_str();
    if path == "/token" && matches!(method, "GET" | "POST") {
        return RequestKind::Token;
    }
    match (method, host, route) {
        ("GET", Host::Storage, _) => RequestKind::StorageGet,
        ("HEAD", Host::Storage, _) => RequestKind::StorageHead,
        ("POST", _, Some(Route::Uploads(_))) => RequestKind::UploadPost,
        ("PATCH", _, Some(Route::Upload(..))) => RequestKind::UploadPatch,
        ("PUT", _, Some(Route::Upload(..))) => RequestKind::UploadPut,
        ("GET", Host::Registry, Some(Route::Upload(..))) => RequestKind::UploadGet,
        ("HEAD", _, Some(Route::Blob(..))) => RequestKind::BlobHead,
        ("GET", _, Some(Route::Blob(..))) => RequestKind::BlobGet,
        ("HEAD", _, Some(Route::Manifest(..))) => RequestKind::ManifestHead,
        ("GET", _, Some(Route::Manifest(..))) => RequestKind::ManifestGet,
        ("PUT", _, Some(Route::Manifest(..))) => RequestKind::ManifestPut,
        ("DELETE", _, Some(Route::Manifest(..))) => RequestKind::ManifestDelete,
        ("GET", _, Some(Route::Referrers(..))) => RequestKind::Referrers,
        ("GET", _, Some(Route::Tags(_))) => RequestKind::Tags,
        ("GET", _, Some(Route::Version)) => RequestKind::Version,
        _ => RequestKind::Other,
    }
}
