//! What happens to an image while it is being indexed or checked, as one stream of events.

use std::sync::Arc;

use soci_oci::Digest;

use crate::report::ZtocSource;

/// Something that has happened to an image or to one of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageEvent<'a> {
    /// It waits for memory for its documents.
    DocumentsWait,
    /// It has that memory, and its documents are fetched.
    DocumentsBegun,
    /// It is known what will be read.
    Planned {
        /// Layers that will be built.
        layers: usize,
        /// Their bytes together.
        bytes: u64,
    },
    /// A layer has got its turn, and waits for memory.
    LayerWaits {
        /// Its digest.
        layer: &'a Digest,
    },
    /// A layer is begun.
    LayerStarted {
        /// Its digest.
        layer: &'a Digest,
        /// Its size in bytes; 0 where it is checked in a few places only.
        size: u64,
    },
    /// More of a layer has been read.
    LayerRead {
        /// Its digest.
        layer: &'a Digest,
        /// How many bytes more.
        bytes: u64,
    },
    /// A layer's ztoc needs more memory than was free. All that was read of the layer will be read again when
    /// there is as much, which the layer waits for.
    LayerRestarted {
        /// Its digest.
        layer: &'a Digest,
    },
    /// A layer gets no ztoc after all, and what was not read of it will not be. The [`Report`](crate::Report) says why.
    LayerLeftOut {
        /// Its digest.
        layer: &'a Digest,
        /// How many of its bytes were not read.
        unread: u64,
    },
    /// A layer's ztoc was there, as the layer had been indexed before. It was not begun, and will not be read.
    LayerReused {
        /// Its digest.
        layer: &'a Digest,
        /// Its size in bytes.
        size: u64,
        /// Whose work the ztoc is.
        from: ZtocSource,
    },
    /// A layer's ztoc is built and stored, or checked.
    LayerDone {
        /// Its digest.
        layer: &'a Digest,
    },
    /// A blob of the image is copied into an output that does not have it. After a failure in passing this comes again.
    CopyStarted {
        /// Its digest.
        blob: &'a Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// More of such a blob has been read.
    CopyRead {
        /// Its digest.
        blob: &'a Digest,
        /// How many bytes more.
        bytes: u64,
    },
    /// Such a blob has been read and verified.
    CopyDone {
        /// Its digest.
        blob: &'a Digest,
    },
}

/// Whoever is told of the events. It is called on the task that does the work, for every piece of a
/// layer, so it returns at once.
pub type OnImageEvent = Arc<dyn Fn(&ImageEvent<'_>) + Send + Sync>;
