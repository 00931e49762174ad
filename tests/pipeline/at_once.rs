//! Images that come at once read a layer that they share once.

use soci_indexer::{ImageStore as _, RemoteRepository, index_image};
use soci_manifest::Version;
use soci_oci::{Digest, TagOrDigest};
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};
use soci_tests::{FakeRegistryClient as _, TestImage, gzip_layer};

use crate::reuse::{counted, full_build, sent, single, ten_layers};
use crate::support::{OTHER, REPOSITORY, indexed, name, options};

#[tokio::test]
async fn images_that_come_at_once_read_a_layer_that_they_share_once() {
    let registry = FakeRegistry::start().await;
    let layers = ten_layers();
    let image = single(&layers);
    let options = options(Version::V2);
    let places = [REPOSITORY, OTHER, "third/place"];
    for place in places {
        image.put(&registry, place, "1");
    }
    // Another tag of the same layers comes with them.
    let more = TestImage::single("linux/arm64", &layers);
    more.put(&registry, REPOSITORY, "2");
    let jobs = [(places[0], "1"), (places[1], "1"), (places[2], "1"), (REPOSITORY, "2")];
    let ends = futures_util::future::join_all(jobs.map(|(place, tag)| {
        let (registry, options) = (&registry, &options);
        async move {
            let remote = RemoteRepository::new(registry.client(), registry.repository(place));
            indexed(index_image(&remote, &name(tag), options).await)
        }
    }))
    .await;
    let built: usize = ends.iter().map(|report| report.layers.len()).sum();
    assert_eq!(built, layers.len());
    let once: u64 = layers.iter().map(|(_, layer)| layer.len() as u64).sum();
    assert_eq!(ends.iter().map(|report| report.bytes_read).sum::<u64>(), once);
    assert_eq!(sent(&registry, &layers), once);
    let full = full_build(&image, "1", &options).await;
    for report in &ends[..3] {
        assert_eq!(report.index, full.index);
    }
}

#[tokio::test]
async fn who_waits_for_a_layer_builds_it_when_the_first_one_ends_without() {
    let registry = FakeRegistry::start().await;
    let layer = gzip_layer(1, 60_000);
    let digest = Digest::sha256_of(&layer.1).to_string();
    let image = single(&[layer]);
    let options = options(Version::V2);
    for place in [REPOSITORY, OTHER] {
        image.put(&registry, place, "1");
    }
    let [here, there] = [REPOSITORY, OTHER]
        .map(|place| RemoteRepository::new(registry.client(), registry.repository(place)));
    // The first one begins to read, and gets no answer.
    let silence = Quirk::on(RequestKind::BlobGet, Effect::Silence);
    let silence = registry.quirk(silence.path(format!("{REPOSITORY}/blobs/{digest}")).always());
    let of_tag = name("1");
    let mut first = Box::pin(index_image(&here, &of_tag, &options));
    tokio::select! {
        biased;
        () = until(|| registry.acted(silence) > 0) => {}
        end = &mut first => panic!("{end:?}"),
    }
    let mut second = Box::pin(index_image(&there, &of_tag, &options));
    let asked = || registry.requests().into_iter().filter(|request| request.path.contains(OTHER));
    tokio::select! {
        biased;
        () = until(|| asked().any(|request| request.path.ends_with("/tags/list"))) => {}
        end = &mut second => panic!("{end:?}"),
    }
    // Time for many requests, in which the second one does not ask for the layer.
    let tag = TagOrDigest::Tag("1".parse().unwrap());
    for _ in 0..100 {
        tokio::select! {
            biased;
            looked = there.manifest(&tag) => drop(looked.unwrap()),
            end = &mut first => panic!("{end:?}"),
            end = &mut second => panic!("{end:?}"),
        }
    }
    let reads = || asked().filter(|request| request.path.ends_with(&digest)).count();
    assert_eq!(reads(), 0);
    drop(first);
    let report = indexed(second.await);
    assert!(reads() > 0);
    assert_eq!(counted(&report), (1, 0, 0));
    assert_eq!(report.index, full_build(&image, "1", &options).await.index);
}

/// Ends once `holds`, which other tasks see to.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
