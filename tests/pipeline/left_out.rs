//! Layers that no ztoc describes, or none that anybody reads rightly: left out, and told.

use bytes::Bytes;
use soci_indexer::{Budget, IndexError, Layout, Options, Reason, index_image, verify_image};
use soci_manifest::{Generation, LayerDecision, SociIndexSettings, Version, WhyLeftOut};
use soci_oci::media_type;
use soci_registry_server::testing::{FakeRegistry, RequestKind};
use soci_tests::{TestImage, TestLayer, gzip_layer};
use soci_ztoc::testing::{archive_entry as entry, gzip, pax_header, plain_archive};

use crate::support::{REPOSITORY, index, indexed, name, options, store};

/// An archive with this entry first, and much behind it.
fn archive(odd: &[u8]) -> Vec<u8> {
    [odd.to_vec(), plain_archive(5, 400_000)].concat()
}

fn sparse() -> Vec<u8> {
    let records = [
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.size", "9000"),
        ("GNU.sparse.numblocks", "1"),
        ("GNU.sparse.map", "0,100"),
    ];
    [pax_header(b'x', &records), entry("sparse", b'0', 100, &[7; 100])].concat()
}

/// Each with the reason for which it is left out, and whether strict settings index it.
fn layers() -> Vec<(TestLayer, WhyLeftOut, bool)> {
    let global = pax_header(b'g', &[("comment", "0123")]);
    let plain = |bytes: Vec<u8>| -> TestLayer { (media_type::OCI_LAYER, Bytes::from(bytes)) };
    let packed = |bytes: &[u8]| -> TestLayer { (media_type::OCI_LAYER_GZIP, gzip(bytes).into()) };
    let trailing = |bytes: &[u8]| -> TestLayer {
        let layer = [gzip(&plain_archive(6, 300_000)), bytes.to_vec()].concat();
        (media_type::OCI_LAYER_GZIP, layer.into())
    };
    vec![
        (packed(&archive(&global)), WhyLeftOut::GlobalHeader, false),
        (plain(archive(&global)), WhyLeftOut::GlobalHeader, false),
        (packed(&archive(&entry("c", b'7', 0, b""))), WhyLeftOut::EntryType(b'7'), false),
        (packed(&archive(&sparse())), WhyLeftOut::SparseFile, true),
        (packed(&archive(&entry("l", b'1', 4096, b""))), WhyLeftOut::SizeOverNext, true),
        (trailing(&[0]), WhyLeftOut::TrailingBytes, false),
        (trailing(&[0; 512]), WhyLeftOut::TrailingBytes, false),
        (trailing(b"a signature"), WhyLeftOut::TrailingBytes, false),
    ]
}

fn with(version: Version, generation: Generation, strict: bool) -> Options {
    let base = options(version);
    let settings = SociIndexSettings { generation, strict, ..base.settings.clone() };
    Options { settings, ..base }
}

#[tokio::test]
async fn the_others_are_indexed_and_nothing_is_done_again() {
    for (odd, why, _) in layers() {
        let layers = [gzip_layer(1, 300_000), odd.clone(), gzip_layer(2, 200_000)];
        let image = TestImage::single("linux/amd64", &layers);
        for version in [Version::V1, Version::V2] {
            for generation in Generation::ALL {
                let registry = FakeRegistry::start().await;
                image.put(&registry, REPOSITORY, "1");
                let options = with(version, generation, false);
                let report = indexed(index(&registry, "1", &options).await);
                let [skipped] = &report.skipped[..] else { panic!("{why:?}: {report:?}") };
                assert_eq!(skipped.decision, LayerDecision::LeftOut(why));
                assert_eq!((report.layers.len(), report.unlike_reference().len()), (2, 1));

                let writes = registry.requests_of(RequestKind::ManifestPut).len();
                let again = index(&registry, "1", &options).await.unwrap();
                assert!(again.already_there && again.layers.is_empty(), "{why:?}: {again:?}");
                assert_eq!((again.index, &again.skipped), (report.index, &report.skipped));
                assert_eq!(registry.requests_of(RequestKind::ManifestPut).len(), writes);

                let tag = if version == Version::V1 { "1" } else { "1-soci" };
                let budget = Budget::of_this_machine();
                let target = name(tag).target;
                let verified = verify_image(&store(&registry), &target, &budget).await.unwrap();
                assert_eq!(verified.layers.len(), 2);
            }
        }
    }
}

