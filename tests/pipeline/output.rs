//! The result somewhere else than beside the image.

use std::io::Read as _;
use std::path::Path;

use soci_indexer::{
    Budget, ImageName, ImageStore, IndexError, Layout, LayoutImage, Options, OutputPlace,
    OutputTag, Reason, RemoteRepository, Report, StoreError, index_image_to, verify_image,
};
use soci_manifest::{Platforms, Version};
use soci_oci::{Digest, Index, Tag, TagOrDigest, media_type};
use soci_registry::Client;
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{FakeRegistryClient, gzip_layer};

use crate::support::{
    OTHER, REPOSITORY, image, index, indexed, layout_with, name, options, output, pack, place,
    store, wrong,
};

fn settings(version: Version) -> Options {
    let mut options = options(version);
    options.settings.min_layer_size = 10_000;
    options
}

/// The tag under which the result or its image is found.
fn result_tag(version: Version) -> &'static str {
    match version {
        Version::V1 => "1",
        Version::V2 => "1-soci",
    }
}

fn at(registry: &FakeRegistry, client: &Client, repository: &str) -> RemoteRepository {
    RemoteRepository::new(client.clone(), registry.repository(repository))
}

/// Indexes the image of a registry into an output.
async fn index_to<T: ImageStore>(
    registry: &FakeRegistry,
    output: &T,
    options: &Options,
) -> Result<Report, IndexError> {
    index_image_to(&store(registry), output, &place(registry, "1"), &name("1"), options).await
}

/// Indexes into an output, checks it, and does it again.
async fn check<S: ImageStore, T: ImageStore>(
    what: &str,
    source: (&S, &ImageName),
    output: &T,
    place: &OutputPlace,
    expected: &Report,
) {
    let options = settings(expected.version);
    let (source, name) = source;
    let report = index_image_to(source, output, place, name, &options).await;
    let report = report.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(!report.already_there, "{what}");
    assert_eq!((report.index, &report.indexes), (expected.index, &expected.indexes), "{what}");
    assert_eq!(report.tag, expected.tag, "{what}");
    let tag: Tag = result_tag(expected.version).parse().unwrap();
    let verified = verify_image(output, &tag.into(), &Budget::of_this_machine()).await;
    assert_eq!(verified.unwrap().layers.len(), 2, "{what}");
    // What is not indexed is there all the same.
    for (digest, blob) in &image().blobs {
        let there = output.has_blob(digest, blob.len() as u64).await.unwrap();
        assert!(there, "{what}: {digest}");
    }
    let again = index_image_to(source, output, place, name, &options).await.unwrap();
    assert!(again.already_there && again.index == expected.index, "{what}: {again:?}");
}

#[tokio::test]
async fn every_source_and_every_output_give_the_digests_of_beside_the_image() {
    for version in [Version::V1, Version::V2] {
        let beside = FakeRegistry::start().await;
        image().put(&beside, REPOSITORY, "1");
        let expected = indexed(index(&beside, "1", &settings(version)).await);

        let folder = tempfile::tempdir().unwrap();
        let (laid, packed) = (folder.path().join("in"), folder.path().join("in.tar"));
        std::fs::create_dir(&laid).unwrap();
        image().write_layout(&laid, "1").unwrap();
        pack(&laid, &packed);
        let files =
            [std::fs::read(&packed).unwrap(), std::fs::read(laid.join("index.json")).unwrap()];

        for number in 0..3 {
            let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
            image().put(&registry, REPOSITORY, "1");
            let client = registry.client();
            let outputs = [
                (at(&registry, &client, OTHER), "the same registry"),
                (at(&other, &client, OTHER), "another registry"),
            ];
            let new_layout = folder.path().join(format!("out-{version:?}-{number}"));
            let new_archive = folder.path().join(format!("out-{version:?}-{number}.tar"));
            let layout = Layout::open_or_create(&new_layout).await.unwrap();
            let archive = Layout::open_or_create_archive(&new_archive).await.unwrap();
            macro_rules! check_all {
                ($what:literal, $source:expr) => {
                    for (output, to) in &outputs {
                        let what = format!("{version:?} {} to {to}", $what);
                        check(&what, $source, output, &place(&registry, "1"), &expected).await;
                    }
                    for (output, to) in [(&layout, "a layout"), (&archive, "an archive")] {
                        let what = format!("{version:?} {} to {to}", $what);
                        check(&what, $source, output, &place(&registry, "1"), &expected).await;
                    }
                };
            }
            match number {
                0 => {
                    let source = at(&registry, &client, REPOSITORY);
                    check_all!("a registry", (&source, &name("1")));
                }
                1 => {
                    let layout = Layout::open(&laid).await.unwrap();
                    let (source, name) = layout.find(None).await.unwrap();
                    check_all!("a layout", (&source, &name));
                }
                _ => {
                    let archive = Layout::open_archive(&packed).await.unwrap();
                    let (source, name) = archive.find(None).await.unwrap();
                    check_all!("an archive", (&source, &name));
                }
            }
            assert!(!new_archive.exists(), "an archive is there when it is complete");
            archive.finish().await.unwrap();
            // As somebody else finds it.
            for reopened in [
                Layout::open(&new_layout).await.unwrap(),
                Layout::open_archive(&new_archive).await.unwrap(),
            ] {
                let wanted = LayoutImage::Name(result_tag(version).to_owned());
                let (reopened, name) = reopened.find(Some(&wanted)).await.unwrap();
                verify_image(&reopened, &name.target, &Budget::of_this_machine()).await.unwrap();
            }
        }
        let after =
            [std::fs::read(&packed).unwrap(), std::fs::read(laid.join("index.json")).unwrap()];
        assert!(files == after, "the source is only read");
        let left = std::fs::read_dir(folder.path()).unwrap();
        let partial =
            left.filter(|file| file.as_ref().unwrap().path().extension() == Some("tmp".as_ref()));
        assert_eq!(partial.count(), 0);
    }
}

