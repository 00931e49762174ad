//! What becomes of an image, and what is written for it.

use soci_indexer::{IndexError, Options, RemoteRepository, index_image};
use soci_manifest::{Generation, Platforms, SkipReason, SociIndexSettings, Version};
use soci_oci::media_type;
use soci_registry_server::testing::{FakeOptions, FakeRegistry, RequestKind};
use soci_tests::{FakeRegistryClient as _, TestImage, gzip_layer};

use crate::support::{OTHER, REPOSITORY, index, indexed, name, options, suffix, tags};

fn two_platforms() -> TestImage {
    let shared = gzip_layer(1, 1 << 20);
    let amd64 = [shared.clone(), gzip_layer(2, 300_000)];
    let arm64 = [gzip_layer(3, 400_000), shared];
    TestImage::index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)])
}

/// Requests that change the registry.
fn writes(registry: &FakeRegistry) -> usize {
    [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut]
        .into_iter()
        .map(|kind| registry.requests_of(kind).len())
        .sum()
}

#[tokio::test]
async fn a_layer_that_platforms_share_is_read_and_built_once() {
    let registry = FakeRegistry::start().await;
    let image = two_platforms();
    image.put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    assert_eq!(report.layers.len(), 3);
    assert_eq!(report.indexes.len(), 2);
    for layer in &report.layers {
        let reads = registry.requests_of(RequestKind::BlobGet);
        let reads = reads.iter().filter(|read| read.path.ends_with(&layer.digest.to_string()));
        assert_eq!(reads.count(), 1);
        assert!(layer.spans > 1 && layer.files > 1);
    }
    assert_eq!(report.bytes_read, report.layers.iter().map(|layer| layer.size).sum::<u64>());
    assert_eq!(tags(&registry), ["1", "1-soci"]);
}

#[tokio::test]
async fn doing_it_again_reads_no_layer_and_writes_nothing() {
    for version in [Version::V1, Version::V2] {
        for referrers_api in [true, false] {
            let registry =
                FakeRegistry::with(FakeOptions { referrers_api, ..FakeOptions::default() }).await;
            two_platforms().put(&registry, REPOSITORY, "1");
            let first = indexed(index(&registry, "1", &options(version)).await);
            registry.clear_requests();
            let again = index(&registry, "1", &options(version)).await.unwrap();
            assert!(again.already_there, "{again:?}");
            assert_eq!(again.index, first.index);
            assert_eq!(again.indexes, first.indexes);
            assert_eq!(writes(&registry), 0);
            for layer in &first.layers {
                let digest = layer.digest.to_string();
                let reads = registry.requests_of(RequestKind::BlobGet).into_iter();
                let of_layer = reads.filter(|read| read.path.ends_with(&digest));
                let ranges: Vec<_> = of_layer.map(|read| read.range).collect();
                // The length that its last gzip member tells of itself.
                let end = format!("bytes={}-{}", layer.size - 4, layer.size - 1);
                assert_eq!(ranges, [Some(end)], "{digest}");
            }
        }
    }
}

#[tokio::test]
async fn a_registry_without_ranges_is_not_read_for_the_end_of_a_layer() {
    for prefetch in [false, true] {
        let registry =
            FakeRegistry::with(FakeOptions { ranges: false, ..FakeOptions::default() }).await;
        two_platforms().put(&registry, REPOSITORY, "1");
        let mut options = options(Version::V2);
        if prefetch {
            options.settings.generation = Generation::Newer;
            options.settings.prefetch.auto = true;
        }
        indexed(index(&registry, "1", &options).await);
        registry.clear_requests();
        let again = index(&registry, "1", &options).await.unwrap();
        assert!(again.already_there && again.bytes_read == 0, "{again:?}");
    }
}

#[tokio::test]
async fn other_settings_are_another_index() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        two_platforms().put(&registry, REPOSITORY, "1");
        let base = options(version);
        let mut seen = vec![indexed(index(&registry, "1", &base).await).index];
        let changed = [
            SociIndexSettings { span_size: 32 << 10, ..base.settings.clone() },
            SociIndexSettings {
                build_tool_identifier: "other".to_owned(),
                ..base.settings.clone()
            },
            SociIndexSettings { min_layer_size: 200_000, ..base.settings.clone() },
            SociIndexSettings { annotate_span_size: true, ..base.settings.clone() },
        ];
        for settings in changed {
            let report =
                indexed(index(&registry, "1", &Options { settings, ..base.clone() }).await);
            assert!(!seen.contains(&report.index));
            seen.push(report.index);
        }
    }
}

