//! OCI documents: descriptors, image manifests and image indexes.
//!
//! Source: OCI image specification 1.1 and the Go structs that belong to it, whose fields, order
//! and omission of empty fields decide the bytes that [`Manifest::encode`] and [`Index::encode`]
//! give. Docker's schema 2 documents are read by the same rules, as containerd reads them.

mod decode;
mod encode;

use std::collections::BTreeMap;

use crate::digest::{Digest, DigestError};
use crate::json::{self, FieldError, JsonError, Problem, Value};
use crate::media_type;
use crate::platform::Platform;

/// Free-form key-value pairs, sorted by key as Go writes them.
pub type Annotations = BTreeMap<String, String>;

/// A reference to content: what it is, its digest and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes, at most `i64::MAX`.
    pub size: u64,
    /// Where else the content may be fetched from.
    pub urls: Vec<String>,
    /// Further information about the content.
    pub annotations: Annotations,
    /// The content itself, if it is embedded.
    pub data: Vec<u8>,
    /// What the content runs on; for manifests in an image index.
    pub platform: Option<Platform>,
    /// Media type of the artifact that the content is; empty if not given.
    pub artifact_type: String,
}

impl Descriptor {
    /// A descriptor with the three required fields only.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            data: Vec::new(),
            platform: None,
            artifact_type: String::new(),
        }
    }
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the manifest schema, 2 in practice.
    pub schema_version: i64,
    /// Media type of this document; empty if not given.
    pub media_type: String,
    /// Media type of the artifact that this is, if it is no image.
    pub artifact_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers from the base up. `None` is written as `null`.
    pub layers: Option<Vec<Descriptor>>,
    /// The manifest that this one belongs to.
    pub subject: Option<Descriptor>,
    /// Further information about the image.
    pub annotations: Annotations,
}

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

/// An image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Version of the manifest schema, 2 in practice.
    pub schema_version: i64,
    /// Media type of this document; empty if not given.
    pub media_type: String,
    /// Media type of the artifact that this is, if it is no image.
    pub artifact_type: String,
    /// The manifests, usually one for each platform. `None` is written as `null`.
    pub manifests: Option<Vec<Descriptor>>,
    /// The manifest that this index belongs to.
    pub subject: Option<Descriptor>,
    /// Further information about the index.
    pub annotations: Annotations,
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

/// Reads the platform from an image configuration: its architecture and operating system,
/// normalized. Variant, version and features are not taken, and nothing else is looked at.
pub fn config_platform(config: &[u8]) -> Result<Platform, DocumentError> {
    let platform = decode::platform(Value::parse(config)?)?;
    Ok(Platform { architecture: platform.architecture, os: platform.os, ..Platform::default() }
        .normalized())
}

/// Why bytes are not the document they should be. None of these goes away on another try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field holds a value of another type.
    #[error("field {field:?} is of type {found}, not {expected}")]
    Type {
        /// The field, for example `layers[3].size`; empty for the document itself.
        field: String,
        /// The type that belongs there.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// A number is not an integer or out of range.
    #[error("field {field:?} holds {text}, which is not an integer in its range")]
    Number {
        /// The field.
        field: String,
        /// The number as written, cut if it is long.
        text: String,
    },
    /// A list is longer than any that occurs in practice.
    #[error("field {field:?} has more than {} elements", json::MAX_ELEMENTS)]
    TooMany {
        /// The field.
        field: String,
    },
    /// Embedded data is not base64.
    #[error("field {field:?} is not base64")]
    Base64 {
        /// The field.
        field: String,
    },
    /// A digest is missing or malformed.
    #[error("field {field:?} is not a digest")]
    Digest {
        /// The field.
        field: String,
        /// What is wrong with it.
        source: DigestError,
    },
    /// The document is of Docker's schema 1, which has layers but no digests of them in order.
    #[error("the document is a Docker schema 1 manifest, which is not supported")]
    Schema1,
    /// A manifest has fields or the media type of an index.
    #[error("the document should be a manifest but looks like an index")]
    IndexForManifest,
    /// An index has fields or the media type of a manifest.
    #[error("the document should be an index but looks like a manifest")]
    ManifestForIndex,
    /// The media type is neither a manifest's nor an index's.
    #[error("media type {0:?} is neither a manifest's nor an index's")]
    MediaType(String),
}

impl From<FieldError> for DocumentError {
    fn from(error: FieldError) -> Self {
        let field = error.path;
        match error.problem {
            Problem::Type { expected, found } => Self::Type { field, expected, found },
            Problem::Number(text) => Self::Number { field, text },
            Problem::TooMany => Self::TooMany { field },
            Problem::Base64 => Self::Base64 { field },
        }
    }
}

#[cfg(test)]
mod tests;
