//! Bad days: a registry that fails, bytes that lie, layers that are broken.

use std::num::NonZeroUsize;

use soci_indexer::{Budget, IndexError, LayerError, Options};
use soci_manifest::Version;
use soci_oci::media_type;
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, TestLayer, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, options, tags};

fn image() -> TestImage {
    TestImage::single("linux/amd64", &[gzip_layer(1, 24 << 20), gzip_layer(2, 200_000)])
}

/// Nothing of a failed build can be found by anyone.
fn assert_nothing_left(registry: &FakeRegistry, image: &TestImage) {
    assert_eq!(tags(registry), ["1"]);
    assert_eq!(registry.manifests(REPOSITORY).len(), image.manifests.len());
}

#[tokio::test]
async fn faults_that_pass_do_not_change_the_result() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let expected = indexed(index(&registry, "1", &options(Version::V2)).await).index;
    let faults: [&[Quirk]; 6] = [
        &[Quirk::on(RequestKind::BlobGet, Effect::DropAfter(10_000)).times(3)],
        &[Quirk::on(RequestKind::BlobGet, Effect::ShortBody(100)).times(2)],
        &[Quirk::on(RequestKind::BlobGet, Effect::status(503)).times(2)],
        &[
            Quirk::on(RequestKind::ManifestGet, Effect::status_with(429, "retry-after", "0"))
                .times(2),
            Quirk::on(RequestKind::UploadPut, Effect::LoseAnswer(500)),
        ],
        &[
            Quirk::on(RequestKind::UploadPost, Effect::status(500)),
            Quirk::on(RequestKind::UploadPut, Effect::status(502)),
            Quirk::on(RequestKind::ManifestPut, Effect::status(500)).times(2),
        ],
        &[Quirk::on(RequestKind::ManifestPut, Effect::LoseAnswer(504)).times(2)],
    ];
    for faults in faults {
        for redirect_blobs in [false, true] {
            let fake_options =
                FakeOptions { redirect_blobs, url_uses: Some(2), ..FakeOptions::default() };
            let registry = FakeRegistry::with(fake_options).await;
            image().put(&registry, REPOSITORY, "1");
            for fault in faults {
                registry.quirk(fault.clone());
            }
            // The large layer comes in parts.
            let budget = Budget::new(NonZeroUsize::MIN, Budget::LEAST_MEMORY);
            let options = Options { budget, ..options(Version::V2) };
            let report = indexed(index(&registry, "1", &options).await);
            assert_eq!(report.index, expected, "{faults:?}");
            let ranged = [RequestKind::BlobGet, RequestKind::StorageGet]
                .iter()
                .flat_map(|kind| registry.requests_of(*kind))
                .filter(|request| request.range.is_some());
            assert!(ranged.count() >= 2);
            // On the bytes themselves the faults would have to be the storage's.
            assert!(redirect_blobs || !registry.quirks_left(), "{faults:?}");
        }
    }
}

#[tokio::test]
async fn a_layer_whose_bytes_are_not_those_of_its_digest_leaves_nothing_behind() {
    // At the start, in the middle and in the last byte, where the archive has long ended.
    let image = image();
    let size = image.blobs.values().map(|blob| blob.len() as u64).max().unwrap();
    for at in [0, size / 2, size - 1] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let layer = image.blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap().0;
        let fault =
            Quirk::on(RequestKind::BlobGet, Effect::Corrupt(at)).path(layer.to_string()).always();
        registry.quirk(fault);
        let error = index(&registry, "1", &options(Version::V2)).await.unwrap_err();
        let IndexError::Layer { digest, source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(digest, layer);
        // The digest is named, not what the changed bytes made of the stream.
        assert!(matches!(source, LayerError::Read(_)), "{source:?}");
        assert_nothing_left(&registry, &image);
    }
}

#[tokio::test]
async fn a_broken_layer_is_a_permanent_error_that_says_where() {
    let text: TestLayer = (media_type::OCI_LAYER, vec![b'x'; 100_000].into());
    let (gzip, whole) = gzip_layer(1, 1 << 20);
    let cut: TestLayer = (gzip, whole.slice(..whole.len() / 2));
    for (layer, words) in [(text, "header"), (cut, "cut short")] {
        for version in [Version::V1, Version::V2] {
            let registry = FakeRegistry::start().await;
            let layers = [gzip_layer(5, 100_000), layer.clone()];
            let image = TestImage::single("linux/amd64", &layers);
            image.put(&registry, REPOSITORY, "1");
            let error = index(&registry, "1", &options(version)).await.unwrap_err();
            let IndexError::Layer { source: LayerError::Build(source), .. } = &error else {
                panic!("{error:?}")
            };
            assert!(!error.is_transient());
            assert!(source.to_string().contains(words), "{source}");
            assert!(source.to_string().contains("offset"), "{source}");
            assert_nothing_left(&registry, &image);
        }
    }
}