#[tokio::test]
async fn within_a_registry_layers_are_mounted_and_else_copied_and_a_rerun_does_neither() {
    for ignored in [false, true] {
        let registry = FakeRegistry::start().await;
        if ignored {
            registry.behave("mounts-ignored");
        }
        image().put(&registry, REPOSITORY, "1");
        let source = store(&registry);
        let output = output(&registry);
        let options = settings(Version::V2);
        let report = index_image_to(&source, &output, &place(&registry, "1"), &name("1"), &options)
            .await
            .unwrap();
        let posts = registry.requests_of(RequestKind::UploadPost);
        let mounted =
            posts.iter().filter(|post| post.query.contains("mount=") && post.status == 201);
        let blobs = image().blobs.len();
        assert_eq!(mounted.count(), if ignored { 0 } else { blobs }, "{ignored}");
        // The ztocs and the configuration of SOCI indexes are new.
        let new = report.layers.len() + 1;
        let puts = registry.requests_of(RequestKind::UploadPut).len();
        assert_eq!(puts, if ignored { blobs + new } else { new }, "{ignored}");

        registry.clear_requests();
        let again =
            index_image_to(&source, &output, &place(&registry, "1"), &name("1"), &options).await;
        assert!(again.unwrap().already_there);
        for kind in [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut] {
            assert_eq!(registry.requests_of(kind), [], "{ignored}");
        }
        let layer = image().blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap().0.to_string();
        let read = registry.requests_of(RequestKind::BlobGet);
        let whole = read.iter().filter(|get| get.path.contains(&layer) && get.range.is_none());
        assert_eq!(whole.count(), 0);
    }
}

