//! From JSON to documents, with the field names of the Go structs.
//!
//! A document is decoded as containerd decodes it: first its shape is looked at, then its fields.
//! The shape decides whether the bytes may be what the media type calls them. A document with
//! `manifests` and with `layers` would be an index to one client and an image to another under one
//! digest, so it is refused (GHSA-5j5w-g665-5m35), and so are Docker's manifests of schema 1.
//!
//! Fields are decoded into slots with Go's types, and only what is left in the end is turned into
//! digests and sizes: a broken digest that a repeated key replaces is no mistake to Go either. Keys
//! come folded to upper case.

use super::error::DocumentError;
use super::model::{Annotations, Descriptor, Index, Manifest};
use crate::json::{Bytes, FieldError, Slot, Slots, Value, members};
use crate::media_type;
use crate::platform::Platform;

pub(super) fn manifest(value: Value<'_>) -> Result<Manifest, DocumentError> {
    let mut slot = DocumentSlot::default();
    slot.set_fields(value, Fields::Manifest)?;
    Ok(Manifest {
        schema_version: slot.schema_version,
        media_type: slot.media_type,
        artifact_type: slot.artifact_type,
        config: slot.config.into_descriptor("config")?,
        layers: into_descriptors(slot.layers, "layers")?,
        subject: into_subject(slot.subject)?,
        annotations: slot.annotations,
    })
}

pub(super) fn index(value: Value<'_>) -> Result<Index, DocumentError> {
    let mut slot = DocumentSlot::default();
    slot.set_fields(value, Fields::Index)?;
    Ok(Index {
        schema_version: slot.schema_version,
        media_type: slot.media_type,
        artifact_type: slot.artifact_type,
        manifests: into_descriptors(slot.manifests, "manifests")?,
        subject: into_subject(slot.subject)?,
        annotations: slot.annotations,
    })
}

pub(super) fn platform(value: Value<'_>) -> Result<Platform, DocumentError> {
    let mut slot = PlatformSlot::default();
    slot.set(value)?;
    Ok(slot.into_platform())
}

/// Refuses what looks like an index: the key `manifests` with any value, or an index's media type.
pub(super) fn check_manifest(value: Value<'_>) -> Result<(), DocumentError> {
    let shape = Shape::of(value)?;
    if shape.manifests || media_type::is_index(&shape.media_type) {
        return Err(DocumentError::IndexForManifest);
    }
    Ok(())
}

/// Refuses what looks like a manifest: the keys `config` or `layers` with any value, or a
/// manifest's media type.
pub(super) fn check_index(value: Value<'_>) -> Result<(), DocumentError> {
    let shape = Shape::of(value)?;
    if shape.config || shape.layers || media_type::is_manifest(&shape.media_type) {
        return Err(DocumentError::ManifestForIndex);
    }
    Ok(())
}

/// The media type that a document states, or the one whose fields it has. An image index comes
/// first: what has both is refused later, with the reason.
pub(super) fn media_type(value: Value<'_>) -> Option<String> {
    let shape = Shape::of(value).ok()?;
    if !shape.media_type.is_empty() {
        return Some(shape.media_type);
    }
    if shape.manifests {
        return Some(media_type::OCI_INDEX.to_owned());
    }
    (shape.config || shape.layers).then(|| media_type::OCI_MANIFEST.to_owned())
}

/// Which keys a document has, whatever their values.
#[derive(Default)]
struct Shape {
    media_type: String,
    config: bool,
    layers: bool,
    manifests: bool,
}

impl Shape {
    fn of(value: Value<'_>) -> Result<Self, DocumentError> {
        let mut shape = Self::default();
        for (key, value) in members(value)? {
            match key.as_str() {
                "MEDIATYPE" => named("mediaType", shape.media_type.set(value))?,
                "CONFIG" => shape.config = true,
                "LAYERS" => shape.layers = true,
                "MANIFESTS" => shape.manifests = true,
                "FSLAYERS" => return Err(DocumentError::Schema1),
                _ => {}
            }
        }
        Ok(shape)
    }
}

/// The Go struct that a document is decoded as decides which keys count; the others are unknown
/// and may hold anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    Manifest,
    Index,
}

#[derive(Default)]
struct DocumentSlot {
    schema_version: i64,
    media_type: String,
    artifact_type: String,
    config: DescriptorSlot,
    layers: Slots<DescriptorSlot>,
    manifests: Slots<DescriptorSlot>,
    subject: Option<DescriptorSlot>,
    annotations: Annotations,
}