#[tokio::test]
async fn an_index_whose_ztoc_is_gone_is_built_again() {
    let registry = FakeRegistry::start().await;
    two_platforms().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    registry.remove_blob(REPOSITORY, &first.layers[0].ztoc);
    let again = index(&registry, "1", &options(Version::V2)).await.unwrap();
    assert_eq!(again.index, first.index);
    assert_eq!((again.layers.len(), again.reused.len()), (1, 2), "the layer was read again");
    assert_eq!(again.layers[0].digest, first.layers[0].digest);
    assert!(!again.already_there, "a ztoc had to be written");
    assert!(registry.blob(REPOSITORY, &first.layers[0].ztoc).is_some());
}

#[tokio::test]
async fn an_index_whose_ztoc_is_brought_from_elsewhere_was_not_there() {
    let registry = FakeRegistry::start().await;
    let options = options(Version::V2);
    for place in [REPOSITORY, OTHER] {
        two_platforms().put(&registry, place, "1");
    }
    let index = async |place: &str| {
        let remote = RemoteRepository::new(registry.client(), registry.repository(place));
        index_image(&remote, &name("1"), &options).await.unwrap()
    };
    let first = index(REPOSITORY).await;
    assert!(!index(OTHER).await.already_there);
    registry.remove_blob(OTHER, &first.layers[0].ztoc);
    let again = index(OTHER).await;
    assert_eq!((again.layers.len(), again.reused.len()), (0, 3));
    assert!(!again.already_there && again.index == first.index, "{again:?}");
    assert!(index(OTHER).await.already_there);
}

