//! OCI layouts on disk.

use indexer::{ImageName, Layout, LayoutError, Outcome, index_image, verify_image};
use oci::TagOrDigest;
use registry::testing::FakeRegistry;
use soci::Version;
use tests::{TestImage, gzip_layer};

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
        assert!(matches!(again, Outcome::AlreadyIndexed(_)), "{again:?}");
        let target = match version {
            Version::V1 => name("1").target,
            Version::V2 => name("1-soci").target,
        };
        let verification = verify_image(&layout, &target).await.unwrap();
        assert_eq!(verification.layers.len(), 2);
    }
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
    let error = layout.only_image().await.unwrap_err();
    assert!(matches!(error, LayoutError::Ambiguous { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("1, 1-soci"), "{error}");
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