#[tokio::test]
async fn a_registry_that_refuses_writes_is_left_without_a_tag() {
    for (kind, path) in [
        (RequestKind::UploadPost, ""),
        (RequestKind::UploadPut, ""),
        (RequestKind::ManifestPut, "sha256:"),
        (RequestKind::ManifestPut, "1-soci"),
    ] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        registry.quirk(Quirk::on(kind, Effect::status(403)).path(path).always());
        let error = index(&registry, "1", &options(Version::V2)).await.unwrap_err();
        assert!(matches!(error, IndexError::Write { .. }), "{error:?}");
        assert!(!error.is_transient());
        assert_eq!(tags(&registry), ["1"], "{kind:?}");
    }
}

#[tokio::test]
async fn an_immutable_tag_with_other_content_is_a_permanent_error_that_names_it() {
    let options = FakeOptions { immutable_tags: true, ..FakeOptions::default() };
    let registry = FakeRegistry::with(options).await;
    image().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &self::options(Version::V2)).await);
    let again = index(&registry, "1", &self::options(Version::V2)).await.unwrap();
    assert!(again.already_there && again.index == first.index, "{again:?}");
    let mut other: Options = self::options(Version::V2);
    other.settings.build_tool_identifier = "other".to_owned();
    let error = index(&registry, "1", &other).await.unwrap_err();
    assert!(!error.is_transient());
    let IndexError::Write { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("1-soci is immutable"), "{source}");
}

#[tokio::test]
async fn a_build_that_is_given_up_writes_no_manifest() {
    let registry = FakeRegistry::start().await;
    let image = image();
    image.put(&registry, REPOSITORY, "1");
    let layer = image.blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap().0;
    registry.quirk(
        Quirk::on(RequestKind::BlobGet, Effect::Stall(50_000)).path(layer.to_string()).always(),
    );
    let options = options(Version::V2);
    let work = index(&registry, "1", &options);
    tokio::pin!(work);
    // Until the layer has been asked for, which then stalls.
    while !registry
        .requests_of(RequestKind::BlobGet)
        .iter()
        .any(|r| r.path.ends_with(&layer.to_string()))
    {
        tokio::select! {
            outcome = &mut work => panic!("{outcome:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    // Dropped in the middle, as at the end of the program.
    #[expect(clippy::drop_non_drop, reason = "the pinned future is what the test gives up")]
    drop(work);
    assert_nothing_left(&registry, &image);
}

#[tokio::test]
async fn what_is_sent_in_the_place_of_a_manifest_is_an_error_and_not_skipped() {
    for (kind, body, words) in [
        ("text/html", "<html>log in</html>", "no manifest"),
        ("application/octet-stream", "\0\0", "no manifest"),
        ("", "{}", "no manifest"),
    ] {
        let registry = FakeRegistry::start().await;
        registry.put_manifest(REPOSITORY, Some("1"), kind, body.to_owned());
        let error = index(&registry, "1", &options(Version::V2)).await.unwrap_err();
        assert!(matches!(error, IndexError::NotADocument { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_without_a_media_type_is_taken_for_what_it_is() {
    let registry = FakeRegistry::start().await;
    let image = image();
    image.put(&registry, REPOSITORY, "1");
    let expected = indexed(index(&registry, "1", &options(Version::V2)).await).index;
    for kind in ["", "application/octet-stream", "text/plain"] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let root = image.manifests.last().unwrap().1.clone();
        registry.put_manifest(REPOSITORY, Some("1"), kind, root);
        let report = indexed(index(&registry, "1", &options(Version::V2)).await);
        assert_eq!(report.index, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn broken_leftovers_do_not_keep_an_image_from_being_indexed() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    for broken in [
        // With a range and without one.
        Quirk::on(RequestKind::BlobGet, Effect::status(416))
            .path(first.layers[1].ztoc.to_string())
            .times(2),
        Quirk::on(RequestKind::ManifestGet, Effect::Corrupt(3))
            .path(first.indexes[0].digest.to_string()),
        Quirk::on(RequestKind::ManifestGet, Effect::status(404))
            .path(first.indexes[0].digest.to_string()),
    ] {
        registry.quirk(broken.clone());
        let again = index(&registry, "1", &options(Version::V2)).await.unwrap();
        assert_eq!(again.index, first.index, "{broken:?}");
        assert_eq!(again.layers.len(), 2, "the layers were read again: {broken:?}");
        assert!(!registry.quirks_left());
    }
}

#[tokio::test]
async fn a_list_of_referrers_that_somebody_else_replaces_is_written_again() {
    let fake = FakeOptions { referrers_api: false, ..FakeOptions::default() };
    let registry = FakeRegistry::with(fake).await;
    let subject = image().put(&registry, REPOSITORY, "1");
    let tag = format!("sha256-{}", subject.hex());
    // The first write is acknowledged and lost.
    let lost = Effect::Answer { status: 201, headers: Vec::new(), body: String::new() };
    registry.quirk(Quirk::on(RequestKind::ManifestPut, lost).path(tag.clone()));
    let report = indexed(index(&registry, "1", &options(Version::V1)).await);
    let tag: soci_oci::Tag = tag.parse().unwrap();
    let referrers = registry.manifest(REPOSITORY, &tag.into()).unwrap().1;
    let referrers = soci_oci::Index::decode(&referrers).unwrap();
    assert!(referrers.manifests().iter().any(|entry| entry.digest == report.index));
}
