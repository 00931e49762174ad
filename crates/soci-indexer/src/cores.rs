//! The cores that all layers share, and who may use those that are free.
//!
//! Each layer that is being built has a thread that reads it, which keeps one core busy. What cores are left then may
//! decode chunks of layers ahead of that (`ahead.rs`). Who wants to decode a chunk asks for room, chunk by chunk:
//!
//! - Rooms are as many as cores that no other layer keeps busy, and a few more for chunks that wait. So many layers at once get
//!   none, and the last large one gets all, as soon as the others end.
//! - With no core beside its own a layer gets none: decoding ahead takes longer than reading.
//! - A room is memory, too, and has only what is to spare: half of what layers have stays free for the layers themselves, for
//!   what their ztocs grow by and for their windows.
//! - Nobody waits for a room. Without one the layer is read as it comes, with the same result.
//! - A layer uses a room again for its next chunk, as long as neither cores nor memory are short.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use soci_registry::MemoryPool;

/// Rooms beside those for the free cores: for a chunk of which the end has not come, and one that is being read.
pub(crate) const WAITING: usize = 2;

/// Memory that is held until the last clone of this is dropped.
pub(crate) type Held = Arc<dyn Send + Sync>;

/// Where memory comes from that nobody depends on.
pub(crate) trait SpareMemory: fmt::Debug + Send + Sync {
    /// `bytes` of it, if they are to spare. Never waits.
    fn take(&self, bytes: u64) -> Option<Held>;

    /// Whether others need what was taken.
    fn is_short(&self) -> bool;
}

impl SpareMemory for MemoryPool {
    fn take(&self, bytes: u64) -> Option<Held> {
        if self.free() < bytes.saturating_add(self.bytes() / 2) {
            return None;
        }
        Some(Arc::new(self.try_hold(bytes)?))
    }

    fn is_short(&self) -> bool {
        // What somebody waits for is not free, however much was given back.
        self.free() < self.bytes() / 4
    }
}

/// As much as there is.
#[derive(Debug)]
struct Endless;

impl SpareMemory for Endless {
    fn take(&self, _: u64) -> Option<Held> {
        Some(Arc::new(()))
    }

    fn is_short(&self) -> bool {
        false
    }
}

/// The cores that layers are built on. Clones are the same cores.
#[derive(Clone, Debug)]
pub struct Cores(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    memory: Box<dyn SpareMemory>,
    /// Layers that are being built.
    layers: AtomicUsize,
    /// Rooms that are taken.
    rooms: AtomicUsize,
}

impl Cores {
    /// So many cores, with as much memory as they need: 45 MiB for each and for two more, if there are several.
    pub fn new(count: NonZeroUsize) -> Self {
        Self::with_memory(count, Endless)
    }

    /// So many cores, with what `memory` has to spare.
    pub(crate) fn with_memory(count: NonZeroUsize, memory: impl SpareMemory + 'static) -> Self {
        Self(Arc::new(Shared {
            count: count.get(),
            memory: Box::new(memory),
            layers: AtomicUsize::new(0),
            rooms: AtomicUsize::new(0),
        }))
    }

    /// A layer is built on one of them, until what is returned is dropped.
    pub(crate) fn layer(&self) -> LayerCores {
        self.0.layers.fetch_add(1, Ordering::Relaxed);
        LayerCores(self.clone())
    }
}

impl Shared {
    /// How many rooms there are in all.
    fn most_rooms(&self) -> usize {
        let others = self.layers.load(Ordering::Relaxed).saturating_sub(1);
        let cores = self.count.saturating_sub(others);
        if cores > 1 { cores + WAITING } else { 0 }
    }
}

/// What one layer has of the cores.
#[derive(Debug)]
pub(crate) struct LayerCores(Cores);

impl Drop for LayerCores {
    fn drop(&mut self) {
        self.0.0.layers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LayerCores {
    /// Room to decode a chunk in `bytes` of memory, if there is any.
    pub(crate) fn room(&self, bytes: u64) -> Option<Room> {
        let shared = &self.0.0;
        let most = shared.most_rooms();
        let more = |rooms: usize| (rooms < most).then_some(rooms + 1);
        shared.rooms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        // Gives the place back if there is no memory.
        let mut room = Room { cores: self.0.clone(), memory: None };
        room.memory = Some(shared.memory.take(bytes)?);
        Some(room)
    }

    /// Memory for what else goes with a chunk.
    pub(crate) fn memory(&self, bytes: u64) -> Option<Held> {
        self.0.0.memory.take(bytes)
    }

    /// Whether a room that is taken should be given back.
    pub(crate) fn are_short(&self) -> bool {
        let shared = &self.0.0;
        shared.rooms.load(Ordering::Relaxed) > shared.most_rooms() || shared.memory.is_short()
    }

    /// How many threads are of use beside the one that reads.
    pub(crate) fn others(&self) -> usize {
        self.0.0.count - 1
    }
}

/// Room to decode a chunk, until this is dropped.
pub(crate) struct Room {
    cores: Cores,
    memory: Option<Held>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory = None;
        self.cores.0.rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn cores(count: usize) -> Cores {
        Cores::new(NonZeroUsize::new(count).unwrap())
    }

    fn rooms(layer: &LayerCores) -> Vec<Room> {
        std::iter::from_fn(|| layer.room(1)).collect()
    }

    #[test]
    fn the_last_layer_has_all_cores_and_many_have_none_to_spare() {
        for (count, layers, expected) in [
            (1, 1, 0),
            (2, 1, 4),
            (2, 2, 0),
            (3, 1, 5),
            (8, 1, 10),
            (8, 4, 7),
            (8, 7, 4),
            (8, 8, 0),
            (8, 64, 0),
        ] {
            let cores = cores(count);
            let layers: Vec<_> = (0..layers).map(|_| cores.layer()).collect();
            let taken = rooms(&layers[0]);
            assert_eq!(taken.len(), expected, "{count} cores, {} layers", layers.len());
            let last = layers.into_iter().next().unwrap();
            drop(taken);
            assert_eq!(rooms(&last).len(), if count > 1 { count + 2 } else { 0 }, "{count} cores");
        }
    }

    #[test]
    fn rooms_are_given_back_when_other_layers_come() {
        let cores = cores(4);
        let layer = cores.layer();
        let taken = rooms(&layer);
        assert!(!layer.are_short());
        let other = cores.layer();
        assert!(layer.are_short(), "two layers have one room less");
        drop(other);
        assert!(!layer.are_short());
        drop(taken);
        assert_eq!(cores.0.rooms.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn half_of_the_memory_stays_free_and_those_who_wait_get_what_was_taken() {
        let pool = MemoryPool::new(100 * MIB, 50 * MIB);
        let cores = Cores::with_memory(NonZeroUsize::new(8).unwrap(), pool.clone());
        let layer = cores.layer();
        let mut taken: Vec<_> = std::iter::from_fn(|| layer.room(20 * MIB)).collect();
        assert_eq!((taken.len(), pool.free()), (2, 60 * MIB));
        assert!(!layer.are_short());
        assert_eq!(cores.0.rooms.load(Ordering::Relaxed), 2, "what failed took no place");
        let others = pool.hold(90 * MIB);
        tokio::pin!(others);
        let waits = others.as_mut().now_or_never().is_none();
        assert!(waits && layer.are_short() && layer.memory(1).is_none());
        taken.clear();
        assert_eq!(others.await.bytes(), 90 * MIB);
    }
}
