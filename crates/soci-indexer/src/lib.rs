//! Indexes an image: reads its manifests, builds the ztocs of its layers in one streaming pass,
//! and writes the SOCI index beside it.
//!
//! [`index_image`] does it all, [`verify_image`] checks the result against the layers. Both work
//! on an [`ImageStore`]: a repository in a registry or an OCI layout on disk.
//!
//! Invariants:
//! - Nothing that was derived from a layer is pushed before the layer's digest has been verified.
//! - A manifest is pushed after everything it names, the tag last, so that a failure leaves
//!   neither a manifest nor a tag behind that points to nothing.
//! - Layers are never written to disk, and no more of them is in memory than the downloads'
//!   windows.

mod budget;
mod error;
mod existing;
mod index;
mod layer;
mod layout;
mod outcome;
mod pipeline;
mod progress;
mod publish;
mod source_tag;
mod store;
mod verify;

pub use budget::Budget;
pub use error::IndexError;
pub use index::{ImageName, Options, OutputTag, index_image};
pub use layer::LayerError;
pub use layout::{Layout, LayoutError};
pub use outcome::{LayerReport, Outcome, Report};
pub use pipeline::{PipelineError, build_ztoc};
pub use progress::{NoProgress, Progress};
pub use store::{BlobStream, ImageStore, RemoteRepository, StoreError};
pub use verify::{LayerCheck, Verification, VerifyError, verify_image};
