//! The faults of a registry: which requests, and what becomes of them.
//!
//! A kind is a class of requests and a row of one of the tables below. A class has all rows of the
//! tables that make sense for it.

use std::time::Duration;

use http::StatusCode;
use soci_registry_server::testing::{Condition, Effect, Quirk, RequestKind};

use crate::images::{OUTPUT_TAG, Shape, ShapeName, TAG};
use crate::worker::IndexVersion;

/// A class of requests that an image's way to its index has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RequestClass {
    HeadTag,
    HeadOutputTag,
    GetOutputTag,
    HeadManifest,
    GetManifest,
    GetConfig,
    GetLayer,
    GetStored,
    GetStoredPart,
    HeadBlob,
    BeginUpload,
    EndUpload,
    PutManifest,
    PutTag,
    Referrers,
    Token,
}

/// A kind of fault.
#[derive(Clone, Debug)]
pub(crate) struct FaultKind {
    pub(crate) class: RequestClass,
    /// What happens, in words.
    pub(crate) what: &'static str,
    effect: Effect,
    /// Codes that are true of an image whose every request of the class ends so, beside those that
    /// are true of any image whose registry fails.
    pub(crate) says: &'static [&'static str],
    /// Whether a single one takes a worker half a minute and more.
    pub(crate) slow: bool,
}

