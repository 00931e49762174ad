//! SOCI indexes of container images, versions 1 and 2, byte for byte as soci-snapshotter (the
//! reference builder) writes them.
//!
//! Pure: no I/O, no clock, no environment. The caller fetches and pushes; this crate says what:
//!
//! 1. [`Image::new`] takes the root manifest; the caller fetches what [`Image::missing`] lists and
//!    hands it to [`Image::supply`], until nothing is missing.
//! 2. [`Image::plan`] decides which layers get a ztoc, or why there is nothing to do.
//! 3. [`Plan::assemble`] takes the ztocs' digests, and what is to be prefetched, and gives every manifest to push, in order.
//!
//! What the documents claim is bounded by [`ImageLimits`]; no input makes this crate panic or recurse
//! without bound.

pub mod format;

mod assembly;
mod error;
mod generation;
mod image;
mod plan;
mod prefetch;
mod reuse_scope;
mod settings;

pub use assembly::{
    Assembly, BuiltZtoc, NewManifest, Referrer, Role, SociIndex, unmarked_soci_index,
};
pub use error::{ImageError, ListedLayer};
pub use format::{Version, VersionError};
pub use generation::{Generation, GenerationError};
pub use image::{Image, Missing, MissingKind, NotAnImage};
pub use plan::{
    IndexPlan, LAYER_MISSING, LayerDecision, LayerKey, LayerToBuild, LeftOutPlatform, Plan,
    Planned, SkipReason, SkippedLayer, WhyLeftOut,
};
pub use prefetch::{
    FilesOfLayer, LayerPrefetch, Prefetch, PrefetchArtifact, PrefetchError, PrefetchFile,
};
pub use reuse_scope::{ReuseScope, ReuseScopeError};
pub use settings::{ImageLimits, Platforms, PrefetchSettings, SociIndexSettings};
pub use soci_ztoc::Compression;
