//! Builds one ztoc on two threads: the calling one inflates and reads the archive, a second one
//! hashes the spans behind it, and the layer with them. Where cores are free others decode ahead of it (`ahead.rs`).

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use soci_ztoc::{
    BuildError, Compression, Cut, MemoryGrant, Scanner, SpanHasher, Ztoc, ZtocSettings,
};

use crate::ahead::{Chunk, Chunks, Decoded, JobQueue, Part};
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
    let mut next = next;
    build(settings, memory, cores, ReadOn::ToTheEnd, SpanHasher::new(), &mut next).0
}

/// How far a layer is read of which it shows that no ztoc describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOn {
    /// To its end, to find out whether it is broken besides.
    ToTheEnd,
    /// No further.
    No,
}

impl ReadOn {
    /// Whether the rest of a layer with this error is not read. One whose bytes are not those of its digest fails for that, which may
    /// pass. But a member that has ended with the right checksum and another one behind it are no accident. Nor is
    /// what an index that is there says, too.
    fn ends_at(self, error: &BuildError) -> bool {
        matches!(error, BuildError::SeveralMembers { .. })
            || self == Self::No && error.is_of_the_ztoc()
    }
}

/// What was found out of a layer's bytes.
pub(crate) struct Built<E> {
    pub(crate) ztoc: Result<Ztoc, PipelineError<E>>,
    /// The layer's SHA-256; nothing unless it was read to its end.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// The same, with the hash of the layer, whether there is a ztoc or not: after an error the rest is read to be hashed, unless `read_on` ends
/// it there.
pub(crate) fn build_and_hash<E>(
    settings: ZtocSettings,
    memory: Box<dyn MemoryGrant>,
    cores: &Cores,
    read_on: ReadOn,
    mut next: impl FnMut() -> Result<Option<Bytes>, E>,
) -> Built<E> {
    let hasher = SpanHasher::of_layer_too();
    let (ztoc, sha256) = build(settings, memory, cores, read_on, hasher, &mut next);
    Built { ztoc, sha256 }
}

/// Builds a ztoc with such a hasher. Returns the layer's hash as well, if that is hashed and all of it was.
fn build<E>(
    settings: ZtocSettings,
    memory: Box<dyn MemoryGrant>,
    cores: &Cores,
    read_on: ReadOn,
    hasher: SpanHasher,
    next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
) -> (Result<Ztoc, PipelineError<E>>, Option<[u8; 32]>) {
    let cores = cores.layer();
    let is_gzip = settings.compression == Compression::Gzip;
    let hashes_layer = hasher.layer_sha256().is_some();
    let mut scanner = match Scanner::with_memory(settings, memory) {
        Ok(scanner) => scanner,
        Err(error) => return (Err(error.into()), None),
    };
    let (sender, receiver) = sync_channel(PIECES_TO_HASH);
    let (jobs, queue) = JobQueue::new();
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(hasher, receiver));
        let hasher = sender;
        let mut scan =
            Scan { scanner: &mut scanner, read_on, hashes_layer, hasher, is_complete: false };
        let result = if is_gzip {
            scan.chunks(Chunks::new(scope, (jobs, &queue), cores), next)
        } else {
            scan.pieces(next)
        };
        let is_complete = scan.is_complete;
        // Hashing ends when there is no sender any more.
        drop(scan);
        // It does not panic; if it did, so should we.
        let hasher = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let sha256 = hasher.layer_sha256().filter(|_| is_complete);
        (result.and_then(|()| Ok(scanner.finish(hasher)?)), sha256)
    })
}

/// Bytes at the end of a chunk that are read while what decodes the next one comes to an end: it takes a hundred microseconds or
/// so to answer.
const LAST: usize = 128 << 10;

/// A part of the layer that was scanned, and what lies in it.
struct Scanned {
    part: Part,
    cuts: Vec<Cut>,
}

/// How a layer is scanned.
struct Scan<'a> {
    scanner: &'a mut Scanner,
    read_on: ReadOn,
    /// Whether all of it is hashed, what is behind an error, too.
    hashes_layer: bool,
    hasher: SyncSender<Scanned>,
    /// Whether the layer's last byte went to the hasher, and all before it.
    is_complete: bool,
}

/// Nobody hashes any more. Only a panic of the hashing thread closes the channel, and joining it tells.
struct NobodyHashes;

