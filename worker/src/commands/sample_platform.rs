//! The sample image for one platform, made and pushed.

use bytes::Bytes;
use soci_indexer::{ImageStore, StoreError};
use soci_oci::{Descriptor, Digest, Platform, Tag, TagOrDigest, media_type};
use soci_registry::BlobSource;
use soci_sandbox::sample_image::{self, LAYER_COUNT, PLATFORMS};
use soci_text::error_chain;

/// The image of a platform as it was pushed.
pub(super) struct PushedPlatform {
    /// How an image index names it.
    pub(super) entry: Descriptor,
    /// Bytes of its layers.
    pub(super) size: u64,
    pub(super) files: usize,
    /// Digest of the file that is there to be read, if it has one.
    pub(super) probe: Option<Digest>,
}

/// Makes the image of the platform with this number, with layers of about `size` bytes, and pushes it under `tag`, else by its
/// digest. `pushed` is told the bytes of each layer.
pub(super) async fn push_platform<S: ImageStore>(
    store: &S,
    tag: Option<Tag>,
    number: usize,
    size: u64,
    pushed: impl Fn(u64),
) -> Result<PushedPlatform, String> {
    let not_made = |error: &dyn std::error::Error| format!("the sample cannot be made: {error}");
    let not_pushed = |error: StoreError| error_chain(&error);
    let mut names = Vec::new();
    let (mut files, mut probe) = (0, None);
    for layer in 0..LAYER_COUNT {
        let made =
            tokio::task::spawn_blocking(move || sample_image::layer(number, layer, size)).await;
        let made = made.map_err(|error| not_made(&error))?.map_err(|error| not_made(&error))?;
        let layer = &made.names.descriptor;
        store.push_blob(&layer.digest, &made.pieces.into()).await.map_err(not_pushed)?;
        pushed(layer.size);
        files += made.files;
        probe = probe.or(made.probe);
        names.push(made.names);
    }
    let architecture = PLATFORMS[number];
    let config = sample_image::config(architecture, &names);
    let digest = Digest::sha256_of(&config);
    let descriptor = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
    let config = BlobSource::from(Bytes::from(config));
    store.push_blob(&digest, &config).await.map_err(not_pushed)?;
    let manifest = Bytes::from(sample_image::manifest(descriptor, &names));
    let digest = Digest::sha256_of(&manifest);
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
    entry.platform = Some(platform(architecture));
    let target = tag.map_or(TagOrDigest::Digest(digest), TagOrDigest::Tag);
    let written = store.push_manifest(&target, media_type::OCI_MANIFEST, manifest, None).await;
    written.map_err(not_pushed)?;
    let size = names.iter().map(|layer| layer.descriptor.size).sum();
    Ok(PushedPlatform { entry, size, files, probe })
}

/// The platform of an architecture of [`PLATFORMS`].
pub(super) fn platform(architecture: &str) -> Platform {
    let (architecture, os) = (architecture.to_owned(), "linux".to_owned());
    Platform { architecture, os, ..Platform::default() }
}
