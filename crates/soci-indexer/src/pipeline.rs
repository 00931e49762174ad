//! Builds one ztoc on two threads: the calling one inflates and reads the archive, a second one
//! hashes the spans behind it. Where cores are free others decode ahead of it (`ahead.rs`).

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use soci_ztoc::{
    BuildError, Compression, Cut, MemoryGrant, Scanner, SpanHasher, Ztoc, ZtocSettings,
};

use crate::ahead::{Chunk, Chunks, JobQueue, Part};
use crate::budget::PIECES_TO_HASH;
use crate::cores::Cores;

/// Why a layer's ztoc was not built.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError<E> {
    /// The layer could not be read to its end.
    #[error(transparent)]
    Read(E),
    /// The layer cannot be described by a ztoc.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Builds the ztoc of the layer whose pieces `next` returns, until it returns none, in memory that `memory`
/// gives, on `cores`. Blocks.
pub fn build_ztoc<E>(
    settings: ZtocSettings,
    memory: Box<dyn MemoryGrant>,
    cores: &Cores,
    next: impl FnMut() -> Result<Option<Bytes>, E>,
) -> Result<Ztoc, PipelineError<E>> {
    build_ztoc_or_stop(settings, memory, cores, ReadOn::ToTheEnd, next)
}

/// How far a layer is read of which it shows that no ztoc describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOn {
    /// To its end, to find out whether it is broken besides.
    ToTheEnd,
    /// No further.
    No,
}

/// The same, no further than `read_on` says.
pub(crate) fn build_ztoc_or_stop<E>(
    settings: ZtocSettings,
    memory: Box<dyn MemoryGrant>,
    cores: &Cores,
    read_on: ReadOn,
    mut next: impl FnMut() -> Result<Option<Bytes>, E>,
) -> Result<Ztoc, PipelineError<E>> {
    let cores = cores.layer();
    let is_gzip = settings.compression == Compression::Gzip;
    let mut scanner = Scanner::with_memory(settings, memory)?;
    let (sender, receiver) = sync_channel(PIECES_TO_HASH);
    let (jobs, queue) = JobQueue::new();
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(receiver));
        let result = if is_gzip {
            let chunks = Chunks::new(scope, (jobs, &queue), cores);
            scan_chunks(&mut scanner, read_on, chunks, &mut next, &sender)
        } else {
            scan(&mut scanner, read_on, &mut next, &sender)
        };
        // Hashing ends when there is no sender any more.
        drop(sender);
        // It does not panic; if it did, so should we.
        let hasher = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result?;
        Ok(scanner.finish(hasher)?)
    })
}

/// A part of the layer that was scanned, and what lies in it.
struct Scanned {
    part: Part,
    cuts: Vec<Cut>,
}

fn scan<E>(
    scanner: &mut Scanner,
    read_on: ReadOn,
    next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    hasher: &SyncSender<Scanned>,
) -> Result<(), PipelineError<E>> {
    while let Some(bytes) = next().map_err(PipelineError::Read)? {
        let cuts = scanner.push(&bytes)?.to_vec();
        if let Some(error) = scanner.set_aside().filter(|_| read_on == ReadOn::No) {
            return Err(error.clone().into());
        }
        if hasher.send(Scanned { part: Part::piece(bytes), cuts }).is_err() {
            // Only a panic of the hashing thread closes the channel, and joining it tells.
            break;
        }
    }
    Ok(())
}