/// A row of a table.
type Row = (&'static str, Effect, &'static [&'static str]);

const GONE: &[&str] = &["image-gone", "tag-gone"];

impl RequestClass {
    pub(crate) const ALL: [Self; 16] = [
        Self::HeadTag,
        Self::HeadOutputTag,
        Self::GetOutputTag,
        Self::HeadManifest,
        Self::GetManifest,
        Self::GetConfig,
        Self::GetLayer,
        Self::GetStored,
        Self::GetStoredPart,
        Self::HeadBlob,
        Self::BeginUpload,
        Self::EndUpload,
        Self::PutManifest,
        Self::PutTag,
        Self::Referrers,
        Self::Token,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HeadTag => "HEAD manifest by the image's tag",
            Self::HeadOutputTag => "HEAD manifest by the result's tag",
            Self::GetOutputTag => "GET manifest by the result's tag",
            Self::HeadManifest => "HEAD manifest by digest",
            Self::GetManifest => "GET manifest by digest",
            Self::GetConfig => "GET config",
            Self::GetLayer => "GET layer",
            Self::GetStored => "GET layer at the storage",
            Self::GetStoredPart => "GET part of a layer at the storage",
            Self::HeadBlob => "HEAD blob",
            Self::BeginUpload => "POST upload",
            Self::EndUpload => "PUT upload",
            Self::PutManifest => "PUT manifest by digest",
            Self::PutTag => "PUT manifest by tag",
            Self::Referrers => "GET referrers",
            Self::Token => "GET token",
        }
    }

    /// Whether a worker that makes this version sends such requests.
    pub(crate) fn is_sent(self, version: IndexVersion) -> bool {
        match self {
            Self::HeadTag | Self::HeadOutputTag | Self::GetOutputTag | Self::PutTag => {
                version == IndexVersion::V2
            }
            Self::Referrers => version == IndexVersion::V1,
            _ => true,
        }
    }

    fn writes(self) -> bool {
        matches!(self, Self::BeginUpload | Self::EndUpload | Self::PutManifest | Self::PutTag)
    }

    /// The image that a job needs so that it sends such requests.
    pub(crate) fn shape(self) -> Option<ShapeName> {
        match self {
            Self::GetStoredPart => Some(ShapeName::Large),
            Self::PutManifest | Self::HeadManifest => Some(ShapeName::Index),
            // An image index says what its configurations would.
            Self::GetConfig => Some(ShapeName::Small),
            _ => None,
        }
    }

    /// All that may happen to its requests.
    pub(crate) fn kinds(self) -> Vec<FaultKind> {
        let mut rows = statuses(self);
        match self {
            Self::HeadTag | Self::HeadOutputTag | Self::HeadManifest | Self::HeadBlob => {
                rows.extend(heads(self));
            }
            Self::GetManifest | Self::GetStored | Self::GetStoredPart => {
                rows.extend(reads());
                rows.extend(bodies());
            }
            Self::GetOutputTag
            | Self::GetConfig
            | Self::GetLayer
            | Self::Token
            | Self::Referrers => rows.extend(reads()),
            Self::BeginUpload | Self::EndUpload => rows.extend(uploads(self)),
            Self::PutManifest | Self::PutTag => rows.extend(manifests(self)),
        }
        let kind = |(what, effect, says): Row| {
            let slow = matches!(
                effect,
                Effect::Silence | Effect::Stall(_) | Effect::Drip(_) | Effect::Late(_)
            );
            FaultKind { class: self, what, effect, says, slow }
        };
        rows.into_iter().map(kind).collect()
    }

    /// A quirk that hits such requests of a job.
    fn quirk(self, shape: &Shape, job: &str, effect: Effect) -> Quirk {
        let on = |kind: RequestKind, behind: &str| {
            Quirk::on(kind, effect.clone()).path(format!("/{job}/{behind}"))
        };
        let blob = |digest: &soci_oci::Digest| format!("blobs/{digest}");
        let ends = |tag: &str| Condition::PathEnds(format!("/{tag}"));
        match self {
            Self::HeadTag => on(RequestKind::ManifestHead, "manifests/").when(ends(TAG)),
            Self::HeadOutputTag => {
                on(RequestKind::ManifestHead, "manifests/").when(ends(OUTPUT_TAG))
            }
            Self::GetOutputTag => on(RequestKind::ManifestGet, "manifests/").when(ends(OUTPUT_TAG)),
            Self::HeadManifest => on(RequestKind::ManifestHead, "manifests/sha256:"),
            Self::GetManifest => on(RequestKind::ManifestGet, "manifests/sha256:"),
            Self::GetConfig => on(RequestKind::BlobGet, &blob(&shape.config)),
            Self::GetLayer => on(RequestKind::BlobGet, &blob(&shape.layer)),
            Self::GetStored => on(RequestKind::StorageGet, &blob(&shape.layer)),
            Self::GetStoredPart => {
                on(RequestKind::StorageGet, &blob(&shape.layer)).when(Condition::Ranged)
            }
            Self::HeadBlob => on(RequestKind::BlobHead, "blobs/"),
            Self::BeginUpload => on(RequestKind::UploadPost, ""),
            Self::EndUpload => on(RequestKind::UploadPut, ""),
            Self::PutManifest => on(RequestKind::ManifestPut, "manifests/sha256:"),
            Self::PutTag => on(RequestKind::ManifestPut, "manifests/").when(ends(OUTPUT_TAG)),
            Self::Referrers => on(RequestKind::Referrers, ""),
            Self::Token => {
                Quirk::on(RequestKind::Token, effect).when(Condition::QueryHas(job.to_owned()))
            }
        }
    }
}

impl FaultKind {
    /// Its name in the table.
    pub(crate) fn name(&self) -> String {
        format!("{}: {}", self.class.name(), self.what)
    }

    /// A quirk that does this to a job.
    pub(crate) fn quirk(&self, shape: &Shape, job: &str) -> Quirk {
        self.class.quirk(shape, job, self.effect.clone())
    }
}

/// Every kind there is.
pub(crate) fn all() -> Vec<FaultKind> {
    RequestClass::ALL.into_iter().flat_map(RequestClass::kinds).collect()
}

/// What any request may meet.
fn statuses(class: RequestClass) -> Vec<Row> {
    let gone = if class.writes() || class == RequestClass::Token { &[] } else { GONE };
    let denied = Effect::error(StatusCode::FORBIDDEN, "DENIED", "not authorized");
    let busy = Effect::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slow down");
    let expired = "Your authorization token has expired. Reauthenticate and try again.";
    let expired = Effect::error(StatusCode::FORBIDDEN, "DENIED", expired);
    vec![
        ("400", Effect::status(400), &[]),
        ("401 without a challenge", Effect::status(401), &[]),
        ("403", denied, &[]),
        ("403, the token has expired", expired, &[]),
        ("404", Effect::status(404), gone),
        ("404 with a page", Effect::page(404, "text/html", "<html>404</html>"), gone),
        ("405", Effect::status(405), &[]),
        ("408", Effect::status(408), &[]),
        ("429", busy, &[]),
        ("429, Retry-After 2", Effect::status_with(429, "retry-after", "2"), &[]),
        ("500", Effect::status(500), &[]),
        ("502 with a page", Effect::page(502, "text/html", "<html>502</html>"), &[]),
        ("503", Effect::status(503), &[]),
        ("503, Retry-After 3", Effect::status_with(503, "retry-after", "3"), &[]),
        ("504", Effect::status(504), &[]),
        ("closed without an answer", Effect::HangUp, &[]),
        ("closed after it was carried out", Effect::HangUpAfter, &[]),
        ("no answer for ever", Effect::Silence, &[]),
        ("an answer after 20 s", Effect::Late(Duration::from_secs(20)), &[]),
    ]
}

fn heads(class: RequestClass) -> Vec<Row> {
    let other = format!("sha256:{}", "0".repeat(64));
    let moved: &[&str] = if class == RequestClass::HeadTag { &["superseded"] } else { &[] };
    let immutable: &[&str] = &["tag-immutable"];
    let claims = if class == RequestClass::HeadOutputTag { immutable } else { moved };
    vec![
        ("another digest", Effect::SetHeader("docker-content-digest", other), claims),
        ("no digest", Effect::DropHeader("docker-content-digest"), &[]),
        ("200 with nothing", Effect::status(200), &[]),
        ("200 for all", Effect::Status(200), &[]),
        ("sent to nowhere", nowhere(307), &[]),
    ]
}

fn reads() -> Vec<Row> {
    vec![
        ("200 with nothing", Effect::status(200), &[]),
        ("200 with a page", Effect::page(200, "text/html", "<html>Welcome</html>"), &[]),
        ("200 with other JSON", Effect::page(200, "application/json", r#"{"a":1}"#), &[]),
        ("204", Effect::status(204), &[]),
        ("sent to nowhere", nowhere(307), &[]),
        ("sent in a circle", Effect::status_with(307, "location", "{path}"), &[]),
        ("sent without a place", Effect::status(302), &[]),
    ]
}

fn bodies() -> Vec<Row> {
    vec![
        ("closed before the body", Effect::DropAfter(0), &[]),
        ("closed after 100 bytes", Effect::DropAfter(100), &[]),
        ("ends after 100 bytes", Effect::ShortBody(100), &[]),
        ("empty body", Effect::ShortBody(0), &[]),
        ("more bytes", Effect::LongBody(4096), &[]),
        ("a wrong byte", Effect::Corrupt(20), &[]),
        ("stands still after 100 bytes", Effect::Stall(100), &[]),
        ("a byte each 300 ms", Effect::Drip(Duration::from_millis(300)), &[]),
    ]
}

fn uploads(class: RequestClass) -> Vec<Row> {
    let error = |status: StatusCode, code| Effect::error(status, code, "as planned");
    let (bad, missing) = (StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let mut rows: Vec<Row> = vec![
        ("404 NAME_UNKNOWN", error(missing, "NAME_UNKNOWN"), &[]),
        ("404 BLOB_UPLOAD_UNKNOWN", error(missing, "BLOB_UPLOAD_UNKNOWN"), &[]),
        ("400 BLOB_UPLOAD_INVALID", error(bad, "BLOB_UPLOAD_INVALID"), &[]),
        ("400 DIGEST_INVALID", error(bad, "DIGEST_INVALID"), &[]),
        ("400 SIZE_INVALID", error(bad, "SIZE_INVALID"), &[]),
        ("413", Effect::status(413), &[]),
        ("carried out, 500 said", Effect::LoseAnswer(500), &[]),
        ("200 with a page", Effect::page(200, "text/html", "<html>Welcome</html>"), &[]),
    ];
    if class == RequestClass::BeginUpload {
        rows.push(("no location", Effect::DropHeader("location"), &[]));
        rows.push(("a location nowhere", nowhere(202), &[]));
        rows.push(("201, nothing stored", Effect::status(201), &[]));
    } else {
        rows.push(("201, nothing stored", Effect::status(201), &[]));
        let other = format!("sha256:{}", "0".repeat(64));
        rows.push(("another digest", Effect::SetHeader("docker-content-digest", other), &[]));
    }
    rows
}

fn manifests(class: RequestClass) -> Vec<Row> {
    let error = |status: StatusCode, code| Effect::error(status, code, "as planned");
    let (bad, missing) = (StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let other = format!("sha256:{}", "0".repeat(64));
    let mut rows: Vec<Row> = vec![
        ("404 NAME_UNKNOWN", error(missing, "NAME_UNKNOWN"), &[]),
        ("400 MANIFEST_BLOB_UNKNOWN", error(bad, "MANIFEST_BLOB_UNKNOWN"), &[]),
        ("404 MANIFEST_BLOB_UNKNOWN", error(missing, "MANIFEST_BLOB_UNKNOWN"), &[]),
        ("400 MANIFEST_UNKNOWN", error(bad, "MANIFEST_UNKNOWN"), &[]),
        ("400 MANIFEST_INVALID", error(bad, "MANIFEST_INVALID"), &[]),
        ("400 DIGEST_INVALID", error(bad, "DIGEST_INVALID"), &[]),
        ("413", Effect::status(413), &[]),
        ("carried out, 500 said", Effect::LoseAnswer(500), &[]),
        ("201, nothing stored", Effect::status(201), &[]),
        ("another digest", Effect::SetHeader("docker-content-digest", other), &[]),
        ("200 with a page", Effect::page(200, "text/html", "<html>Welcome</html>"), &[]),
    ];
    if class == RequestClass::PutTag {
        let words = "The image tag 'v1-soci' already exists and cannot be overwritten because the \
                     tag is immutable.";
        let immutable = Effect::error(bad, "TAG_INVALID", words);
        rows.push(("400 immutable tag", immutable, &["tag-immutable"]));
        rows.push(("409", Effect::status(409), &[]));
    }
    rows
}

/// An answer that leads where nobody listens.
fn nowhere(status: u16) -> Effect {
    // The discard port, which no machine serves.
    Effect::status_with(status, "location", "http://127.0.0.1:9/nowhere")
}
