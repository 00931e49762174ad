//! Checking an index against its layers.

use bytes::Bytes;
use serde_json::{Value, json};
use soci_indexer::{Budget, Options, VerifyError, VerifySettings, verify_image, verify_image_with};
use soci_manifest::Version;
use soci_oci::{Digest, media_type};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options, store};

fn image() -> TestImage {
    let (_, plain) = gzip_layer(9, 300_000);
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&plain[..]), &mut archive)
        .unwrap();
    let layers = [gzip_layer(1, 2 << 20), (media_type::OCI_LAYER, archive.into())];
    TestImage::single("linux/amd64", &layers)
}

#[tokio::test]
async fn what_was_indexed_verifies() {
    for version in [Version::V1, Version::V2] {
        for referrers_api in [true, false] {
            let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
            let registry = FakeRegistry::with(fake).await;
            image().put(&registry, REPOSITORY, "1");
            let report = indexed(index(&registry, "1", &options(version)).await);
            let tag = if version == Version::V1 { "1" } else { "1-soci" };
            let verification =
                verify_image(&store(&registry), &name(tag).target, &Budget::of_this_machine())
                    .await
                    .unwrap();
            assert_eq!(verification.indexes, [report.indexes[0].digest]);
            assert_eq!(verification.layers.len(), 2);
            for (check, built) in verification.layers.iter().zip(&report.layers) {
                assert_eq!((check.layer, check.ztoc), (built.digest, built.ztoc));
                assert_eq!((check.spans, check.files), (built.spans, built.files));
                assert_eq!(check.extracted, 8);
            }
        }
    }
}

#[tokio::test]
async fn a_converted_image_verifies_whatever_media_type_the_registry_states() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let (_, root) = registry.manifest(REPOSITORY, &report.index.into()).unwrap();
    registry.put_manifest(REPOSITORY, Some("1-soci"), "application/octet-stream", root);
    let budget = Budget::of_this_machine();
    let verification = verify_image(&store(&registry), &name("1-soci").target, &budget).await;
    assert_eq!(verification.unwrap().indexes, [report.indexes[0].digest]);
}

#[tokio::test]
async fn an_image_without_an_index_fails() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let error = verify_image(&store(&registry), &name("1").target, &Budget::of_this_machine())
        .await
        .unwrap_err();
    assert!(matches!(error, VerifyError::NoIndex { .. }), "{error:?}");
    let error = verify_image(&store(&registry), &name("2").target, &Budget::of_this_machine())
        .await
        .unwrap_err();
    assert!(matches!(error, VerifyError::NotFound { .. }), "{error:?}");
}

/// An image whose SOCI index names `ztoc` in the place of the first layer's.
async fn with_ztoc(ztoc: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (FakeRegistry, VerifyError) {
    let registry = FakeRegistry::start().await;
    let image = image();
    let subject = image.put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V1)).await);
    let original = registry.blob(REPOSITORY, &report.layers[0].ztoc).unwrap();
    let changed: Bytes = ztoc(original.to_vec()).into();
    let ztoc = registry.put_blob(REPOSITORY, changed.clone());
    let target = report.indexes[0].digest.into();
    let (kind, bytes) = registry.manifest(REPOSITORY, &target).unwrap();
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    manifest["layers"][0]["digest"] = json!(ztoc.to_string());
    manifest["layers"][0]["size"] = json!(changed.len());
    // A second image with the same layers, which only the changed index is for.
    let manifest_bytes = registry.manifest(REPOSITORY, &subject.into()).unwrap().1;
    let mut other: Value = serde_json::from_slice(&manifest_bytes).unwrap();
    other["annotations"] = json!({ "other": "image" });
    let other = other.to_string();
    let subject = Digest::sha256_of(other.as_bytes());
    registry.put_manifest(REPOSITORY, Some("2"), media_type::OCI_MANIFEST, other.clone());
    manifest["subject"]["digest"] = json!(subject.to_string());
    manifest["subject"]["size"] = json!(other.len());
    registry.put_manifest(REPOSITORY, None, &kind, manifest.to_string());
    let error = verify_image(&store(&registry), &name("2").target, &Budget::of_this_machine())
        .await
        .unwrap_err();
    (registry, error)
}

/// The byte `at` in the window of `ztoc`'s second checkpoint; that of the first is all zeros.
fn window_byte(ztoc: &[u8], at: usize) -> usize {
    let place = soci_ztoc::ZtocHead::read(ztoc).unwrap().span_size_range().end as usize;
    place + (17 + (32 << 10)) + 17 + at
}

