//! Decodes a layer ahead on several threads, so that one large layer keeps all cores busy.
//!
//! The layer is cut into chunks. While the first one is read, the others that have come are decoded ahead, each by
//! one thread ([`soci_ztoc::Ahead`]), and handed on in their order. Whoever reads them never waits for more than the next one.
//! What a chunk takes while it is decoded is asked for before the threads begin; with memory for fewer, fewer
//! are decoded at once, and with memory for less than two nothing is.
//!
//! Where it does not pay, because blocks cannot be found or are not what they seemed, it stops for a while: the layer
//! is read at the same speed then, and other cores stay free.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use bytes::{Bytes, BytesMut};
use soci_ztoc::{Ahead, MemoryGrant};

/// Bytes of a chunk. Smaller ones cost more, as each begins with output that is marked; larger ones take more memory.
pub(crate) const CHUNK: usize = if cfg!(test) { 64 << 10 } else { 2 << 20 };

/// Output and marks of a chunk at most: of text that compresses to an eighth.
const MOST_OUTPUT: usize = 12 * CHUNK;

/// What is decoded at once takes this much for each thread: the chunk, its half of the one behind, and its output.
const MEMORY: u64 = 2 * CHUNK as u64 + Ahead::memory(MOST_OUTPUT);

/// Fewest cores with which it pays: one reads, one hashes besides.
const FEWEST_CORES: usize = 3;

/// Most chunks that are decoded at once: from then on the layer is not read any faster.
const MOST_DECODERS: usize = 16;

/// Chunks in a row that were decoded for nothing before it stops.
const MOST_MISSES: usize = 4;

/// Chunks that are not decoded ahead then.
const PAUSE: usize = 32;

/// The cores that one layer may use, and memory to use them.
#[derive(Debug)]
pub struct Cores {
    /// How many there are.
    pub count: NonZeroUsize,
    /// Gives memory for what is decoded ahead. It has all of it back when the layer ends.
    pub memory: Box<dyn MemoryGrant>,
}

impl Cores {
    /// How many chunks can be decoded at once: none if that does not pay.
    pub(crate) fn decoders(&mut self) -> usize {
        if self.count.get() < FEWEST_CORES {
            return 0;
        }
        let most = self.count.get().min(MOST_DECODERS);
        let decoders = (0..most).take_while(|_| self.memory.grow(MEMORY)).count();
        if decoders < 2 {
            self.memory.release();
            return 0;
        }
        decoders
    }
}

/// A chunk of a layer, with what of it was decoded ahead.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Of nothing where it was not tried.
    pub(crate) ahead: Ahead,
    /// Whether it was.
    pub(crate) tried: bool,
}

/// A chunk to decode.
struct Job {
    offset: u64,
    chunk: Bytes,
    behind: Bytes,
    ahead: Ahead,
    done: SyncSender<Ahead>,
}

/// A chunk that has come.
struct Waiting {
    bytes: Bytes,
    offset: u64,
    decoded: Option<Receiver<Ahead>>,
}

/// The chunks of one layer in their order.
pub(crate) struct Chunks<'scope> {
    jobs: Sender<Job>,
    waiting: VecDeque<Waiting>,
    /// How many may be decoded at once.
    decoders: usize,
    /// What starts the threads, until the first is needed.
    start: Option<Box<dyn FnOnce() + 'scope>>,
    spare: Vec<Ahead>,
    piece: Bytes,
    offset: u64,
    ended: bool,
    misses: usize,
    pause: usize,
}

