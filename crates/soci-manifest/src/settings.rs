//! What a caller decides about a SOCI index.

use soci_oci::Platform;

use crate::format::{DEFAULT_BUILD_TOOL_IDENTIFIER, DEFAULT_MIN_LAYER_SIZE, Version};
use crate::{Generation, PrefetchFile};

/// How SOCI indexes are built. The default is the reference's, of version V2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SociIndexSettings {
    /// Version of the SOCI index.
    pub version: Version,
    /// Bytes between the checkpoints of a ztoc, at most 2^63 - 1.
    pub span_size: u64,
    /// Layers of fewer bytes get no ztoc.
    pub min_layer_size: u64,
    /// The name that SOCI indexes and ztocs carry of the tool that built them.
    pub build_tool_identifier: String,
    /// Which releases of the reference can use it.
    pub generation: Generation,
    /// Whether a ztoc's descriptor tells its span size in the older generation, too. Releases of the reference
    /// from 0.12 on do; it changes the digest of every SOCI index.
    pub annotate_span_size: bool,
    /// Whether the ztoc of a layer without extended attributes says so, for the snapshotter to mount it without them.
    pub optimize_xattrs: bool,
    /// What is prefetched. Only [`Generation::Newer`] has it.
    pub prefetch: PrefetchSettings,
    /// Whether an image fails where the reference fails on it, and gets the ztocs of the reference that no snapshotter
    /// can load. Otherwise what can be indexed is, and the platforms and layers that are left out are told.
    pub strict: bool,
}

impl SociIndexSettings {
    /// Whether a ztoc's descriptor tells its span size.
    pub fn tells_span_size(&self) -> bool {
        self.annotate_span_size || self.generation == Generation::Newer
    }
}

impl Default for SociIndexSettings {
    fn default() -> Self {
        Self {
            version: Version::default(),
            span_size: soci_ztoc::DEFAULT_SPAN_SIZE,
            min_layer_size: DEFAULT_MIN_LAYER_SIZE,
            build_tool_identifier: DEFAULT_BUILD_TOOL_IDENTIFIER.to_owned(),
            generation: Generation::default(),
            annotate_span_size: false,
            optimize_xattrs: false,
            prefetch: PrefetchSettings::default(),
            strict: false,
        }
    }
}

/// Which files of an image a snapshotter fetches before it mounts a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefetchSettings {
    /// These, of every image and platform.
    pub files: Vec<PrefetchFile>,
    /// Those that an image's own label names, [`PREFETCH_LABEL`](crate::format::PREFETCH_LABEL), unless `files` are given.
    pub label: bool,
    /// Those that an image's program needs to start, as its configuration tells.
    pub auto: bool,
}

impl PrefetchSettings {
    /// Whether anything may be prefetched.
    pub fn any(&self) -> bool {
        !self.files.is_empty() || self.label || self.auto
    }
}

/// Which of an image's platforms get a SOCI index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Platforms {
    /// All that the image has.
    #[default]
    All,
    /// These; one that the image lacks is an error.
    Only(Vec<Platform>),
    /// Those of these that the image has, as for a service that gets all kinds of images. One that has none of them
    /// is left as it is.
    AnyOf(Vec<Platform>),
}

/// What an image may ask for. The reference has no such limits; images within these are orders of
/// magnitude larger than real ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Manifests, image indexes and configurations of one image.
    pub max_documents: usize,
    /// Bytes of all these together.
    pub max_document_bytes: usize,
    /// Image indexes inside of image indexes.
    pub max_depth: usize,
    /// Platforms that are indexed.
    pub max_platforms: usize,
    /// Layers of all manifests that are indexed.
    pub max_layers: usize,
    /// Bytes of a manifest or image index that is written. Registries take 4 MiB (the OCI
    /// distribution specification asks them to; ECR's limit is the same).
    pub max_manifest_bytes: usize,
}

impl ImageLimits {
    /// The default limits.
    pub const DEFAULT: Self = Self {
        max_documents: 1_000,
        max_document_bytes: 32 << 20,
        max_depth: 8,
        max_platforms: 256,
        max_layers: 10_000,
        max_manifest_bytes: 4 << 20,
    };
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
