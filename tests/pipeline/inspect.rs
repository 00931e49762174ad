//! What is told of an image's indexes, and what that takes.

use soci_indexer::{IndexError, Inspection, Layout, Options, Reason, ZtocRead, inspect_image};
use soci_manifest::{LayerDecision, SociIndexSettings, Version};
use soci_oci::Digest;
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, image, index, indexed, name, options, pack, store};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

async fn inspect(registry: &FakeRegistry, tag: &str) -> Result<Inspection, IndexError> {
    inspect_image(&store(registry), &name(tag), &Options::default()).await
}

/// Requests that read or write anything, by what they are for.
fn requests(registry: &FakeRegistry) -> usize {
    registry.requests().len()
}

#[tokio::test]
async fn an_index_is_told_with_its_layers_in_a_few_requests() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &options(version)).await);
        registry.clear_requests();
        let found = inspect(&registry, "1").await.unwrap();
        assert_eq!((found.image, found.is_complete()), (digest, true));
        let converted = found.converted.as_ref().map(|converted| converted.digest);
        assert_eq!(converted, (version == Version::V2).then_some(report.index));
        let told: Vec<Digest> =
            found.manifests.iter().flat_map(|m| &m.indexes).map(|index| index.digest).collect();
        let built: Vec<Digest> = report.indexes.iter().map(|index| index.digest).collect();
        assert_eq!(told, built);
        let first = &found.manifests[0].indexes[0];
        assert_eq!(first.build_tool.as_deref(), Some("AWS SOCI CLI v0.2"));
        assert_eq!(first.version, version);
        assert_eq!(first.layers.len(), 3);
        for layer in &report.layers {
            let told = first.layers.iter().find(|told| told.digest == layer.digest).unwrap();
            let ztoc = told.ztoc.as_ref().unwrap();
            assert_eq!((ztoc.digest, ztoc.size), (layer.ztoc, layer.ztoc_size));
            assert_eq!(ztoc.read, ZtocRead::Read { spans: layer.spans, files: layer.files });
            assert_eq!(ztoc.span_size, Some(64 << 10));
        }
        // The image index and two manifests; the converted image and its SOCI indexes, or two of these; three ztocs; lists;
        // and whether the three layers are there.
        let all = requests(&registry);
        assert!(all <= 16, "{version:?}: {all}: {:#?}", registry.requests());
        let layers: Vec<_> = first.layers.iter().map(|layer| layer.digest.to_string()).collect();
        let read = registry.requests_of(RequestKind::BlobGet);
        assert!(
            read.iter().all(|request| !layers.iter().any(|layer| request.path.contains(layer))),
            "a layer was read"
        );
        let written = [RequestKind::ManifestPut, RequestKind::UploadPost];
        assert!(written.iter().all(|kind| registry.requests_of(*kind).is_empty()));
    }
}

#[tokio::test]
async fn an_image_without_an_index_says_what_it_could_have() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let found = inspect(&registry, "1").await.unwrap();
    assert!(!found.is_indexed() && found.nothing.is_none() && found.converted.is_none());
    let layers = &found.manifests[0].layers;
    assert_eq!(layers[2].why_not, Some(LayerDecision::TooSmall));
    // What holds no layer that can be indexed is told as such.
    let zstd = (soci_oci::media_type::OCI_LAYER_ZSTD, gzip_layer(1, 300_000).1);
    TestImage::single("linux/amd64", &[zstd]).put(&registry, REPOSITORY, "2");
    let found = inspect(&registry, "2").await.unwrap();
    assert!(found.nothing.unwrap().to_string().contains("zstd"));
    let error = inspect(&registry, "3").await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImageGone);
}

#[tokio::test]
async fn the_result_belongs_to_the_digest_and_not_to_the_tag() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let newer = TestImage::single("linux/amd64", &[gzip_layer(9, 300_000)]);
    newer.put(&registry, REPOSITORY, "1");
    let found = inspect(&registry, "1").await.unwrap();
    assert!(!found.is_indexed() && found.converted.is_none());
    assert_eq!(found.of_another.unwrap().digest, report.index);
    // The converted image itself is looked at as well.
    let found = inspect(&registry, "1-soci").await.unwrap();
    assert!(found.is_complete());
    assert_eq!(found.converted.unwrap().digest, report.index);
}

#[tokio::test]
async fn whatever_it_was_built_with_is_found_and_told() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let settings = SociIndexSettings {
            span_size: 128 << 10,
            build_tool_identifier: "another".to_owned(),
            generation: soci_manifest::Generation::Newer,
            min_layer_size: 100_000,
            ..options(version).settings
        };
        indexed(index(&registry, "1", &Options { settings, ..options(version) }).await);
        let found = inspect(&registry, "1").await.unwrap();
        let first = &found.manifests[0].indexes[0];
        assert_eq!(first.build_tool.as_deref(), Some("another"));
        assert_eq!(first.generation, soci_manifest::Generation::Newer);
        assert_eq!(first.layers[0].ztoc.as_ref().unwrap().span_size, Some(128 << 10));
        assert!(first.layers[2].ztoc.is_none());
        assert_eq!(first.layers[2].why_not, Some(LayerDecision::TooSmall));
    }
}

#[tokio::test]
async fn a_ztoc_that_is_gone_is_told_and_a_registry_without_lists_is_no_failure() {
    for referrers_api in [true, false] {
        let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
        let registry = FakeRegistry::with(fake).await;
        image().put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &options(Version::V2)).await);
        registry.remove_blob(REPOSITORY, &report.layers[0].ztoc);
        let found = inspect(&registry, "1").await.unwrap();
        assert!(found.is_broken() && found.warnings.is_empty());
        registry.quirk(Quirk::on(RequestKind::Referrers, Effect::status(403)).always());
        let found = inspect(&registry, "1").await.unwrap();
        assert!(found.is_complete());
    }
}

