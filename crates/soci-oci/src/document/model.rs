//! What the documents hold, field by field as the Go structs have it.

use std::collections::BTreeMap;

use crate::digest::Digest;
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
