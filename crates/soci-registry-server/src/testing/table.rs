//! The habits of registries, a row each.
//!
//! To add one, add its rows: which requests it hits, and what becomes of them. Rows of one name act
//! together. Where several rows hit a request, their effects act in the order of the table; of
//! answers in place of the real one the first counts.
//!
//! `reads` has the habits of reading by other ways than a plain GET: lists of referrers, HEAD, ranges.

mod reads;

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

/// The names of the habits that [`FakeRegistry::behave`](super::FakeRegistry::behave) takes, each
/// once, in the order of the table.
pub fn habits() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for row in table() {
        if !names.contains(&row.name) {
            names.push(row.name);
        }
    }
    names
}

/// Whether the habit of this name shows at the storage, to which a registry must redirect blobs then.
///
/// # Panics
/// If the table has none of this name.
pub fn shows_at_storage(name: &str) -> bool {
    let kinds = [RequestKind::StorageGet, RequestKind::StorageHead];
    named(name).iter().any(|row| kinds.contains(&row.when.kind))
}

fn table() -> Vec<Quirk> {
    use RequestKind::{
        BlobGet, BlobHead, ManifestGet, ManifestHead, ManifestPut, Referrers, StorageGet,
        StorageHead, Token, UploadGet, UploadPatch, UploadPost, UploadPut,
    };
    let row = Quirk::every;
    let too_large = || {
        Effect::page(413, "text/html", "<html><title>413 Request Entity Too Large</title></html>")
    };
    let bad = StatusCode::BAD_REQUEST;
    let lost = "the upload's state is missing";
    let immutable = "The image tag '{reference}' already exists in the '{name}' repository and \
                     cannot be overwritten because the tag is immutable.";
    let denied = "<Error><Message>You are denied by bucket referer policy.</Message></Error>";
    let monolithic = "monolithic upload not supported";
    let again = "{path}?again&{query}";
    let expired = "<Error><Message>SignatureDoesNotMatch</Message></Error>";
    vec![
        // Distribution keeps what it knows of an upload in the location's query.
        row("upload-state", UploadPost, Effect::LocationQuery(UPLOAD_STATE)),
        row("upload-state", UploadPatch, Effect::LocationQuery(UPLOAD_STATE)),
        row("upload-state", UploadGet, Effect::LocationQuery(UPLOAD_STATE)),
        row("upload-state", UploadPatch, Effect::error(bad, "BLOB_UPLOAD_INVALID", lost))
            .when(Condition::QueryLacks(UPLOAD_STATE)),
        row("upload-state", UploadPut, Effect::error(bad, "BLOB_UPLOAD_INVALID", lost))
            .when(Condition::QueryLacks(UPLOAD_STATE)),
        row("absolute-locations", UploadPost, Effect::LocationAtRegistry),
        row("absolute-locations", UploadPatch, Effect::LocationAtRegistry),
        row("uploads-elsewhere", UploadPost, Effect::LocationAtStorage),
        row("uploads-elsewhere", UploadPatch, Effect::LocationAtStorage),
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
        // A bucket whose policy lets in whom the registry sends.
        row("storage-wants-referer", StorageGet, Effect::page(403, "application/xml", denied))
            .when(Condition::NoReferer),
        row("storage-wants-referer", StorageHead, Effect::status(403)).when(Condition::NoReferer),
        // A proxy that limits bodies, as nginx does to 1 MiB if nobody says otherwise.
        row("bodies-limited", UploadPut, too_large()).when(Condition::BodyOver(1 << 20)),
        row("bodies-limited", UploadPatch, too_large()).when(Condition::BodyOver(1 << 20)),
        row("bodies-limited", ManifestPut, too_large()).when(Condition::BodyOver(1 << 20)),
        row("no-bodies-in-puts", UploadPut, Effect::error(bad, "BLOB_UPLOAD_INVALID", monolithic))
            .when(Condition::BodyOver(0)),
        row("no-parts", UploadPatch, Effect::status(405)),
        // A registry that has moved, and a gateway that adds what it needs to every URL.
        row("token-endpoint-moved", Token, Effect::status_with(301, "location", again))
            .when(Condition::QueryLacks("again")),
    ]
    .into_iter()
    .chain(immutable_in_other_words())
    .chain(reads::rows())
    .collect()
}

/// Registries whose tags cannot be moved, other than ECR, in their words.
fn immutable_in_other_words() -> impl Iterator<Item = Quirk> {
    let listed = |status: u16, code: &str, message: &str, detail: &str| {
        let error = json!({ "code": code, "message": message, "detail": detail });
        let list = json!({ "errors": [error] }).to_string();
        Effect::Answer { status, headers: Vec::new(), body: list }
    };
    let enabled = "cannot update tag {reference}. The repository has enabled tag immutability";
    let configured =
        "Failed to process request due to '{name}:{reference}' configured as immutable.";
    let disallowed = "The operation is disallowed on this registry, repository or image.";
    let overwritten = "The requested tag already exists and cannot be overwritten.";
    let updating = "Repository does not allow updating assets: docker";
    let permissions = "Not enough permissions to delete/overwrite artifacts";
    let tag = "tag \"{reference}\" is immutable";
    [
        ("immutable-tags-of-google", listed(400, "MANIFEST_INVALID", enabled, "")),
        ("immutable-tags-of-harbor", listed(412, "PRECONDITION", configured, "")),
        ("immutable-tags-of-quay", listed(409, "TAG_ALREADY_EXISTS", "tag was already pushed", "")),
        ("immutable-tags-of-gitlab", listed(401, "UNAUTHORIZED", "cannot push", tag)),
        ("immutable-tags-of-azure", listed(405, "REGISTRY_DISALLOWED_OPERATION", disallowed, "")),
        ("immutable-tags-of-alibaba", listed(400, "UNKNOWN", overwritten, "")),
        ("immutable-tags-of-nexus", listed(400, "BLOB_UPLOAD_INVALID", "invalid", updating)),
        ("immutable-tags-of-artifactory", listed(403, "UNAUTHORIZED", permissions, "")),
    ]
    .into_iter()
    .map(|(name, effect)| {
        let row = Quirk::every(name, RequestKind::ManifestPut, effect);
        row.when(Condition::TagTaken)
    })
}