impl Scan<'_> {
    fn pieces<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), PipelineError<E>> {
        while let Some(bytes) = next().map_err(PipelineError::Read)? {
            let cuts = self.scanner.push(&bytes).map(<[Cut]>::to_vec);
            let cuts = cuts.and_then(|cuts| self.set_aside().map_or(Ok(cuts), Err));
            let part = Part::piece(bytes);
            match cuts {
                Ok(cuts) => {
                    if self.hash(part, cuts).is_err() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let rest = || Ok(next().map_err(PipelineError::Read)?.map(Part::piece));
                    return self.failed(error, part, rest);
                }
            }
        }
        self.is_complete = true;
        Ok(())
    }

    /// The same where chunks may be decoded ahead.
    fn chunks<E>(
        &mut self,
        mut chunks: Chunks<'_, '_>,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), PipelineError<E>> {
        // Bytes of the layer up to the chunk's end, and those that were taken, with the cuts in what the chunk does not have of them.
        let (mut end, mut done) = (0, 0);
        let mut later: Vec<Cut> = Vec::new();
        while let Some(Chunk { part, mut decoded }) =
            chunks.next(next).map_err(PipelineError::Read)?
        {
            let start = end;
            end += part.bytes.len() as u64;
            let mut cuts = std::mem::take(&mut later);
            match self.chunk(&part.bytes, start, &mut done, &mut cuts, &mut decoded, &chunks) {
                Ok(()) => {}
                Err(error) => {
                    chunks.only_pass_on();
                    let rest = || {
                        let chunk = chunks.next(next).map_err(PipelineError::Read)?;
                        Ok(chunk.map(|chunk| chunk.part))
                    };
                    return self.failed(error, part, rest);
                }
            }
            chunks.was_read(decoded, done, self.scanner.blocks());
            later = cuts.split_off(cuts.partition_point(|cut| cut.offset <= end));
            if self.hash(part, cuts).is_err() {
                return Ok(());
            }
        }
        self.is_complete = true;
        Ok(())
    }

    /// Scans what is not `done` of a chunk that begins at `start`, or takes what was decoded.
    fn chunk(
        &mut self,
        bytes: &[u8],
        start: u64,
        done: &mut u64,
        cuts: &mut Vec<Cut>,
        decoded: &mut Decoded,
        chunks: &Chunks<'_, '_>,
    ) -> Result<(), BuildError> {
        for to in [bytes.len() - LAST.min(bytes.len() / 8), bytes.len()] {
            // Nothing of a chunk that was part of the one before.
            let from = usize::try_from(*done - start).unwrap_or(usize::MAX);
            if let Some(rest) = bytes.get(from..to).filter(|rest| !rest.is_empty()) {
                let (taken, found) = self.scanner.push_chunk(rest, &mut decoded.ahead)?;
                cuts.extend_from_slice(found);
                *done = taken;
            }
            chunks.next_is_soon();
        }
        self.set_aside().map_or(Ok(()), Err)
    }

    /// Why there is no ztoc, if that is known and the rest is not read then.
    fn set_aside(&self) -> Option<BuildError> {
        let error = self.scanner.set_aside().filter(|_| self.read_on == ReadOn::No);
        error.cloned()
    }

    /// There is no ztoc. What is left of the layer is hashed, if all of it is.
    fn failed<E>(
        &mut self,
        error: BuildError,
        part: Part,
        mut rest: impl FnMut() -> Result<Option<Part>, PipelineError<E>>,
    ) -> Result<(), PipelineError<E>> {
        if self.hashes_layer && !self.read_on.ends_at(&error) {
            let mut next = Some(part);
            while let Some(part) = next {
                if self.hash(part, Vec::new()).is_err() {
                    return Ok(());
                }
                next = rest()?;
            }
            self.is_complete = true;
        }
        Err(error.into())
    }

    fn hash(&self, part: Part, cuts: Vec<Cut>) -> Result<(), NobodyHashes> {
        self.hasher.send(Scanned { part, cuts }).map_err(|_| NobodyHashes)
    }
}

