//! OCI layouts on disk.

use soci_indexer::{
    BlobStream as _, Budget, ImageName, ImageStore, Layout, LayoutError, Options, OutputTag,
    StoreError, index_image, verify_image,
};
use soci_manifest::Version;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::Transfer;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, index, indexed, name, options};

fn image() -> TestImage {
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(2, 100_000)];
    TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &layers[..1])])
}

#[tokio::test]
async fn a_layout_and_a_registry_get_the_same_index() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let expected = indexed(index(&registry, "1", &options(version)).await);
        let folder = tempfile::tempdir().unwrap();
        image().write_layout(folder.path(), "1").unwrap();
        let layout = Layout::open(folder.path()).await.unwrap();
        let report = indexed(index_image(&layout, &name("1"), &options(version)).await);
        assert_eq!((report.index, &report.indexes), (expected.index, &expected.indexes));

        let again = index_image(&layout, &name("1"), &options(version)).await.unwrap();
        assert!(again.already_there, "{again:?}");
        let target = match version {
            Version::V1 => name("1").target,
            Version::V2 => name("1-soci").target,
        };
        let verification =
            verify_image(&layout, &target, &Budget::of_this_machine()).await.unwrap();
        assert_eq!(verification.layers.len(), 2);
    }
}

#[tokio::test]
async fn who_hashes_a_blob_of_a_layout_verifies_it() {
    let folder = tempfile::tempdir().unwrap();
    image().write_layout(folder.path(), "1").unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    let (_, layer) = gzip_layer(1, 1 << 20);
    let (digest, size) = (Digest::sha256_of(&layer), layer.len() as u64);
    let other = Digest::sha256_of(b"other");
    let read = async |blob: &mut <Layout as ImageStore>::Blob| {
        while let Some(bytes) = blob.next().await? {
            assert!(!bytes.is_empty());
        }
        Ok::<_, StoreError>(())
    };
    let open = |size| layout.blob(&digest, size, Transfer::default().into());
    for actual in [digest, other] {
        let mut blob = open(size);
        assert!(blob.leave_hashing());
        blob.next().await.unwrap();
        assert!(blob.hashed(&digest).is_err(), "too early");
        read(&mut blob).await.unwrap();
        assert_eq!(blob.hashed(&actual).is_ok(), actual == digest);
        assert_eq!(blob.next().await.is_ok(), actual == digest, "it stays so");
        assert!(blob.hashed(&digest).is_err(), "it was said already");
    }
    for wrong in [size - 1, size + 1] {
        let mut blob = open(wrong);
        assert!(blob.leave_hashing() && read(&mut blob).await.is_err());
        assert!(blob.hashed(&digest).is_err(), "the size is compared in any case");
    }
    // It is too late once bytes were read.
    let mut blob = open(size);
    blob.next().await.unwrap();
    assert!(!blob.leave_hashing());
    read(&mut blob).await.unwrap();
    assert!(blob.hashed(&digest).is_err());
}

#[tokio::test]
async fn the_only_image_of_a_layout_needs_no_name() {
    let folder = tempfile::tempdir().unwrap();
    image().write_layout(folder.path(), "1").unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    let (target, tag) = layout.only_image().await.unwrap();
    assert_eq!(target, TagOrDigest::Digest(image().digest()));
    let name = ImageName { target, tag };
    let report = indexed(index_image(&layout, &name, &options(Version::V2)).await);
    assert_eq!(report.tag.unwrap().as_str(), "1-soci");
    // Results do not count as images, so that the same command works again.
    let v1 = indexed(index_image(&layout, &name, &options(Version::V1)).await);
    assert_eq!(v1.indexes.len(), 2);
    let (target, tag) = layout.only_image().await.unwrap();
    assert_eq!((target, tag.unwrap().as_str()), (name.target.clone(), "1"));
    let again = index_image(&layout, &name, &options(Version::V2)).await.unwrap();
    assert!(again.already_there, "{again:?}");

    let other = TestImage::single("linux/amd64", &[gzip_layer(7, 1000)]);
    let (kind, bytes) = other.manifests.last().unwrap().clone();
    let tag: soci_oci::Tag = "2".parse().unwrap();
    layout.push_manifest(&tag.into(), &kind, bytes, None).await.unwrap();
    let error = layout.only_image().await.unwrap_err();
    assert!(matches!(error, LayoutError::Ambiguous { count: 2, .. }), "{error}");
    assert!(error.to_string().contains(": :1, :2"), "{error}");
}

#[tokio::test]
async fn several_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    image().write_layout(folder.path(), "1").unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        // Layouts of their own, as in processes of their own.
        let layout = Layout::open(folder.path()).await.unwrap();
        let output = OutputTag::Tag(format!("out-{number}").parse().unwrap());
        let options = Options { output, ..options(Version::V2) };
        writers.spawn(async move { index_image(&layout, &name("1"), &options).await });
    }
    while let Some(written) = writers.join_next().await {
        indexed(written.unwrap());
    }
    let layout = Layout::open(folder.path()).await.unwrap();
    for number in 0..8 {
        let tag: soci_oci::Tag = format!("out-{number}").parse().unwrap();
        assert!(layout.manifest(&tag.into()).await.unwrap().is_some(), "out-{number}");
    }
    let files = std::fs::read_dir(folder.path()).unwrap();
    let partial =
        files.filter(|file| file.as_ref().unwrap().path().extension() == Some("tmp".as_ref()));
    assert_eq!(partial.count(), 0);
}

#[tokio::test]
async fn a_damaged_ztoc_on_disk_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    image().write_layout(folder.path(), "1").unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    let first = indexed(index_image(&layout, &name("1"), &options(Version::V2)).await);
    let ztoc = folder.path().join("blobs/sha256").join(first.layers[0].ztoc.hex());
    let original = std::fs::read(&ztoc).unwrap();
    for damaged in [&original[..100], &[], &[&original[..], b"x"].concat()] {
        std::fs::write(&ztoc, damaged).unwrap();
        index_image(&layout, &name("1"), &options(Version::V2)).await.unwrap();
        assert!(std::fs::read(&ztoc).unwrap() == original);
    }
    let mut flipped = original.clone();
    flipped[5000] ^= 1;
    std::fs::write(&ztoc, flipped).unwrap();
    index_image(&layout, &name("1"), &options(Version::V2)).await.unwrap();
    assert!(std::fs::read(&ztoc).unwrap() == original);
}

#[tokio::test]
async fn what_is_no_layout_says_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Layout::open(folder.path()).await, Err(LayoutError::File { .. })));
    std::fs::write(folder.path().join("oci-layout"), "{}").unwrap();
    assert!(matches!(Layout::open(folder.path()).await, Err(LayoutError::NotALayout { .. })));
}

#[tokio::test]
async fn a_layer_that_does_not_match_its_digest_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let image = image();
    image.write_layout(folder.path(), "1").unwrap();
    let (digest, layer) = image.blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap();
    let path = folder.path().join("blobs/sha256").join(digest.hex());
    let layout = Layout::open(folder.path()).await.unwrap();
    for (change, what) in [(layer.len() - 5, "digest"), (0, "size")] {
        let mut bytes = layer.to_vec();
        match what {
            "digest" => bytes[change] ^= 1,
            _ => bytes.push(0),
        }
        std::fs::write(&path, bytes).unwrap();
        let error = index_image(&layout, &name("1"), &options(Version::V2)).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(what), "{cause}");
    }
    assert!(layout.only_image().await.is_ok(), "no tag was added");
}
