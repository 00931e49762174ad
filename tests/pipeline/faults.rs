//! Bad days: a registry that fails, bytes that lie, layers that are broken.

use indexer::{IndexError, LayerError, Options};
use oci::media_type;
use registry::Transfer;
use registry::testing::{Effect, FakeOptions, FakeRegistry, Fault, Kind};
use soci::Version;
use tests::{TestImage, TestLayer, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options, tags};

fn image() -> TestImage {
    TestImage::single("linux/amd64", &[gzip_layer(1, 3 << 20), gzip_layer(2, 200_000)])
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
    let faults: [&[Fault]; 6] = [
        &[Fault::on(Kind::BlobGet, Effect::DropAfter(10_000)).times(3)],
        &[Fault::on(Kind::BlobGet, Effect::ShortBody(100)).times(2)],
        &[Fault::on(Kind::BlobGet, Effect::status(503)).times(2)],
        &[
            Fault::on(Kind::ManifestGet, Effect::status_with(429, "retry-after", "0")).times(2),
            Fault::on(Kind::UploadPut, Effect::LoseAnswer(500)),
        ],
        &[
            Fault::on(Kind::UploadPost, Effect::status(500)),
            Fault::on(Kind::UploadPut, Effect::status(502)),
            Fault::on(Kind::ManifestPut, Effect::status(500)).times(2),
        ],
        &[Fault::on(Kind::ManifestPut, Effect::LoseAnswer(504)).times(2)],
    ];
    for faults in faults {
        for redirect_blobs in [false, true] {
            let fake_options =
                FakeOptions { redirect_blobs, url_uses: Some(2), ..FakeOptions::default() };
            let registry = FakeRegistry::with(fake_options).await;
            image().put(&registry, REPOSITORY, "1");
            for fault in faults {
                registry.fault(fault.clone());
            }
            let transfer = Transfer { part_size: 64 << 10, parallel_parts: 3 };
            let client = registry.client_builder().transfer(transfer).build().unwrap();
            let store = indexer::RemoteRepository::new(client, registry.repository(REPOSITORY));
            let outcome = indexer::index_image(&store, &name("1"), &options(Version::V2)).await;
            assert_eq!(indexed(outcome).index, expected, "{faults:?}");
            // On the bytes themselves the faults would have to be the storage's.
            assert!(redirect_blobs || !registry.faults_left(), "{faults:?}");
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
        let fault = Fault::on(Kind::BlobGet, Effect::Corrupt(at)).path(layer.to_string()).always();
        registry.fault(fault);
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
        (Kind::UploadPost, ""),
        (Kind::UploadPut, ""),
        (Kind::ManifestPut, "sha256:"),
        (Kind::ManifestPut, "1-soci"),
    ] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        registry.fault(Fault::on(kind, Effect::status(403)).path(path).always());
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
    assert!(
        matches!(again, indexer::Outcome::AlreadyIndexed(report) if report.index == first.index)
    );
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
    registry
        .fault(Fault::on(Kind::BlobGet, Effect::Stall(50_000)).path(layer.to_string()).always());
    let options = options(Version::V2);
    let work = index(&registry, "1", &options);
    tokio::pin!(work);
    // Until the layer has been asked for, which then stalls.
    while !registry.requests_of(Kind::BlobGet).iter().any(|r| r.path.ends_with(&layer.to_string()))
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