/// The same where chunks may be decoded ahead.
fn scan_chunks<E>(
    scanner: &mut Scanner,
    read_on: ReadOn,
    mut chunks: Chunks<'_, '_>,
    next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    hasher: &SyncSender<Scanned>,
) -> Result<(), PipelineError<E>> {
    // Bytes of the layer up to the chunk's end, and those that were taken, with the cuts in what the chunk does not have of them.
    let (mut end, mut done) = (0, 0);
    let mut later: Vec<Cut> = Vec::new();
    while let Some(Chunk { part, mut decoded }) = chunks.next(next).map_err(PipelineError::Read)? {
        let start = end;
        end += part.bytes.len() as u64;
        let mut cuts = std::mem::take(&mut later);
        // A chunk of which all is taken already was part of the one before.
        let mut was_of_use = true;
        if done < end {
            // Less than the chunk.
            let taken = usize::try_from(done - start).unwrap_or_default();
            let (taken, found) = scanner.push_chunk(&part.bytes[taken..], &mut decoded.ahead)?;
            cuts.extend_from_slice(found);
            was_of_use = taken > end;
            done = taken;
        }
        if let Some(error) = scanner.set_aside().filter(|_| read_on == ReadOn::No) {
            return Err(error.clone().into());
        }
        chunks.was_read(decoded, was_of_use);
        later = cuts.split_off(cuts.partition_point(|cut| cut.offset <= end));
        if hasher.send(Scanned { part, cuts }).is_err() {
            // As above.
            break;
        }
    }
    Ok(())
}