/// Something done to a ztoc.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

#[tokio::test]
async fn a_ztoc_that_does_not_match_its_layer_fails_and_says_where() {
    let position = |ztoc: &[u8], text: &[u8]| {
        ztoc.windows(text.len()).position(|window| window == text).unwrap()
    };
    let cases: [(&str, Change<'_>); 3] = [
        ("span ", &|ztoc| {
            let at = position(ztoc, b"sha256:") + 7;
            ztoc[at] = if ztoc[at] == b'0' { b'1' } else { b'0' };
        }),
        ("the window of checkpoint 1", &|ztoc| {
            let at = window_byte(ztoc, 12_345);
            ztoc[at] ^= 1;
        }),
        ("entry 39", &|ztoc| {
            // The windows hold headers of the archive as well; the entries come behind them.
            let name = b"usr/lib/package-0/file-39";
            let at = ztoc.windows(name.len()).rposition(|window| window == name).unwrap();
            ztoc[at] = b'x';
        }),
    ];
    for (words, change) in cases {
        let (_, error) = with_ztoc(|mut ztoc| {
            change(&mut ztoc);
            ztoc
        })
        .await;
        assert!(matches!(error, VerifyError::Mismatch { .. }), "{words}: {error:?}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let (_, error) = with_ztoc(|_| b"nonsense".to_vec()).await;
    assert!(matches!(error, VerifyError::Ztoc { .. }), "{error:?}");
}

#[tokio::test]
async fn a_layer_that_is_gone_or_changed_fails() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let layer = report.layers[0].digest.to_string();
    registry.quirk(Quirk::on(RequestKind::BlobGet, Effect::Corrupt(9)).path(layer.clone()));
    registry.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(404)).path(layer).after(1));
    let budget = Budget::of_this_machine();
    let target = name("1-soci").target;
    let error = verify_image(&store(&registry), &target, &budget).await;
    assert!(matches!(error, Err(VerifyError::Read { .. })), "{error:?}");
    let error = verify_image(&store(&registry), &target, &budget).await;
    assert!(matches!(error, Err(VerifyError::NotFound { what: "layer", .. })), "{error:?}");
}

#[tokio::test]
async fn a_layer_or_configuration_that_is_gone_fails_be_there_a_ztoc_of_it_or_not() {
    for quick in [false, true] {
        for version in [Version::V1, Version::V2] {
            let layers = [gzip_layer(1, 300_000), gzip_layer(2, 900)];
            let image = TestImage::single("linux/amd64", &layers);
            for (gone, bytes) in &image.blobs {
                let registry = FakeRegistry::start().await;
                image.put(&registry, REPOSITORY, "1");
                let mut options = options(version);
                options.settings.min_layer_size = 100_000;
                indexed(index(&registry, "1", &options).await);
                registry.remove_blob(REPOSITORY, gone);
                let target = name(if version == Version::V1 { "1" } else { "1-soci" }).target;
                let settings = VerifySettings { quick, ..VerifySettings::default() };
                let budget = Budget::of_this_machine();
                let error = verify_image_with(&store(&registry), &target, &settings, &budget).await;
                let Err(VerifyError::NotFound { what, target }) = &error else {
                    panic!("{error:?}")
                };
                assert_eq!(*target, (*gone).into());
                let layer = layers.iter().any(|(_, layer)| layer == bytes);
                assert_eq!(*what, if layer { "layer" } else { "configuration" });
            }
        }
    }
}

/// It is written with the index, so that making it anew helps, and pushing the image again does not.
#[tokio::test]
async fn a_converted_manifest_that_is_gone_or_changed_is_a_broken_index() {
    for gone in [true, false] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &options(Version::V2)).await);
        let manifest = report.indexes[0].image_manifest;
        if gone {
            registry.remove_manifest(REPOSITORY, &manifest);
        } else {
            let changed = Quirk::on(RequestKind::ManifestGet, Effect::Corrupt(9));
            registry.quirk(changed.path(manifest.to_string()).always());
        }
        let (target, budget) = (name("1-soci").target, Budget::of_this_machine());
        let error = verify_image(&store(&registry), &target, &budget).await.unwrap_err();
        assert_eq!(error.code(), "index-broken", "{error:?}");
    }
}