#[tokio::test]
async fn faults_that_pass_do_not_change_what_is_copied() {
    let beside = FakeRegistry::start().await;
    image().put(&beside, REPOSITORY, "1");
    let expected = indexed(index(&beside, "1", &settings(Version::V2)).await).index;
    // At the source, at the output.
    let faults: [(&[Quirk], &[Quirk]); 7] = [
        (&[Quirk::on(RequestKind::BlobGet, Effect::DropAfter(10_000)).times(3)], &[]),
        (&[Quirk::on(RequestKind::BlobGet, Effect::status(503)).times(4)], &[]),
        (&[Quirk::on(RequestKind::BlobGet, Effect::ShortBody(100)).times(3)], &[]),
        (&[], &[Quirk::on(RequestKind::UploadPut, Effect::status(503)).times(3)]),
        (&[], &[Quirk::on(RequestKind::UploadPut, Effect::HangUp).times(3)]),
        (&[], &[Quirk::on(RequestKind::UploadPut, Effect::LoseAnswer(500)).times(3)]),
        (&[], &[Quirk::on(RequestKind::UploadPost, Effect::status(500)).times(3)]),
    ];
    for (at_source, at_output) in faults {
        let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
        image().put(&registry, REPOSITORY, "1");
        for quirk in at_source {
            registry.quirk(quirk.clone());
        }
        for quirk in at_output {
            other.quirk(quirk.clone());
        }
        let output = output(&other);
        let report = index_to(&registry, &output, &settings(Version::V2)).await;
        assert_eq!(report.unwrap().index, expected, "{at_source:?} {at_output:?}");
        assert!(!registry.quirks_left() && !other.quirks_left(), "{at_source:?} {at_output:?}");
    }
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on_where_it_was() {
    let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image().put(&registry, REPOSITORY, "1");
    let output = output(&other);
    let options = settings(Version::V2);
    let run = || index_to(&registry, &output, &options);
    // Refused for good, after some blobs.
    let refusal =
        other.quirk(Quirk::on(RequestKind::UploadPut, Effect::status(403)).after(4).always());
    let error = run().await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthorized, "{error:?}");
    // Of those that were sent beside the refused one, some may have been broken off.
    let stored = other.blobs(OTHER);
    assert!((1..=4).contains(&stored.len()) && other.tags(OTHER).is_empty(), "{stored:?}");
    other.lift(refusal);
    indexed(run().await);
    assert!(other.blobs(OTHER).len() > stored.len());
    // Of both runs: what was under way when the first one ended may be in the log late.
    let sent = other.requests_of(RequestKind::UploadPut);
    let times = |blob: &Digest| sent.iter().filter(|put| put.query.contains(&blob.hex())).count();
    let again = stored.iter().find(|blob| times(blob) > 1);
    assert!(again.is_none(), "{again:?} is sent again: {sent:?}");
}

#[tokio::test]
async fn an_output_that_has_lost_a_blob_gets_all_of_them_again() {
    let registry = FakeRegistry::start().await;
    let other =
        FakeRegistry::with(FakeOptions { check_references: true, ..FakeOptions::default() }).await;
    image().put(&registry, REPOSITORY, "1");
    // It says of every blob that it has it, once.
    other.quirk(
        Quirk::on(RequestKind::BlobHead, Effect::status_with(200, "content-length", "0")).times(3),
    );
    let output = output(&other);
    let report = index_to(&registry, &output, &settings(Version::V2)).await;
    let report = report.unwrap();
    let tag = TagOrDigest::Tag("1-soci".parse().unwrap());
    verify_image(&output, &tag, &Budget::of_this_machine()).await.unwrap();
    assert!(other.blob(OTHER, &report.layers[0].digest).is_some());
}

#[tokio::test]
async fn wrong_bytes_in_the_source_are_not_pushed() {
    let image = image();
    let (small, blob) = image
        .blobs
        .iter()
        .filter(|(_, blob)| blob.starts_with(&[0x1f, 0x8b]))
        .min_by_key(|(_, blob)| blob.len())
        .unwrap();
    for (size, wrong) in wrong(blob) {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout_with(folder.path(), &image, small, &wrong).await;
        let registry = FakeRegistry::start().await;
        let output = output(&registry);
        for version in [Version::V1, Version::V2] {
            let place = OutputPlace::default();
            let error =
                index_image_to(&layout, &output, &place, &name("1"), &settings(version)).await;
            let error = error.unwrap_err();
            let IndexError::Write {
                source: StoreError::Copy { digest, reading: true, .. }, ..
            } = &error
            else {
                panic!("{size}: {error:?}");
            };
            assert_eq!((digest, error.is_transient()), (small, false), "{size}");
            // SOCI indexes may be there, of which nothing knows.
            assert_eq!(registry.tags(OTHER), [], "{size}");
            for manifest in registry.manifests(OTHER) {
                let (_, manifest) = registry.manifest(OTHER, &manifest.into()).unwrap();
                let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
                let names = manifest["layers"].to_string().contains(&small.to_string());
                assert!(!names, "{size}: {manifest}");
            }
            assert!(registry.blob(OTHER, small).is_none(), "{size}");
        }
        // In an archive nothing is left of it either.
        let file = folder.path().join("out.tar");
        let archive = Layout::open_or_create_archive(&file).await.unwrap();
        let place = OutputPlace::default();
        let error =
            index_image_to(&layout, &archive, &place, &name("1"), &settings(Version::V2)).await;
        assert!(error.is_err());
        drop(archive);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "{size}");
    }
}

