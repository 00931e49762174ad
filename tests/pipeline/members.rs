//! Layers of several gzip members, and the two generations of snapshotters.

use std::io::Write as _;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use soci_indexer::{Budget, IndexError, Options, verify_image};
use soci_manifest::{Generation, LayerDecision, SociIndexSettings, Version, format};
use soci_oci::{Manifest, media_type};
use soci_registry_server::testing::{FakeRegistry, RequestKind};
use soci_tests::{TestImage, TestLayer, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options, store};

/// A layer of one large file, with a new member every so many bytes.
fn layer_of_members(size: usize, every: usize) -> TestLayer {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let mut data = vec![0; size];
    fastrand::fill(&mut data);
    archive.append_data(&mut header, "file", &data[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let member = |piece: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Level::none());
        encoder.write_all(piece).unwrap();
        encoder.finish().unwrap()
    };
    let layer: Vec<u8> = archive.chunks(every).flat_map(member).collect();
    (media_type::OCI_LAYER_GZIP, layer.into())
}

fn of(generation: Generation, version: Version) -> Options {
    let base = options(version);
    Options { settings: SociIndexSettings { generation, ..base.settings.clone() }, ..base }
}

fn tag(version: Version) -> &'static str {
    if version == Version::V1 { "1" } else { "1-soci" }
}

#[tokio::test]
async fn the_older_generation_leaves_them_out_and_reads_no_more_than_it_must() {
    let several = layer_of_members(48 << 20, 1 << 20);
    let plain = gzip_layer(1, 300_000);
    let image = TestImage::single("linux/amd64", &[several.clone(), plain.clone()]);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let options = of(Generation::Older, version);
        let report = indexed(index(&registry, "1", &options).await);
        let [skipped] = &report.skipped[..] else { panic!("{:?}", report.skipped) };
        assert_eq!(skipped.decision, LayerDecision::SeveralMembers);
        assert_eq!(skipped.size, several.1.len() as u64);
        assert_eq!(report.layers.len(), 1);
        let most = (4 << 20) + plain.1.len() as u64;
        assert!(report.bytes_read <= most, "{} bytes were read", report.bytes_read);

        // Nothing has changed, which takes a look at the first member.
        let writes = registry.requests_of(RequestKind::ManifestPut).len();
        let again = index(&registry, "1", &options).await.unwrap();
        assert!(again.already_there && again.layers.is_empty(), "{again:?}");
        assert_eq!((again.index, &again.skipped), (report.index, &report.skipped));
        assert!(again.bytes_read > 0 && again.bytes_read <= 4 << 20, "{}", again.bytes_read);
        assert_eq!(registry.requests_of(RequestKind::ManifestPut).len(), writes);

        let budget = Budget::of_this_machine();
        let verified = verify_image(&store(&registry), &name(tag(version)).target, &budget).await;
        assert_eq!(verified.unwrap().misread, []);
    }
}

#[tokio::test]
async fn the_newer_generation_has_them_and_says_so() {
    let image = TestImage::single("linux/amd64", &[layer_of_members(3 << 20, 1 << 20)]);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let report = indexed(index(&registry, "1", &of(Generation::Newer, version)).await);
        assert_eq!((report.layers.len(), report.skipped.len()), (1, 0));
        let soci = registry.manifest(REPOSITORY, &report.indexes[0].digest.into()).unwrap().1;
        let soci = Manifest::decode(&soci).unwrap();
        assert!(soci.layers()[0].annotations.contains_key(format::SPAN_SIZE));

        let budget = Budget::of_this_machine();
        let verified = verify_image(&store(&registry), &name(tag(version)).target, &budget).await;
        let verified = verified.unwrap();
        assert_eq!((verified.layers[0].members, &verified.misread[..]), (4, &[][..]));
    }
}

