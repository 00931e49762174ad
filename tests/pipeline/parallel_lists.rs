//! Writers that meet at one list of referrers, where the registry has no referrers API.

use std::collections::BTreeSet;

use soci_manifest::Version;
use soci_oci::{TagOrDigest, referrers};
use soci_registry_server::testing::{FakeOptions, FakeRegistry};
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
