//! What all images that are being indexed share: cores and memory.
//!
//! Everything that grows with what others send is in this memory. It has three parts, which lend each other
//! nothing, so that whoever waits in one of them holds nothing that another one there waits for:
//!
//! - An eighth of it, at least 8 MiB and at most 256 MiB, is for documents: manifests, image indexes
//!   and configurations. An image holds what its documents take until it is indexed.
//! - A sixteenth, at least 2 MiB and at most 64 MiB, is for looking at results that are there already, one
//!   document after the other. One that takes more than that is no result of this program, and is not read.
//! - The others are for layers. A layer has its window, what is on the way between its threads, and its ztoc, from the
//!   first entry until it is pushed. Windows together take a half at most. What is to spare lets free cores help (`cores.rs`).
//!
//! How much a ztoc or an image's documents take is known only when they have been read. They take what
//! is free; where that is not enough, all that was held is given back, and the work begins again with as much
//! as it needs, in its turn. What needs more than there is in all fails and says how much.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use soci_registry::{MAX_PIECE, MemoryHold, MemoryLease, MemoryPool, Transfer};
use soci_ztoc::{MemoryGrant, Scanner};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cores::Cores;

/// Least memory for one layer's download: two parts of 1 MiB, so that one is on its way while the
/// other is read. Requests for less cost more than they bring.
const SMALLEST_WINDOW: u64 = 2 << 20;

/// Most memory for windows, if that is more than [`LAYERS_WINDOW`] for each layer: of a layer that is alone and whose
/// connections are slow. It has that many only where they make it quicker.
const MOST_WINDOWS: u64 = 256 << 20;

/// Most memory for windows that is reserved for layers, if that is more than [`LAYERS_WINDOW`] for each. The rest of what
/// windows may take goes to those that can use it.
const MOST_RESERVED: u64 = 64 << 20;

/// Window of a layer that fills a link together with others.
const LAYERS_WINDOW: u64 = 16 << 20;

/// What the read buffers of a layer's connections take.
const CONNECTIONS: u64 = 1 << 20;

/// Pieces of a layer that wait to be inflated. The download has a window of its own; this only lets
/// it run on while a piece is being inflated.
pub(crate) const PIECES_TO_INFLATE: usize = 2;

/// Pieces that the hashing may be behind: enough to smooth the two threads' paces, and little memory, since a piece is
/// what one read of a socket or file gives.
pub(crate) const PIECES_TO_HASH: usize = 4;

/// Pieces outside of the window at most: those that wait, and the three that are being sent, inflated and hashed.
const PIECES_UNDER_WAY: u64 = (PIECES_TO_INFLATE + PIECES_TO_HASH + 3) as u64;

/// What a layer takes beside its window and its ztoc.
const BESIDE: u64 = Scanner::FIXED_MEMORY + PIECES_UNDER_WAY * MAX_PIECE + CONNECTIONS;

/// Least memory for documents: twice what an image begins with.
const LEAST_FOR_DOCUMENTS: u64 = 2 * FIRST_DOCUMENTS;

/// Most memory for documents.
const MOST_FOR_DOCUMENTS: u64 = 256 << 20;

/// Least memory for looking at results.
const LEAST_FOR_RESULTS: u64 = 2 << 20;

/// Most memory for looking at results: one of the largest manifests at a time.
const MOST_FOR_RESULTS: u64 = 64 << 20;

/// A result has at most so many times the bytes of the image's own manifests, and [`SMALL_RESULT`] more: it
/// repeats them, and names a ztoc and a layer where they name a layer.
const RESULT_FACTOR: u64 = 4;

/// Bytes that a result may have beside that.
const SMALL_RESULT: u64 = 64 << 10;

/// What an image holds before its documents are known: the largest manifest, not yet read.
pub(crate) const FIRST_DOCUMENTS: u64 = soci_registry::MANIFEST_LIMIT as u64;

/// Bytes of memory for each byte of a document while its image is being indexed: the text itself,
/// what it was read into, of which a list of annotations of few letters takes most, and what is written
/// in its place.
pub(crate) const DOCUMENT_FACTOR: u64 = 12;

/// Most layers at once whatever is asked for, if that is more than four for each core: each has two threads.
const MOST_LAYERS: usize = 64;

/// Cores and memory for the layers that are being built, of one image or of many: clones share
/// them.
///
/// Layers get their turn in the order in which they ask. Each has an equal part of the memory
/// reserved, and takes as much of the rest as is free and as it can use.
#[derive(Clone, Debug)]
pub struct Budget {
    slots: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    documents: MemoryPool,
    results: MemoryPool,
    layers: MemoryPool,
    /// What the layers are built on.
    cores: Cores,
    /// Window that a layer has in any case.
    window: u64,
}