impl<'scope> Chunks<'scope> {
    /// None yet, of which `decoders` are decoded at once on threads of `scope`. They take jobs from `queue`.
    pub(crate) fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        queue: &'scope JobQueue,
        decoders: usize,
    ) -> Self {
        let (jobs, receiver) = channel();
        let start = move || {
            *queue.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
            for _ in 0..decoders {
                scope.spawn(|| queue.work());
            }
        };
        Self {
            jobs,
            waiting: VecDeque::new(),
            decoders,
            start: Some(Box::new(start)),
            spare: Vec::new(),
            piece: Bytes::new(),
            offset: 0,
            ended: false,
            misses: 0,
            pause: 0,
        }
    }

    /// The next chunk; nothing at the end of the layer, whose pieces `next` returns.
    pub(crate) fn next<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Chunk>, E> {
        while !self.ended && self.waiting.len() <= self.decoders {
            let bytes = self.read(next)?;
            if bytes.is_empty() {
                self.ended = true;
                self.decode_last(&Bytes::new());
                break;
            }
            self.decode_last(&bytes);
            let offset = self.offset;
            self.offset += bytes.len() as u64;
            self.waiting.push_back(Waiting { bytes, offset, decoded: None });
        }
        let Some(Waiting { bytes, decoded, .. }) = self.waiting.pop_front() else {
            return Ok(None);
        };
        // If a thread ended in a panic, the scope tells.
        let ahead = decoded.and_then(|decoded| decoded.recv().ok());
        let tried = ahead.is_some();
        // Takes no memory before it is decoded.
        let ahead = ahead.unwrap_or_else(|| Ahead::new(MOST_OUTPUT));
        Ok(Some(Chunk { bytes, ahead, tried }))
    }

    /// A chunk that was tried was read. What was decoded ahead of it was of use or not, and its memory is used again.
    pub(crate) fn was_read(&mut self, ahead: Ahead, was_of_use: bool) {
        self.misses = if was_of_use { 0 } else { self.misses + 1 };
        if self.misses >= MOST_MISSES {
            self.misses = 0;
            self.pause = PAUSE;
        }
        self.spare.push(ahead);
    }

    /// Reads a whole chunk, or what is left.
    fn read<E>(&mut self, next: &mut impl FnMut() -> Result<Option<Bytes>, E>) -> Result<Bytes, E> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        loop {
            let taken = self.piece.len().min(CHUNK - chunk.len());
            chunk.extend_from_slice(&self.piece.split_to(taken));
            if chunk.len() == CHUNK {
                break;
            }
            match next()? {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        Ok(chunk.freeze())
    }

    /// Has the chunk that came last decoded, now that it is known what is behind it.
    fn decode_last(&mut self, behind: &Bytes) {
        let Some(waiting) = self.waiting.back_mut() else { return };
        // A layer's first chunk begins with what cannot be decoded ahead.
        if waiting.offset == 0 {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        if let Some(start) = self.start.take() {
            start();
        }
        let (done, decoded) = sync_channel(1);
        let ahead = self.spare.pop().unwrap_or_else(|| Ahead::new(MOST_OUTPUT));
        let (offset, chunk, behind) = (waiting.offset, waiting.bytes.clone(), behind.clone());
        // If nobody takes it, nothing is received.
        let _ = self.jobs.send(Job { offset, chunk, behind, ahead, done });
        waiting.decoded = Some(decoded);
    }
}

/// Where the threads get their work.
#[derive(Default)]
pub(crate) struct JobQueue(Mutex<Option<Receiver<Job>>>);

impl JobQueue {
    /// Works until there are no jobs and nobody is left who sends any.
    fn work(&self) {
        loop {
            // The lock is held while waiting: whoever has it gets the next job.
            let job = {
                let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                receiver.as_ref().and_then(|receiver| receiver.recv().ok())
            };
            let Some(Job { offset, chunk, behind, mut ahead, done }) = job else { return };
            ahead.decode(offset, &chunk, &behind);
            // Whoever stopped in the middle does not wait for it.
            let _ = done.send(ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_no_use_is_tried_again_and_again_and_takes_no_more_memory() {
        const CHUNKS: usize = 400;
        const DECODERS: usize = 3;
        // Nothing in it begins a block.
        let mut left = CHUNKS;
        let mut pieces = || {
            left = left.checked_sub(1)?;
            Some(Bytes::from(vec![0xff; CHUNK]))
        };
        let queue = JobQueue::default();
        let tried = std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, &queue, DECODERS);
            let mut tried = Vec::new();
            let mut next = || Ok::<_, ()>(pieces());
            while let Some(chunk) = chunks.next(&mut next).unwrap() {
                tried.push(chunk.tried);
                if chunk.tried {
                    chunks.was_read(chunk.ahead, false);
                }
                assert!(chunks.spare.len() <= DECODERS + 1, "{}", chunks.spare.len());
            }
            tried
        });
        assert_eq!(tried.len(), CHUNKS);
        let times = tried.iter().filter(|tried| **tried).count();
        // At most what is under way already beside those after which it pauses.
        let most = MOST_MISSES + DECODERS + 1;
        assert!(times >= CHUNKS / (PAUSE + most) * MOST_MISSES, "{times}: it stopped for good");
        assert!(times <= (CHUNKS / PAUSE + 1) * most, "{times}: it does not pause");
    }
}
