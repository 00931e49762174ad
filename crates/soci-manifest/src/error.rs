//! What can be wrong with an image.

use std::fmt;

use soci_oci::{Digest, DocumentError, Platform};

/// Why an image cannot be indexed. All of these are permanent: the image is addressed by digest,
/// so another try meets the same bytes.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A manifest or an image index cannot be read.
    #[error("manifest {digest} cannot be read")]
    Document {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        source: Box<DocumentError>,
    },
    /// A configuration that alone tells an image's platform cannot be read.
    #[error("image configuration {digest} cannot be read")]
    Config {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        source: Box<DocumentError>,
    },
    /// A document was asked for that has not been supplied; the caller's mistake.
    #[error("manifest or configuration {digest} has not been supplied")]
    NotSupplied {
        /// Its digest.
        digest: Digest,
    },
    /// The image goes beyond a limit.
    #[error("the image has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An image index lists a manifest without its platform, in front of the one looked for.
    #[error(
        "the image index lists manifest {digest} without a platform, so a runtime cannot choose; add the platform to the image index"
    )]
    EntryWithoutPlatform {
        /// Digest of the manifest.
        digest: Digest,
    },
    /// A manifest that the image index lists is not in the repository or layout.
    #[error(
        "manifest {digest}{} is listed in the image index and is not there; copy it there, or leave the platform out with \
         --platform", platform.as_ref().map(|platform| format!(" of platform {platform}")).unwrap_or_default()
    )]
    ManifestMissing {
        /// Digest of the manifest.
        digest: Digest,
        /// The platform that the image index lists it for.
        platform: Option<Box<Platform>>,
    },
    /// The configuration that alone tells a manifest's platform is not in the repository or layout.
    #[error("image configuration {digest} is not there")]
    ConfigMissing {
        /// Digest of the configuration.
        digest: Digest,
    },
    /// No manifest is for the platform asked for.
    #[error("the image has no manifest for platform {platform}")]
    PlatformNotFound {
        /// The platform.
        platform: Box<Platform>,
    },
    /// The manifest of a platform lists something that is no layer.
    #[error("{0} is not a file system layer")]
    NotALayer(Box<ListedLayer>),
    /// The media type of a layer does not tell its compression.
    #[error("{0} has an unknown compression")]
    UnknownCompression(Box<ListedLayer>),
    /// A layer is large enough for a ztoc, but registries do not hold layers of its kind.
    #[error("{0} may not be redistributed, so the registry does not hold it to build a ztoc from")]
    Nondistributable(Box<ListedLayer>),
    /// Two manifests disagree about a layer's size.
    #[error("layer {layer} is listed with {first} bytes and with {second} bytes")]
    ConflictingSizes {
        /// Digest of the layer.
        layer: Digest,
        /// The size in the first place.
        first: u64,
        /// The size in another place.
        second: u64,
    },
    /// A platform's entry in the image index leads to things that are no manifests.
    #[error("entry {digest} of the image index does not lead to image manifests only")]
    NoManifest {
        /// Digest of the entry.
        digest: Digest,
    },
    /// A layer of the plan has no ztoc; the caller's mistake.
    #[error("no ztoc was given for layer {layer}")]
    ZtocMissing {
        /// Digest of the layer.
        layer: Digest,
    },
    /// A plan without SOCI indexes, which [`Image::plan`](crate::Image::plan) does not make.
    #[error("the plan has no SOCI index")]
    NothingPlanned,
    /// A manifest or image index would become larger than registries accept.
    #[error("the rewritten manifest or image index would be larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl ImageError {
    /// Whether a document is not where the image is, which may be late.
    pub(crate) fn is_not_there(&self) -> bool {
        matches!(self, Self::ManifestMissing { .. } | Self::ConfigMissing { .. })
    }

    /// The stable code of what concerns one platform of an image only: the others can be indexed.
    pub fn of_one_platform(&self) -> Option<&'static str> {
        Some(match self {
            Self::ManifestMissing { .. } => "manifest-missing",
            Self::ConfigMissing { .. } | Self::Config { .. } => "configuration",
            Self::EntryWithoutPlatform { .. } => "no-platform",
            Self::PlatformNotFound { .. } => "no-manifest",
            Self::NotALayer(_) => "not-a-layer",
            Self::UnknownCompression(_) => "unknown-compression",
            Self::Nondistributable(_) => "foreign-layer",
            _ => return None,
        })
    }
}

/// A layer as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLayer {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the layer.
    pub layer: Digest,
    /// Media type of the layer.
    pub media_type: String,
}

impl fmt::Display for ListedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, layer, media_type } = self;
        write!(f, "layer {layer} of manifest {manifest}, of media type {media_type:?},")
    }
}