/// What one layer has while it is built.
#[derive(Debug)]
pub(crate) struct LayerMemory {
    /// For its download.
    pub(crate) window: MemoryLease,
    /// For its ztoc, until that is pushed.
    pub(crate) ztoc: ZtocMemory,
    /// For everything else.
    pub(crate) beside: MemoryHold,
}

impl Budget {
    /// Least memory that one can have, in bytes.
    pub const LEAST_MEMORY: u64 = 32 << 20;

    /// A budget for `layers` at once, at most 64 or four for each core, that together with the documents of their
    /// images hold at most `memory` bytes, which are at least [`Budget::LEAST_MEMORY`] and at most 4 TiB. Where
    /// memory is not enough for so many, fewer layers are built at once.
    pub fn new(layers: NonZeroUsize, memory: u64) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::on_cores(cores, layers, memory)
    }

    /// The same on so many cores, however many this machine has.
    pub fn on_cores(cores: NonZeroUsize, layers: NonZeroUsize, memory: u64) -> Self {
        let layers = layers.get().min(MOST_LAYERS.max(4 * cores.get()));
        let memory = memory.max(Self::LEAST_MEMORY);
        let (documents, results) = (for_documents(memory), for_results(memory));
        let for_layers = memory - documents - results;
        let of_layers = LAYERS_WINDOW * layers as u64;
        let windows = (for_layers / 2).min(MOST_WINDOWS.max(of_layers));
        let reserved = windows.min(MOST_RESERVED.max(of_layers));
        let memory_of_layers = MemoryPool::new(for_layers, windows);
        Self {
            slots: Arc::new(Semaphore::new(layers)),
            uploads: Arc::new(Semaphore::new(layers)),
            documents: MemoryPool::new(documents, 0),
            results: MemoryPool::new(results, 0),
            cores: Cores::with_memory(cores, memory_of_layers.clone()),
            layers: memory_of_layers,
            window: (reserved / layers as u64).clamp(SMALLEST_WINDOW, MOST_RESERVED),
        }
    }

    /// A budget for as many layers as there are cores, and 512 MiB.
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN), 512 << 20)
    }

    /// Waits until a layer may be built. Dropping what is returned lets the next one begin.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there is always a permit in the end.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Waits until a ztoc that is built may be stored: as many are on their way as layers are built at once. Whoever has
    /// this needs no slot any more, so that the next layer is read meanwhile; the ztoc's memory is held until it is stored.
    pub(crate) async fn upload(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.uploads).acquire_owned().await.ok()
    }

    /// Waits until there is memory for a layer of `size` bytes whose ztoc takes at least `ztoc`. Alone, it
    /// may borrow a window as large as the client's default, if the memory is.
    pub(crate) async fn layer(&self, size: u64, ztoc: u64) -> LayerMemory {
        let (window, mut beside) =
            self.layers.reserve(self.window.min(size), BESIDE + ztoc, Transfer::default()).await;
        let ztoc = ZtocMemory::new(beside.split(ztoc));
        LayerMemory { window, ztoc, beside }
    }

    /// What all layers share of the processor.
    pub(crate) fn cores(&self) -> &Cores {
        &self.cores
    }

    /// Waits until there is memory to look into what was stored, beside the layers that are being built. Whoever
    /// asks holds none of the layers' memory.
    pub(crate) async fn to_look_into(&self, bytes: u64) -> MemoryHold {
        self.layers.hold(bytes).await
    }

    /// The most that can be had for that, in bytes.
    pub(crate) fn most_to_look_into(&self) -> u64 {
        self.layers.bytes()
    }

    /// The most that a single ztoc may take, in bytes.
    pub(crate) fn largest_ztoc(&self) -> u64 {
        self.layers.bytes().saturating_sub(BESIDE + SMALLEST_WINDOW)
    }

    /// The least memory with which a ztoc may take `bytes`.
    pub(crate) fn memory_for_ztoc(bytes: u64) -> u64 {
        with_others(bytes.saturating_add(BESIDE + SMALLEST_WINDOW))
    }

    /// Waits until there is memory for documents of an image.
    pub(crate) async fn documents(&self, bytes: u64) -> MemoryHold {
        self.documents.hold(bytes).await
    }

    /// Waits until results of an image can be looked at whose own manifests have so many bytes. Documents that are
    /// longer than what comes with it are no results.
    pub(crate) async fn result_documents(&self, manifests: u64) -> (MemoryHold, usize) {
        let most = self.results.bytes() / DOCUMENT_FACTOR;
        let wanted = manifests.saturating_mul(RESULT_FACTOR).saturating_add(SMALL_RESULT);
        let limit = wanted.min(most).min(FIRST_DOCUMENTS);
        let hold = self.results.hold(limit * DOCUMENT_FACTOR).await;
        (hold, usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The most that the documents of an image may take, in bytes.
    pub(crate) fn most_documents(&self) -> u64 {
        self.documents.bytes()
    }
}

/// What of a memory is for documents.
fn for_documents(memory: u64) -> u64 {
    (memory / 8).clamp(LEAST_FOR_DOCUMENTS, MOST_FOR_DOCUMENTS)
}

/// What of a memory is for looking at results.
fn for_results(memory: u64) -> u64 {
    (memory / 16).clamp(LEAST_FOR_RESULTS, MOST_FOR_RESULTS)
}

/// The memory of which so much is left when the other parts have theirs, in whole MiB.
fn with_others(layers: u64) -> u64 {
    // Thirteen of sixteen parts are for layers, as long as the others have neither least nor most.
    let documents = (layers / 13 * 2).clamp(LEAST_FOR_DOCUMENTS, MOST_FOR_DOCUMENTS);
    let results = (layers / 13).clamp(LEAST_FOR_RESULTS, MOST_FOR_RESULTS);
    let memory = layers.saturating_add(documents + results);
    memory.saturating_add(1 << 20).next_multiple_of(1 << 20)
}

/// The memory of one ztoc. Clones are the same: one is the build's, one stays with the ztoc.
#[derive(Clone, Debug)]
pub(crate) struct ZtocMemory(Arc<Mutex<ZtocHold>>);

#[derive(Debug)]
struct ZtocHold {
    hold: MemoryHold,
    /// What of it was not asked for yet.
    unused: u64,
}

impl ZtocMemory {
    fn new(hold: MemoryHold) -> Self {
        let unused = hold.bytes();
        Self(Arc::new(Mutex::new(ZtocHold { hold, unused })))
    }

    fn lock(&self) -> MutexGuard<'_, ZtocHold> {
        // Nothing that holds it can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryGrant for ZtocMemory {
    fn grow(&mut self, bytes: u64) -> bool {
        let mut memory = self.lock();
        let more = bytes.saturating_sub(memory.unused);
        if more > 0 && !memory.hold.try_grow(more) {
            return false;
        }
        memory.unused = memory.unused.saturating_sub(bytes);
        true
    }

    fn release(&mut self) {
        let mut memory = self.lock();
        memory.hold.shrink(0);
        memory.unused = 0;
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
        let seen = Arc::new(Mutex::new((Vec::new(), 0)));
        let mut layers = JoinSet::new();
        for (number, size) in sizes.iter().copied().enumerate() {
            let (budget, seen) = (budget.clone(), Arc::clone(&seen));
            layers.spawn(async move {
                let _slot = budget.slot().await;
                let memory = budget.layer(size, 0).await;
                let reserved = budget.layers.bytes() - budget.layers.free();
                {
                    let (order, peak) = &mut *seen.lock().unwrap();
                    order.push(number);
                    *peak = (*peak).max(reserved);
                }
                tokio::time::sleep(Duration::from_secs(size / MIB)).await;
                drop(memory);
            });
        }
        while let Some(done) = layers.join_next().await {
            done.unwrap();
        }
        assert_eq!(budget.layers.free(), budget.layers.bytes(), "all of it is back");
        std::mem::take(&mut *seen.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn every_layer_gets_its_turn_in_order_and_all_stay_in_the_memory() {
        let sizes: Vec<u64> = (0..100).map(|layer| (layer * 7 % 13 + 1) * MIB).collect();
        for (layers, memory) in [(1, 64), (2, 64), (8, 128), (64, 64), (16, 5), (3, 0)] {
            let (order, peak) = build(&budget(layers, memory * MIB), &sizes).await;
            assert!(order.iter().copied().eq(0..100), "{layers} {memory}: {order:?}");
            assert!(peak <= (memory * MIB).max(Budget::LEAST_MEMORY), "{layers} {memory}: {peak}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_layers_are_built_at_once_as_there_are_slots_and_memory() {
        for (layers, memory, at_once) in [(4, 128, 4), (4, 42, 3), (4, 1, 2)] {
            let started = tokio::time::Instant::now();
            build(&budget(layers, memory * MIB), &[10 * MIB; 12]).await;
            let turns = started.elapsed().as_secs() / 10;
            assert_eq!(turns, 12 / at_once, "{layers} {memory}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_parts_of_the_memory_are_the_memory() {
        for memory in [0, 32, 33, 64, 100, 512, 1024, 4096, 1 << 20] {
            let budget = budget(8, memory * MIB);
            let others = budget.documents.bytes() + budget.results.bytes();
            let all = budget.layers.bytes() + others;
            assert_eq!(all, (memory * MIB).max(Budget::LEAST_MEMORY), "{memory}");
            assert!(budget.documents.bytes() >= 2 * FIRST_DOCUMENTS);
        }
    }

    #[test]
    fn the_memory_that_is_said_to_be_enough_for_a_ztoc_is_enough_and_not_twice_as_much() {
        for mib in [1, 10, 100, 1000, 10_000] {
            let needed = Budget::memory_for_ztoc(mib * MIB);
            assert!(budget(1, needed).largest_ztoc() >= mib * MIB, "{mib} {needed}");
            assert!(needed <= mib * MIB * 8 / 7 + 100 * MIB, "{mib} {needed}");
        }
    }

    #[tokio::test]
    async fn a_ztoc_grows_into_what_is_free_and_gives_it_back() {
        let budget = budget(1, 64 * MIB);
        let layer = budget.layer(10 * MIB, 5 * MIB).await;
        let free = budget.layers.free();
        let mut ztoc = layer.ztoc.clone();
        assert!(ztoc.grow(4 * MIB) && budget.layers.free() == free, "some was held from the start");
        assert!(ztoc.grow(4 * MIB) && budget.layers.free() == free - 3 * MIB);
        assert!(!ztoc.grow(free));
        ztoc.release();
        assert_eq!(budget.layers.free(), free + 5 * MIB);
        drop(ztoc);
        drop(layer);
        assert_eq!(budget.layers.free(), budget.layers.bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_looked_at_within_their_part_of_the_memory() {
        for memory in [32, 64, 512, 4096] {
            let budget = budget(1, memory * MIB);
            let most = budget.results.bytes();
            let (small, limit) = budget.result_documents(1000).await;
            let wanted = limit as u64 * DOCUMENT_FACTOR;
            assert!(
                (wanted..wanted + 4096).contains(&small.bytes()),
                "{memory}: {}",
                small.bytes()
            );
            assert!(limit as u64 >= 4 * 1000 + SMALL_RESULT, "{memory}: {limit}");
            drop(small);
            let (all, limit) = budget.result_documents(u64::MAX).await;
            assert!(all.bytes() <= most && limit <= soci_registry::MANIFEST_LIMIT, "{memory}");
            let waits =
                tokio::time::timeout(Duration::from_secs(1), budget.result_documents(u64::MAX));
            assert!(waits.await.is_err() || most >= 2 * all.bytes(), "{memory}");
        }
    }

    /// What the documentation says about sizes.
    #[test]
    fn the_documentation_has_the_rule_as_it_is() {
        let text = include_str!("../../../docs/CONFIGURATION.md");
        let says = |what: &str| assert!(text.contains(what), "docs/CONFIGURATION.md: {what}");
        let mib = |bytes: u64| {
            let quarters = bytes / (MIB / 4);
            let rest = ["", ".25", ".5", ".75"][usize::try_from(quarters % 4).unwrap()];
            format!("{}{rest} MiB", quarters / 4)
        };
        says(&format!(
            "at least {}, at most {}",
            mib(LEAST_FOR_DOCUMENTS),
            mib(MOST_FOR_DOCUMENTS)
        ));
        assert_eq!(for_documents(800 * MIB), 100 * MIB);
        says("1/8 of `MEMORY_BUDGET`");
        says("1/16 of `MEMORY_BUDGET`");
        says(&format!("at least {}, at most {}", mib(LEAST_FOR_RESULTS), mib(MOST_FOR_RESULTS)));
        assert_eq!(for_results(800 * MIB), 50 * MIB);
        let first = mib(FIRST_DOCUMENTS);
        says(&format!("{DOCUMENT_FACTOR} bytes for each byte of its documents, at least {first}"));
        says(&format!("window of {} or more, {} for its", mib(SMALLEST_WINDOW), mib(BESIDE)));
        says(&format!(
            "no more than {} or {} for each layer",
            mib(MOST_WINDOWS),
            mib(LAYERS_WINDOW)
        ));
        says(&format!("No more than {MOST_LAYERS} layers"));
        let checkpoint = soci_ztoc::CHECKPOINT_MEMORY;
        says(&format!("uncompressed bytes) | {},{:03} |", checkpoint / 1000, checkpoint % 1000));
        assert_eq!(Budget::new(NonZeroUsize::MAX, u64::MAX).slots.available_permits() % 4, 0);
    }
}
