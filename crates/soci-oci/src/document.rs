//! OCI documents: descriptors, image manifests and image indexes.
//!
//! Source: OCI image specification 1.1 and the Go structs that belong to it, whose fields, order
//! and omission of empty fields decide the bytes that [`Manifest::encode`] and [`Index::encode`]
//! give. Docker's schema 2 documents are read by the same rules, as containerd reads them.

mod decode;
mod encode;
mod error;
mod model;

pub use error::DocumentError;
pub use model::{Annotations, Descriptor, Index, Manifest};

use crate::json::Value;
use crate::media_type;
use crate::platform::Platform;

impl Manifest {
    /// Reads a manifest. Unknown fields are dropped; whether it is a manifest at all is what
    /// [`Document::decode`] checks.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        decode::manifest(Value::parse(bytes)?)
    }

    /// The manifest's bytes as Go writes them.
    pub fn encode(&self) -> Vec<u8> {
        encode::manifest(self)
    }

    /// The layers, none for `null`.
    pub fn layers(&self) -> &[Descriptor] {
        self.layers.as_deref().unwrap_or_default()
    }
}

impl Index {
    /// An OCI image index of `manifests` with nothing else in it.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            artifact_type: String::new(),
            manifests: Some(manifests),
            subject: None,
            annotations: Annotations::new(),
        }
    }

    /// Reads an index. Unknown fields are dropped; whether it is an index at all is what
    /// [`Document::decode`] checks.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        decode::index(Value::parse(bytes)?)
    }

    /// The index's bytes as Go writes them.
    pub fn encode(&self) -> Vec<u8> {
        encode::index(self)
    }

    /// The manifests, none for `null`.
    pub fn manifests(&self) -> &[Descriptor] {
        self.manifests.as_deref().unwrap_or_default()
    }
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An image manifest, OCI or Docker schema 2.
    Manifest(Box<Manifest>),
    /// An image index or a Docker manifest list.
    Index(Box<Index>),
}

impl Document {
    /// Reads the document that a descriptor or a registry calls `media_type`. As containerd does,
    /// refuses a manifest that looks like an index and the reverse, so that a digest means the
    /// same to every client (GHSA-5j5w-g665-5m35).
    pub fn decode(media_type: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let value = Value::parse(bytes)?;
        if media_type::is_manifest(media_type) {
            decode::check_manifest(value)?;
            decode::manifest(value).map(Box::new).map(Self::Manifest)
        } else if media_type::is_index(media_type) {
            decode::check_index(value)?;
            decode::index(value).map(Box::new).map(Self::Index)
        } else {
            Err(DocumentError::MediaType(media_type.to_owned()))
        }
    }
}

/// The media type of a root document: the one that the registry states, unless that says nothing
/// (it is missing, or one that servers fall back to); then the one that the document itself
/// states or has the shape of. Bytes that are no document at all, such as the page of a proxy, are
/// an error.
pub fn root_media_type(stated: &str, bytes: &[u8]) -> Result<String, DocumentError> {
    let says_nothing = matches!(stated, "" | "application/octet-stream" | "application/json")
        || stated.starts_with("text/");
    if !says_nothing {
        return Ok(stated.to_owned());
    }
    decode::media_type(Value::parse(bytes)?)
        .ok_or_else(|| DocumentError::MediaType(stated.to_owned()))
}

/// Reads the platform from an image configuration as it stands there; nothing else is looked at. See
/// [`PlatformRules::of_config`](crate::PlatformRules::of_config) for what of it counts.
pub fn config_platform(config: &[u8]) -> Result<Platform, DocumentError> {
    decode::platform(Value::parse(config)?)
}

#[cfg(test)]
mod tests;
