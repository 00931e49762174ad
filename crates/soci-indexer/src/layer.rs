//! Builds the ztoc of one layer from its store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use soci_oci::Digest;
use soci_registry::MemoryLease;
use soci_ztoc::{Ztoc, ZtocSettings};
use tokio::sync::mpsc;

use crate::error::LayerError;
use crate::pipeline::{PipelineError, build_ztoc};
use crate::store::{BlobStream, ImageStore};

/// Pieces of the layer that wait to be inflated. The download has a window of its own; this only
/// lets it run on while a piece is being inflated.
const QUEUE: usize = 4;

/// A ztoc, built from a layer whose digest has been verified.
#[derive(Debug)]
pub(crate) struct BuiltLayer {
    pub(crate) ztoc: Ztoc,
    pub(crate) elapsed: Duration,
}

/// What goes from the download to the build.
enum Piece {
    Bytes(Bytes),
    /// The layer is complete and verified.
    Verified,
}

/// The download ended before the layer did.
struct Abandoned;

/// Reads the layer and builds its ztoc beside it. `on_bytes` hears how many bytes have come.
pub(crate) async fn build_layer<S: ImageStore>(
    store: &S,
    digest: &Digest,
    size: u64,
    settings: ZtocSettings,
    share: MemoryLease,
    on_bytes: impl Fn(u64),
) -> Result<BuiltLayer, LayerError> {
    let started = Instant::now();
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let building = tokio::task::spawn_blocking(move || {
        build_ztoc(settings, || match receiver.blocking_recv() {
            Some(Piece::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Piece::Verified) => Ok(None),
            None => Err(Abandoned),
        })
    });
    let mut blob = store.blob(digest, size, share);
    // A build that fails closes the channel. The layer is read on all the same: if its bytes turn
    // out not to be those of its digest, that is the error, and one that may pass.
    while let Some(bytes) = blob.next().await? {
        on_bytes(bytes.len() as u64);
        let _ = sender.send(Piece::Bytes(bytes)).await;
    }
    let _ = sender.send(Piece::Verified).await;
    match building.await {
        Ok(Ok(ztoc)) => Ok(BuiltLayer { ztoc, elapsed: started.elapsed() }),
        Ok(Err(PipelineError::Build(error))) => Err(error.into()),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Ok(Err(PipelineError::Read(Abandoned))) | Err(_) => Err(LayerError::Interrupted),
    }
}
