//! Why an image was not indexed.

use oci::{Digest, TagOrDigest};
use soci::ImageError;

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
        source: oci::ReferenceError,
    },
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
        source: oci::DocumentError,
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
            | Self::Image(_)
            | Self::OutputTag { .. }
            | Self::ReferrersList { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => {
                "check the name and the tag, and that all manifests of the image were pushed"
            }
            Self::OutputTag { .. } => "choose another suffix, or name the tag",
            Self::Layer { source: LayerError::Build(error), .. } if error.is_limit() => {
                "a larger span size makes the ztoc smaller"
            }
            Self::Layer { source: LayerError::Build(_), .. } => {
                "soci-snapshotter rejects such a layer too; build the image again, or leave it \
                 without a SOCI index"
            }
            Self::Image(_) => "build the image again, or leave it without a SOCI index",
            _ if self.is_transient() => "try again; nothing was lost",
            _ => "see the cause",
        }
    }
}
