//! What several tests need.

use std::path::Path;

use soci_indexer::{
    ImageName, IndexError, Layout, Options, OutputPlace, OutputTag, RemoteRepository, Report,
    index_image,
};
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::{Digest, Tag};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};

pub(crate) const REPOSITORY: &str = "team/app";

/// Where results and copies go that are not beside their image.
pub(crate) const OTHER: &str = "other/place";

/// Two platforms, a layer that both have, and one that is too small to be indexed.
pub(crate) fn image() -> TestImage {
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(2, 300_000), gzip_layer(3, 900)];
    TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &layers[..1])])
}

pub(crate) fn output(registry: &FakeRegistry) -> RemoteRepository {
    RemoteRepository::new(registry.client(), registry.repository(OTHER))
}

/// An output that may mount what is beside `registry`'s image, which gets `tag` there.
pub(crate) fn place(registry: &FakeRegistry, tag: &str) -> OutputPlace {
    let mount_from = Some(registry.repository(REPOSITORY));
    OutputPlace { mount_from, image_tag: Some(tag.parse().unwrap()) }
}

/// Packs a folder as `tar -C FOLDER -cf FILE .` does.
pub(crate) fn pack(folder: &Path, file: &Path) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    archive.append_dir_all(".", folder).unwrap();
    archive.finish().unwrap();
}

/// A blob with other bytes: as many, fewer, more.
pub(crate) fn wrong(blob: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let (mut same, mut more) = (blob.to_vec(), blob.to_vec());
    *same.last_mut().unwrap() ^= 1;
    more.push(0);
    [("the same", same), ("less", blob[..blob.len() - 1].to_vec()), ("more", more)]
}

/// The image as a layout in which a blob has these bytes.
pub(crate) async fn layout_with(
    folder: &Path,
    image: &TestImage,
    blob: &Digest,
    bytes: &[u8],
) -> Layout {
    image.write_layout(folder, "1").unwrap();
    std::fs::write(folder.join("blobs/sha256").join(blob.hex()), bytes).unwrap();
    Layout::open(folder).await.unwrap()
}

/// Settings under which small layers are indexed, with some spans each.
pub(crate) fn options(version: Version) -> Options {
    let settings = SociIndexSettings {
        version,
        span_size: 64 << 10,
        min_layer_size: 0,
        ..SociIndexSettings::default()
    };
    Options { settings, ..Options::default() }
}

pub(crate) fn name(tag: &str) -> ImageName {
    let tag: Tag = tag.parse().unwrap();
    ImageName { target: tag.clone().into(), tag: Some(tag) }
}

pub(crate) fn store(registry: &FakeRegistry) -> RemoteRepository {
    RemoteRepository::new(registry.client(), registry.repository(REPOSITORY))
}

pub(crate) async fn index(
    registry: &FakeRegistry,
    tag: &str,
    options: &Options,
) -> Result<Report, IndexError> {
    index_image(&store(registry), &name(tag), options).await
}

pub(crate) fn indexed(result: Result<Report, IndexError>) -> Report {
    match result {
        Ok(report) if !report.already_there => report,
        other => panic!("not indexed: {other:?}"),
    }
}

pub(crate) fn tags(registry: &FakeRegistry) -> Vec<String> {
    registry.tags(REPOSITORY).into_iter().map(|(tag, _)| tag).collect()
}

pub(crate) fn suffix(text: &str) -> OutputTag {
    OutputTag::Suffix(text.to_owned())
}
