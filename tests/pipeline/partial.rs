//! Images of which not all is there, or not all can be indexed.

use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::{IndexError, Layout, Options, Reason, Report, index_image};
use soci_manifest::{Platforms, SociIndexSettings, Version};
use soci_oci::{Digest, Index, TagOrDigest, media_type};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, TestLayer, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options, store};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

fn two_platforms() -> TestImage {
    let (one, other) = ([gzip_layer(1, 200_000)], [gzip_layer(2, 200_000)]);
    TestImage::index(&[("linux/amd64", &one), ("linux/arm64", &other)])
}

/// The image with another root: its index after `change`.
fn changed(image: &TestImage, change: impl FnOnce(&mut Vec<Value>)) -> TestImage {
    let mut image = image.clone();
    let (kind, root) = image.manifests.pop().unwrap();
    let mut root: Value = serde_json::from_slice(&root).unwrap();
    change(root["manifests"].as_array_mut().unwrap());
    image.manifests.push((kind, root.to_string().into()));
    image
}

/// The image without one of its manifests, whose place in the index is given.
fn without(image: &TestImage, place: usize) -> TestImage {
    let mut image = image.clone();
    image.manifests.remove(place);
    image
}

fn attestation() -> Value {
    let digest = Digest::sha256_of(b"an attestation").to_string();
    json!({
        "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 14,
        "platform": { "os": "unknown", "architecture": "unknown" },
        "annotations": { "vnd.docker.reference.type": "attestation-manifest" },
    })
}

fn strict(version: Version) -> Options {
    let base = options(version);
    Options { settings: SociIndexSettings { strict: true, ..base.settings.clone() }, ..base }
}

fn only(version: Version, platforms: &[&str]) -> Options {
    let platforms = platforms.iter().map(|name| name.parse().unwrap()).collect();
    Options { platforms: Platforms::Only(platforms), ..options(version) }
}

fn platforms(report: &Report) -> Vec<String> {
    report.indexes.iter().map(|index| index.platform.as_ref().unwrap().to_string()).collect()
}

/// A registry that takes an image index whose manifests it has not, as most do that hold such a one.
async fn registry() -> FakeRegistry {
    FakeRegistry::with(FakeOptions { check_references: false, ..FakeOptions::default() }).await
}

/// Does the same in a registry and in a layout.
async fn everywhere(image: &TestImage, options: &Options) -> Vec<Result<Report, IndexError>> {
    let registry = registry().await;
    image.put(&registry, REPOSITORY, "1");
    let folder = tempfile::tempdir().unwrap();
    image.write_layout(folder.path(), "1").unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    let mut results = Vec::new();
    for _ in 0..2 {
        results.push(index(&registry, "1", options).await);
        results.push(index_image(&layout, &name("1"), options).await);
    }
    results
}

#[tokio::test]
async fn an_image_index_of_which_one_platform_is_there_is_indexed_for_that() {
    let image = without(&changed(&two_platforms(), |entries| entries.push(attestation())), 1);
    for version in VERSIONS {
        for (place, result) in everywhere(&image, &options(version)).await.into_iter().enumerate() {
            let report = result.unwrap();
            assert_eq!(report.already_there, place >= 2, "{version} {place}");
            assert_eq!(platforms(&report), ["linux/amd64"]);
            let [left_out] = &report.left_out_platforms[..] else { panic!("{report:?}") };
            assert_eq!(left_out.platform.as_ref().unwrap().to_string(), "linux/arm64");
            assert_eq!(left_out.code, "manifest-missing");
            assert_eq!(report.unlike_reference().len(), 1);
            let attestation = Digest::sha256_of(b"an attestation").to_string();
            assert!(report.warnings[0].contains(&attestation), "{:?}", report.warnings);
        }
        for result in everywhere(&image, &only(version, &["linux/amd64"])).await {
            assert_eq!(result.unwrap().left_out_platforms, []);
        }
        for result in everywhere(&image, &only(version, &["linux/arm64"])).await {
            let error = result.unwrap_err();
            assert_eq!(error.reason(), Reason::ImageGone, "{error}");
            assert!(error.to_string().contains("linux/arm64"), "{error}");
        }
        for result in everywhere(&image, &strict(version)).await {
            assert_eq!(result.unwrap_err().reason(), Reason::ImageGone);
        }
    }
}

