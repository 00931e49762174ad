//! A hook for those who watch.

use soci_oci::Digest;

/// Told what happens to the layers of an image. Called on the task that does it: keep it short.
pub trait Progress: Send + Sync {
    /// This many layers will be built, of this many bytes together.
    fn planned(&self, layers: usize, bytes: u64) {
        let _ = (layers, bytes);
    }

    /// A layer of `size` bytes is begun.
    fn layer_started(&self, layer: &Digest, size: u64) {
        let _ = (layer, size);
    }

    /// More of a layer has been read.
    fn layer_read(&self, layer: &Digest, bytes: u64) {
        let _ = (layer, bytes);
    }

    /// A layer's ztoc is built and stored.
    fn layer_done(&self, layer: &Digest) {
        let _ = layer;
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
