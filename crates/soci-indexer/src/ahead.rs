//! Decodes a layer ahead on several threads, so that one large layer keeps all cores busy.
//!
//! Where cores are free (`cores.rs`) the layer is cut into chunks. While one is read, those behind it are decoded ahead, each by
//! one thread ([`soci_ztoc::Ahead`]), and handed on in their order. No more is read while the next one is ready.
//! Where no cores are free, the layer is handed on in the pieces in which it comes. Both may alternate within a layer, and
//! the result never depends on it.
//!
//! Where it does not pay, because blocks cannot be found or are not what they seemed, it stops for a while: the layer
//! is read at the same speed then, and other cores stay free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use bytes::{Bytes, BytesMut};
use soci_ztoc::Ahead;

use crate::cores::{Held, LayerCores, Room};

/// Bytes of a chunk. Smaller ones cost more, as each begins with output that is marked; larger ones take more memory.
pub(crate) const CHUNK: usize = if cfg!(test) { 64 << 10 } else { 2 << 20 };

/// Output and marks of a chunk at most: of text that compresses to an eighth.
const MOST_OUTPUT: usize = 12 * CHUNK;

/// Most chunks that are decoded at once: from then on the layer is not read any faster.
const MOST_DECODERS: usize = 16;

/// Chunks in a row that were decoded for nothing before it stops.
const MOST_MISSES: usize = 4;

/// Chunks that are not decoded ahead then.
const PAUSE: usize = 32;

/// Chunks below which nothing is gained: two that are decoded, one that is read meanwhile and one of which the end has not come.
const FEWEST_CHUNKS: usize = 4;

/// Most chunks that are under way, those that are being decoded among them.
const MOST_CHUNKS: usize = MOST_DECODERS + 2;

/// Bytes of a layer, and what holds their memory, unless they are a piece as it came.
#[derive(Clone, Default)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    _held: Option<Held>,
}

impl Part {
    /// A piece as it came.
    pub(crate) fn piece(bytes: Bytes) -> Self {
        Self { bytes, _held: None }
    }
}

/// A part of a layer, with what of it was decoded ahead.
pub(crate) struct Chunk {
    pub(crate) part: Part,
    pub(crate) decoded: Decoded,
}

/// What of a chunk was decoded ahead, and the room for it.
pub(crate) struct Decoded {
    /// Of nothing where it was not tried.
    pub(crate) ahead: Ahead,
    /// Taken where it was.
    room: Option<Room>,
    /// Whether what was behind the chunk was known, so that it shows whether decoding was of use.
    shows: bool,
}

impl Decoded {
    /// It was not tried. That takes no memory.
    fn nothing() -> Self {
        Self { ahead: Ahead::new(MOST_OUTPUT), room: None, shows: false }
    }
}

/// A chunk to decode. Room and memory go with it, so that they are held as long as anybody works on it.
pub(crate) struct Job {
    offset: u64,
    chunk: Part,
    behind: Part,
    decoded: Decoded,
    done: SyncSender<Decoded>,
}

/// A chunk that has come.
struct Waiting {
    part: Part,
    offset: u64,
    work: Work,
}

/// What happens to a chunk that waits.
enum Work {
    /// Nothing: it is a piece as it came.
    None,
    /// It is decoded when it is known what is behind it.
    Later(Decoded),
    /// It is being decoded.
    Begun(Receiver<Decoded>),
    /// It was decoded.
    Done(Decoded),
}

impl Work {
    /// Whether there is nothing to wait for.
    fn is_done(&mut self) -> bool {
        if let Self::Begun(decoded) = self
            && let Ok(decoded) = decoded.try_recv()
        {
            *self = Self::Done(decoded);
        }
        matches!(self, Self::None | Self::Done(_))
    }
}

/// The chunks of one layer in their order.
pub(crate) struct Chunks<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    queue: &'scope JobQueue,
    jobs: Sender<Job>,
    threads: usize,
    cores: LayerCores,
    waiting: VecDeque<Waiting>,
    /// Room that the layer keeps for its next chunks, and what was decoded in it.
    spare: Vec<Decoded>,
    /// What is left of the piece that came last.
    piece: Bytes,
    offset: u64,
    /// Whether all pieces have come.
    last_came: bool,
    misses: usize,
    /// Nothing is decoded ahead in front of this place.
    pause_until: u64,
}

impl Drop for Chunks<'_, '_> {
    fn drop(&mut self) {
        // What nobody will read is not decoded.
        self.queue.stopped.store(true, Ordering::Relaxed);
    }
}

impl<'scope, 'env> Chunks<'scope, 'env> {
    /// None yet. Those that are decoded ahead are on threads of `scope`, which take `jobs` from `queue`.
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        (jobs, queue): (Sender<Job>, &'scope JobQueue),
        cores: LayerCores,
    ) -> Self {
        Self {
            scope,
            queue,
            jobs,
            threads: 0,
            cores,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            piece: Bytes::new(),
            offset: 0,
            last_came: false,
            misses: 0,
            // A layer begins with what cannot be decoded ahead.
            pause_until: 1,
        }
    }

