//! Images in registries that can be read in fewer ways than the specification says: no referrers API, no HEAD, no
//! ranges. What a plain GET gives is enough, and the second time nothing is written.

use std::num::NonZeroUsize;

use serde_json::Value;
use soci_indexer::{Budget, IndexError, Options, VerifyError, verify_image};
use soci_manifest::Version;
use soci_oci::{TagOrDigest, media_type, referrers};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options, store, tags};

fn image() -> TestImage {
    TestImage::single("linux/amd64", &[gzip_layer(1, 300_000), gzip_layer(2, 200_000)])
}

async fn with_habit(habit: &str) -> FakeRegistry {
    let registry = FakeRegistry::start().await;
    registry.behave(habit);
    image().put(&registry, REPOSITORY, "1");
    registry
}

fn target(version: Version) -> TagOrDigest {
    name(if version == Version::V1 { "1" } else { "1-soci" }).target
}

/// Requests that write.
fn writes(registry: &FakeRegistry) -> usize {
    let kinds = [RequestKind::ManifestPut, RequestKind::UploadPost, RequestKind::UploadPut];
    kinds.into_iter().map(|kind| registry.requests_of(kind).len()).sum()
}

async fn indexed_once_and_verified(registry: &FakeRegistry, version: Version, habit: &str) {
    let report = indexed(index(registry, "1", &options(version)).await);
    registry.clear_requests();
    let again = index(registry, "1", &options(version)).await.unwrap();
    assert!(again.already_there && again.bytes_read == 0, "{habit} {version:?}");
    assert_eq!(writes(registry), 0, "{habit} {version:?}");
    let budget = Budget::of_this_machine();
    let verification = verify_image(&store(registry), &target(version), &budget).await.unwrap();
    assert_eq!(verification.indexes, [report.indexes[0].digest], "{habit} {version:?}");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_indexed_and_checked_without_a_referrers_api() {
    for habit in [
        "referrers-forbidden",
        "referrers-400",
        "referrers-405",
        "referrers-406",
        "referrers-501",
        "referrers-front-page",
        "referrers-login-page",
        "referrers-login-refused",
    ] {
        for version in [Version::V1, Version::V2] {
            let registry = with_habit(habit).await;
            indexed_once_and_verified(&registry, version, habit).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_is_indexed_and_checked_without_head() {
    for habit in ["head-400", "head-403", "head-405", "head-presigned", "head-presigned-401"] {
        for version in [Version::V1, Version::V2] {
            let registry = with_habit(habit).await;
            indexed_once_and_verified(&registry, version, habit).await;
            // Another image with the same layers finds their ztocs there.
            registry.clear_requests();
            image().put(&registry, REPOSITORY, "2");
            let mut other = options(version);
            other.force = true;
            indexed(index(&registry, "2", &other).await);
            assert!(registry.requests_of(RequestKind::UploadPut).is_empty(), "{habit} {version:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_is_indexed_and_checked_without_digests_of_tags() {
    for version in [Version::V1, Version::V2] {
        for referrers_api in [true, false] {
            let options =
                FakeOptions { digest_header: false, referrers_api, ..FakeOptions::default() };
            let registry = FakeRegistry::with(options).await;
            image().put(&registry, REPOSITORY, "1");
            indexed_once_and_verified(&registry, version, "no digest header").await;
        }
    }
}

#[tokio::test]
async fn an_image_is_indexed_and_checked_without_ranges() {
    // More than what one request brings.
    let image = TestImage::single("linux/amd64", &[gzip_layer(3, 24 << 20)]);
    assert!(image.blobs.values().any(|layer| layer.len() > 8 << 20));
    for (habit, redirect_blobs) in [("range-400", false), ("range-403", true), ("range-416", true)]
    {
        let options_of_registry = FakeOptions { redirect_blobs, ..FakeOptions::default() };
        let registry = FakeRegistry::with(options_of_registry).await;
        registry.behave(habit);
        image.put(&registry, REPOSITORY, "1");
        indexed_once_and_verified(&registry, Version::V2, habit).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_tag_of_a_list_is_the_manifest_v1_cannot_be_had_and_v2_can() {
    for without_api in ["no-referrers-api", "referrers-406"] {
        let registry = with_habit("tag-is-digest").await;
        registry.behave(without_api);
        let blobs = registry.blobs(REPOSITORY);
        for force in [false, true] {
            let mut options = options(Version::V1);
            options.force = force;
            let error = index(&registry, "1", &options).await.unwrap_err();
            assert!(matches!(error, IndexError::NoReferrers { .. }), "{error:?}");
            assert!(error.to_string().contains("V1 cannot be had in this registry"), "{error}");
            assert_eq!((error.reason().code(), error.asked()), ("no-referrers", "referrers"));
            assert!(!error.is_transient() && error.reason().is_permanent());
            if !force {
                assert_eq!(registry.blobs(REPOSITORY), blobs, "nothing was built for it");
                assert_eq!(writes(&registry), 0);
            }
        }
        assert_eq!(tags(&registry), ["1"]);
        let budget = Budget::of_this_machine();
        let error = verify_image(&store(&registry), &name("1").target, &budget).await.unwrap_err();
        assert!(matches!(error, VerifyError::NoIndex { .. }), "{error:?}");
        indexed_once_and_verified(&registry, Version::V2, "tag-is-digest").await;
    }
    // With the API nothing is kept under the tag.
    let registry = with_habit("tag-is-digest").await;
    indexed_once_and_verified(&registry, Version::V1, "tag-is-digest").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_under_the_tag_of_a_list_and_is_none_is_not_replaced() {
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/x", "size": 2,
                    "digest": soci_oci::Digest::sha256_of(b"{}").to_string() },
    });
    for (kind, document) in [
        (media_type::OCI_MANIFEST, manifest.to_string()),
        ("application/json", manifest.to_string()),
        (media_type::OCI_INDEX, "[]".to_owned()),
        ("text/html", "<html>".to_owned()),
    ] {
        let registry = with_habit("no-referrers-api").await;
        let subject = image().digest();
        let tag = referrers::tag(&subject).unwrap();
        registry.put_manifest(REPOSITORY, Some(tag.as_str()), kind, document.clone());
        for force in [false, true] {
            let mut options = options(Version::V1);
            options.force = force;
            let error = index(&registry, "1", &options).await.unwrap_err();
            assert_eq!(error.reason().code(), "referrers-malformed", "{kind} {error:?}");
            assert!(error.to_string().contains("list of referrers of sha256:"), "{error}");
        }
        let (_, there) = registry.manifest(REPOSITORY, &TagOrDigest::Tag(tag)).unwrap();
        assert_eq!(there, document.as_bytes());
        let budget = Budget::of_this_machine();
        let error = verify_image(&store(&registry), &name("1").target, &budget).await.unwrap_err();
        assert!(matches!(error, VerifyError::ReferrersList { .. }), "{error:?}");
        indexed_once_and_verified(&registry, Version::V2, kind).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_is_named_and_fails_no_check_of_v2() {
    let broken = Effect::page(200, media_type::OCI_INDEX, "{");
    for (effect, of_list, indexes) in [
        (Effect::status(503), true, false),
        (Effect::status(429), true, false),
        (Effect::HangUp, true, false),
        // What the API lists is not written, and needs not be understood.
        (broken, true, true),
        (Effect::status(403), false, true),
    ] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &options(Version::V2)).await);
        registry.quirk(Quirk::on(RequestKind::Referrers, effect.clone()).always());
        let budget = Budget::of_this_machine();
        let verification = verify_image(&store(&registry), &target(Version::V2), &budget).await;
        assert_eq!(verification.unwrap().indexes, [report.indexes[0].digest], "{effect:?}");
        let error = verify_image(&store(&registry), &target(Version::V1), &budget).await;
        let error = error.unwrap_err();
        assert_eq!(error.to_string().contains("list of referrers of sha256:"), of_list, "{error}");
        match index(&registry, "1", &options(Version::V1)).await {
            Ok(_) => assert!(indexes, "{effect:?}"),
            Err(error) => {
                let words = format!("the list of referrers of {}", image().digest());
                assert!(!indexes && error.to_string().contains(&words), "{effect:?} {error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_of_the_list_and_of_what_takes_its_place_is_said() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let denied = Effect::page(403, "application/json", r#"{"errors":[{"code":"DENIED"}]}"#);
    registry.quirk(Quirk::on(RequestKind::Referrers, denied.clone()).always());
    let listed = Quirk::on(RequestKind::ManifestGet, denied).path("/manifests/sha256-");
    registry.quirk(listed.always());
    let error = index(&registry, "1", &options(Version::V1)).await.unwrap_err();
    assert!(matches!(error, IndexError::Referrers { .. }), "{error:?}");
    assert_eq!(error.reason().code(), "unauthorized");
}

#[tokio::test(start_paused = true)]
async fn a_subject_is_listed_once_however_the_registry_refuses() {
    let registry = with_habit("referrers-406").await;
    for _ in 0..3 {
        index(&registry, "1", &options(Version::V1)).await.unwrap();
    }
    let tag = TagOrDigest::Tag(referrers::tag(&image().digest()).unwrap());
    let (_, list) = registry.manifest(REPOSITORY, &tag).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_image_gets_the_same_index_on_any_number_of_cores() {
    let sizes = [20 << 20, 9 << 20, 300_000];
    let layers: Vec<_> = (1..).zip(sizes).map(|(seed, size)| gzip_layer(seed, size)).collect();
    let image = TestImage::single("linux/amd64", &layers);
    let mut found = Vec::new();
    for (cores, at_once) in [(1, 1), (3, 1), (8, 3)] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let [cores, at_once] = [cores, at_once].map(|count| NonZeroUsize::new(count).unwrap());
        let budget = Budget::on_cores(cores, at_once, 512 << 20);
        let report =
            indexed(index(&registry, "1", &Options { budget, ..options(Version::V2) }).await);
        assert_eq!(report.layers.len(), sizes.len());
        found.push((report.index, report.bytes_read));
    }
    assert!(found.iter().all(|index| *index == found[0]), "{found:?}");
}
