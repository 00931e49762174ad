//! What `docker save` and `podman save` wrote before they wrote OCI layouts, as the layout that it stands for.
//!
//! `manifest.json` lists images: a configuration, names, and layers, mostly uncompressed (moby, "image/spec/v1.2"). There is
//! no manifest, so one is made: an OCI manifest of the configuration and the layers as they are. A layer that is not
//! compressed has its diff ID for a digest; of another one the digest is computed. Where an archive is an OCI
//! layout as well, as docker has made since version 25, that is what counts: its digests are those that registries know.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use serde_json::{Value, json};
use soci_oci::{Annotations, Descriptor, Digest, Hasher, Manifest, media_type};
use soci_registry::MANIFEST_LIMIT;

use super::archive::Archive;
use super::names::docker_annotations;
use super::tar::compression;

/// An archive of docker as a layout.
#[derive(Debug, Default)]
pub(super) struct DockerImages {
    /// The entries of `index.json`.
    pub(super) entries: Vec<Value>,
    /// The manifests, which are in no file.
    pub(super) manifests: Vec<Bytes>,
    /// In which file a blob is.
    pub(super) places: HashMap<Digest, String>,
    /// Compressed files that were hashed: images share layers.
    hashed: HashMap<String, Compressed>,
}

/// Media type, digest and size of a compressed layer.
type Compressed = (&'static str, Digest, u64);

/// An image of `manifest.json`.
struct Saved<'a> {
    config: &'a str,
    names: Vec<&'a str>,
    layers: Vec<&'a str>,
}

impl<'a> Saved<'a> {
    fn read(image: &'a Value) -> io::Result<Self> {
        let config = image.get("Config").and_then(Value::as_str);
        let config = config.ok_or_else(|| broken("manifest.json names no Config".to_owned()))?;
        Ok(Self { config, names: texts(image.get("RepoTags")), layers: texts(image.get("Layers")) })
    }
}

/// The texts of a list, which may be `null`.
fn texts(list: Option<&Value>) -> Vec<&str> {
    let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

/// Reads the list of images.
pub(super) async fn read(archive: &Archive) -> io::Result<DockerImages> {
    let list = small(archive, "manifest.json").await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            broken("it has no manifest.json, so `docker save` has not made it".to_owned())
        }
        _ => error,
    })?;
    let saved: Vec<Value> =
        serde_json::from_slice(&list).map_err(|error| broken(format!("manifest.json: {error}")))?;
    let mut images = DockerImages::default();
    for image in &saved {
        add(archive, &Saved::read(image)?, &mut images).await?;
    }
    Ok(images)
}

async fn add(archive: &Archive, saved: &Saved<'_>, images: &mut DockerImages) -> io::Result<()> {
    let bytes = small(archive, saved.config).await?;
    let config: Value = serde_json::from_slice(&bytes)
        .map_err(|error| broken(format!("{}: {error}", saved.config)))?;
    let config_digest = Digest::sha256_of(&bytes);
    images.places.insert(config_digest, saved.config.to_owned());
    let ids = texts(config.pointer("/rootfs/diff_ids"));
    if saved.layers.len() != ids.len() {
        let (named, there) = (ids.len(), saved.layers.len());
        return Err(broken(format!(
            "{} names {named} layers, and manifest.json {there}",
            saved.config
        )));
    }
    let mut layers = Vec::new();
    for (file, id) in saved.layers.iter().copied().zip(ids) {
        let (media_type, digest, size) = layer(archive, file, id, &mut images.hashed).await?;
        images.places.insert(digest, file.to_owned());
        layers.push(Descriptor::new(media_type, digest, size));
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: String::new(),
        config: Descriptor::new(media_type::OCI_CONFIG, config_digest, bytes.len() as u64),
        layers: Some(layers),
        subject: None,
        annotations: Annotations::new(),
    };
    let manifest = Bytes::from(manifest.encode());
    let entry = json!({
        "mediaType": media_type::OCI_MANIFEST,
        "digest": Digest::sha256_of(&manifest).to_string(),
        "size": manifest.len(),
    });
    images.manifests.push(manifest);
    for name in &saved.names {
        let mut entry = entry.clone();
        entry["annotations"] = docker_annotations(name);
        images.entries.push(entry);
    }
    if saved.names.is_empty() {
        images.entries.push(entry);
    }
    Ok(())
}

/// Media type, digest and size of a layer. Whether an uncompressed one has its digest shows when it is read.
async fn layer(
    archive: &Archive,
    file: &str,
    id: &str,
    known: &mut HashMap<String, Compressed>,
) -> io::Result<Compressed> {
    if let Some(layer) = known.get(file) {
        return Ok(*layer);
    }
    let mut section = archive.section(file).await?;
    let mut next = section.read().await?;
    let media_type = match compression(next.as_deref().unwrap_or_default()) {
        None => {
            let digest = id.parse::<Digest>().map_err(|error| broken(format!("{id}: {error}")))?;
            let size = next.map_or(0, |first| first.len() as u64) + section.left();
            return Ok((media_type::OCI_LAYER, digest, size));
        }
        Some("gzip") => media_type::OCI_LAYER_GZIP,
        Some("zstd") => media_type::OCI_LAYER_ZSTD,
        Some(other) => return Err(broken(format!("layer {file} is compressed with {other}"))),
    };
    let mut hasher = Hasher::new(Digest::sha256_of(b"").algorithm());
    let mut size = 0;
    while let Some(bytes) = next {
        hasher.update(&bytes);
        size += bytes.len() as u64;
        next = section.read().await?;
    }
    let layer = (media_type, hasher.finish(), size);
    known.insert(file.to_owned(), layer);
    Ok(layer)
}

async fn small(archive: &Archive, name: &str) -> io::Result<Bytes> {
    let bytes = archive.section(name).await?.read_up_to(MANIFEST_LIMIT as u64 + 1).await?;
    if bytes.len() > MANIFEST_LIMIT {
        return Err(broken(format!("{name} has more than {MANIFEST_LIMIT} bytes")));
    }
    Ok(bytes)
}

fn broken(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
