//! Decodes a layer ahead on several threads, so that one large layer keeps all cores busy.
//!
//! Where cores are free (`cores.rs`) the layer is cut into chunks. While one is read, those behind it are decoded ahead, each by
//! one thread ([`soci_ztoc::Ahead`]), and handed on in their order. Where no cores are free, the layer is handed on in the pieces
//! in which it comes. Both may alternate within a layer, and the result never depends on it.
//!
//! Nobody waits for a chunk that is being decoded. Whoever reads the layer inflates as well: when it comes to such a chunk it takes
//! what there is of it by then and inflates the rest, while the thread goes on with another chunk. So each core does as much as it can, however busy
//! it is besides, and one core that helps out is of use, too.
//!
//! It is tried only while the layer has blocks that can be found. Chunks are small at first, so that nothing is lost where they
//! are of no use, and grow with each one that was. Where several in a row were not, it stops for a while, and for longer each time: the layer
//! is read at the same speed then, and other cores stay free.

mod part;
mod queue;

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::thread::Scope;
use std::time::Duration;

use bytes::Bytes;
use soci_ztoc::Ahead;

use self::part::Buffer;
use self::queue::{Begun, Job, MOST_OUTPUT};
use crate::cores::{LayerCores, Room};

pub(crate) use self::part::{CHUNK, Part};
pub(crate) use self::queue::{Decoded, JobQueue};

/// Bytes of the first chunks, in which a block begins as a rule.
const FIRST_CHUNK: usize = CHUNK / if cfg!(test) { 2 } else { 8 };

/// Bytes of the layer without a block that could be found, after which none is expected.
const NO_BLOCKS: u64 = CHUNK as u64;

/// Most chunks that are decoded at once: from then on the layer is not read any faster.
const MOST_DECODERS: usize = 16;

/// Chunks in a row that were decoded for nothing before it stops.
const MOST_MISSES: usize = 4;

/// Bytes that are not decoded ahead then: the first time, and at most.
const SHORTEST_PAUSE: u64 = 4 * CHUNK as u64;
const LONGEST_PAUSE: u64 = 64 * CHUNK as u64;

/// How long an answer is waited for when a chunk is to be read that is being decoded. Whoever decodes it looks up more often, but may
/// have no core. However long it takes in tests, which would depend on the machine otherwise.
const ANSWER: Option<Duration> = if cfg!(test) { None } else { Some(Duration::from_micros(500)) };

/// Chunks below which nothing is gained: one that is read, one that is decoded meanwhile, the next for whoever does so, and one of
/// which the end has not come.
const FEWEST_CHUNKS: usize = 4;

/// Most chunks that are under way, those that are being decoded among them.
const MOST_CHUNKS: usize = MOST_DECODERS + 2;

/// A part of a layer, with what of it was decoded ahead.
pub(crate) struct Chunk {
    pub(crate) part: Part,
    pub(crate) decoded: Decoded,
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
    Later(Room),
    /// It is to be decoded, is being or was.
    Begun(Begun),
}

/// The chunks of one layer in their order.
pub(crate) struct Chunks<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    queue: &'scope JobQueue,
    jobs: Sender<Job>,
    threads: usize,
    cores: LayerCores,
    waiting: VecDeque<Waiting>,
    /// Room that the layer keeps for its next chunks.
    spare: Vec<Room>,
    /// Chunks that were handed on, whose memory is used again once they are hashed.
    handed_on: VecDeque<Part>,
    /// What is left of the piece that came last.
    piece: Bytes,
    offset: u64,
    /// Whether all pieces have come.
    last_came: bool,
    /// Bytes of the next chunk, and of the first one behind a pause.
    size: usize,
    first_size: usize,
    /// Blocks so far that could be found, and bytes of the layer since the last one.
    blocks: u64,
    since: u64,
    /// Bytes of the layer that were read.
    read: u64,
    /// How long an answer is waited for; however long it takes, if nothing is said.
    pub(crate) answer: Option<Duration>,
    /// Chunks in a row of which nothing could be taken.
    misses: usize,
    /// How long it stops after the next ones.
    pause: u64,
    /// Nothing is decoded ahead in front of this place.
    pause_until: u64,
}

