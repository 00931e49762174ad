//! Habits of reading: what is answered in the place of a list of referrers, to HEAD, and to a range.

use super::{Condition, Effect, Quirk, RequestKind};

/// A page for people.
const PAGE: &str = "<html><title>Sign in</title></html>";

/// What storages answer to what their URL is not signed for.
const NOT_SIGNED: &str = "<Error><Code>SignatureDoesNotMatch</Code></Error>";

pub(super) fn rows() -> Vec<Quirk> {
    [referrers(), heads(), ranges()].concat()
}

/// No referrers API, as Artifactory, Quay, gateways and older registries say it, and web servers that have a page for every
/// path or send whoever asks for an unknown one to their login.
fn referrers() -> Vec<Quirk> {
    let page = |status| Effect::page(status, "text/html; charset=utf-8", PAGE);
    let mut rows = Vec::new();
    let mut without_api = |name, answers: &[(RequestKind, Effect)]| {
        rows.extend(answers.iter().map(|(kind, effect)| {
            // At the storage, only what came from a list.
            Quirk::every(name, *kind, effect.clone()).path("/referrers/")
        }));
        let silent = Effect::DropHeader("oci-subject");
        rows.push(Quirk::every(name, RequestKind::ManifestPut, silent));
    };
    for (name, status) in [
        ("referrers-400", 400),
        ("referrers-405", 405),
        ("referrers-406", 406),
        ("referrers-415", 415),
        ("referrers-501", 501),
    ] {
        without_api(name, &[(RequestKind::Referrers, Effect::status(status))]);
    }
    without_api("referrers-front-page", &[(RequestKind::Referrers, page(200))]);
    for (name, status) in [
        ("referrers-login-page", 200),
        ("referrers-login-refused", 401),
        ("referrers-login-forbidden", 403),
    ] {
        without_api(
            name,
            &[
                (RequestKind::Referrers, Effect::RedirectToStorage(302)),
                (RequestKind::StorageGet, page(status)),
            ],
        );
    }
    let nowhere = Effect::status_with(302, "location", "https://sso.invalid/login");
    without_api("referrers-login-unknown", &[(RequestKind::Referrers, nowhere)]);
    // GitLab takes the tag of a list for the digest that it is made of.
    let kinds = [RequestKind::ManifestGet, RequestKind::ManifestHead, RequestKind::ManifestPut];
    rows.extend(kinds.map(|kind| Quirk::every("tag-is-digest", kind, Effect::TagIsDigest)));
    rows
}

/// HEAD refused, by the registry or by the storage that it redirects to. What is not there is not redirected.
fn heads() -> Vec<Quirk> {
    let mut rows = Vec::new();
    for (name, status) in
        [("head-400", 400), ("head-403", 403), ("head-405", 405), ("head-501", 501)]
    {
        for kind in [RequestKind::BlobHead, RequestKind::ManifestHead] {
            rows.push(Quirk::every(name, kind, Effect::status(status)));
        }
    }
    for (name, status) in [
        ("head-presigned-400", 400),
        ("head-presigned-401", 401),
        ("head-presigned-405", 405),
        ("head-presigned-501", 501),
    ] {
        let presigned = Effect::Presigned { status: 307, uses: None };
        rows.push(
            Quirk::every(name, RequestKind::BlobHead, presigned.clone()).when(Condition::BlobThere),
        );
        rows.push(Quirk::every(name, RequestKind::BlobGet, presigned).when(Condition::BlobThere));
        let refused = Effect::page(status, "application/xml", NOT_SIGNED);
        rows.push(Quirk::every(name, RequestKind::StorageHead, refused));
    }
    rows
}

/// Ranges refused or answered oddly, by the registry as by a storage.
fn ranges() -> Vec<Quirk> {
    let status = Effect::status;
    let range = |text: &str| Effect::SetHeader("content-range", text.to_owned());
    let habits = [
        ("range-400", status(400)),
        ("range-403", Effect::page(403, "application/xml", NOT_SIGNED)),
        ("range-405", status(405)),
        ("range-416", status(416)),
        ("range-501", status(501)),
        ("range-not-stated", Effect::DropHeader("content-range")),
        ("range-garbled", range("none")),
        ("range-of-another-unit", range("items 0-9/10")),
        ("range-of-nothing", range("bytes */*")),
        ("range-always-first", range("bytes 0-0/1")),
        ("range-in-parts", Effect::Multipart),
        ("range-of-unknown-total", Effect::UnknownTotal),
        ("range-of-100-bytes", Effect::NarrowRange(100)),
        ("range-of-a-piece", Effect::NarrowRange(100_000)),
    ];
    let kinds = [RequestKind::BlobGet, RequestKind::StorageGet];
    let rows = habits.into_iter().flat_map(|(name, effect)| {
        kinds.map(|kind| Quirk::every(name, kind, effect.clone()).when(Condition::Ranged))
    });
    rows.collect()
}