/// It is asked for its last bytes anyway.
#[tokio::test]
async fn an_image_is_not_found_to_be_indexed_whose_layer_is_gone() {
    for version in [Version::V1, Version::V2] {
        for index_of_platforms in [false, true] {
            let registry = FakeRegistry::start().await;
            let image = if index_of_platforms {
                two_platforms()
            } else {
                TestImage::single("linux/arm64", &[gzip_layer(3, 400_000), gzip_layer(1, 900)])
            };
            image.put(&registry, REPOSITORY, "1");
            indexed(index(&registry, "1", &options(version)).await);
            // Of the second platform, if there are two.
            let gone = soci_oci::Digest::sha256_of(&gzip_layer(3, 400_000).1);
            registry.remove_blob(REPOSITORY, &gone);
            let again = index(&registry, "1", &options(version)).await;
            if index_of_platforms {
                let again = again.unwrap();
                assert_eq!(again.left_out_platforms.len(), 1, "{again:?}");
                let found = index(&registry, "1", &options(version)).await.unwrap();
                assert!(found.already_there && found.left_out_platforms.len() == 1, "{found:?}");
            } else {
                let error = again.unwrap_err();
                assert_eq!(error.reason(), soci_indexer::Reason::ImageGone, "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_converted_image_is_only_tagged_again_and_a_result_not_even_that() {
    let registry = FakeRegistry::start().await;
    two_platforms().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    registry.clear_requests();
    let again = index(&registry, "1-soci", &options(Version::V2)).await.unwrap();
    assert!(again.already_there, "{again:?}");
    assert_eq!((again.index, again.tag.unwrap().as_str()), (first.index, "1-soci"));
    assert_eq!(writes(&registry), 0);
    let other = Options { output: suffix("-other"), ..options(Version::V2) };
    let tagged = indexed(index(&registry, "1-soci", &other).await);
    assert_eq!(tagged.index, first.index);
    assert!(tagged.layers.is_empty());
    assert_eq!(writes(&registry), 1, "the tag");
    assert_eq!(tags(&registry), ["1", "1-soci", "1-soci-other"]);
}

#[tokio::test]
async fn force_builds_again_what_is_there() {
    let registry = FakeRegistry::start().await;
    two_platforms().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    let again = Options { force: true, ..options(Version::V2) };
    let again = indexed(index(&registry, "1", &again).await);
    assert_eq!((again.index, again.layers.len()), (first.index, 3));
}

#[tokio::test]
async fn an_empty_suffix_replaces_the_image_once() {
    let registry = FakeRegistry::start().await;
    let image = two_platforms().put(&registry, REPOSITORY, "1");
    let options = Options { output: suffix(""), ..options(Version::V2) };
    let report = indexed(index(&registry, "1", &options).await);
    assert_ne!(report.index, image);
    assert_eq!(registry.tags(REPOSITORY), [("1".to_owned(), report.index)]);
    let again = index(&registry, "1", &options).await.unwrap();
    assert!(again.already_there, "{again:?}");
}

#[tokio::test]
async fn without_a_tag_the_digest_names_the_result() {
    let registry = FakeRegistry::start().await;
    let image = two_platforms().put(&registry, REPOSITORY, "1");
    let name = soci_indexer::ImageName { target: image.into(), tag: None };
    let outcome =
        soci_indexer::index_image(&crate::support::store(&registry), &name, &options(Version::V2))
            .await;
    let report = indexed(outcome);
    let expected = format!("sha256-{}-soci", image.hex());
    assert_eq!(report.tag.unwrap().as_str(), expected);
    let bad = Options { output: suffix(&"x".repeat(130)), ..options(Version::V2) };
    let error = index(&registry, "1", &bad).await.unwrap_err();
    assert!(matches!(error, IndexError::OutputTag { .. }), "{error:?}");

    // That would be the list of the image's referrers.
    let bare = Options { output: suffix(""), ..options(Version::V2) };
    let store = crate::support::store(&registry);
    let error = soci_indexer::index_image(&store, &name, &bare).await.unwrap_err();
    assert!(matches!(error, IndexError::ReservedTag { .. }), "{error:?}");
    let mut huge = options(Version::V2);
    huge.settings.span_size = 1 << 63;
    registry.clear_requests();
    let error = index(&registry, "1", &huge).await.unwrap_err();
    assert!(matches!(error, IndexError::SpanSize(_)), "{error:?}");
    assert!(registry.requests().is_empty());
}

#[tokio::test]
async fn one_platform_can_be_asked_for() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        two_platforms().put(&registry, REPOSITORY, "1");
        let platforms = Platforms::Only(vec!["linux/arm64".parse().unwrap()]);
        let options = Options { platforms, ..options(version) };
        let report = indexed(index(&registry, "1", &options).await);
        assert_eq!(report.layers.len(), 2);
        let platforms: Vec<String> =
            report.indexes.iter().map(|i| i.platform.as_ref().unwrap().to_string()).collect();
        assert_eq!(platforms, ["linux/arm64"]);
    }
}

#[tokio::test]
async fn what_is_no_image_is_skipped_with_its_reason() {
    let chart = "application/vnd.cncf.helm.config.v1+json";
    let soci = Version::V2.artifact_type();
    let small: &[soci_tests::TestLayer] = &[gzip_layer(1, 1000)];
    let zstd: &[soci_tests::TestLayer] = &[(media_type::OCI_LAYER_ZSTD, vec![0; 400_000].into())];
    for (image, words) in [
        (TestImage::artifact(chart), "helm"),
        (TestImage::artifact(soci), "SOCI index"),
        (TestImage::single("linux/amd64", small), "smaller than"),
        (TestImage::single("linux/amd64", zstd), "1 with unsupported compression zstd"),
        (TestImage::single("linux/amd64", &[]), "no layers"),
    ] {
        for version in [Version::V1, Version::V2] {
            let registry = FakeRegistry::start().await;
            let digest = image.put(&registry, REPOSITORY, "1");
            let mut options = options(version);
            options.settings.min_layer_size = 300_000;
            let error = index(&registry, "1", &options).await.unwrap_err();
            let IndexError::Nothing { image, reason } = error else { panic!("{error:?}") };
            assert_eq!(image, digest);
            assert!(reason.to_string().contains(words), "{reason}");
            let empty = matches!(reason, SkipReason::NothingToIndex { .. });
            assert_eq!(empty, !words.contains("helm") && !words.contains("SOCI"), "{reason}");
            assert_eq!(writes(&registry), 0);
        }
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_is_a_permanent_error() {
    let registry = FakeRegistry::start().await;
    let error = index(&registry, "missing", &options(Version::V2)).await.unwrap_err();
    assert!(matches!(error, IndexError::NotFound { .. }), "{error:?}");
    assert!(!error.is_transient());
}