impl Drop for Chunks<'_, '_> {
    fn drop(&mut self) {
        self.only_pass_on();
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
            handed_on: VecDeque::new(),
            piece: Bytes::new(),
            offset: 0,
            last_came: false,
            size: FIRST_CHUNK,
            first_size: FIRST_CHUNK,
            blocks: 0,
            since: 0,
            read: 0,
            answer: ANSWER,
            misses: 0,
            pause: SHORTEST_PAUSE,
            pause_until: 0,
        }
    }

    /// The next part of the layer; nothing at its end. `next` returns its pieces.
    pub(crate) fn next<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Chunk>, E> {
        while let Some((buffer, room)) = self.room() {
            let part = self.chunk(buffer, next)?;
            self.decode_last(&part);
            if part.bytes.is_empty() {
                self.spare.push(room);
                break;
            }
            self.push(part, Work::Later(room));
        }
        if self.waiting.is_empty() {
            let part = Part::piece(self.next_piece(next)?);
            self.push(part, Work::None);
        }
        let Some(Waiting { part, work, .. }) = self.waiting.pop_front() else { return Ok(None) };
        if part.held.is_some() {
            self.handed_on.push_back(part.clone());
        }
        let decoded = match work {
            Work::Begun(begun) => self.decoded(&begun),
            Work::Later(room) => Decoded { room: Some(room), ..Decoded::nothing() },
            Work::None => Decoded::nothing(),
        };
        Ok(Some(Chunk { part, decoded }))
    }

    /// What was decoded of a chunk that is to be read. If a thread ended in a panic that is nothing, and the scope tells.
    fn decoded(&mut self, begun: &Begun) -> Decoded {
        begun.stop();
        // What nobody has begun by now is of no use. Its room goes back when somebody comes to it.
        if self.answer.is_some() && !begun.is_begun() {
            return Decoded::nothing();
        }
        begun.wait(self.answer).unwrap_or_else(|| {
            self.missed();
            Decoded::nothing()
        })
    }

    /// Nothing is decoded ahead any more: what is left of the layer is only handed on.
    pub(crate) fn only_pass_on(&mut self) {
        self.queue.stop();
        self.pause_until = u64::MAX;
        self.queue.forget(usize::MAX);
        self.spare.clear();
        self.handed_on.clear();
    }

    /// Not much is left before the next chunk is read: what there is of it by then is enough.
    pub(crate) fn next_is_soon(&self) {
        if let Some(Waiting { work: Work::Begun(begun), .. }) = self.waiting.front() {
            begun.stop();
        }
    }

    fn push(&mut self, part: Part, work: Work) {
        if !part.bytes.is_empty() {
            let offset = self.offset;
            self.offset += part.bytes.len() as u64;
            self.waiting.push_back(Waiting { part, offset, work });
        }
    }

    /// A chunk was read, and with it so many bytes and blocks of the layer in all. What was decoded ahead of it was of use or not,
    /// and its room is used again.
    pub(crate) fn was_read(&mut self, decoded: Decoded, bytes: u64, blocks: u64) {
        self.since = if blocks > self.blocks { 0 } else { self.since + bytes - self.read };
        (self.read, self.blocks) = (bytes, blocks);
        let Some(room) = decoded.room else { return };
        if decoded.ahead.was_taken() {
            self.misses = 0;
            self.size = CHUNK.min(2 * self.size);
            self.pause = SHORTEST_PAUSE;
        } else if decoded.shows {
            self.missed();
        }
        self.spare.push(room);
        if decoded.shows {
            self.queue.keep(decoded.ahead);
        }
    }

    /// Nothing of a chunk could be taken. If that is so of several in a row, decoding ahead stops for a while.
    fn missed(&mut self) {
        // Those that were under way when it stopped say nothing new.
        if self.offset < self.pause_until {
            return;
        }
        self.misses += 1;
        if self.misses >= MOST_MISSES {
            self.misses = 0;
            // Blocks may be larger than the chunks were.
            self.first_size = CHUNK.min(2 * self.first_size);
            self.size = self.first_size;
            self.pause_until = self.offset + self.pause;
            self.pause = LONGEST_PAUSE.min(2 * self.pause);
        }
    }

    /// Whether chunks may be decoded ahead here.
    fn pays(&self) -> bool {
        self.blocks > 0 && self.since < NO_BLOCKS && self.offset >= self.pause_until
    }

    /// Room for another chunk, if there is any. What is not used now is there for other layers, and its memory for everything else.
    fn room(&mut self) -> Option<(Buffer, Room)> {
        if self.last_came || !self.pays() || self.cores.are_short() {
            self.handed_on.clear();
            self.give_back();
            return None;
        }
        if self.waiting.len() >= MOST_CHUNKS {
            return None;
        }
        // All that make it worth it, or none.
        let wanted = FEWEST_CHUNKS.saturating_sub(self.waiting.len()).max(1);
        while self.spare.len() < wanted {
            let Some(room) = self.cores.room(Ahead::memory(MOST_OUTPUT)) else {
                self.give_back();
                return None;
            };
            self.spare.push(room);
        }
        let Some(buffer) = self.buffer() else {
            self.give_back();
            return None;
        };
        self.spare.pop().map(|room| (buffer, room))
    }

    /// Gives room back that no chunk has, and so much of what was decoded into.
    fn give_back(&mut self) {
        self.queue.forget(self.spare.len());
        self.spare.clear();
        // While chunks are under way, the next one is likely to follow.
        if self.waiting.is_empty() {
            self.handed_on.clear();
        }
    }

    /// Memory for the next chunk: that of one that is read and hashed, if there is one, so that it is not asked of the system again.
    fn buffer(&mut self) -> Option<Buffer> {
        while let Some(part) = self.handed_on.pop_front() {
            match Buffer::of(part) {
                // Not those that were smaller.
                Ok(buffer) if buffer.bytes.capacity() == self.size => return Some(buffer),
                Ok(_) => {}
                Err(part) => {
                    self.handed_on.push_front(part);
                    break;
                }
            }
        }
        let held = self.cores.memory(self.size as u64)?;
        Some(Buffer::with_capacity(self.size, held))
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
        Buffer { bytes: mut chunk, held }: Buffer,
        next: &mut impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Part, E> {
        while chunk.len() < self.size {
            let mut piece = self.next_piece(next)?;
            if piece.is_empty() {
                break;
            }
            chunk.extend_from_slice(&piece.split_to(piece.len().min(self.size - chunk.len())));
            self.piece = piece;
        }
        Ok(Part { bytes: chunk.freeze(), held: Some(held) })
    }

    /// Has the chunk that came last decoded, now that it is known what is behind it.
    fn decode_last(&mut self, behind: &Part) {
        let Some(waiting) = self.waiting.back_mut() else { return };
        let room = match std::mem::replace(&mut waiting.work, Work::None) {
            Work::Later(room) => room,
            other => {
                waiting.work = other;
                return;
            }
        };
        let (chunk, behind) = (waiting.part.clone(), behind.clone());
        let (job, begun) = Job::new(waiting.offset, chunk, behind, room);
        waiting.work = Work::Begun(begun);
        // If nobody takes it, nothing is received.
        let _ = self.jobs.send(job);
        let begun = |waiting: &&Waiting| matches!(waiting.work, Work::Begun(_));
        let under_way = self.waiting.iter().filter(begun).count();
        if self.threads < under_way.min(MOST_DECODERS).min(self.cores.others()) {
            self.threads += 1;
            let queue = self.queue;
            self.scope.spawn(|| queue.work());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroUsize;

    use soci_registry::MemoryPool;
    use soci_ztoc::testing::{gzip, plain_archive};
    use soci_ztoc::{Compression, Scanner, ZtocSettings};

    use super::*;
    use crate::cores::{Cores, WAITING};

    /// Reads a chunk. It has a block that could be found, if that is said.
    fn read(
        chunks: &mut Chunks<'_, '_>,
        next: &mut impl FnMut() -> Option<Bytes>,
        block: u64,
    ) -> Option<bool> {
        let Chunk { decoded, part } = chunks.next(&mut || Ok::<_, ()>(next())).unwrap()?;
        let tried = decoded.room.is_some();
        let (bytes, blocks) = (chunks.read + part.bytes.len() as u64, chunks.blocks + block);
        chunks.was_read(decoded, bytes, blocks);
        Some(tried)
    }

    #[test]
    fn what_is_of_no_use_is_tried_again_and_again_and_takes_no_more_memory() {
        const CHUNKS: usize = 400;
        const CORES: usize = 4;
        // Nothing in it begins a block.
        let mut pieces = std::iter::repeat_n(Bytes::from(vec![0xff; CHUNK]), CHUNKS);
        let (jobs, queue) = JobQueue::new();
        let cores = Cores::new(NonZeroUsize::new(CORES).unwrap());
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let (mut times, mut pauses) = (0, vec![0]);
            while let Some(tried) = read(&mut chunks, &mut || pieces.next(), 1) {
                times += usize::from(tried);
                if chunks.pause_until > pauses[pauses.len() - 1] {
                    pauses.push(chunks.pause_until);
                }
                assert!(chunks.spare.len() <= CORES + WAITING, "{}", chunks.spare.len());
            }
            assert!(chunks.threads < CORES);
            let lengths: Vec<u64> =
                pauses.windows(2).map(|two| (two[1] - two[0]) / CHUNK as u64).collect();
            assert!(lengths.is_sorted() && lengths.len() > 6, "{lengths:?}: it stopped for good");
            assert!(lengths[lengths.len() - 1] >= 64, "{lengths:?}");
            // At most what is under way already beside those after which it pauses.
            let most = lengths.len() * (MOST_MISSES + CORES + WAITING);
            assert!(times <= most && times >= lengths.len() * MOST_MISSES, "{times}: {lengths:?}");
        });
    }

    #[test]
    fn chunks_are_decoded_only_where_the_layer_has_blocks_to_find() {
        let mut pieces = std::iter::repeat(Bytes::from(vec![0xff; FIRST_CHUNK]));
        let mut next = || pieces.next();
        let (jobs, queue) = JobQueue::new();
        let cores = Cores::new(NonZeroUsize::new(2).unwrap());
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut tried = |block, count| {
                // Whether what is read is of use does not matter here.
                let times = (0..count).filter(|_| {
                    chunks.misses = 0;
                    read(&mut chunks, &mut next, block).unwrap()
                });
                times.count()
            };
            assert_eq!(tried(0, 50), 0, "none has come");
            assert_eq!(tried(1, 1), 0, "the first");
            assert_eq!(tried(1, 50), 50);
            // As many as have the bytes of a chunk, and those that were under way.
            let more = CHUNK / FIRST_CHUNK + FEWEST_CHUNKS - 1;
            assert_eq!(tried(0, more), more, "as one is expected still");
            assert_eq!(tried(0, 50), 0);
            assert_eq!((tried(1, 1), tried(1, 10)), (0, 10), "there is one again");
        });
    }

    #[test]
    fn chunks_grow_while_they_are_of_use() {
        let layer = Bytes::from(gzip(&plain_archive(9, 12 << 20)));
        let mut left = layer.clone();
        let mut scanner = Scanner::new(ZtocSettings::new(Compression::Gzip, "test")).unwrap();
        let (jobs, queue) = JobQueue::new();
        let cores = Cores::new(NonZeroUsize::new(2).unwrap());
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut next =
                || Ok::<_, ()>((!left.is_empty()).then(|| left.split_to(left.len().min(1000))));
            let mut places = HashSet::new();
            let (mut sizes, mut done, mut end, mut kept) = (Vec::new(), 0, 0, 0);
            while let Some(Chunk { part, mut decoded }) = chunks.next(&mut next).unwrap() {
                if decoded.room.is_some() {
                    sizes.push(part.bytes.len());
                    places.insert(part.bytes.as_ptr());
                }
                end += part.bytes.len();
                if done < end {
                    let (taken, _) =
                        scanner.push_chunk(&layer[done..end], &mut decoded.ahead).unwrap();
                    done = usize::try_from(taken).unwrap();
                }
                chunks.was_read(decoded, done as u64, scanner.blocks());
                kept = kept.max(queue.used().len());
            }
            assert_eq!((sizes[0], sizes[sizes.len() / 2]), (FIRST_CHUNK, CHUNK), "{sizes:?}");
            assert!(kept > 0, "what was decoded into is used again");
            assert!(places.len() <= sizes.len() / 2, "so are the chunks: {places:?} {sizes:?}");
            drop(chunks);
            assert!(queue.used().is_empty(), "it goes before the room that it is held in");
        });
        assert!(left.is_empty());
    }

    #[test]
    fn room_goes_to_layers_that_come_later() {
        for (count, most) in [(2, 0), (8, 9)] {
            let mut pieces = std::iter::repeat(Bytes::from(vec![0xff; CHUNK]));
            let mut next = || pieces.next();
            let (jobs, queue) = JobQueue::new();
            let cores = Cores::new(NonZeroUsize::new(count).unwrap());
            std::thread::scope(|scope| {
                let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
                let mut read = |count| {
                    for _ in 0..count {
                        chunks.misses = 0;
                        read(&mut chunks, &mut next, 1).unwrap();
                        let used = queue.used().len();
                        assert!(used <= chunks.spare.len() + chunks.waiting.len(), "{used}");
                    }
                    let waiting = chunks.waiting.iter();
                    let with_room = waiting.filter(|chunk| !matches!(chunk.work, Work::None));
                    chunks.spare.len() + with_room.count()
                };
                assert!(read(20) > most);
                let other = cores.layer();
                read(20);
                assert_eq!(read(1), most, "{count} cores");
                drop(other);
                assert!(read(20) > most, "it comes back");
            });
        }
    }

    #[test]
    fn nobody_waits_for_a_decoder_that_has_not_begun() {
        let pool = MemoryPool::new(64 << 20, 32 << 20);
        let (jobs, queue) = JobQueue::new();
        let cores = Cores::with_memory(NonZeroUsize::new(4).unwrap(), pool.clone());
        let mut pieces = std::iter::repeat_n(Bytes::from(vec![0xff; CHUNK]), 100);
        // None gets a job.
        let held = queue.jobs.lock().unwrap();
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            chunks.answer = Some(Duration::from_secs(1 << 30));
            while read(&mut chunks, &mut || pieces.next(), 1).is_some() {}
            assert!(pool.free() < 64 << 20, "what was to be decoded is still held");
            drop(held);
        });
        assert_eq!(pool.free(), 64 << 20, "what came too late is given back");
    }

    #[test]
    fn room_that_is_not_used_is_given_back_while_the_layer_goes_on() {
        const MEMORY: u64 = 64 << 20;
        let pool = MemoryPool::new(MEMORY, MEMORY / 2);
        let cores = Cores::with_memory(NonZeroUsize::new(8).unwrap(), pool.clone());
        let mut pieces = std::iter::repeat_n(Bytes::from(vec![0; CHUNK]), 200);
        let mut next = || pieces.next();
        let (jobs, queue) = JobQueue::new();
        std::thread::scope(|scope| {
            let mut chunks = Chunks::new(scope, (jobs, &queue), cores.layer());
            let mut read = |count| {
                for _ in 0..count {
                    chunks.misses = 0;
                    read(&mut chunks, &mut next, 1).unwrap();
                }
            };
            read(20);
            assert!(pool.free() < MEMORY, "chunks are under way");
            // Others take what is free. What all chunks together have is less than what has to stay free.
            let others = pool.try_hold(pool.free()).unwrap();
            assert!(others.bytes() > MEMORY / 2);
            read(40);
            assert_eq!(pool.free(), MEMORY - others.bytes(), "all of it was given back");
            drop(others);
            read(20);
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
            let mut next = || Some(Bytes::from(vec![0xff; CHUNK]));
            for _ in 0..3 {
                read(&mut chunks, &mut next, 1);
            }
            assert!(pool.free() < MEMORY, "chunks are under way");
            drop(chunks);
            assert!(queue.is_stopped());
        });
        assert_eq!(pool.free(), MEMORY);
    }
}
