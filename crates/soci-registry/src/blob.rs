//! Downloads of blobs: in parallel parts, in order, within a fixed window, resumed where they
//! broke.
//!
//! One connection to an object store gives 20 to 100 MB/s, which several at once multiply (`breadth` finds out how many
//! are of use). So a [`BlobReader`] splits the blob into ranged requests, each read by a [`PartReader`] on a task of
//! its own, and hands their bytes out in order. A part passes its bytes on while it is still
//! downloading, so the first bytes come as early as with one plain request.
//!
//! What it guarantees:
//! - The bytes come in order, each once, from the first to the last.
//! - [`BlobReader::next`] gives `None` only after the digest of all bytes was found to be the
//!   blob's. Whoever stops before has nothing that was verified. Only who has taken over the hashing
//!   ([`BlobReader::leave_hashing`]) verifies with [`BlobReader::hashed`].
//! - What was received and not handed out stays within the window. Of parts, at most `parallel_parts` are begun and not
//!   handed out whole, and readers that share memory begin a part only
//!   with room for it ([`MemoryLease`]). A server that ignores ranges gives one stream for the whole
//!   blob; that is read under a semaphore of the window's size.
//! - A fault costs what was in flight, not what had come: each part goes on at the byte reached. An
//!   error of a part is given out only behind the bytes before it.
//! - Dropping the reader ends its requests.
//!
//! Whether the server knows ranges is learned from the first answer; until then no second request
//! is sent. A blob of one part is fetched by a plain request and asks nothing of the server, and so is any blob of a
//! registry that is known to refuse ranges. Where it turns out in the middle of a blob that parts cost what is in front
//! of them, no more of them are begun: what is left behind those under way is one stream.
//!
//! Each byte is copied once, out of the connection's buffer into blocks that the window is made of
//! (`queue`).

mod breadth;
mod content_range;
mod part;
mod queue;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use soci_oci::{Digest, Hasher};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::breadth::{Breadth, FIRST_PARTS};
pub(crate) use part::{BlobTarget, Extent, PartReader, total_size};

pub use self::queue::MAX_PIECE;
use self::queue::{BlockPool, PartReceiver, PartSender, part_queue};
use self::window::Window;
use crate::error::Error;
use crate::memory::{MemoryLease, Room};
use crate::redact::RequestLine;

/// A blob that is being downloaded. Made by [`Client::blob`](crate::Client::blob) and
/// [`Client::blob_with`](crate::Client::blob_with); dropping it ends the download.
#[derive(Debug)]
pub struct BlobReader {
    target: Arc<BlobTarget>,
    size: u64,
    lease: MemoryLease,
    /// Bytes handed out.
    position: u64,
    /// None once it was asked for the digest, or if somebody else hashes.
    hasher: Option<Hasher>,
    /// Whether somebody else hashes.
    leaves_hashing: bool,
    phase: ReaderPhase,
    /// How many parts are to be under way.
    breadth: Breadth,
    /// Parts under way in order; the front one holds the byte at `position`.
    parts: VecDeque<Part>,
    /// First byte that no part covers yet.
    covered: u64,
    /// Whether there is one stream, which takes room in the window for what it receives. Parts
    /// need none.
    single: bool,
    window: Arc<Window>,
    blocks: Arc<BlockPool>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
enum ReaderPhase {
    New,
    /// The first ranged request was sent, and it is not known whether the server allows ranges.
    Opening(oneshot::Receiver<ReadMode>),
    Running,
    /// All bytes were handed out; what they are is for somebody else to say.
    Read,
    Verified,
    Failed,
}

/// How the rest of the blob is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadMode {
    /// In parts.
    Parts,
    /// The first part turned into the whole blob.
    Single,
}

#[derive(Debug)]
struct Part {
    end: u64,
    pieces: PartReceiver,
    room: Room,
}

impl BlobReader {
    pub(crate) fn new(target: Arc<BlobTarget>, size: u64, lease: MemoryLease) -> Self {
        let hasher = Some(Hasher::new(target.digest.algorithm()));
        let window = Arc::new(Window::new(lease.guaranteed()));
        let found = target.transport.found_breadths.of(target.repository.registry());
        Self {
            breadth: Breadth::new(found.unwrap_or(FIRST_PARTS), lease.transfer().parallel_parts),
            target,
            size,
            blocks: Arc::new(BlockPool::new(lease.transfer())),
            lease,
            position: 0,
            hasher,
            leaves_hashing: false,
            phase: ReaderPhase::New,
            parts: VecDeque::new(),
            covered: 0,
            single: false,
            window,
            tasks: JoinSet::new(),
        }
    }