#[tokio::test]
async fn strict_settings_do_what_the_reference_does() {
    for (odd, why, indexes) in layers() {
        let image = TestImage::single("linux/amd64", &[gzip_layer(1, 300_000), odd]);
        let folder = tempfile::tempdir().unwrap();
        image.write_layout(folder.path(), "1").unwrap();
        let layout = Layout::open(folder.path()).await.unwrap();
        for generation in Generation::ALL {
            let options = with(Version::V2, generation, true);
            match index_image(&layout, &name("1"), &options).await {
                Ok(report) => {
                    let layers = report.layers.len() + report.reused.len();
                    assert!(indexes && layers == 2, "{why:?}: {report:?}");
                }
                Err(error) => {
                    assert!(!indexes, "{why:?}: {error}");
                    assert_eq!(error.reason(), Reason::LayerRejected);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_image_of_nothing_else_is_skipped_with_the_reason() {
    for (odd, why, _) in layers() {
        let image = TestImage::single("linux/amd64", &[odd]);
        let registry = FakeRegistry::start().await;
        let digest = image.put(&registry, REPOSITORY, "1");
        let before = registry.manifests(REPOSITORY);
        for version in [Version::V1, Version::V2] {
            let error = index(&registry, "1", &options(version)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::NothingToIndex);
            let IndexError::Nothing { image, reason } = error else { panic!("{error:?}") };
            assert_eq!(image, digest);
            assert!(reason.to_string().contains(&format!("1 with {why}")), "{reason}");
        }
        assert_eq!(registry.manifests(REPOSITORY), before);
    }
}

#[tokio::test]
async fn a_limit_costs_the_layer_and_not_the_image() {
    let layers = [gzip_layer(1, 300_000), soci_tests::many_files_layer(2000).unwrap()];
    let image = TestImage::single("linux/amd64", &layers);
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, "1");
    let mut limited = options(Version::V2);
    limited.layer_limits.entries = 1000;
    let report = indexed(index(&registry, "1", &limited).await);
    assert_eq!(report.skipped[0].decision, LayerDecision::LeftOut(WhyLeftOut::Limit));
    assert!(index(&registry, "1", &limited).await.unwrap().already_there);
    limited.settings.strict = true;
    let error = index(&registry, "1", &limited).await.unwrap_err();
    assert_eq!(error.reason(), Reason::LayerLimit);
}

#[tokio::test]
async fn a_layer_that_is_broken_for_everybody_fails_the_image() {
    let global = archive(&pax_header(b'g', &[("comment", "0123")]));
    let whole = gzip(&global);
    let mut wrong_checksum = whole.clone();
    let checksum = wrong_checksum.len() - 8;
    wrong_checksum[checksum] ^= 1;
    let cut_short = whole[..whole.len() - 1].to_vec();
    for broken in [wrong_checksum, cut_short, b"no gzip at all".repeat(100)] {
        let odd: TestLayer = (media_type::OCI_LAYER_GZIP, broken.into());
        let image = TestImage::single("linux/amd64", &[gzip_layer(1, 300_000), odd]);
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        for version in [Version::V1, Version::V2] {
            let error = index(&registry, "1", &options(version)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::LayerRejected, "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_check_warns_of_a_ztoc_that_every_snapshotter_misreads() {
    for (odd, why, indexes) in layers() {
        if !indexes {
            continue;
        }
        let image = TestImage::single("linux/amd64", &[gzip_layer(1, 300_000), odd]);
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let strict = with(Version::V2, Generation::Newer, true);
        indexed(index(&registry, "1", &strict).await);
        let budget = Budget::of_this_machine();
        let verified = verify_image(&store(&registry), &name("1-soci").target, &budget).await;
        let verified = verified.unwrap();
        let [misread] = &verified.misread[..] else { panic!("{why:?}: {verified:?}") };
        assert!(misread.misread_entries && misread.to_string().contains("leaves the layer out"));
    }
}