#[tokio::test]
async fn a_registry_that_believes_every_byte_gets_no_wrong_ones() {
    // The upload breaks off before its last piece, so nobody has to check the digest.
    let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image().put(&registry, REPOSITORY, "1");
    let blobs = image().blobs;
    let small =
        blobs.iter().filter(|(_, b)| b.starts_with(&[0x1f, 0x8b])).min_by_key(|(_, b)| b.len());
    let small = small.unwrap().0;
    registry.quirk(
        Quirk::on(RequestKind::BlobGet, Effect::Corrupt(5)).path(small.to_string()).always(),
    );
    let output = output(&other);
    let place = OutputPlace::default();
    let error =
        index_image_to(&store(&registry), &output, &place, &name("1"), &settings(Version::V2))
            .await;
    assert_eq!(error.unwrap_err().reason(), Reason::DigestMismatch);
    let puts = other.requests_of(RequestKind::UploadPut);
    let complete = puts.iter().filter(|put| put.query.contains(&small.hex()) && put.status < 300);
    assert_eq!(complete.count(), 0);
}

#[tokio::test]
async fn what_is_converted_already_keeps_its_tag_and_needs_no_other_name() {
    let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &settings(Version::V2)).await);
    let output = output(&other);
    let options = settings(Version::V2);
    let place = OutputPlace::default();
    let report = index_image_to(&store(&registry), &output, &place, &name("1-soci"), &options)
        .await
        .unwrap();
    assert_eq!((report.index, report.tag.as_ref().map(Tag::as_str)), (first.index, Some("1-soci")));
    assert_eq!(other.tags(OTHER), [("1-soci".to_owned(), first.index)]);
    let again = index_image_to(&store(&registry), &output, &place, &name("1-soci"), &options)
        .await
        .unwrap();
    assert!(again.already_there);
    // The output says another name.
    let options = Options { output: OutputTag::Tag("x".parse().unwrap()), ..options };
    let named = index_image_to(&store(&registry), &output, &place, &name("1-soci"), &options)
        .await
        .unwrap();
    assert_eq!((named.index, named.tag.as_ref().map(Tag::as_str)), (first.index, Some("x")));
}

#[tokio::test]
async fn an_image_that_is_named_by_its_digest_is_copied_under_no_other_name() {
    let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    let digest = image().put(&registry, REPOSITORY, "1");
    let output = output(&other);
    let place = OutputPlace::default();
    let name = ImageName::from(digest);
    let report =
        index_image_to(&store(&registry), &output, &place, &name, &settings(Version::V1)).await;
    indexed(report);
    assert_eq!(other.tags(OTHER), []);
    let target = TagOrDigest::Digest(digest);
    assert!(other.manifest(OTHER, &target).is_some());
    verify_image(&output, &target, &Budget::of_this_machine()).await.unwrap();
}

#[tokio::test]
async fn an_archive_is_indexed_in_place_and_only_when_there_is_something_to_write() {
    for version in [Version::V1, Version::V2] {
        let folder = tempfile::tempdir().unwrap();
        let (laid, file) = (folder.path().join("in"), folder.path().join("a.tar"));
        std::fs::create_dir(&laid).unwrap();
        image().write_layout(&laid, "1").unwrap();
        std::fs::write(laid.join("README"), "kept").unwrap();
        pack(&laid, &file);
        let layout = Layout::open_archive(&file).await.unwrap();
        let (layout, name) = layout.find(None).await.unwrap();
        let run = async || {
            let report =
                soci_indexer::index_image(&layout, &name, &settings(version)).await.unwrap();
            layout.finish().await.unwrap();
            report
        };
        assert!(!run().await.already_there);
        let after_first = std::fs::read(&file).unwrap();
        assert!(run().await.already_there);
        assert!(std::fs::read(&file).unwrap() == after_first);
        let reopened = Layout::open_archive(&file).await.unwrap();
        let tag: Tag = result_tag(version).parse().unwrap();
        verify_image(&reopened, &tag.into(), &Budget::of_this_machine()).await.unwrap();
        let mut archive = tar::Archive::new(&after_first[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hex, Digest::sha256_of(&bytes).hex());
            }
            names.push(name);
        }
        for once in ["index.json", "oci-layout", "README"] {
            assert_eq!(names.iter().filter(|name| *name == once).count(), 1, "{names:?}");
        }
        assert_eq!(names.last().map(String::as_str), Some("index.json"));
    }
}

