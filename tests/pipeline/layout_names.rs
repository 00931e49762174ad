//! Layouts as other programs write them, and which of their images is meant.

use std::path::Path;

use serde_json::{Value, json};
use soci_indexer::{Budget, Layout, LayoutError, LayoutImage, index_image, verify_image};
use soci_manifest::Version;
use soci_oci::{Digest, Tag, media_type};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{indexed, options};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

fn image(seed: u64, platform: &str) -> TestImage {
    TestImage::single(platform, &[gzip_layer(seed, 200_000)])
}

/// A layout of images, each with the annotations of its entry.
fn write(folder: &Path, images: &[(TestImage, Value)]) {
    let mut entries = Vec::new();
    for (image, annotations) in images {
        image.write_layout(folder, "x").unwrap();
        let (kind, bytes) = image.manifests.last().unwrap();
        let mut entry = json!({
            "mediaType": kind, "digest": image.digest().to_string(), "size": bytes.len(),
        });
        if !annotations.is_null() {
            entry["annotations"] = annotations.clone();
        }
        entries.push(entry);
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

fn entries(folder: &Path) -> Vec<Value> {
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

async fn find(folder: &Path, name: &str) -> Result<(Layout, soci_indexer::ImageName), LayoutError> {
    let layout = Layout::open(folder).await.unwrap();
    layout.find(Some(&LayoutImage::Name(name.to_owned()))).await
}

#[tokio::test]
async fn an_index_json_that_is_the_image_index_is_one_image() {
    let same = [(image(1, "linux/amd64"), Value::Null), (image(2, "linux/arm64"), Value::Null)];
    for version in [Version::V1, Version::V2] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &same);
        let layout = Layout::open(folder.path()).await.unwrap();
        let (layout, mut name) = layout.find(None).await.unwrap();
        assert_eq!(name.tag, None);
        name.tag = Some("latest".parse().unwrap());
        let report = indexed(index_image(&layout, &name, &options(version)).await);
        assert_eq!(report.indexes.len(), 2);
        // Its entries have no platforms, so those of the configurations count.
        let platforms: Vec<String> = report
            .indexes
            .iter()
            .map(|index| index.platform.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        // Found by somebody else who looks at what is there now.
        let again = Layout::open(folder.path()).await.unwrap();
        let (again, found) = again.find(None).await.unwrap();
        assert_eq!(found.target, name.target);
        let again = index_image(&again, &name, &options(version)).await.unwrap();
        assert!(again.already_there && again.index == report.index, "{again:?}");
        if version == Version::V2 {
            let (layout, name) = find(folder.path(), "latest-soci").await.unwrap();
            verify_image(&layout, &name.target, &Budget::of_this_machine()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn several_images_are_not_taken_for_one() {
    let named = json!({ REF_NAME: "1" });
    for images in [
        // Two of one platform.
        vec![(image(1, "linux/amd64"), Value::Null), (image(2, "linux/amd64"), Value::Null)],
        // One with a name.
        vec![(image(1, "linux/amd64"), named), (image(2, "linux/arm64"), Value::Null)],
        // Image indexes.
        vec![
            (TestImage::index(&[("linux/amd64", &[gzip_layer(1, 100_000)])]), Value::Null),
            (TestImage::index(&[("linux/arm64", &[gzip_layer(2, 100_000)])]), Value::Null),
        ],
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &images);
        let layout = Layout::open(folder.path()).await.unwrap();
        let error = layout.find(None).await.unwrap_err();
        let LayoutError::Ambiguous { count: 2, tags, .. } = &error else { panic!("{error}") };
        // Each choice can be given.
        for (choice, (image, _)) in tags.split(", ").zip(&images) {
            let wanted = match (choice.strip_prefix('@'), choice.strip_prefix(':')) {
                (Some(digest), _) => LayoutImage::Digest(digest.parse().unwrap()),
                (_, Some(name)) => LayoutImage::Name(name.to_owned()),
                _ => panic!("{tags}"),
            };
            let (_, name) = layout.find(Some(&wanted)).await.unwrap();
            assert_eq!(name.target, image.digest().into());
        }
        for (number, (image, _)) in images.iter().enumerate() {
            let (_, name) = layout.find(Some(&LayoutImage::Number(number))).await.unwrap();
            assert_eq!(name.target, image.digest().into());
        }
    }
}

#[tokio::test]
async fn results_of_full_names_have_full_names() {
    let full = |name: &str| json!({ REF_NAME: name });
    let docker = |name: &str, tag: &str| json!({ CONTAINERD_NAME: name, REF_NAME: tag });
    for (annotations, asked, result) in [
        (
            full("docker.io/library/a:1.0"),
            "docker.io/library/a:1.0",
            full("docker.io/library/a:1.0-soci"),
        ),
        (full("docker.io/library/a:1.0"), "a:1.0", full("docker.io/library/a:1.0-soci")),
        (full("localhost:5000/a"), "localhost:5000/a", full("localhost:5000/a:latest-soci")),
        (full("1"), "1", full("1-soci")),
        (
            docker("docker.io/library/a:latest", "latest"),
            "docker.io/library/a:latest",
            docker("docker.io/library/a:latest-soci", "latest-soci"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let other = docker("docker.io/library/b:latest", "latest");
        write(
            folder.path(),
            &[(image(1, "linux/amd64"), annotations), (image(2, "linux/amd64"), other)],
        );
        let (layout, name) = find(folder.path(), asked).await.unwrap();
        indexed(index_image(&layout, &name, &options(Version::V2)).await);
        let written = entries(folder.path());
        assert_eq!((written.len(), &written[2]["annotations"]), (3, &result), "{asked}");
        let (layout, name) = find(folder.path(), asked).await.unwrap();
        let again = index_image(&layout, &name, &options(Version::V2)).await.unwrap();
        assert!(again.already_there, "{asked}");
        assert_eq!(entries(folder.path()).len(), 3, "{asked}");
        let named = result.get(CONTAINERD_NAME).unwrap_or(&result[REF_NAME]).as_str().unwrap();
        let (layout, name) = find(folder.path(), named).await.unwrap();
        verify_image(&layout, &name.target, &Budget::of_this_machine()).await.unwrap();
    }
}

#[tokio::test]
async fn two_images_of_one_tag_have_results_of_their_own() {
    let docker = |name: &str| json!({ CONTAINERD_NAME: name, REF_NAME: "latest" });
    let names = ["docker.io/library/a:latest", "docker.io/library/b:latest"];
    let folder = tempfile::tempdir().unwrap();
    let images = [image(1, "linux/amd64"), image(2, "linux/amd64")];
    write(
        folder.path(),
        &[(images[0].clone(), docker(names[0])), (images[1].clone(), docker(names[1]))],
    );
    let error = find(folder.path(), "latest").await.unwrap_err().to_string();
    assert!(names.iter().all(|name| error.contains(&format!(":{name}"))), "{error}");
    for _ in 0..2 {
        for name in names {
            let (layout, name) = find(folder.path(), name).await.unwrap();
            index_image(&layout, &name, &options(Version::V2)).await.unwrap();
        }
    }
    let written = entries(folder.path());
    assert_eq!(written.len(), 4);
    for (name, image) in names.iter().zip(&images) {
        let (_, found) = find(folder.path(), name).await.unwrap();
        assert_eq!(found.target, image.digest().into());
        assert!(find(folder.path(), &format!("{name}-soci")).await.is_ok());
    }
}

#[tokio::test]
async fn what_is_not_there_says_what_is() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[(image(1, "linux/amd64"), json!({ REF_NAME: "docker.io/library/a:1.0" }))],
    );
    let layout = Layout::open(folder.path()).await.unwrap();
    let digest = Digest::sha256_of(b"nothing");
    for (wanted, words) in [
        (LayoutImage::Name("2".to_owned()), "no image 2"),
        (LayoutImage::Digest(digest), "no image sha256:"),
        (LayoutImage::Number(7), "no image number 7"),
    ] {
        let error = layout.find(Some(&wanted)).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(":docker.io/library/a:1.0"), "{error}");
    }
}

#[tokio::test]
async fn an_image_that_only_its_digest_names_is_found_by_it() {
    // A child of an image index is listed nowhere.
    let folder = tempfile::tempdir().unwrap();
    let index = TestImage::index(&[("linux/amd64", &[gzip_layer(1, 200_000)])]);
    index.write_layout(folder.path(), "1").unwrap();
    let (kind, child) = &index.manifests[0];
    assert_eq!(kind, media_type::OCI_MANIFEST);
    let digest = Digest::sha256_of(child);
    let layout = Layout::open(folder.path()).await.unwrap();
    let (layout, name) = layout.find(Some(&LayoutImage::Digest(digest))).await.unwrap();
    let report = indexed(index_image(&layout, &name, &options(Version::V2)).await);
    let tag: Tag = format!("sha256-{}-soci", digest.hex()).parse().unwrap();
    assert_eq!(report.tag, Some(tag));
}

#[tokio::test]
async fn entries_that_are_not_there_are_no_images() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[(image(1, "linux/amd64"), Value::Null), (image(2, "linux/arm64"), Value::Null)],
    );
    let gone = image(2, "linux/arm64").digest();
    std::fs::remove_file(folder.path().join("blobs/sha256").join(gone.hex())).unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    let (_, name) = layout.find(None).await.unwrap();
    assert_eq!(name.target, image(1, "linux/amd64").digest().into());
}

#[tokio::test]
async fn among_very_many_images_one_has_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(1, "linux/amd64");
    write(folder.path(), &[(image.clone(), Value::Null)]);
    let mut listed = entries(folder.path());
    let absent = |number: usize| {
        let digest = Digest::sha256_of(&number.to_le_bytes()).to_string();
        json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 9 })
    };
    for (count, found) in [(256, true), (257, false)] {
        while listed.len() < count {
            listed.insert(0, absent(listed.len()));
        }
        let index = json!({ "schemaVersion": 2, "manifests": listed });
        std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
        let layout = Layout::open(folder.path()).await.unwrap();
        let only = layout.find(None).await;
        assert_eq!(only.is_ok(), found, "{only:?}");
        if let Err(error) = only {
            assert!(error.to_string().contains("257 images; name one"), "{error}");
        }
        let wanted = LayoutImage::Digest(image.digest());
        layout.find(Some(&wanted)).await.unwrap();
    }
}
