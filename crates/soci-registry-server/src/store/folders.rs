//! The folders of a repository that hold its records. No part of a repository's name begins with an
//! underscore.

/// Records of blobs.
pub(super) const BLOBS: &str = "_blobs";
/// Records of manifests.
pub(super) const MANIFESTS: &str = "_manifests";
/// Records of tags.
pub(super) const TAGS: &str = "_tags";