#[tokio::test]
async fn a_quick_check_reads_no_layer_whole_and_says_so() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &options(version)).await);
        let target = name(if version == Version::V1 { "1" } else { "1-soci" }).target;
        let (settings, budget) = (
            VerifySettings { quick: true, ..VerifySettings::default() },
            Budget::of_this_machine(),
        );
        registry.clear_requests();
        let store = store(&registry);
        let found = verify_image_with(&store, &target, &settings, &budget).await.unwrap();
        assert!(found.quick && found.layers.iter().all(|layer| !layer.rebuilt));
        let layers: u64 = found.layers.iter().map(|layer| layer.size).sum();
        let fetched: u64 = found.layers.iter().map(|layer| layer.bytes_fetched).sum();
        assert!(fetched > 0 && fetched < layers, "{fetched} of {layers}");
        assert!(found.layers.iter().all(|layer| layer.extracted == 2));
        for layer in &report.layers {
            let whole = registry.requests_of(RequestKind::BlobGet).into_iter().filter(|request| {
                request.path.ends_with(&layer.digest.to_string()) && request.range.is_none()
            });
            assert_eq!(whole.count(), 0);
        }
        // What it looks at it holds against what should be there.
        registry.remove_blob(REPOSITORY, &report.layers[0].digest);
        let error = verify_image_with(&store, &target, &settings, &budget).await.unwrap_err();
        assert!(matches!(error, VerifyError::NotFound { what: "layer", .. }), "{error:?}");
        registry.remove_blob(REPOSITORY, &report.layers[0].ztoc);
        let error = verify_image_with(&store, &target, &settings, &budget).await.unwrap_err();
        assert!(matches!(error, VerifyError::NotFound { what: "ztoc", .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_platforms_that_are_asked_for_are_checked() {
    for (version, several) in
        [(Version::V1, true), (Version::V1, false), (Version::V2, true), (Version::V2, false)]
    {
        let registry = FakeRegistry::start().await;
        let layers = [gzip_layer(1, 300_000), gzip_layer(2, 200_000)];
        let image = if several {
            TestImage::index(&[("linux/amd64", &layers[..1]), ("linux/arm64", &layers[1..])])
        } else {
            TestImage::single("linux/amd64", &layers[..1])
        };
        image.put(&registry, REPOSITORY, "1");
        indexed(index(&registry, "1", &options(version)).await);
        let target = name(if version == Version::V1 { "1" } else { "1-soci" }).target;
        let check = async |platforms: &[&str]| {
            let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
            let settings = VerifySettings { platforms, ..VerifySettings::default() };
            let budget = Budget::of_this_machine();
            verify_image_with(&store(&registry), &target, &settings, &budget).await
        };
        let found = check(&["linux/amd64"]).await.unwrap();
        assert_eq!((found.indexes.len(), found.layers.len()), (1, 1));
        assert_eq!(found.layers[0].layer, Digest::sha256_of(&layers[0].1));
        let both = check(&["linux/x86_64", "linux/arm64/v8"]).await.unwrap();
        assert_eq!(both.layers.len(), if several { 2 } else { 1 });
        let error = check(&["linux/s390x"]).await.unwrap_err().to_string();
        assert!(error.contains("linux/amd64"), "{error}");
    }
}

/// skopeo 1.9.3 knows no artifact type in an image index.
#[tokio::test]
async fn a_copy_that_has_lost_what_marks_its_index_is_told() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(Version::V2)).await);
    let (kind, root) = registry.manifest(REPOSITORY, &report.index.into()).unwrap();
    let mut root: Value = serde_json::from_slice(&root).unwrap();
    for entry in root["manifests"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("artifactType");
    }
    for tag in ["copy", "1-soci"] {
        registry.put_manifest(REPOSITORY, Some(tag), &kind, root.to_string());
    }
    let soci_index = report.indexes[0].digest;
    let (store, budget) = (store(&registry), Budget::of_this_machine());
    let error = verify_image(&store, &name("copy").target, &budget).await.unwrap_err();
    let VerifyError::NoIndex { unmarked, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*unmarked, Some(soci_index));
    let told = error.to_string();
    assert!(told.contains("artifactType") && told.contains("skopeo"), "{told}");
    for tag in ["copy", "1"] {
        let found = soci_indexer::inspect_image(&store, &name(tag), &Options::default()).await;
        let found = found.unwrap();
        assert!(!found.is_indexed(), "{tag}: {found:?}");
        let told = found.warnings.iter().find(|told| told.contains("artifactType"));
        assert!(
            told.is_some_and(|told| told.contains(&soci_index.to_string())),
            "{tag}: {found:?}"
        );
    }
}
