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
mod event;
mod existing;
mod gather;
mod index;
mod layer;
mod layers;
mod layout;
mod options;
mod pipeline;
mod prefetch;
mod publish;
mod reason;
mod referrers_lists;
mod remote;
mod report;
mod source_tag;
mod startup;
mod store;
mod stored;
mod verify;

pub use budget::Budget;
pub use error::{IndexError, LayerError, LayoutError, StoreError};
pub use event::{ImageEvent, OnImageEvent};
pub use index::index_image;
pub use layout::Layout;
pub use options::{ImageName, Options, OutputTag};
pub use pipeline::{PipelineError, build_ztoc};
pub use reason::Reason;
pub use remote::RemoteRepository;
pub use report::{LayerReport, Report};
pub use store::{BlobStream, ImageStore};
pub use verify::{LayerCheck, Misread, Verification, VerifyError, verify_image};
