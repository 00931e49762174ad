//! What is told of a push.

use soci_oci::{Digest, Tag};

/// A manifest or image index has been pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The repository's name, without the registry.
    pub repository: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The tag it was pushed under; `None` for a push by digest.
    pub tag: Option<Tag>,
    /// Media type of the manifest.
    pub manifest_media_type: String,
    /// Its artifact type, or the media type of its config; `None` if it has neither.
    pub artifact_media_type: Option<String>,
}