#[tokio::test]
async fn the_converted_index_lists_what_is_not_there_as_it_was() {
    let whole = changed(&two_platforms(), |entries| entries.insert(0, attestation()));
    let registry = registry().await;
    without(&whole, 1).put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let root = registry.manifest(REPOSITORY, &TagOrDigest::Digest(report.index)).unwrap().1;
    let source = whole.manifests.last().unwrap();
    let (root, source) = (Index::decode(&root).unwrap(), Index::decode(&source.1).unwrap());
    assert_eq!(root.manifests().len(), 4);
    assert_eq!(root.manifests()[0], source.manifests()[0]);
    assert_eq!(root.manifests()[2], source.manifests()[2]);
}

#[tokio::test]
async fn a_registry_that_takes_no_such_index_gets_one_of_what_is_there() {
    let image = without(&changed(&two_platforms(), |entries| entries.push(attestation())), 1);
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let root = registry.manifest(REPOSITORY, &TagOrDigest::Digest(report.index)).unwrap().1;
    assert_eq!(Index::decode(&root).unwrap().manifests().len(), 2, "the image and its SOCI index");
    assert!(report.warnings.iter().any(|warning| warning.contains("only what is")));
    let again = index(&registry, "1", &options(Version::V2)).await.unwrap();
    assert!(again.already_there && again.index == report.index, "{again:?}");
}

#[tokio::test]
async fn an_image_of_which_nothing_is_there_fails() {
    let image = without(&without(&two_platforms(), 0), 0);
    for version in VERSIONS {
        for result in everywhere(&image, &options(version)).await {
            assert_eq!(result.unwrap_err().reason(), Reason::ImageGone);
        }
    }
}

#[tokio::test]
async fn a_platform_whose_layer_is_not_there_is_left_out() {
    let mut image = two_platforms();
    image.blobs.remove(&Digest::sha256_of(&gzip_layer(2, 200_000).1));
    for version in VERSIONS {
        for (place, result) in everywhere(&image, &options(version)).await.into_iter().enumerate() {
            let report = result.unwrap();
            assert_eq!(report.already_there, place >= 2, "{version} {place}: {report:?}");
            assert_eq!(platforms(&report), ["linux/amd64"]);
            assert_eq!(report.left_out_platforms[0].code, "layer-missing");
        }
        for options in [only(version, &["linux/arm64"]), strict(version)] {
            for result in everywhere(&image, &options).await {
                assert!(result.is_err(), "{result:?}");
            }
        }
    }
    // Alone, and together with all others.
    let mut single = TestImage::single("linux/amd64", &[gzip_layer(2, 200_000)]);
    single.blobs.remove(&Digest::sha256_of(&gzip_layer(2, 200_000).1));
    image.blobs.remove(&Digest::sha256_of(&gzip_layer(1, 200_000).1));
    for image in [single, image] {
        for result in everywhere(&image, &options(Version::V2)).await {
            assert!(result.is_err(), "{result:?}");
        }
    }
}

