//! How many bytes a reader may hold.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

/// The bytes received and not yet handed out.
#[derive(Debug)]
pub(super) struct Window {
    buffered: AtomicU64,
    peak: AtomicU64,
    /// Room left, for the mode in which parts do not bound it. Permits are bytes.
    room: Semaphore,
}

impl Window {
    /// A window of `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let permits = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { buffered: AtomicU64::new(0), peak: AtomicU64::new(0), room: Semaphore::new(permits) }
    }

    /// Waits until `bytes` more fit, at most the window's limit, and takes their room.
    pub(super) async fn take_room(&self, bytes: usize) {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        if let Ok(permit) = self.room.acquire_many(permits).await {
            permit.forget();
        }
    }

    /// Gives back room that [`Window::take_room`] took.
    pub(super) fn make_room(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// Counts bytes that came in.
    pub(super) fn received(&self, bytes: usize) {
        let bytes = bytes as u64;
        let buffered = self.buffered.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(buffered, Ordering::Relaxed);
    }

    /// Counts bytes that went out.
    pub(super) fn handed_out(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Most bytes that were in at any time.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.room.available_permits()
    }
}