fn hash(mut hasher: SpanHasher, scanned: Receiver<Scanned>) -> SpanHasher {
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
    use std::time::Duration;

    use soci_oci::Digest;
    use soci_ztoc::testing::{gzip, plain_archive, random_layer};
    use soci_ztoc::{Builder, GzipMembers, LayerLimits, Unbounded};

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
            if cores > 1 && chunks > 3 {
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
    fn answers_that_come_late_change_nothing() {
        for seed in 0..40 {
            let layer = gzip(&plain_archive(seed, 2 << 20));
            let mut scanner = Scanner::new(settings(Compression::Gzip)).unwrap();
            let (sender, receiver) = sync_channel(PIECES_TO_HASH);
            let (jobs, queue) = JobQueue::new();
            let cores = Cores::new(NonZeroUsize::new(3).unwrap());
            let mut pieces = layer.chunks(10_000);
            let mut next = || Ok::<_, ()>(pieces.next().map(Bytes::copy_from_slice));
            let hasher = std::thread::scope(|scope| {
                let hashing = scope.spawn(|| hash(SpanHasher::of_layer_too(), receiver));
                let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
                // Some come in time.
                chunks.answer = Some(Duration::from_micros(20 * seed));
                let (read_on, hasher) = (ReadOn::ToTheEnd, sender);
                let scanner = &mut scanner;
                let mut scan =
                    Scan { scanner, read_on, hashes_layer: true, hasher, is_complete: false };
                scan.chunks(chunks, &mut next).unwrap();
                assert!(scan.is_complete);
                drop(scan);
                hashing.join().unwrap()
            });
            let layer_digest = hasher.layer_sha256().map(Digest::from_sha256);
            assert_eq!(layer_digest, Some(Digest::sha256_of(&layer)), "{seed}");
            let ztoc = scanner.finish(hasher).unwrap();
            assert_eq!(ztoc.encoded.sha256(), on_one(&layer, Compression::Gzip).unwrap(), "{seed}");
        }
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
                    let with = settings(Compression::Gzip);
                    let ztoc = build_ztoc(with, Box::new(Unbounded), cores, next).unwrap();
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

    /// Hash of the layer as far as it is told, and whether there is a ztoc. `left` says how many pieces were not read.
    fn hashed(
        layer: &[u8],
        compression: Compression,
        (cores, read_on): (usize, ReadOn),
        left: &mut usize,
    ) -> (Option<[u8; 32]>, Result<Ztoc, PipelineError<&'static str>>) {
        let cores = Cores::with_memory(NonZeroUsize::new(cores).unwrap(), memory(9));
        let mut pieces = layer.chunks(10_000);
        let next = || Ok(pieces.next().map(Bytes::copy_from_slice));
        let with = ZtocSettings { members: GzipMembers::One, ..settings(compression) };
        let built = build_and_hash(with, Box::new(Unbounded), &cores, read_on, next);
        *left = pieces.len();
        (built.sha256, built.ztoc)
    }

    #[test]
    fn a_layer_is_hashed_to_its_end_whether_it_has_a_ztoc_or_not() {
        let archive = plain_archive(7, 3 << 20);
        let good = gzip(&archive);
        // Nothing of it can be read, and something from some place on.
        let none = vec![7; 100_000];
        let mut broken = good.clone();
        let (middle, end) = (good.len() / 2, good.len() - 8);
        broken[middle..middle + 1000].fill(0xff);
        let mut wrong = good.clone();
        wrong[end] ^= 1;
        let mut no_archive = archive.clone();
        no_archive[..512].fill(b'x');
        let mut left = 0;
        for cores in [1, 2, 4] {
            for (layer, compression, has_ztoc) in [
                (&good, Compression::Gzip, true),
                (&archive, Compression::Uncompressed, true),
                (&none, Compression::Gzip, false),
                (&broken, Compression::Gzip, false),
                (&wrong, Compression::Gzip, false),
                (&no_archive, Compression::Uncompressed, false),
                (&gzip(&no_archive), Compression::Gzip, false),
            ] {
                let how = (cores, ReadOn::ToTheEnd);
                let (sha256, ztoc) = hashed(layer, compression, how, &mut left);
                let expected = Digest::sha256_of(layer);
                assert_eq!(sha256.map(Digest::from_sha256), Some(expected), "{ztoc:?}");
                assert_eq!((ztoc.is_ok(), left), (has_ztoc, 0), "{cores} {ztoc:?}");
            }
        }
    }

    #[test]
    fn what_is_not_read_to_its_end_has_no_hash() {
        let layer = gzip(&plain_archive(8, 3 << 20));
        let two = [&layer[..], &layer[..]].concat();
        let mut left = 0;
        for cores in [1, 2, 4] {
            // A second member ends it.
            let (sha256, ztoc) =
                hashed(&two, Compression::Gzip, (cores, ReadOn::ToTheEnd), &mut left);
            let several: PipelineError<()> =
                PipelineError::Build(BuildError::SeveralMembers { offset: layer.len() as u64 });
            assert_eq!(format!("{:?}", ztoc.unwrap_err()), format!("{several:?}"));
            assert!(sha256.is_none() && left > 0, "{left}");
            // So does what is of the ztoc, if no more is wanted.
            let with = ZtocSettings {
                limits: LayerLimits { entries: 1, ..LayerLimits::DEFAULT },
                ..settings(Compression::Gzip)
            };
            for (read_on, all) in [(ReadOn::No, false), (ReadOn::ToTheEnd, true)] {
                let mut pieces = layer.chunks(10_000);
                let next = || Ok::<_, ()>(pieces.next().map(Bytes::copy_from_slice));
                let on = Cores::new(NonZeroUsize::new(cores).unwrap());
                let built = build_and_hash(with.clone(), Box::new(Unbounded), &on, read_on, next);
                assert!(built.ztoc.is_err());
                assert_eq!(built.sha256.is_some(), all, "{read_on:?} {:?}", built.ztoc);
            }
            // And a source that fails, before and behind an error.
            let mut broken = layer.clone();
            broken[100_000..101_000].fill(0xff);
            for layer in [&layer, &broken] {
                let mut pieces = layer[..layer.len() / 2].chunks(10_000);
                let next = || {
                    pieces.next().map(|piece| Some(Bytes::copy_from_slice(piece))).ok_or("it broke")
                };
                let on = Cores::new(NonZeroUsize::new(cores).unwrap());
                let with = settings(Compression::Gzip);
                let built = build_and_hash(with, Box::new(Unbounded), &on, ReadOn::ToTheEnd, next);
                assert!(
                    matches!(built.ztoc, Err(PipelineError::Read("it broke"))),
                    "{:?}",
                    built.ztoc
                );
                assert_eq!(built.sha256, None);
            }
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