#[tokio::test]
async fn an_archive_that_somebody_else_changes_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (laid, file) = (folder.path().join("in"), folder.path().join("a.tar"));
    std::fs::create_dir(&laid).unwrap();
    image().write_layout(&laid, "1").unwrap();
    pack(&laid, &file);
    let layout = Layout::open_archive(&file).await.unwrap();
    let report = soci_indexer::index_image(&layout, &name("1"), &settings(Version::V2)).await;
    indexed(report);
    std::fs::write(&file, "another").unwrap();
    let error = layout.finish().await.unwrap_err().to_string();
    assert!(error.contains("try again"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"another");
}

/// What docker saved before it saved layouts: one image of two layers, which another entry names as a link, and one of
/// a compressed layer.
fn docker_archive(file: &Path) -> [Vec<u8>; 2] {
    let plain = soci_ztoc::testing::plain_archive(1, 1 << 20);
    let (_, compressed) = gzip_layer(2, 300_000);
    let id = |bytes: &[u8]| Digest::sha256_of(bytes).to_string();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [id(&plain), id(b"uncompressed")] },
    });
    let config = config.to_string();
    let manifest = serde_json::json!([{
        "Config": "c.json", "RepoTags": ["app:1.0", "r.example:5000/team/app:2"],
        "Layers": ["x/layer.tar", "y/layer.tar"],
    }]);
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    add("z/layer.tar", &plain);
    add("y/layer.tar", &compressed);
    add("c.json", config.as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "x/layer.tar", "../z/layer.tar").unwrap();
    archive.finish().unwrap();
    [plain, compressed.to_vec()]
}

#[tokio::test]
async fn an_archive_of_docker_is_indexed_into_an_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.tar");
    let layers = docker_archive(&file);
    let before = std::fs::read(&file).unwrap();
    let saved = Layout::open_docker_archive(&file).await.unwrap();
    let error = saved.find(None).await.unwrap_err().to_string();
    assert!(error.contains(":1.0") && error.contains(":2"), "{error}");
    for wanted in ["app:1.0", "docker.io/library/app:1.0", "1.0"] {
        let wanted = LayoutImage::Name(wanted.to_owned());
        let (_, name) = saved.find(Some(&wanted)).await.unwrap();
        assert_eq!(name.tag.as_ref().map(Tag::as_str), Some("1.0"));
    }
    let wanted = LayoutImage::Name("r.example:5000/team/app:2".to_owned());
    let (saved, name) = saved.find(Some(&wanted)).await.unwrap();
    let registry = FakeRegistry::start().await;
    let output = output(&registry);
    let new = folder.path().join("out");
    let layout = Layout::open_or_create(&new).await.unwrap();
    let place = OutputPlace::default();
    let options = settings(Version::V2);
    let first = index_image_to(&saved, &output, &place, &name, &options).await.unwrap();
    let second = index_image_to(&saved, &layout, &place, &name, &options).await.unwrap();
    assert_eq!((first.index, first.layers.len()), (second.index, 2));
    assert_eq!(first.tag.as_ref().map(Tag::as_str), Some("2-soci"));
    let target = TagOrDigest::Tag("2-soci".parse().unwrap());
    verify_image(&output, &target, &Budget::of_this_machine()).await.unwrap();
    let (_, manifest) = registry.manifest(OTHER, &first.indexes[0].image_manifest.into()).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let kinds = [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP];
    for (number, (layer, kind)) in layers.iter().zip(kinds).enumerate() {
        let entry = &manifest["layers"][number];
        assert_eq!(entry["mediaType"], kind);
        assert_eq!(entry["digest"], Digest::sha256_of(layer).to_string());
        assert_eq!(entry["size"], layer.len());
    }
    let error = Layout::open_archive(&file).await.unwrap_err().to_string();
    assert!(error.contains("docker-archive:"), "{error}");
    // Beside the image there is no place.
    let error = soci_indexer::index_image(&saved, &name, &options).await.unwrap_err();
    let told = format!("{error:?}");
    assert!(told.contains("--output"), "{told}");
    assert!(std::fs::read(&file).unwrap() == before);
}