#[tokio::test]
async fn a_layout_and_an_archive_are_looked_at_like_a_repository() {
    for version in VERSIONS {
        let folder = tempfile::tempdir().unwrap();
        image().write_layout(folder.path(), "1").unwrap();
        let layout = Layout::open(folder.path()).await.unwrap();
        soci_indexer::index_image(&layout, &name("1"), &options(version)).await.unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let archive = elsewhere.path().join("image.tar");
        pack(folder.path(), &archive);
        let archive = Layout::open_archive(&archive).await.unwrap();
        for layout in [layout, archive] {
            let found = inspect_image(&layout, &name("1"), &Options::default()).await.unwrap();
            assert!(found.is_complete() && !found.is_broken(), "{version:?}");
            assert_eq!(found.converted.is_some(), version == Version::V2);
        }
    }
}

#[tokio::test]
async fn a_layer_that_is_gone_is_told_be_there_an_index_or_not() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        indexed(index(&registry, "1", &options(version)).await);
        let layers: Vec<Digest> = {
            let found = inspect(&registry, "1").await.unwrap();
            assert!(found.missing_layers().is_empty());
            found.manifests[0].layers.iter().map(|layer| layer.digest).collect()
        };
        // The last one is too small for a ztoc with the usual settings.
        for gone in [layers[0], layers[2]] {
            registry.remove_blob(REPOSITORY, &gone);
            let found = inspect(&registry, "1").await.unwrap();
            assert!(found.missing_layers().contains(&gone), "{found:#?}");
            let first = &found.manifests[0].indexes[0];
            assert!(
                first
                    .layers
                    .iter()
                    .any(|layer| layer.digest == gone && layer.missing == Some(true))
            );
        }
        let of_no_image = gzip_layer(77, 300_000);
        TestImage::single("linux/amd64", std::slice::from_ref(&of_no_image))
            .put(&registry, REPOSITORY, "2");
        let gone = Digest::sha256_of(&of_no_image.1);
        registry.remove_blob(REPOSITORY, &gone);
        assert_eq!(inspect(&registry, "2").await.unwrap().missing_layers(), [gone]);
    }
}

#[tokio::test]
async fn a_platform_that_lacks_a_layer_keeps_no_other_from_being_started() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let layers = [1, 2].map(|seed| gzip_layer(seed, 300_000));
        let (amd64, arm64) = layers.split_at(1);
        let image = TestImage::index(&[("linux/amd64", amd64), ("linux/arm64", arm64)]);
        image.put(&registry, REPOSITORY, "1");
        let digests = layers.each_ref().map(|(_, layer)| Digest::sha256_of(layer));
        registry.remove_blob(REPOSITORY, &digests[1]);
        indexed(index(&registry, "1", &options(version)).await);
        let found = inspect(&registry, "1").await.unwrap();
        assert_eq!(found.missing_layers(), [digests[1]]);
        assert!(found.is_indexed() && !found.is_complete() && found.broken().is_none());
        // Now it is one of a platform with an index.
        registry.remove_blob(REPOSITORY, &digests[0]);
        let found = inspect(&registry, "1").await.unwrap();
        assert_eq!(found.broken(), Some("image-gone"));
    }
}

#[tokio::test]
async fn a_layer_on_disk_is_not_read_and_its_size_is_compared() {
    let layer = gzip_layer(1, 300_000);
    let folder = tempfile::tempdir().unwrap();
    TestImage::single("linux/amd64", std::slice::from_ref(&layer))
        .write_layout(folder.path(), "1")
        .unwrap();
    let digest = Digest::sha256_of(&layer.1);
    let file = folder.path().join("blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let missing = async || {
        let layout = Layout::open(folder.path()).await.unwrap();
        let options = Options::default();
        inspect_image(&layout, &name("1"), &options).await.unwrap().missing_layers()
    };
    assert!(missing().await.is_empty());
    std::fs::write(&file, &bytes[1..]).unwrap();
    assert_eq!(missing().await, [digest]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(missing().await, [digest]);
}

#[tokio::test]
async fn layers_of_which_nothing_is_known_are_told_and_not_all_of_many_are_asked_for() {
    let registry = FakeRegistry::start().await;
    let layers: Vec<_> = (0..250).map(|seed| gzip_layer(seed, 100)).collect();
    TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "many");
    registry.clear_requests();
    let found = inspect(&registry, "many").await.unwrap();
    assert_eq!(registry.requests_of(RequestKind::BlobHead).len(), 200);
    let told = "whether 50 of the image's layers are there is not known: only 200 are asked for";
    assert_eq!(found.warnings, [told]);
    let unknown = |found: &Inspection| {
        found.manifests[0].layers.iter().filter(|layer| layer.missing.is_none()).count()
    };
    assert_eq!(unknown(&found), 50);

    image().put(&registry, REPOSITORY, "1");
    for layer in &inspect(&registry, "1").await.unwrap().manifests[0].layers {
        for kind in [RequestKind::BlobHead, RequestKind::BlobGet] {
            let refused = Quirk::on(kind, Effect::status(403)).path(layer.digest.to_string());
            registry.quirk(refused.always());
        }
    }
    let found = inspect(&registry, "1").await.unwrap();
    assert!(found.missing_layers().is_empty());
    assert_eq!(unknown(&found), 3);
    let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
    assert!(warning.contains("3 of the image's layers") && warning.contains("403"), "{warning}");
}
