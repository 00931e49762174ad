//! The OCI vocabulary that every other crate speaks: digests, image references, descriptors,
//! manifests and image indexes, and JSON exactly as Go's `encoding/json` reads and writes it.
//!
//! Pure: no I/O, no clock, no environment. Knows nothing of SOCI.
//!
//! Sources: OCI image specification 1.1 (descriptors, manifests, indexes), OCI distribution
//! specification 1.1 (names, tags), and the reference grammar that docker accepts.

pub mod digest;
pub mod document;
pub mod json;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod referrers;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use document::{
    Annotations, Descriptor, Document, DocumentError, Index, Manifest, config_platform,
    root_media_type,
};
pub use platform::{Platform, PlatformError, PlatformRules};
pub use reference::{Reference, ReferenceError, Repository, Tag, TagOrDigest};
