//! Builds the ztoc of one layer from its store, within the memory that all layers share.

use std::time::{Duration, Instant};

use bytes::Bytes;
use soci_oci::{Algorithm, Digest};
use soci_ztoc::{BuildError, Ztoc, ZtocSettings};
use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::budget::{Budget, LayerMemory, PIECES_TO_INFLATE, ZtocMemory};
use crate::cores::Cores;
use crate::error::LayerError;
use crate::pipeline::{Built, PipelineError, ReadOn, build_and_hash};
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
    /// The layer is complete.
    End,
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
    let building = tokio::task::spawn_blocking(move || {
        build_and_hash(settings, Box::new(ztoc), &cores, read_on, || {
            match receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => Ok(Some(bytes)),
                Some(Piece::End) => Ok(None),
                None => Err(Abandoned),
            }
        })
    });
    let mut blob = store.blob(digest, size, window);
    let is_sha256 = digest.algorithm() == Algorithm::Sha256;
    let is_hashed_here = is_sha256 && blob.leave_hashing();
    while let Some(bytes) = blob.next().await? {
        progress.read(bytes.len() as u64);
        // A build that fails reads on, unless what its layer is does not matter any more.
        if sender.send(Piece::Bytes(bytes)).await.is_err() {
            return Err(finished(building.await)?
                .ztoc
                .map_or_else(failed, |_| LayerError::Interrupted));
        }
    }
    let _ = sender.send(Piece::End).await;
    let Built { ztoc, sha256 } = finished(building.await)?;
    // There is no ztoc of it, and nothing wrong with it but what ends a build early, before its bytes are known to be
    // those of its digest. Another digest than SHA-256 was compared where the bytes were read.
    if is_sha256 {
        let Some(actual) = sha256.map(Digest::from_sha256) else {
            return Err(ztoc.map_or_else(failed, |_| LayerError::Interrupted));
        };
        if is_hashed_here {
            blob.hashed(&actual)?;
        }
        // A store of the caller's own may have said what is not so.
        if actual != *digest {
            return Err(LayerError::WrongBytes { actual });
        }
    }
    ztoc.map_err(failed)
}

/// What the build came to, if it was not interrupted.
fn finished<T>(building: Result<T, JoinError>) -> Result<T, LayerError> {
    building.map_err(|failed| {
        if failed.is_panic() {
            std::panic::resume_unwind(failed.into_panic());
        }
        LayerError::Interrupted
    })
}

fn failed(error: PipelineError<Abandoned>) -> LayerError {
    match error {
        PipelineError::Build(error) => error.into(),
        PipelineError::Read(Abandoned) => LayerError::Interrupted,
    }
}