    /// The next bytes of the blob; `None` once all of them were handed out and found to have the
    /// blob's size and digest, but for a reader that [leaves hashing](Self::leave_hashing) to the caller. Until then the bytes are unverified: undo what was made of them on
    /// an error. After an error the reader gives no more bytes.
    ///
    /// What it returns is at most 256 KiB and may be a slice of a buffer of that size, which is
    /// used again once it was dropped: copy what is to be kept for long.
    ///
    /// Cancel safe: a call that is dropped loses no bytes. Must be called within a tokio runtime.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.advance().await;
        match &next {
            Ok(Some(bytes)) => {
                self.position += bytes.len() as u64;
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(bytes);
                }
            }
            Ok(None) => {}
            Err(_) => {
                self.phase = ReaderPhase::Failed;
                // Gives their room back now, and not when the caller lets go of the reader.
                self.parts.clear();
                self.tasks.abort_all();
            }
        }
        next
    }

    /// Leaves it to the caller to hash what is read, from the blob's first byte on: who has its bytes in hand anyway may do so at less
    /// cost. [`Self::next`] then gives `None` at the end whatever they are, and nothing is verified before [`Self::hashed`] says so.
    /// Once bytes were handed out it is too late, and the reader verifies them as ever: then it says no.
    pub fn leave_hashing(&mut self) -> bool {
        if matches!(self.phase, ReaderPhase::New) {
            self.leaves_hashing = true;
            self.hasher = None;
        }
        self.leaves_hashing
    }

    /// Verifies the blob by the digest of all of its bytes, which the caller has found ([`Self::leave_hashing`]) with the algorithm of the
    /// blob's own. An error unless it is that, and all bytes were handed out.
    pub fn hashed(&mut self, actual: Digest) -> Result<(), Error> {
        match self.phase {
            ReaderPhase::Read => self.compare(actual),
            _ => Err(self.interrupted()),
        }
    }

    /// The blob's digest.
    pub fn digest(&self) -> Digest {
        self.target.digest
    }

    /// The blob's size in bytes, as the descriptor states it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes handed out so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Most bytes that were received and not yet handed out at any time so far; at most
    /// [`Transfer::window`](crate::Transfer::window).
    pub fn peak_buffered(&self) -> u64 {
        self.window.peak()
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.phase {
            ReaderPhase::New => self.begin(),
            ReaderPhase::Opening(_) | ReaderPhase::Running => {}
            ReaderPhase::Verified | ReaderPhase::Read => return Ok(None),
            ReaderPhase::Failed => return Err(self.interrupted()),
        }
        if let ReaderPhase::Opening(opened) = &mut self.phase {
            // A task that fails sends its error as a piece of its part.
            let mode = opened.await.unwrap_or(ReadMode::Parts);
            self.phase = ReaderPhase::Running;
            if mode == ReadMode::Single {
                self.single = true;
                // The first part brings everything, so no other one is begun.
                self.covered = self.size;
                if let Some(first) = self.parts.front_mut() {
                    first.end = self.size;
                }
            }
        }
        loop {
            // At every piece: others may have given back memory that a part can be begun with.
            self.begin_parts();
            let Some(part) = self.parts.front_mut() else { return self.verify() };
            let asked = Instant::now();
            let next = part.pieces.next().await;
            self.breadth.waited(asked.elapsed());
            match next {
                Some(piece) => {
                    let piece = piece?;
                    self.window.handed_out(piece.len());
                    if self.single {
                        self.window.make_room(piece.len());
                    }
                    return Ok(Some(piece));
                }
                None if part.end == self.position => {
                    // Its room goes back, and the loop begins the next part with it.
                    let handed_out = self.parts.pop_front();
                    let bytes = handed_out.map_or(0, |part| part.room.bytes());
                    if self.covered < self.size {
                        self.breadth.handed_out(bytes, Instant::now());
                    }
                }
                // A task that ends early without an error was cancelled.
                None => return Err(self.interrupted()),
            }
        }
    }

    /// Sends the first request: plain for a blob that is one part, else ranged.
    fn begin(&mut self) {
        self.phase = ReaderPhase::Running;
        // Without a part under way there is room for one, unless the blob is empty.
        let Some(room) = self.take_room() else { return };
        if room.bytes() == self.size || self.target.refuses_ranges() {
            // One request brings it all, so whether the server knows ranges does not matter.
            self.single = true;
            self.begin_part(self.size, room, Extent::Whole, None);
        } else {
            let (opened, opening) = oneshot::channel();
            let end = room.bytes();
            self.begin_part(end, room, Extent::Part(Some(self.size)), Some(opened));
            self.phase = ReaderPhase::Opening(opening);
        }
    }

    fn take_room(&self) -> Option<Room> {
        let left = self.size - self.covered;
        if left == 0 || self.parts.len() >= self.breadth.parts() {
            return None;
        }
        self.lease.take(left, self.parts.len())
    }

    fn begin_parts(&mut self) {
        while let Some(room) = self.take_room() {
            if self.target.sends_whole() {
                if self.parts.is_empty() {
                    self.single = true;
                    self.begin_part(self.size, room, Extent::Part(Some(self.size)), None);
                }
                break;
            }
            let end = self.covered + room.bytes();
            self.begin_part(end, room, Extent::Part(Some(self.size)), None);
        }
        // Blocks beyond what may be held now would be memory that the lease does not cover.
        let room: u64 = self.parts.iter().map(|part| part.room.bytes()).sum();
        self.blocks.keep(room.max(self.lease.guaranteed()));
    }

    fn begin_part(
        &mut self,
        end: u64,
        room: Room,
        extent: Extent,
        opened: Option<oneshot::Sender<ReadMode>>,
    ) {
        // Ended tasks stay in the set until somebody takes them out.
        while self.tasks.try_join_next().is_some() {}
        let reader = PartReader::new(Arc::clone(&self.target), self.covered..end, extent);
        let (sender, pieces) = part_queue(Arc::clone(&self.blocks));
        let (window, piece) = (Arc::clone(&self.window), self.blocks.size());
        self.tasks.spawn(download(reader, sender, window, piece, self.single, opened));
        self.parts.push_back(Part { end, pieces, room });
        self.covered = end;
    }

    /// All bytes were handed out.
    fn verify(&mut self) -> Result<Option<Bytes>, Error> {
        if self.leaves_hashing {
            self.phase = ReaderPhase::Read;
            return Ok(None);
        }
        // The hasher is there until it is taken here, and `Verified` keeps this from running
        // twice.
        let actual = self.hasher.take().map(Hasher::finish);
        self.compare(actual.ok_or_else(|| self.interrupted())?).map(|()| None)
    }

    fn compare(&mut self, actual: Digest) -> Result<(), Error> {
        let expected = self.target.digest;
        if actual != expected {
            self.phase = ReaderPhase::Failed;
            return Err(Error::mismatch(self.target.request_line()?, expected, actual));
        }
        self.phase = ReaderPhase::Verified;
        if let Some(parts) = self.breadth.found() {
            let registry = self.target.repository.registry();
            self.target.transport.found_breadths.learn(registry, parts);
        }
        Ok(())
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { digest: self.target.digest, offset: self.position }
    }
}

