//! Decodes a layer ahead on several threads, so that one large layer keeps all cores busy.
//!
//! Where cores are free (`cores.rs`) the layer is cut into chunks. While one is read, those behind it are decoded ahead, each by
//! one thread ([`soci_ztoc::Ahead`]), and handed on in their order. Whoever reads them never waits for more than the next one.
//! Where no cores are free, the layer is handed on in the pieces in which it comes. Both may alternate within a layer, and
//! the result never depends on it.
//!
//! Where it does not pay, because blocks cannot be found or are not what they seemed, it stops for a while: the layer
//! is read at the same speed then, and other cores stay free.

use std::collections::VecDeque;
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

/// A part of a layer, with what of it was decoded ahead.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// What holds the memory of the bytes, unless it is a piece as it came.
    pub(crate) held: Option<Held>,
    pub(crate) decoded: Decoded,
}

/// What of a chunk was decoded ahead, and the room for it.
pub(crate) struct Decoded {
    /// Of nothing where it was not tried.
    pub(crate) ahead: Ahead,
    /// Taken where it was.
    room: Option<Room>,
}

/// A chunk to decode.
pub(crate) struct Job {
    offset: u64,
    chunk: Bytes,
    behind: Bytes,
    ahead: Ahead,
    done: SyncSender<Ahead>,
}

/// A chunk that has come.
struct Waiting {
    bytes: Bytes,
    held: Option<Held>,
    offset: u64,
    work: Work,
}

/// What happens to a chunk that waits.
enum Work {
    /// Nothing: it is a piece as it came.
    None,
    /// It is decoded when it is known what is behind it.
    Later(Ahead, Room),
    /// It is being decoded.
    Begun(Receiver<Ahead>, Room),
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
    spare: Vec<(Ahead, Room)>,
    /// What is left of the piece that came last.
    piece: Bytes,
    offset: u64,
    /// Whether all pieces have come.
    last_came: bool,
    /// Whether all of them are among the chunks.
    ended: bool,
    misses: usize,
    /// Nothing is decoded ahead in front of this place.
    pause_until: u64,
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
            ended: false,
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
        while !self.ended {
            let room = self.room();
            // Without room, a piece is wanted if there is nothing else, or to know what is behind a chunk.
            let wanted = match self.waiting.back() {
                None => true,
                Some(last) => matches!(last.work, Work::Later(..)),
            };
            if room.is_none() && !wanted {
                break;
            }
            let (bytes, held, work) = match room {
                Some((held, ahead, room)) => {
                    (self.chunk(next)?, Some(held), Work::Later(ahead, room))
                }
                None if self.waiting.is_empty() => (self.next_piece(next)?, None, Work::None),
                // The memory that a piece comes in is what the next one comes in: a piece that waits would keep out the others
                // that are waited for.
                None => (Bytes::copy_from_slice(&self.next_piece(next)?), None, Work::None),
            };
            self.ended = bytes.is_empty();
            self.decode_last(&bytes);
            if !self.ended {
                let offset = self.offset;
                self.offset += bytes.len() as u64;
                self.waiting.push_back(Waiting { bytes, held, offset, work });
            }
        }
        let Some(Waiting { bytes, held, work, .. }) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let decoded = match work {
            Work::Begun(decoded, room) => {
                // If a thread ended in a panic, the scope tells.
                let ahead = decoded.recv().unwrap_or_else(|_| Ahead::new(MOST_OUTPUT));
                Decoded { ahead, room: Some(room) }
            }
            // Takes no memory before it is decoded.
            Work::Later(ahead, room) => Decoded { ahead, room: Some(room) },
            Work::None => Decoded { ahead: Ahead::new(MOST_OUTPUT), room: None },
        };
        Ok(Some(Chunk { bytes, held, decoded }))
    }

    /// A chunk was read. What was decoded ahead of it was of use or not, and its room is used again.
    pub(crate) fn was_read(&mut self, Decoded { ahead, room }: Decoded, was_of_use: bool) {
        let Some(room) = room else { return };
        self.misses = if was_of_use { 0 } else { self.misses + 1 };
        if self.misses >= MOST_MISSES {
            self.misses = 0;
            self.pause_until = self.offset + (PAUSE * CHUNK) as u64;
        }
        self.spare.push((ahead, room));
        if self.cores.are_short() {
            self.spare.clear();
        }
    }

    /// Room for another chunk, if there is any.
    fn room(&mut self) -> Option<(Held, Ahead, Room)> {
        if self.offset < self.pause_until {
            self.spare.clear();
            return None;
        }
        let under_way =
            self.waiting.iter().filter(|waiting| !matches!(waiting.work, Work::None)).count();
        if under_way > MOST_DECODERS {
            return None;
        }
        // Of the first one alone nobody had anything.
        let least = if under_way == 0 { 2 } else { 1 };
        while self.spare.len() < least {
            let room = self.cores.room(Ahead::memory(MOST_OUTPUT));
            let Some(room) = room else {
                if under_way == 0 {
                    self.spare.clear();
                }
                return None;
            };
            self.spare.push((Ahead::new(MOST_OUTPUT), room));
        }
        let held = self.cores.memory(CHUNK as u64)?;
        self.spare.pop().map(|(ahead, room)| (held, ahead, room))
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
    fn decode_last(&mut self, behind: &Bytes) {
        let Some(waiting) = self.waiting.back_mut() else { return };
        let work = std::mem::replace(&mut waiting.work, Work::None);
        let Work::Later(ahead, room) = work else {
            waiting.work = work;
            return;
        };
        let (done, decoded) = sync_channel(1);
        let (offset, chunk, behind) = (waiting.offset, waiting.bytes.clone(), behind.clone());
        waiting.work = Work::Begun(decoded, room);
        // If nobody takes it, nothing is received.
        let _ = self.jobs.send(Job { offset, chunk, behind, ahead, done });
        let begun = |waiting: &&Waiting| matches!(waiting.work, Work::Begun(..));
        let under_way = self.waiting.iter().filter(begun).count();
        if self.threads < under_way.min(MOST_DECODERS).min(self.cores.count()) {
            self.threads += 1;
            let queue = self.queue;
            self.scope.spawn(|| queue.work());
        }
    }
}

/// Where the threads get their work.
pub(crate) struct JobQueue(Mutex<Receiver<Job>>);

impl JobQueue {
    /// One with nothing in it, and what sends jobs to it.
    pub(crate) fn new() -> (Sender<Job>, Self) {
        let (jobs, receiver) = channel();
        (jobs, Self(Mutex::new(receiver)))
    }

    /// Works until there are no jobs and nobody is left who sends any.
    fn work(&self) {
        loop {
            // The lock is held while waiting: whoever has it gets the next job.
            let job = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { offset, chunk, behind, mut ahead, done }) = job else { return };
            ahead.decode(offset, &chunk, &behind);
            // Whoever stopped in the middle does not wait for it.
            let _ = done.send(ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

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
            while let Some(Chunk { decoded, .. }) = chunks.next(&mut next).unwrap() {
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
}
