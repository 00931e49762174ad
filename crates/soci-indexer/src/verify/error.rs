//! Why an image does not verify.

use soci_oci::{Digest, TagOrDigest};
use soci_ztoc::ExtractError;

use crate::error::{LayerError, StoreError};

/// What a manifest is called that was written for the result (V2).
pub(crate) const CONVERTED_MANIFEST: &str = "converted manifest";

/// Why a SOCI index does not hold, or could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store failed.
    #[error("{what} {target} cannot be read")]
    Read {
        /// What was read.
        what: &'static str,
        /// Its digest or tag.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// Something that should exist does not.
    #[error("{what} {target} does not exist")]
    NotFound {
        /// What is missing.
        what: &'static str,
        /// Its digest or tag.
        target: TagOrDigest,
    },
    /// A manifest cannot be read.
    #[error("manifest {digest} is malformed")]
    Document {
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
    /// The list of an image manifest's referrers is none.
    #[error("the list of referrers of {subject} is malformed")]
    ReferrersList {
        /// The image manifest.
        subject: Digest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
    /// The image has no SOCI index.
    #[error("it has no SOCI index: {}", match unmarked {
        Some(unmarked) => format!(
            "its image index lists {unmarked}, which is one, without the artifactType, so that no client takes it for one; \
             some tools drop that when they copy, as skopeo does"
        ),
        None => "no image index of it names one, and nothing refers to it".to_owned(),
    })]
    NoIndex {
        /// The image.
        target: TagOrDigest,
        /// What its image index lists without saying that it is a SOCI index.
        unmarked: Option<Digest>,
    },
    /// The image has SOCI indexes, and none for a platform that was asked for.
    #[error("it has no SOCI index for this platform{}",
        if has.is_empty() { String::new() } else { format!(", and has some for {has}") })]
    NoSuchPlatform {
        /// The image.
        target: TagOrDigest,
        /// The platforms that it has SOCI indexes for, as text.
        has: String,
    },
    /// A SOCI index and what it belongs to disagree.
    #[error("SOCI index {index}: {reason}")]
    Index {
        /// The SOCI index.
        index: Digest,
        /// In what.
        reason: String,
    },
    /// A layer's ztoc cannot be built again, as it takes more memory than there is.
    #[error("layer {layer} cannot be checked")]
    Memory {
        /// The layer.
        layer: Digest,
        /// What it takes and what there is.
        source: LayerError,
    },
    /// A ztoc is not valid.
    #[error("ztoc {ztoc} of layer {layer} is not valid")]
    Ztoc {
        /// The ztoc.
        ztoc: Digest,
        /// Its layer.
        layer: Digest,
        /// What is wrong with it.
        source: soci_ztoc::ReadError,
    },
    /// A ztoc does not match its layer.
    #[error("ztoc {ztoc} does not match layer {layer}: {reason}")]
    Mismatch {
        /// The ztoc.
        ztoc: Digest,
        /// Its layer.
        layer: Digest,
        /// In what.
        reason: String,
    },
    /// The program is shutting down.
    #[error("the check was interrupted")]
    Interrupted,
    /// A file cannot be extracted.
    #[error("file {file:?} of layer {layer} cannot be extracted with ztoc {ztoc}")]
    Extract {
        /// The file.
        file: String,
        /// The ztoc.
        ztoc: Digest,
        /// Its layer.
        layer: Digest,
        /// Why not.
        source: ExtractError,
    },
}

impl VerifyError {
    /// The store failed when something was read that a digest names, or does not have it.
    pub(super) fn read(what: &'static str, digest: Digest, source: StoreError) -> Self {
        let target = TagOrDigest::Digest(digest);
        if source.is_not_found() {
            return Self::NotFound { what, target };
        }
        Self::Read { what, target, source }
    }
}