/// Runs one part: its bytes in pieces of at most `max_piece`, then possibly an error, then the end
/// of the queue.
async fn download(
    mut part: PartReader,
    sender: PartSender,
    window: Arc<Window>,
    max_piece: usize,
    mut single: bool,
    opened: Option<oneshot::Sender<ReadMode>>,
) {
    if let Some(opened) = opened {
        // The reader waits for this word before it sends a second request.
        match part.open().await {
            Ok(()) if part.ignores_ranges() => {
                part.become_whole();
                single = true;
                let _ = opened.send(ReadMode::Single);
            }
            Ok(()) => {
                let _ = opened.send(ReadMode::Parts);
            }
            Err(error) => return sender.fail(error),
        }
    }
    loop {
        let mut chunk = match part.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => return sender.fail(error),
        };
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(max_piece));
            // Parts have their room already; one stream for all has none.
            if single {
                window.take_room(piece.len()).await;
            }
            window.received(piece.len());
            sender.push(&piece, part.left() + chunk.len() as u64);
        }
    }
}

impl BlobTarget {
    fn request_line(&self) -> Result<RequestLine, Error> {
        let registry = self.transport.registry(&self.repository)?;
        Ok(RequestLine::new(&http::Method::GET, &self.url(&registry)?))
    }
}

#[cfg(test)]
mod tests {
    use soci_registry_server::testing::{FakeOptions, FakeRegistry};

    use super::*;
    use crate::client::Client;
    use crate::policy::Transfer;

    #[tokio::test]
    async fn room_in_the_window_is_neither_lost_nor_made() {
        for ranges in [true, false] {
            let options = FakeOptions { ranges, ..FakeOptions::default() };
            let fake = FakeRegistry::with(options).await;
            let bytes = Bytes::from(vec![7; 100_000]);
            let digest = fake.put_blob("a", bytes);
            for part_size in [10_000, 200_000] {
                let transfer = Transfer { part_size, parallel_parts: 2 };
                let repository = fake.repository("a");
                let client = Client::builder().plain_http(true).proxies(false).build().unwrap();
                let mut blob = client.blob_with(&repository, &digest, 100_000, transfer);
                let room = blob.window.room();
                while blob.next().await.unwrap().is_some() {}
                assert_eq!(blob.window.room(), room, "{part_size} {ranges}");
                assert_eq!(room as u64, transfer.window());
            }
        }
    }
}
