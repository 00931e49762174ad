//! What all layers that are being built share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use registry::Transfer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cores and memory for the layers that are being built, of one image or of many: clones share
/// them.
#[derive(Clone, Debug)]
pub struct Budget {
    layers: NonZeroUsize,
    memory: u64,
    slots: Arc<Semaphore>,
}

impl Budget {
    /// A budget for `layers` at once, whose downloads together hold at most `memory` bytes, as long
    /// as that is 2 MiB for each.
    pub fn new(layers: NonZeroUsize, memory: u64) -> Self {
        let slots = Arc::new(Semaphore::new(layers.get().min(Semaphore::MAX_PERMITS)));
        Self { layers, memory, slots }
    }

    /// A budget for as many layers as there are cores, and 64 MiB of downloads.
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN), 64 << 20)
    }

    /// How each of `layers` blobs is fetched so that all of them together stay in the budget: the
    /// client's default, with fewer parts at once or, where memory is scarce, smaller ones, but
    /// not below 2 MiB for a layer.
    pub fn transfer(&self, layers: usize) -> Transfer {
        /// Requests for less than this cost more than they bring.
        const SMALLEST_PART: u64 = 1 << 20;
        let whole = Transfer::default();
        let at_once = layers.clamp(1, self.layers.get());
        let share = (self.memory / at_once as u64).max(SMALLEST_PART);
        let parts = share / whole.part_size;
        if parts < 2 {
            // Two parts at least, so that one is on its way while the other is read.
            return Transfer { part_size: (share / 2).max(SMALLEST_PART), parallel_parts: 2 };
        }
        let parts = usize::try_from(parts).unwrap_or(usize::MAX).min(whole.parallel_parts);
        Transfer { parallel_parts: parts, ..whole }
    }

    /// Waits until a layer may be built. Dropping what is returned lets the next one begin.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there is always a permit in the end.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(layers: usize, memory: u64) -> (u64, usize) {
        let transfer = Budget::new(NonZeroUsize::new(layers).unwrap(), memory).transfer(layers);
        (transfer.part_size, transfer.parallel_parts)
    }

    #[test]
    fn a_single_layer_gets_all_of_the_memory() {
        let budget = Budget::new(NonZeroUsize::new(16).unwrap(), 64 << 20);
        assert_eq!(budget.transfer(1), Transfer::default());
        assert_eq!(budget.transfer(100), budget.transfer(16));
    }

    #[test]
    fn all_windows_together_stay_in_the_budget() {
        assert_eq!(transfer(1, 64 << 20), (8 << 20, 8));
        assert_eq!(transfer(2, 64 << 20), (8 << 20, 4));
        assert_eq!(transfer(8, 64 << 20), (4 << 20, 2));
        assert_eq!(transfer(64, 64 << 20), (1 << 20, 2), "the least that makes sense");
        assert_eq!(transfer(1, u64::MAX), (8 << 20, 8));
    }
}
