//! What all layers that are being built share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use soci_registry::{MemoryLease, MemoryPool, Transfer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Least memory for one layer's download: two parts of 1 MiB, so that one is on its way while the
/// other is read. Requests for less cost more than they bring.
const SMALLEST_WINDOW: u64 = 2 << 20;

/// Cores and memory for the layers that are being built, of one image or of many: clones share
/// them.
///
/// Layers get their turn in the order in which they ask. Each has an equal part of the memory
/// reserved, and takes as much of the rest as is free and as it can use.
#[derive(Clone, Debug)]
pub struct Budget {
    slots: Arc<Semaphore>,
    memory: MemoryPool,
    reserve: u64,
}

impl Budget {
    /// A budget for `layers` at once, whose downloads together hold at most `memory` bytes, which
    /// are at least 2 MiB and at most 4 TiB. Where memory is less than 2 MiB for each of them, fewer
    /// layers are downloaded at once.
    pub fn new(layers: NonZeroUsize, memory: u64) -> Self {
        let slots = Arc::new(Semaphore::new(layers.get().min(Semaphore::MAX_PERMITS)));
        let memory = memory.max(SMALLEST_WINDOW);
        let reserve = (memory / layers.get() as u64).max(SMALLEST_WINDOW);
        Self { slots, memory: MemoryPool::new(memory), reserve }
    }

    /// A budget for as many layers as there are cores, and 64 MiB of downloads.
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN), 64 << 20)
    }

    /// Waits until a layer may be built. Dropping what is returned lets the next one begin.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there is always a permit in the end.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Waits until there is memory for the download of a blob of `size` bytes. Alone, it gets a
    /// window as large as the client's default, if the memory is.
    pub(crate) async fn share(&self, size: u64) -> MemoryLease {
        self.memory.reserve(self.reserve.min(size), Transfer::default()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget(layers: usize, memory: u64) -> Budget {
        Budget::new(NonZeroUsize::new(layers).unwrap(), memory)
    }

    /// Layers of these sizes, each of which is built for as many seconds as it has MiB, asked for
    /// one after the other. The layers in the order in which they began, and the most reserved at
    /// any time.
    async fn build(budget: &Budget, sizes: &[u64]) -> (Vec<usize>, u64) {
        let seen = Arc::new(Mutex::new((Vec::new(), 0, 0)));
        let mut layers = JoinSet::new();
        for (number, size) in sizes.iter().copied().enumerate() {
            let (budget, seen) = (budget.clone(), Arc::clone(&seen));
            layers.spawn(async move {
                let _slot = budget.slot().await;
                let share = budget.share(size).await;
                let reserved = budget.reserve.min(size);
                {
                    let (order, now, peak) = &mut *seen.lock().unwrap();
                    order.push(number);
                    *now += reserved;
                    *peak = (*peak).max(*now);
                }
                tokio::time::sleep(Duration::from_secs(size / MIB)).await;
                seen.lock().unwrap().1 -= reserved;
                drop(share);
            });
        }
        while let Some(done) = layers.join_next().await {
            done.unwrap();
        }
        let (order, left, peak) = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(left, 0);
        (order, peak)
    }

    #[tokio::test(start_paused = true)]
    async fn every_layer_gets_its_turn_in_order_and_all_stay_in_the_memory() {
        let sizes: Vec<u64> = (0..100).map(|layer| (layer * 7 % 13 + 1) * MIB).collect();
        for (layers, memory) in [(1, 64), (2, 64), (8, 64), (64, 64), (16, 5), (3, 0)] {
            let (order, peak) = build(&budget(layers, memory * MIB), &sizes).await;
            assert!(order.iter().copied().eq(0..100), "{layers} {memory}: {order:?}");
            assert!(peak <= (memory * MIB).max(2 * MIB), "{layers} {memory}: {peak}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_layers_are_built_at_once_as_there_are_slots_and_memory() {
        for (layers, memory, at_once) in [(4, 64, 4), (4, 6, 3), (4, 1, 1)] {
            let started = tokio::time::Instant::now();
            build(&budget(layers, memory * MIB), &[10 * MIB; 12]).await;
            let turns = started.elapsed().as_secs() / 10;
            assert_eq!(turns, 12 / at_once, "{layers} {memory}");
        }
    }
}