#[tokio::test]
async fn a_layer_that_is_not_there_is_told_where_no_other_can_be_indexed() {
    let odd = [&gzip_layer(1, 200_000).1[..], b"a signature"].concat();
    let layers = [(media_type::OCI_LAYER_GZIP, odd.into())];
    let mut image =
        TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &[gzip_layer(2, 200_000)])]);
    let gone = Digest::sha256_of(&gzip_layer(2, 200_000).1);
    image.blobs.remove(&gone);
    for version in VERSIONS {
        for result in everywhere(&image, &options(version)).await {
            let error = result.unwrap_err();
            assert!(matches!(error, IndexError::Layer { digest, .. } if digest == gone), "{error}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_no_image_with_less_in_it() {
    for version in VERSIONS {
        for status in [500, 503, 403, 401] {
            let registry = registry().await;
            let image = two_platforms();
            image.put(&registry, REPOSITORY, "1");
            let child = Digest::sha256_of(&image.manifests[1].1).to_string();
            let quirk = Quirk::on(RequestKind::ManifestGet, Effect::status(status));
            registry.quirk(quirk.path(child).always());
            let error = index(&registry, "1", &options(version)).await.unwrap_err();
            assert_ne!(error.reason(), Reason::ImageGone, "{status}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_again_may_have_it_by_then() {
    let image = two_platforms();
    let child = Digest::sha256_of(&image.manifests[1].1).to_string();
    let layer = Digest::sha256_of(&gzip_layer(2, 200_000).1).to_string();
    for (kind, path) in [(RequestKind::ManifestGet, child), (RequestKind::BlobGet, layer)] {
        let registry = registry().await;
        image.put(&registry, REPOSITORY, "1");
        registry.quirk(Quirk::on(kind, Effect::status(404)).path(path));
        let asking =
            Options { ask_again_after: Some(Duration::from_secs(10)), ..options(Version::V2) };
        let report = indexed(index(&registry, "1", &asking).await);
        assert_eq!(platforms(&report), ["linux/amd64", "linux/arm64"]);
        assert_eq!(report.left_out_platforms, []);
    }
}

#[tokio::test]
async fn an_entry_without_a_platform_gets_that_of_its_configuration() {
    let image = changed(&two_platforms(), |entries| {
        entries[1].as_object_mut().unwrap().remove("platform");
    });
    for version in VERSIONS {
        for result in everywhere(&image, &options(version)).await {
            assert_eq!(platforms(&result.unwrap()), ["linux/amd64", "linux/arm64"]);
        }
    }
    // Were the SOCI index the only entry with the platform, a runtime would take it for the image.
    let registry = registry().await;
    image.put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let root = registry.manifest(REPOSITORY, &TagOrDigest::Digest(report.index)).unwrap().1;
    let root = Index::decode(&root).unwrap();
    let named: Vec<_> = root.manifests().iter().map(|entry| entry.platform.as_ref()).collect();
    assert_eq!(named[1].unwrap().to_string(), "linux/arm64");
    assert_eq!((named[1], root.manifests().len()), (named[3], 4));
}

#[tokio::test]
async fn a_platform_with_a_foreign_layer_is_left_out_beside_others() {
    let foreign: TestLayer = (media_type::DOCKER_LAYER_FOREIGN_GZIP, gzip_layer(7, 200_000).1);
    let windows = [foreign.clone(), gzip_layer(3, 200_000)];
    let linux = [gzip_layer(1, 200_000)];
    let mut image = TestImage::index(&[("windows/amd64", &windows), ("linux/amd64", &linux)]);
    image.blobs.remove(&Digest::sha256_of(&foreign.1));
    for version in VERSIONS {
        for result in everywhere(&image, &options(version)).await {
            let report = result.unwrap();
            assert_eq!(platforms(&report), ["linux/amd64"]);
            assert_eq!(report.left_out_platforms[0].code, "foreign-layer");
        }
        for result in everywhere(&image, &strict(version)).await {
            assert_eq!(result.unwrap_err().reason(), Reason::LayerRejected);
        }
    }
    let store_of_one = registry().await;
    image.put(&store_of_one, REPOSITORY, "1");
    let asked = only(Version::V2, &["windows/amd64"]);
    let error = index_image(&store(&store_of_one), &name("1"), &asked).await.unwrap_err();
    assert_eq!(error.reason(), Reason::LayerRejected);
}