    /// The next part of the layer; nothing at its end. `next` returns its pieces.
    pub(crate) fn next<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Chunk>, E> {
        // More is read only as long as the first one is not ready.
        while !self.waiting.front_mut().is_some_and(|front| front.work.is_done()) {
            let Some((held, decoded)) = self.room() else {
                if self.waiting.is_empty() {
                    let part = Part::piece(self.next_piece(next)?);
                    self.push(part, Work::None);
                } else if self.waiting.len() == 1 {
                    // No other one comes that would be behind it.
                    self.decode_last(&Part::default());
                }
                break;
            };
            let part = Part { bytes: self.chunk(next)?, _held: Some(held) };
            self.decode_last(&part);
            if part.bytes.is_empty() {
                break;
            }
            self.push(part, Work::Later(decoded));
        }
        let Some(Waiting { part, work, .. }) = self.waiting.pop_front() else { return Ok(None) };
        let decoded = match work {
            // If a thread ended in a panic, the scope tells.
            Work::Begun(decoded) => decoded.recv().unwrap_or_else(|_| Decoded::nothing()),
            Work::Later(decoded) | Work::Done(decoded) => decoded,
            Work::None => Decoded::nothing(),
        };
        Ok(Some(Chunk { part, decoded }))
    }

    fn push(&mut self, part: Part, work: Work) {
        if !part.bytes.is_empty() {
            let offset = self.offset;
            self.offset += part.bytes.len() as u64;
            self.waiting.push_back(Waiting { part, offset, work });
        }
    }

    /// A chunk was read. What was decoded ahead of it was of use or not, and its room is used again.
    pub(crate) fn was_read(&mut self, decoded: Decoded, was_of_use: bool) {
        if decoded.room.is_none() {
            return;
        }
        if decoded.shows {
            self.misses = if was_of_use { 0 } else { self.misses + 1 };
        }
        if self.misses >= MOST_MISSES {
            self.misses = 0;
            self.pause_until = self.offset + (PAUSE * CHUNK) as u64;
        }
        self.spare.push(decoded);
    }

    /// Room for another chunk, if there is any.
    fn room(&mut self) -> Option<(Held, Decoded)> {
        let room = self.room_to_spare();
        // Room that is not used now is there for other layers, and its memory for everything else.
        if room.is_none() || self.cores.are_short() {
            self.spare.clear();
        }
        room
    }

    fn room_to_spare(&mut self) -> Option<(Held, Decoded)> {
        if self.last_came || self.offset < self.pause_until || self.waiting.len() >= MOST_CHUNKS {
            return None;
        }
        // All that make it worth it, or none.
        let wanted = FEWEST_CHUNKS.saturating_sub(self.waiting.len()).max(1);
        while self.spare.len() < wanted {
            let room = self.cores.room(Ahead::memory(MOST_OUTPUT))?;
            self.spare.push(Decoded { room: Some(room), ..Decoded::nothing() });
        }
        let held = self.cores.memory(CHUNK as u64)?;
        self.spare.pop().map(|decoded| (held, decoded))
    }

    /// The next piece as it came; an empty one at the end.
    fn next_piece<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Bytes, E> {
        // Nobody is asked again after the last one: there might be no answer.
        while self.piece.is_empty() && !self.last_came {
            match next()? {
                Some(piece) => self.piece = piece,
                None => self.last_came = true,
            }
        }
        Ok(std::mem::take(&mut self.piece))
    }

    /// Reads a whole chunk, or what is left.
    fn chunk<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Bytes, E> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while chunk.len() < CHUNK {
            let mut piece = self.next_piece(next)?;
            if piece.is_empty() {
                break;
            }
            chunk.extend_from_slice(&piece.split_to(piece.len().min(CHUNK - chunk.len())));
            self.piece = piece;
        }
        Ok(chunk.freeze())
    }

    /// Has the chunk that came last decoded, now that it is known what is behind it.
    fn decode_last(&mut self, behind: &Part) {
        let Some(waiting) = self.waiting.back_mut() else { return };
        let mut decoded = match std::mem::replace(&mut waiting.work, Work::None) {
            Work::Later(decoded) => decoded,
            other => {
                waiting.work = other;
                return;
            }
        };
        decoded.shows = !behind.bytes.is_empty();
        let (done, receiver) = sync_channel(1);
        let (offset, chunk, behind) = (waiting.offset, waiting.part.clone(), behind.clone());
        waiting.work = Work::Begun(receiver);
        // If nobody takes it, nothing is received.
        let _ = self.jobs.send(Job { offset, chunk, behind, decoded, done });
        let begun = |waiting: &&Waiting| matches!(waiting.work, Work::Begun(_));
        let under_way = self.waiting.iter().filter(begun).count();
        if self.threads < under_way.min(MOST_DECODERS).min(self.cores.count()) {
            self.threads += 1;
            let queue = self.queue;
            self.scope.spawn(|| queue.work());
        }
    }
}

