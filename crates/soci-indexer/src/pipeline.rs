//! Builds one ztoc on two threads: the calling one inflates and reads the archive, a second one
//! hashes the spans behind it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use soci_ztoc::{BuildError, Cut, MemoryGrant, Scanner, SpanHasher, Ztoc, ZtocSettings};

use crate::budget::PIECES_TO_HASH;

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
/// gives. Blocks.
pub fn build_ztoc<E>(
    settings: ZtocSettings,
    memory: Box<dyn MemoryGrant>,
    next: impl FnMut() -> Result<Option<Bytes>, E>,
) -> Result<Ztoc, PipelineError<E>> {
    build_ztoc_or_stop(settings, memory, ReadOn::ToTheEnd, next)
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
    read_on: ReadOn,
    mut next: impl FnMut() -> Result<Option<Bytes>, E>,
) -> Result<Ztoc, PipelineError<E>> {
    let mut scanner = Scanner::with_memory(settings, memory)?;
    let (sender, receiver) = sync_channel(PIECES_TO_HASH);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(receiver));
        let result = scan(&mut scanner, read_on, &mut next, &sender);
        // Hashing ends when there is no sender any more.
        drop(sender);
        // It does not panic; if it did, so should we.
        let hasher = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result?;
        Ok(scanner.finish(hasher)?)
    })
}

fn scan<E>(
    scanner: &mut Scanner,
    read_on: ReadOn,
    next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    hasher: &SyncSender<(Bytes, Vec<Cut>)>,
) -> Result<(), PipelineError<E>> {
    while let Some(piece) = next().map_err(PipelineError::Read)? {
        let cuts = scanner.push(&piece)?.to_vec();
        if let Some(error) = scanner.set_aside().filter(|_| read_on == ReadOn::No) {
            return Err(error.clone().into());
        }
        if hasher.send((piece, cuts)).is_err() {
            // Only a panic of the hashing thread closes the channel, and joining it tells.
            break;
        }
    }
    Ok(())
}

fn hash(pieces: Receiver<(Bytes, Vec<Cut>)>) -> SpanHasher {
    let mut hasher = SpanHasher::new();
    for (piece, cuts) in pieces {
        hasher.push(&piece, &cuts);
    }
    hasher
}
