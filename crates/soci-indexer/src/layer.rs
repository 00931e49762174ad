//! Builds the ztoc of one layer from its store, within the memory that all layers share.

use std::time::{Duration, Instant};

use bytes::Bytes;
use soci_oci::Digest;
use soci_ztoc::{BuildError, Ztoc, ZtocSettings};
use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::budget::{Budget, LayerMemory, PIECES_TO_INFLATE, ZtocMemory};
use crate::cores::Cores;
use crate::error::LayerError;
use crate::pipeline::{PipelineError, ReadOn, build_ztoc_or_stop};
use crate::store::{BlobStream, ImageStore};

/// A ztoc, built from a layer whose digest has been verified.
#[derive(Debug)]
pub(crate) struct BuiltLayer {
    pub(crate) ztoc: Ztoc,
    /// Held as long as the ztoc is.
    pub(crate) memory: ZtocMemory,
    pub(crate) elapsed: Duration,
}

/// Who is told how a layer gets on.
pub(crate) trait LayerProgress {
    /// There is memory for the layer, and its download begins.
    fn started(&self);

    /// More bytes have come.
    fn read(&self, bytes: u64);

    /// The ztoc needs more memory than was free, so the layer will be read again from its start.
    fn restarted(&self);
}

/// What goes from the download to the build.
enum Piece {
    Bytes(Bytes),
    /// The layer is complete and verified.
    Verified,
}

/// The download ended before the layer did.
struct Abandoned;

/// Reads the layer and builds its ztoc beside it, when there is memory for it.
pub(crate) async fn build_layer<S: ImageStore>(
    store: &S,
    digest: &Digest,
    size: u64,
    settings: ZtocSettings,
    budget: &Budget,
    read_on: ReadOn,
    progress: &impl LayerProgress,
) -> Result<BuiltLayer, LayerError> {
    let started = Instant::now();
    let mut ztoc_bytes = 0;
    loop {
        let memory = budget.layer(size, ztoc_bytes).await;
        if ztoc_bytes == 0 {
            progress.started();
        }
        let ztoc_memory = memory.ztoc.clone();
        let memory = (memory, budget.cores().clone());
        match try_build(store, digest, size, settings.clone(), memory, read_on, progress).await {
            Ok(ztoc) => {
                return Ok(BuiltLayer { ztoc, memory: ztoc_memory, elapsed: started.elapsed() });
            }
            Err(LayerError::Build(BuildError::OutOfMemory { needed })) => {
                let most = budget.largest_ztoc();
                // As much as was said to be enough is enough; were it not, this would have no end.
                if needed > most || needed <= ztoc_bytes {
                    let budget = Budget::memory_for_ztoc(needed);
                    return Err(LayerError::Memory { needed, most, budget });
                }
                tracing::debug!(layer = %digest, needed, "waiting for memory for the ztoc");
                ztoc_bytes = needed;
                progress.restarted();
            }
            Err(error) => return Err(error),
        }
    }
}

async fn try_build<S: ImageStore>(
    store: &S,
    digest: &Digest,
    size: u64,
    settings: ZtocSettings,
    (memory, cores): (LayerMemory, Cores),
    read_on: ReadOn,
    progress: &impl LayerProgress,
) -> Result<Ztoc, LayerError> {
    let LayerMemory { window, ztoc, beside: _beside } = memory;
    let (sender, mut receiver) = mpsc::channel(PIECES_TO_INFLATE);
    let mut building = tokio::task::spawn_blocking(move || {
        build_ztoc_or_stop(settings, Box::new(ztoc), &cores, read_on, || {
            match receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => Ok(Some(bytes)),
                Some(Piece::Verified) => Ok(None),
                None => Err(Abandoned),
            }
        })
    });
    let mut blob = store.blob(digest, size, window);
    // A build that fails closes the channel. The layer is read on all the same: if its bytes turn
    // out not to be those of its digest, that is the error, and one that may pass. But a member that has ended with
    // the right checksum and another one behind it are no accident. Nor is what an index that is there says, too.
    let mut failed = None;
    while let Some(bytes) = blob.next().await? {
        progress.read(bytes.len() as u64);
        if failed.is_none() && sender.send(Piece::Bytes(bytes)).await.is_err() {
            let result = (&mut building).await;
            if has_several_members(&result) || read_on == ReadOn::No && is_of_the_ztoc(&result) {
                return built(result);
            }
            failed = Some(result);
        }
    }
    if let Some(failed) = failed {
        return built(failed);
    }
    let _ = sender.send(Piece::Verified).await;
    built(building.await)
}

type Building = Result<Result<Ztoc, PipelineError<Abandoned>>, JoinError>;

fn has_several_members(building: &Building) -> bool {
    matches!(building, Ok(Err(PipelineError::Build(BuildError::SeveralMembers { .. }))))
}

fn is_of_the_ztoc(building: &Building) -> bool {
    matches!(building, Ok(Err(PipelineError::Build(error))) if error.is_of_the_ztoc())
}

fn built(building: Building) -> Result<Ztoc, LayerError> {
    match building {
        Ok(Ok(ztoc)) => Ok(ztoc),
        Ok(Err(PipelineError::Build(error))) => Err(error.into()),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Ok(Err(PipelineError::Read(Abandoned))) | Err(_) => Err(LayerError::Interrupted),
    }
}