impl DocumentSlot {
    fn set_fields(&mut self, value: Value<'_>, fields: Fields) -> Result<(), FieldError> {
        for (key, value) in members(value)? {
            match (key.as_str(), fields) {
                ("SCHEMAVERSION", _) => named("schemaVersion", self.schema_version.set(value))?,
                ("MEDIATYPE", _) => named("mediaType", self.media_type.set(value))?,
                ("ARTIFACTTYPE", _) => named("artifactType", self.artifact_type.set(value))?,
                ("CONFIG", Fields::Manifest) => named("config", self.config.set(value))?,
                ("LAYERS", Fields::Manifest) => named("layers", self.layers.set(value))?,
                ("MANIFESTS", Fields::Index) => named("manifests", self.manifests.set(value))?,
                ("SUBJECT", _) => named("subject", self.subject.set(value))?,
                ("ANNOTATIONS", _) => named("annotations", self.annotations.set(value))?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct DescriptorSlot {
    media_type: String,
    digest: String,
    size: i64,
    urls: Slots<String>,
    annotations: Annotations,
    data: Bytes,
    platform: Option<PlatformSlot>,
    artifact_type: String,
}

impl Slot for DescriptorSlot {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        for (key, value) in members(value)? {
            match key.as_str() {
                "MEDIATYPE" => named("mediaType", self.media_type.set(value))?,
                "DIGEST" => named("digest", self.digest.set(value))?,
                "SIZE" => named("size", self.size.set(value))?,
                "URLS" => named("urls", self.urls.set(value))?,
                "ANNOTATIONS" => named("annotations", self.annotations.set(value))?,
                "DATA" => named("data", self.data.set(value))?,
                "PLATFORM" => named("platform", self.platform.set(value))?,
                "ARTIFACTTYPE" => named("artifactType", self.artifact_type.set(value))?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl DescriptorSlot {
    fn into_descriptor(self, field: &str) -> Result<Descriptor, DocumentError> {
        let digest = self
            .digest
            .parse()
            .map_err(|source| DocumentError::Digest { field: format!("{field}.digest"), source })?;
        let size = u64::try_from(self.size).map_err(|_| DocumentError::Number {
            field: format!("{field}.size"),
            text: self.size.to_string(),
        })?;
        Ok(Descriptor {
            media_type: self.media_type,
            digest,
            size,
            urls: self.urls.into_vec().unwrap_or_default(),
            annotations: self.annotations,
            data: self.data.into_vec(),
            platform: self.platform.map(PlatformSlot::into_platform),
            artifact_type: self.artifact_type,
        })
    }
}

#[derive(Clone, Default)]
struct PlatformSlot {
    architecture: String,
    os: String,
    os_version: String,
    os_features: Slots<String>,
    variant: String,
}

impl Slot for PlatformSlot {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        for (key, value) in members(value)? {
            match key.as_str() {
                "ARCHITECTURE" => named("architecture", self.architecture.set(value))?,
                "OS" => named("os", self.os.set(value))?,
                "OS.VERSION" => named("os.version", self.os_version.set(value))?,
                "OS.FEATURES" => named("os.features", self.os_features.set(value))?,
                "VARIANT" => named("variant", self.variant.set(value))?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl PlatformSlot {
    fn into_platform(self) -> Platform {
        Platform {
            architecture: self.architecture,
            os: self.os,
            os_version: self.os_version,
            os_features: self.os_features.into_vec().unwrap_or_default(),
            variant: self.variant,
        }
    }
}

fn into_descriptors(
    slots: Slots<DescriptorSlot>,
    field: &str,
) -> Result<Option<Vec<Descriptor>>, DocumentError> {
    let Some(slots) = slots.into_vec() else { return Ok(None) };
    let descriptor =
        |(index, slot): (usize, DescriptorSlot)| slot.into_descriptor(&format!("{field}[{index}]"));
    slots.into_iter().enumerate().map(descriptor).collect::<Result<_, _>>().map(Some)
}

fn into_subject(slot: Option<DescriptorSlot>) -> Result<Option<Descriptor>, DocumentError> {
    slot.map(|slot| slot.into_descriptor("subject")).transpose()
}

fn named(name: &str, result: Result<(), FieldError>) -> Result<(), FieldError> {
    result.map_err(|error| error.inside(name))
}
