//! A blob on its way from one store to another: read as a stream, in memory of the [`Budget`], and verified before its last
//! piece is handed on.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use soci_oci::{Descriptor, Digest};
use soci_registry::{BlobPieces, BlobSource, StreamedBlob};

use crate::budget::{Budget, LayerMemory};
use crate::error::StoreError;
use crate::event::{ImageEvent, OnImageEvent};
use crate::store::{BlobStream as _, ImageStore};

/// A blob on its way from one store to another.
pub(crate) struct BlobCopy<S> {
    store: S,
    digest: Digest,
    size: u64,
    budget: Budget,
    /// Of the first try. Each later one waits for its own, as that of the one before may still be in use.
    memory: Mutex<Option<LayerMemory>>,
    on_event: OnImageEvent,
    /// Why the last try to read it failed.
    failure: Mutex<Option<StoreError>>,
}

impl<S: ImageStore> BlobCopy<S> {
    /// The copy of a blob, once there is memory for it.
    pub(crate) async fn new(
        store: S,
        blob: &Descriptor,
        budget: &Budget,
        on_event: OnImageEvent,
    ) -> Arc<Self> {
        let memory = Mutex::new(Some(budget.layer(blob.size, 0).await));
        let (digest, size, budget) = (blob.digest, blob.size, budget.clone());
        Arc::new(Self { store, digest, size, budget, memory, on_event, failure: Mutex::default() })
    }

    /// What is sent.
    pub(crate) fn content(self: &Arc<Self>) -> BlobSource {
        BlobSource::streamed(self.size, Arc::new(SharedCopy(Arc::clone(self))))
    }

    /// Why the last try to read it failed, if it did.
    pub(crate) fn take_failure(&self) -> Option<StoreError> {
        self.failure().take()
    }

    fn failure(&self) -> MutexGuard<'_, Option<StoreError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for whoever reads it.
struct SharedCopy<S>(Arc<BlobCopy<S>>);

impl<S> fmt::Debug for SharedCopy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCopy").field("digest", &self.0.digest).finish_non_exhaustive()
    }
}

impl<S: ImageStore> StreamedBlob for SharedCopy<S> {
    fn pieces(&self) -> BlobPieces {
        *self.0.failure() = None;
        let reading = ReadCopy { copy: Arc::clone(&self.0), open: None, held: None, over: false };
        stream::unfold(reading, ReadCopy::step).boxed()
    }

    fn is_lost(&self) -> bool {
        self.0.failure().as_ref().is_some_and(|failure| !failure.is_transient())
    }
}

/// One try to read it.
struct ReadCopy<S: ImageStore> {
    copy: Arc<BlobCopy<S>>,
    open: Option<OpenCopy<S>>,
    /// What was read last. It is handed on when it is known that it is not the end of wrong bytes.
    held: Option<Bytes>,
    over: bool,
}

struct OpenCopy<S: ImageStore> {
    blob: S::Blob,
    /// What the memory beside the window is held by.
    _memory: (crate::budget::ZtocMemory, soci_registry::MemoryHold),
}

impl<S: ImageStore> ReadCopy<S> {
    async fn step(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.over {
            return None;
        }
        let BlobCopy { store, digest, size, budget, memory, on_event, .. } = &*self.copy;
        if self.open.is_none() {
            let first = memory.lock().unwrap_or_else(PoisonError::into_inner).take();
            let memory = match first {
                Some(memory) => memory,
                None => budget.layer(*size, 0).await,
            };
            on_event(&ImageEvent::CopyStarted { blob: digest, size: *size });
            let LayerMemory { window, ztoc, beside } = memory;
            let blob = store.blob(digest, *size, window);
            self.open = Some(OpenCopy { blob, _memory: (ztoc, beside) });
        }
        let Some(open) = &mut self.open else { return None };
        loop {
            match open.blob.next().await {
                Ok(Some(bytes)) => {
                    on_event(&ImageEvent::CopyRead { blob: digest, bytes: bytes.len() as u64 });
                    if let Some(before) = self.held.replace(bytes) {
                        return Some((Ok(before), self));
                    }
                }
                Ok(None) => {
                    on_event(&ImageEvent::CopyDone { blob: digest });
                    self.over = true;
                    return self.held.take().map(|last| (Ok(last), self));
                }
                Err(error) => {
                    *self.copy.failure() = Some(error);
                    self.over = true;
                    let told = io::Error::other("the blob that is copied cannot be read");
                    return Some((Err(told), self));
                }
            }
        }
    }
}