fn hash(scanned: Receiver<Scanned>) -> SpanHasher {
    let mut hasher = SpanHasher::new();
    for Scanned { part, cuts } in scanned {
        hasher.push(&part.bytes, &cuts);
    }
    hasher
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use soci_ztoc::testing::{gzip, plain_archive, random_layer};
    use soci_ztoc::{Builder, Unbounded};

    use super::*;
    use crate::ahead::CHUNK;
    use crate::cores::{Held, SpareMemory};

    /// Memory for so many chunks. How much of it is taken, and was.
    #[derive(Clone, Debug, Default)]
    struct Memory {
        chunks: u64,
        taken: Arc<AtomicU64>,
        most: Arc<AtomicU64>,
    }

    /// What one chunk takes: its bytes, and what they are decoded into.
    const MEMORY_OF_CHUNK: u64 = 23 * CHUNK as u64 + (1 << 20);

    /// Some of it.
    struct Taken(Memory, u64);

    impl Drop for Taken {
        fn drop(&mut self) {
            self.0.taken.fetch_sub(self.1, Ordering::Relaxed);
        }
    }

    impl SpareMemory for Memory {
        fn take(&self, bytes: u64) -> Option<Held> {
            let taken = self.taken.load(Ordering::Relaxed) + bytes;
            if taken > self.chunks * MEMORY_OF_CHUNK {
                return None;
            }
            self.taken.fetch_add(bytes, Ordering::Relaxed);
            self.most.fetch_max(taken, Ordering::Relaxed);
            Some(Arc::new(Taken(self.clone(), bytes)))
        }

        fn is_short(&self) -> bool {
            false
        }
    }

    fn memory(chunks: u64) -> Memory {
        Memory { chunks, ..Memory::default() }
    }

    fn settings(compression: Compression) -> ZtocSettings {
        ZtocSettings { span_size: 100_000, ..ZtocSettings::new(compression, "test") }
    }

    fn on_cores(
        layer: &[u8],
        compression: Compression,
        count: usize,
        memory: Memory,
    ) -> Result<[u8; 32], PipelineError<&'static str>> {
        let cores = Cores::with_memory(NonZeroUsize::new(count).unwrap(), memory);
        let mut pieces = Some(layer.chunks(10_000));
        let next = || {
            let piece = pieces.as_mut().expect("nobody asks after the last one").next();
            if piece.is_none() {
                pieces = None;
            }
            Ok(piece.map(Bytes::copy_from_slice))
        };
        let ztoc = build_ztoc(settings(compression), Box::new(Unbounded), &cores, next)?;
        Ok(ztoc.encoded.sha256())
    }

    fn on_one(layer: &[u8], compression: Compression) -> Result<[u8; 32], BuildError> {
        let mut builder = Builder::new(settings(compression))?;
        for piece in layer.chunks(10_000) {
            builder.push(piece)?;
        }
        Ok(builder.finish()?.encoded.sha256())
    }

    #[test]
    fn a_layer_gives_the_same_on_any_number_of_cores_with_any_memory() {
        let archive = plain_archive(5, 8 << 20);
        let layer = gzip(&archive);
        assert!(layer.len() > 20 * CHUNK);
        let expected = on_one(&layer, Compression::Gzip).unwrap();
        for (cores, chunks) in [(1, 9), (2, 9), (3, 9), (8, 5), (8, 4), (8, 3), (4, 0), (16, 99)] {
            let memory = memory(chunks);
            let found = on_cores(&layer, Compression::Gzip, cores, memory.clone()).unwrap();
            assert_eq!(found, expected, "{cores} {chunks}");
            let most = memory.most.load(Ordering::Relaxed) / MEMORY_OF_CHUNK;
            if cores > 2 && chunks > 3 {
                assert!((3..=chunks).contains(&most), "{cores} {chunks}: {most}");
            } else {
                assert!(most < 4 && chunks < 4 || most == 0, "{cores} {chunks}: {most}");
            }
            let taken = memory.taken.load(Ordering::Relaxed);
            assert_eq!(taken, 0, "{cores} {chunks}: all of it is back");
        }
        let plain = on_one(&archive, Compression::Uncompressed).unwrap();
        assert_eq!(on_cores(&archive, Compression::Uncompressed, 4, memory(9)).unwrap(), plain);
    }

    #[test]
    fn layers_at_once_share_cores_and_memory_and_give_the_same() {
        let layers: Vec<_> = (0..6).map(|seed| gzip(&plain_archive(seed, 4 << 20))).collect();
        let memory = memory(6);
        let cores = Cores::with_memory(NonZeroUsize::new(6).unwrap(), memory.clone());
        std::thread::scope(|scope| {
            for layer in &layers {
                let cores = &cores;
                scope.spawn(move || {
                    let mut pieces = layer.chunks(50_000);
                    let next = || Ok::<_, ()>(pieces.next().map(Bytes::copy_from_slice));
                    let settings = settings(Compression::Gzip);
                    let ztoc = build_ztoc(settings, Box::new(Unbounded), cores, next).unwrap();
                    let expected = on_one(layer, Compression::Gzip).unwrap();
                    assert_eq!(ztoc.encoded.sha256(), expected);
                });
            }
        });
        assert_eq!(memory.taken.load(Ordering::Relaxed), 0, "all of it is back");
    }

    #[test]
    fn random_layers_give_the_same() {
        for seed in 0..100 {
            let layer = random_layer(seed);
            let expected = on_one(&layer.bytes, layer.compression).unwrap();
            let found = on_cores(&layer.bytes, layer.compression, 4, memory(9)).unwrap();
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn a_layer_that_cannot_be_read_or_is_broken_ends_at_once() {
        let mut layer = gzip(&plain_archive(6, 4 << 20));
        // The checksum.
        let (middle, checksum) = (layer.len() / 2, layer.len() - 8);
        layer[checksum] ^= 1;
        let memory = memory(9);
        let broken = on_cores(&layer, Compression::Gzip, 4, memory.clone());
        assert!(matches!(broken, Err(PipelineError::Build(BuildError::Gzip { .. }))), "{broken:?}");
        layer[middle..middle + 100].fill(0xff);
        let broken = on_cores(&layer, Compression::Gzip, 4, memory.clone());
        assert!(matches!(broken, Err(PipelineError::Build(_))), "{broken:?}");
        assert_eq!(memory.taken.load(Ordering::Relaxed), 0);

        let pieces = Mutex::new(layer[..middle].chunks(10_000));
        let next = || match pieces.lock().unwrap().next() {
            Some(piece) => Ok(Some(Bytes::copy_from_slice(piece))),
            None => Err("the connection broke"),
        };
        let cores = Cores::with_memory(NonZeroUsize::new(4).unwrap(), memory);
        let cut = build_ztoc(settings(Compression::Gzip), Box::new(Unbounded), &cores, next);
        assert!(matches!(cut, Err(PipelineError::Read("the connection broke"))), "{cut:?}");
    }
}