/// Beside the image such a platform hinders nobody.
#[tokio::test]
async fn a_platform_that_lacks_a_layer_hinders_no_output() {
    let mut image = image();
    let (gone, _) = gzip_layer_of_amd64();
    image.blobs.remove(&gone);
    let unchecked = FakeOptions { check_references: false, ..FakeOptions::default() };
    let registry = FakeRegistry::with(unchecked.clone()).await;
    image.put(&registry, REPOSITORY, "1");
    let arm64 = Platforms::AnyOf(vec!["linux/arm64".parse().unwrap()]);
    for version in [Version::V1, Version::V2] {
        for platforms in [Platforms::All, arm64.clone()] {
            let options = Options { platforms, ..settings(version) };
            let beside = FakeRegistry::with(unchecked.clone()).await;
            image.put(&beside, REPOSITORY, "1");
            let expected = indexed(index(&beside, "1", &options).await);
            let told = expected.left_out_platforms.len();
            assert_eq!(told, usize::from(matches!(options.platforms, Platforms::All)));

            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::open_or_create(&folder.path().join("out")).await.unwrap();
            let report = indexed(index_to(&registry, &layout, &options).await);
            assert_eq!(report.index, expected.index, "{version}");
            let again = index_to(&registry, &layout, &options).await.unwrap();
            assert!(again.already_there, "{version}");

            // One that looks whether there is all that is listed.
            let strict = FakeRegistry::start().await;
            let output = output(&strict);
            let result = index_to(&registry, &output, &options).await;
            let sent = strict.requests_of(RequestKind::UploadPut);
            let stored = sent.iter().filter(|put| put.status == 201).count();
            assert_eq!(stored, strict.blobs(OTHER).len(), "each blob once");
            if version == Version::V1 {
                // The image itself cannot be there then.
                let error = result.unwrap_err();
                assert!(matches!(error, IndexError::Write { what: "image", .. }), "{error:?}");
                continue;
            }
            let report = indexed(result);
            assert_eq!(report.left_out_platforms.len(), told);
            assert_eq!(report.indexes, expected.indexes);
            let root = strict.manifest(OTHER, &report.index.into()).unwrap().1;
            assert_eq!(Index::decode(&root).unwrap().manifests().len(), 2);
            let target = TagOrDigest::Tag(report.tag.unwrap());
            verify_image(&output, &target, &Budget::of_this_machine()).await.unwrap();
            // What the result lacks is seen again where it was to be indexed.
            if told > 0 {
                let again = index_to(&registry, &output, &options).await.unwrap();
                assert!(again.already_there && again.bytes_read == 0, "{again:?}");
            }
        }
    }
}

/// The layer that only linux/amd64 has, and that is indexed.
fn gzip_layer_of_amd64() -> (Digest, Vec<u8>) {
    let (_, bytes) = gzip_layer(2, 300_000);
    (Digest::sha256_of(&bytes), bytes.to_vec())
}

#[cfg(unix)]
#[tokio::test]
async fn an_archive_keeps_its_permissions_its_links_and_its_size() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let folder = tempfile::tempdir().unwrap();
    let (laid, file) = (folder.path().join("in"), folder.path().join("a.tar"));
    std::fs::create_dir(&laid).unwrap();
    image().write_layout(&laid, "1").unwrap();
    let large = laid.join("blobs/sha256").join(gzip_layer_of_amd64().0.hex());
    let mut archive = tar::Builder::new(std::fs::File::create(&file).unwrap());
    archive.append_dir_all(".", &laid).unwrap();
    for number in 0..8 {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        let to = Path::new("..").join(large.strip_prefix(&laid).unwrap());
        archive.append_link(&mut link, format!("links/{number}"), to).unwrap();
    }
    archive.into_inner().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(&file).unwrap().len();
    let path = folder.path().join("link.tar");
    symlink("a.tar", &path).unwrap();

    let layout = Layout::open_archive(&path).await.unwrap();
    let report = soci_indexer::index_image(&layout, &name("1"), &settings(Version::V2)).await;
    let report = indexed(report);
    layout.finish().await.unwrap();
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(after.permissions().mode() & 0o777, 0o640);
    let ztocs: u64 = report.layers.iter().map(|layer| layer.ztoc_size).sum();
    let added = after.len() - before;
    assert!(added < ztocs + 40_000, "{added} bytes more, of which {ztocs} are ztocs");
    let mut archive = tar::Archive::new(std::fs::File::open(&file).unwrap());
    let unpacked = folder.path().join("unpacked");
    archive.unpack(&unpacked).unwrap();
    for number in 0..8 {
        let link = std::fs::read(unpacked.join(format!("links/{number}"))).unwrap();
        assert!(link == gzip_layer_of_amd64().1, "{number}");
    }
}
