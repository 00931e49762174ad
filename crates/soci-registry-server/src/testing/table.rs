//! The habits of registries, a row each.
//!
//! To add one, add its rows: which requests it hits, and what becomes of them. Rows of one name act
//! together. Where several rows hit a request, their effects act in the order of the table; of
//! answers in place of the real one the first counts.

use http::StatusCode;
use serde_json::json;

use super::quirk::{Condition, Effect, Quirk};
use super::request::RequestKind;

/// What the locations of uploads end in: a state that the client must hand back as it is, escapes
/// included.
const UPLOAD_STATE: &str = "_state=a%2Bb%3D%3D";

/// The rows of this name.
///
/// # Panics
/// If there are none.
pub(super) fn named(name: &str) -> Vec<Quirk> {
    let rows: Vec<Quirk> = table().into_iter().filter(|row| row.name == name).collect();
    assert!(!rows.is_empty(), "no quirk is named {name:?}");
    rows
}

fn table() -> Vec<Quirk> {
    use RequestKind::{
        BlobGet, BlobHead, ManifestGet, ManifestHead, ManifestPut, Referrers, StorageGet,
        StorageHead, Token, UploadPost, UploadPut,
    };
    let row = Quirk::every;
    let bad = StatusCode::BAD_REQUEST;
    let lost = "the upload's state is missing";
    let immutable = "The image tag '{reference}' already exists in the '{name}' repository and \
                     cannot be overwritten because the tag is immutable.";
    let expired = "<Error><Message>SignatureDoesNotMatch</Message></Error>";
    vec![
        // Distribution keeps what it knows of an upload in the location's query.
        row("upload-state", UploadPost, Effect::LocationQuery(UPLOAD_STATE)),
        row("upload-state", UploadPut, Effect::error(bad, "BLOB_UPLOAD_INVALID", lost))
            .when(Condition::QueryLacks(UPLOAD_STATE)),
        row("absolute-locations", UploadPost, Effect::LocationAtRegistry),
        row("uploads-elsewhere", UploadPost, Effect::LocationAtStorage),
        // Registries of the OCI 1.0 generation.
        row("no-referrers-api", Referrers, Effect::page(404, "text/plain", "404 page not found")),
        row("no-referrers-api", ManifestPut, Effect::DropHeader("oci-subject")),
        row("mounts-ignored", UploadPost, Effect::IgnoreQuery),
        row("no-digest-header", ManifestGet, Effect::DropHeader("docker-content-digest")),
        row("no-digest-header", ManifestHead, Effect::DropHeader("docker-content-digest")),
        row("ranges-ignored", BlobGet, Effect::IgnoreRange),
        row("ranges-ignored", StorageGet, Effect::IgnoreRange),
        // ECR, which refuses the same bytes again, too.
        row("immutable-tags", ManifestPut, Effect::error(bad, "TAG_INVALID", immutable))
            .when(Condition::TagTaken),
        // A gateway in front of the registry that lets through only the paths that it knows.
        row(
            "referrers-forbidden",
            Referrers,
            Effect::page(403, "text/html", "<html><title>403 Forbidden</title></html>"),
        ),
        row("referrers-forbidden", ManifestPut, Effect::DropHeader("oci-subject")),
        row("range-not-implemented", BlobGet, Effect::status(501)).when(Condition::Ranged),
        row("range-unstated", BlobGet, Effect::DropHeader("content-range")),
        row("range-multipart", BlobGet, Effect::Multipart),
        // The storage signs a URL for one method, and the registry signs it for GET.
        row("head-presigned", BlobHead, Effect::Presigned { status: 307, uses: None })
            .when(Condition::BlobThere),
        row("head-presigned", StorageHead, Effect::page(403, "application/xml", expired)),
        row("uploads-redirected", UploadPut, Effect::RedirectToStorage(307)),
        row("token-lifetime-as-text", Token, Effect::Json("/expires_in", json!("300"))),
        row("stored-nothing", ManifestPut, Effect::status(201)),
    ]
}
