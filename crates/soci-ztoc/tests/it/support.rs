//! What several tests need.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use soci_ztoc::{
    Ahead, BuildError, Builder, Compression, LayerLimits, Reader, Scanner, SpanHasher, Ztoc,
    ZtocSettings,
};

/// The folder of the reference's layers and expected digests.
pub(crate) fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

pub(crate) fn settings(compression: Compression, span_size: u64) -> ZtocSettings {
    ZtocSettings { span_size, ..ZtocSettings::new(compression, "test") }
}

/// Builds a ztoc from `layer` given in pieces whose sizes `piece` tells.
pub(crate) fn build(
    layer: &[u8],
    settings: ZtocSettings,
    mut piece: impl FnMut() -> usize,
) -> Result<Ztoc, BuildError> {
    let mut builder = Builder::new(settings)?;
    let mut rest = layer;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(piece().clamp(1, rest.len()));
        builder.push(head)?;
        rest = tail;
    }
    builder.finish()
}

/// Builds a ztoc from chunks of these sizes, each decoded ahead. Also says of how many chunks that was taken.
pub(crate) fn build_ahead(
    layer: &[u8],
    settings: ZtocSettings,
    mut chunk: impl FnMut() -> usize,
    most: usize,
) -> Result<(Ztoc, usize), BuildError> {
    let mut chunks = Vec::new();
    let mut rest = layer;
    while !rest.is_empty() {
        let (first, others) = rest.split_at(chunk().clamp(1, rest.len()));
        chunks.push(first);
        rest = others;
    }
    let (mut scanner, mut hasher) = (Scanner::new(settings)?, SpanHasher::new());
    let mut ahead = Ahead::new(most);
    let (mut offset, mut done, mut saved) = (0, 0, 0);
    for (number, chunk) in chunks.iter().enumerate() {
        let end = offset + chunk.len();
        ahead.decode(offset as u64, chunk, chunks.get(number + 1).copied().unwrap_or_default());
        offset = end;
        if done >= end {
            continue;
        }
        let (taken, cuts) = scanner.push_chunk(&layer[done..end], &mut ahead)?;
        let taken = usize::try_from(taken).unwrap();
        saved += usize::from(taken > end);
        hasher.push(&layer[done..taken], cuts);
        done = taken;
    }
    Ok((scanner.finish(hasher)?, saved))
}

/// Opens a ztoc that must be valid.
pub(crate) fn open(ztoc: Vec<u8>) -> Reader<Vec<u8>> {
    Reader::parse(ztoc, &LayerLimits::DEFAULT).unwrap()
}

/// Does something with each number below `count`, on all cores. A panic names its number.
pub(crate) fn on_all_cores(count: u64, what: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    // What has failed is told by then.
                    if catch_unwind(AssertUnwindSafe(|| what(number))).is_err() {
                        // Nothing more is begun.
                        next.store(count, Ordering::Relaxed);
                        panic!("number {number} failed");
                    }
                }
            });
        }
    });
}
