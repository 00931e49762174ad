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

/// Decoding a chunk ahead is stopped when that is asked for the so-manieth time.
pub(crate) const NEVER: u32 = u32::MAX;

/// Builds a ztoc from chunks of these sizes, each decoded ahead until the so-manieth question whether to stop. Also says of how
/// many chunks that was taken.
pub(crate) fn build_ahead(
    layer: &[u8],
    settings: ZtocSettings,
    mut chunk: impl FnMut() -> (usize, u32),
    most: usize,
) -> Result<(Ztoc, usize), BuildError> {
    let mut chunks = Vec::new();
    let mut rest = layer;
    while !rest.is_empty() {
        let (size, questions) = chunk();
        let (first, others) = rest.split_at(size.clamp(1, rest.len()));
        chunks.push((first, questions));
        rest = others;
    }
    let (mut scanner, mut hasher) = (Scanner::new(settings)?, SpanHasher::new());
    let mut ahead = Ahead::new(most);
    let (mut offset, mut done, mut saved) = (0, 0, 0);
    for (number, &(chunk, mut questions)) in chunks.iter().enumerate() {
        let (start, end) = (offset, offset + chunk.len());
        offset = end;
        let behind = chunks.get(number + 1).map(|(chunk, _)| *chunk).unwrap_or_default();
        let stop = || {
            questions = questions.saturating_sub(1);
            questions == 0
        };
        ahead.decode(start as u64, chunk, behind, stop);
        // The last bytes of a chunk are given apart, as they may be.
        for to in [end - chunk.len() / 8, end] {
            if done >= to {
                continue;
            }
            let (taken, cuts) = scanner.push_chunk(&layer[done..to], &mut ahead)?;
            let taken = usize::try_from(taken).unwrap();
            hasher.push(&layer[done..taken], cuts);
            done = taken;
        }
        saved += usize::from(ahead.was_taken());
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