/// Where the threads get their work.
pub(crate) struct JobQueue {
    /// Nothing once a thread has ended in a panic.
    jobs: Mutex<Option<Receiver<Job>>>,
    /// Whether nobody wants any more.
    stopped: AtomicBool,
}

/// Takes all jobs away if the thread ends in a panic: whoever waits for one is told so.
struct IfItPanics<'a>(&'a JobQueue);

impl Drop for IfItPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl JobQueue {
    /// One with nothing in it, and what sends jobs to it.
    pub(crate) fn new() -> (Sender<Job>, Self) {
        let (jobs, receiver) = channel();
        (jobs, Self { jobs: Mutex::new(Some(receiver)), stopped: AtomicBool::new(false) })
    }

    /// Works until there are no jobs and nobody is left who sends any.
    fn work(&self) {
        let _guard = IfItPanics(self);
        loop {
            // The lock is held while waiting: whoever has it gets the next job.
            let job = {
                let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                jobs.as_ref().and_then(|jobs| jobs.recv().ok())
            };
            let Some(Job { offset, chunk, behind, mut decoded, done }) = job else { return };
            if self.stopped.load(Ordering::Relaxed) {
                continue;
            }
            decoded.ahead.decode(offset, &chunk.bytes, &behind.bytes);
            // Given back before the room is, which may be all that others wait for.
            drop((chunk, behind));
            // Whoever stopped in the middle does not wait for it.
            let _ = done.send(decoded);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use soci_registry::MemoryPool;

    use super::*;
    use crate::cores::Cores;

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
        let (jobs, queue) = JobQueue::new();
        let cores = Cores::new(NonZeroUsize::new(DECODERS).unwrap());
        let tried = std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut tried = Vec::new();
            let mut next = || Ok::<_, ()>(pieces());
            while let Some(Chunk { decoded, part }) = chunks.next(&mut next).unwrap() {
                // Where it pauses, chunks come as they are.
                assert_eq!(part.bytes.len(), CHUNK);
                tried.push(decoded.room.is_some());
                chunks.was_read(decoded, false);
                assert!(chunks.spare.len() <= DECODERS + 2, "{}", chunks.spare.len());
            }
            assert!(chunks.threads <= DECODERS);
            tried
        });
        assert_eq!(tried.len(), CHUNKS);
        let times = tried.iter().filter(|tried| **tried).count();
        // At most what is under way already beside those after which it pauses.
        let most = MOST_MISSES + DECODERS + 2;
        assert!(times >= CHUNKS / (PAUSE + most) * MOST_MISSES, "{times}: it stopped for good");
        assert!(times <= (CHUNKS / PAUSE + 1) * most, "{times}: it does not pause");
    }

    #[test]
    fn room_that_is_not_used_is_given_back_while_the_layer_goes_on() {
        const MEMORY: u64 = 64 << 20;
        let pool = MemoryPool::new(MEMORY, MEMORY / 2);
        let cores = Cores::with_memory(NonZeroUsize::new(8).unwrap(), pool.clone());
        let mut pieces = std::iter::repeat_n(Bytes::from(vec![0; CHUNK]), 200);
        let (jobs, queue) = JobQueue::new();
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut next = || Ok::<_, ()>(pieces.next());
            let mut read = |chunks: &mut Chunks<'_, '_>, count| {
                for _ in 0..count {
                    let Chunk { decoded, .. } = chunks.next(&mut next).unwrap().unwrap();
                    chunks.was_read(decoded, true);
                }
            };
            read(&mut chunks, 20);
            assert!(pool.free() < MEMORY, "chunks are under way");
            // Others take what is free. What all chunks together have is less than what has to stay free.
            let others = pool.try_hold(pool.free()).unwrap();
            assert!(others.bytes() > MEMORY / 2);
            read(&mut chunks, 40);
            assert_eq!(pool.free(), MEMORY - others.bytes(), "all of it was given back");
            drop(others);
            read(&mut chunks, 20);
            assert!(pool.free() < MEMORY, "chunks are under way again");
        });
        assert_eq!(pool.free(), MEMORY);
    }

    #[test]
    fn what_nobody_will_read_is_not_decoded_and_holds_its_memory_until_then() {
        const MEMORY: u64 = 64 << 20;
        let pool = MemoryPool::new(MEMORY, MEMORY / 2);
        let cores = Cores::with_memory(NonZeroUsize::new(8).unwrap(), pool.clone());
        let (jobs, queue) = JobQueue::new();
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut next = || Ok::<_, ()>(Some(Bytes::from(vec![0xff; CHUNK])));
            for _ in 0..3 {
                chunks.next(&mut next).unwrap();
            }
            drop(chunks);
            assert!(queue.stopped.load(Ordering::Relaxed));
        });
        assert_eq!(pool.free(), MEMORY);
    }
}
