//! Writers that meet at one list of referrers, where the registry has no referrers API.

use std::collections::BTreeSet;

use soci_manifest::Version;
use soci_oci::{TagOrDigest, referrers};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};
use tokio::task::JoinSet;

use crate::support::{REPOSITORY, index, indexed, options};

/// Writers at once.
const WRITERS: usize = 8;

/// How often they meet, each time differently.
const MEETINGS: u64 = 12;

#[tokio::test(start_paused = true)]
async fn no_entry_of_writers_that_meet_is_lost() {
    for meeting in 0..MEETINGS {
        let options_of_registry = FakeOptions { referrers_api: false, ..FakeOptions::default() };
        let registry = FakeRegistry::with(options_of_registry).await;
        let image = TestImage::single("linux/amd64", &[gzip_layer(meeting, 20_000)]);
        let subject = image.put(&registry, REPOSITORY, "1");
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let registry = registry.clone();
            writers.spawn(async move {
                // Each has an index of its own.
                let mut options = options(Version::V1);
                options.settings.build_tool_identifier = format!("writer {writer}");
                indexed(index(&registry, "1", &options).await).indexes[0].digest
            });
        }
        let written: BTreeSet<_> = writers.join_all().await.into_iter().collect();
        assert_eq!(written.len(), WRITERS);
        let tag = TagOrDigest::Tag(referrers::tag(&subject).unwrap());
        let (_, list) = registry.manifest(REPOSITORY, &tag).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        let listed: BTreeSet<_> = list["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["digest"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(listed, written, "meeting {meeting}");
    }
}

/// The entries of the list of an image's referrers.
fn entries(registry: &FakeRegistry, subject: &soci_oci::Digest) -> Vec<serde_json::Value> {
    let tag = TagOrDigest::Tag(referrers::tag(subject).unwrap());
    let (_, list) = registry.manifest(REPOSITORY, &tag).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    list["manifests"].as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_there_is_no_list_costs_nobody_an_entry() {
    let image = TestImage::single("linux/amd64", &[gzip_layer(3, 20_000)]);
    // As many lists are read, and looked at before they are written, as there are requests.
    for skipped in 0..6 {
        for kind in [RequestKind::ManifestGet, RequestKind::ManifestHead] {
            let without_api = FakeOptions { referrers_api: false, ..FakeOptions::default() };
            let registry = FakeRegistry::with(without_api).await;
            let subject = image.put(&registry, REPOSITORY, "1");
            let tag = referrers::tag(&subject).unwrap();
            registry.put_manifest(REPOSITORY, None, soci_oci::media_type::OCI_MANIFEST, "{}");
            let foreign = serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
                "digest": soci_oci::Digest::sha256_of(b"{}").to_string(),
                "artifactType": "application/vnd.example.signature",
            });
            let list = serde_json::json!({
                "schemaVersion": 2, "mediaType": soci_oci::media_type::OCI_INDEX, "manifests": [foreign],
            });
            registry.put_manifest(
                REPOSITORY,
                Some(tag.as_str()),
                soci_oci::media_type::OCI_INDEX,
                list.to_string(),
            );
            let wrong = Quirk::on(kind, Effect::status(404)).path(tag.as_str()).after(skipped);
            registry.quirk(wrong);
            let report = indexed(index(&registry, "1", &options(Version::V1)).await);
            let listed = entries(&registry, &subject);
            let digests: Vec<_> =
                listed.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
            assert!(digests.contains(&foreign["digest"].as_str().unwrap().to_owned()), "{skipped}");
            assert!(digests.contains(&report.indexes[0].digest.to_string()), "{skipped} {kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_there_is_no_api_makes_no_list() {
    for status in [404, 405, 501] {
        let registry = FakeRegistry::start().await;
        let image = TestImage::single("linux/amd64", &[gzip_layer(4, 20_000)]);
        let subject = image.put(&registry, REPOSITORY, "1");
        registry.quirk(Quirk::on(RequestKind::Referrers, Effect::status(status)));
        indexed(index(&registry, "1", &options(Version::V1)).await);
        let list = TagOrDigest::Tag(referrers::tag(&subject).unwrap());
        assert!(registry.manifest(REPOSITORY, &list).is_none(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_write_does_not_wait() {
    let options_of_registry = FakeOptions { referrers_api: false, ..FakeOptions::default() };
    let registry = FakeRegistry::with(options_of_registry).await;
    let image = TestImage::single("linux/amd64", &[gzip_layer(1, 20_000)]);
    image.put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &options(Version::V1)).await);
    let started = tokio::time::Instant::now();
    let again = index(&registry, "1", &options(Version::V1)).await.unwrap();
    assert!(again.already_there && started.elapsed().is_zero(), "{:?}", started.elapsed());
}
