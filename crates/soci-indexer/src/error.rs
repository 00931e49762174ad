//! Why an image was not indexed.

use soci_manifest::ImageError;
use soci_oci::{Digest, Tag, TagOrDigest};

use crate::layer::LayerError;
use crate::store::StoreError;

/// Why an image was not indexed. No manifest and no tag of the result has been written, unless
/// writing them is what failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The image, or a manifest that it names, does not exist.
    #[error("manifest {target} does not exist")]
    NotFound {
        /// What was asked for.
        target: TagOrDigest,
    },
    /// What was sent for a manifest is none.
    #[error("what was sent for manifest {target} is no manifest")]
    NotADocument {
        /// What was asked for.
        target: TagOrDigest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
    /// A manifest or configuration cannot be read.
    #[error("manifest or configuration {target} cannot be read")]
    Read {
        /// What was asked for.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// The image's documents cannot be indexed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer has no ztoc.
    #[error("layer {digest} ({size} bytes) cannot be indexed")]
    Layer {
        /// Digest of the layer.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Why not.
        source: LayerError,
    },
    /// A part of the result cannot be written.
    #[error("{what} {target} cannot be written")]
    Write {
        /// What it is.
        what: &'static str,
        /// Its digest or tag.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// The tag of the converted image cannot be made.
    #[error("{text:?} cannot be the tag of the converted image")]
    OutputTag {
        /// What it would be.
        text: String,
        /// What is wrong with it.
        source: soci_oci::ReferenceError,
    },
    /// The tag of the converted image would take the place of a list of referrers.
    #[error(
        "{tag} cannot be the tag of the converted image: registries without a referrers API keep \
         the list of a manifest's referrers under such tags"
    )]
    ReservedTag {
        /// The tag.
        tag: Tag,
    },
    /// The image's tag names another image by now ([`Options::follow_tag`](crate::Options)).
    #[error("tag {tag} names {now} by now, not {image}")]
    Superseded {
        /// The image's tag.
        tag: Tag,
        /// Digest of the image.
        image: Digest,
        /// What the tag names.
        now: Digest,
    },
    /// The image's tag does not exist any more ([`Options::follow_tag`](crate::Options)).
    #[error("tag {tag} of {image} does not exist any more")]
    TagGone {
        /// The image's tag.
        tag: Tag,
        /// Digest of the image.
        image: Digest,
    },
    /// The span size cannot be used.
    #[error("span size {0} is over 2^63 - 1")]
    SpanSize(u64),
    /// The list of an image's referrers cannot be read.
    #[error("the list of referrers of {subject} cannot be read")]
    Referrers {
        /// The image manifest.
        subject: Digest,
        /// Why not.
        source: StoreError,
    },
    /// The list of an image's referrers is not an image index.
    #[error("the list of referrers of {subject} is malformed")]
    ReferrersList {
        /// The image manifest.
        subject: Digest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
}

impl IndexError {
    /// Whether the same call may succeed later. Everything else needs a person, or is gone.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Referrers { source, .. } => source.is_transient(),
            Self::Layer { source, .. } => source.is_transient(),
            Self::NotFound { .. }
            | Self::NotADocument { .. }
            | Self::Image(_)
            | Self::OutputTag { .. }
            | Self::ReservedTag { .. }
            | Self::Superseded { .. }
            | Self::TagGone { .. }
            | Self::SpanSize(_)
            | Self::ReferrersList { .. } => false,
        }
    }

    /// What a person can do about it, where the error itself does not say so.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound { .. } => {
                "check the name and the tag, and that all manifests of the image were pushed"
            }
            Self::NotADocument { .. } => {
                "check that the host is a registry, and what stands between it and this program"
            }
            Self::OutputTag { .. } | Self::ReservedTag { .. } => {
                "choose another suffix, or name the tag"
            }
            Self::Image(ImageError::PlatformNotFound { .. }) => {
                "name a platform that the image has, or none for all of them"
            }
            Self::Layer { source: LayerError::Build(error), .. } if !error.is_limit() => {
                "soci-snapshotter rejects such a layer too; build the image again, or leave it \
                 without a SOCI index"
            }
            Self::Image(_) => "build the image again, or leave it without a SOCI index",
            _ if self.is_transient() => "it may pass; try again",
            _ => return None,
        })
    }
}