#[tokio::test]
async fn a_check_warns_of_an_index_that_has_them_and_does_not_say_so() {
    let registry = FakeRegistry::start().await;
    let image = TestImage::single("linux/amd64", &[layer_of_members(3 << 20, 1 << 20)]);
    image.put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &of(Generation::Newer, Version::V1)).await);
    let digest = report.indexes[0].digest;
    let (kind, soci) = registry.manifest(REPOSITORY, &digest.into()).unwrap();
    let mut soci = Manifest::decode(&soci).unwrap();
    for ztoc in soci.layers.as_mut().unwrap() {
        ztoc.annotations.remove(format::SPAN_SIZE);
    }
    let unmarked = registry.put_manifest(REPOSITORY, None, &kind, soci.encode());

    let budget = Budget::of_this_machine();
    let verified = verify_image(&store(&registry), &name("1").target, &budget).await.unwrap();
    assert_eq!(verified.indexes.len(), 2);
    assert_eq!(verified.layers.len(), 1, "one pair of layer and ztoc is checked once");
    let [misread] = &verified.misread[..] else { panic!("{verified:?}") };
    assert_eq!((misread.index, misread.members), (unmarked, 4));
    assert!(misread.to_string().contains("0.14"));
}

#[tokio::test]
async fn an_image_with_nothing_else_is_skipped_with_the_reason() {
    let image = TestImage::single("linux/amd64", &[layer_of_members(3 << 20, 1 << 20)]);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        let digest = image.put(&registry, REPOSITORY, "1");
        let before = registry.manifests(REPOSITORY);
        let error = index(&registry, "1", &of(Generation::Older, version)).await.unwrap_err();
        let IndexError::Nothing { image, reason } = error else { panic!("{error:?}") };
        assert_eq!(image, digest);
        assert!(reason.to_string().contains("1 of several gzip members"), "{reason}");
        assert_eq!(registry.manifests(REPOSITORY), before);
    }
}

#[tokio::test]
async fn a_platform_with_nothing_else_is_left_out_beside_others() {
    let several = [layer_of_members(3 << 20, 1 << 20)];
    let plain = [gzip_layer(1, 300_000)];
    let platforms: [(&str, &[TestLayer]); 2] = [("linux/amd64", &several), ("linux/arm64", &plain)];
    let image = TestImage::index(&platforms);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let options = of(Generation::Older, version);
        let report = indexed(index(&registry, "1", &options).await);
        let [soci] = &report.indexes[..] else { panic!("{:?}", report.indexes) };
        assert_eq!(soci.platform.as_ref().unwrap().to_string(), "linux/arm64");
        assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
        let again = index(&registry, "1", &options).await.unwrap();
        assert!(again.already_there, "{again:?}");

        // The other generation is another index.
        let newer = indexed(index(&registry, "1", &of(Generation::Newer, version)).await);
        assert_eq!(newer.indexes.len(), 2);
    }
}

#[tokio::test]
async fn an_index_that_has_them_and_does_not_say_so_is_no_result() {
    let several = layer_of_members(3 << 20, 1 << 20);
    let image = TestImage::single("linux/amd64", &[several, gzip_layer(1, 300_000)]);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        // What a builder of 0.11 makes that does not look: the newer generation's ztocs without its mark.
        let mut careless = of(Generation::Newer, version);
        careless.settings.generation = Generation::Newer;
        let marked = indexed(index(&registry, "1", &careless).await);
        let ztocs: Vec<_> = marked.layers.iter().map(|layer| layer.ztoc).collect();
        assert_eq!(ztocs.len(), 2);
        let mut older = of(Generation::Older, version);
        older.settings.annotate_span_size = true;
        let report = index(&registry, "1", &older).await.unwrap();
        assert_eq!(report.skipped[0].decision, LayerDecision::SeveralMembers, "{version}");
        assert_ne!(report.index, marked.index);
        let again = index(&registry, "1", &older).await.unwrap();
        assert!(again.already_there && again.index == report.index, "{again:?}");
    }
}
