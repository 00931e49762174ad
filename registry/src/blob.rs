//! Downloads of blobs: in parallel parts, in order, within a fixed window, resumed where they
//! broke.
//!
//! A [`PartReader`] reads one range and survives faults; a [`BlobReader`] runs several of them on
//! tasks of their own and puts their bytes in order. A part passes its bytes on while it is still
//! downloading, as the pieces that the connection gave; none is copied.
//!
//! The window holds because part `i + parallel_parts` is not begun before part `i` was handed out
//! whole, and because a server that gives one stream only is read under a semaphore.

mod content_range;
mod part;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use oci::{Digest, Hasher};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

pub(crate) use part::{BlobTarget, Extent, PartReader};

use crate::error::Error;
use crate::redact::RequestLine;

/// Largest piece that is counted against the window at once, in bytes.
const MAX_PIECE: u64 = 1 << 20;

/// A blob that is being downloaded. Made by [`Client::blob`](crate::Client::blob); dropping it
/// ends the download.
#[derive(Debug)]
pub struct BlobReader {
    target: Arc<BlobTarget>,
    size: u64,
    /// Bytes handed out.
    position: u64,
    hasher: Option<Hasher>,
    state: State,
    /// Parts under way in order; the front one holds the byte at `position`.
    parts: VecDeque<Part>,
    /// First byte that no part covers yet.
    covered: u64,
    window: Arc<Window>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
enum State {
    New,
    /// The first ranged request was sent, and it is not known whether the server allows ranges.
    Opening(oneshot::Receiver<Mode>),
    Running,
    Verified,
    Failed,
}

/// How the rest of the blob is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In parts.
    Parts,
    /// The first part turned into the whole blob.
    Single,
}

#[derive(Debug)]
struct Part {
    end: u64,
    pieces: UnboundedReceiver<Result<Bytes, Error>>,
}

impl BlobReader {
    pub(crate) fn new(target: Arc<BlobTarget>, size: u64) -> Self {
        let hasher = Some(Hasher::new(target.digest.algorithm()));
        let window = Arc::new(Window::new(target.transport.transfer.window()));
        Self {
            target,
            size,
            position: 0,
            hasher,
            state: State::New,
            parts: VecDeque::new(),
            covered: 0,
            window,
            tasks: JoinSet::new(),
        }
    }

    /// The next bytes of the blob; `None` once all of them were handed out and found to have the
    /// blob's size and digest. Until then the bytes are unverified: undo what was made of them on
    /// an error. After an error the reader gives no more bytes.
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
                self.state = State::Failed;
                self.parts.clear();
                self.tasks.abort_all();
            }
        }
        next
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
        self.window.peak.load(Ordering::Relaxed)
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.state {
            State::New => self.begin(),
            State::Opening(_) | State::Running => {}
            State::Verified => return Ok(None),
            State::Failed => return Err(self.interrupted()),
        }
        if let State::Opening(opened) = &mut self.state {
            // A task that fails sends its error as a piece of its part.
            let mode = opened.await.unwrap_or(Mode::Parts);
            self.state = State::Running;
            if mode == Mode::Single {
                self.covered = self.size;
                if let Some(first) = self.parts.front_mut() {
                    first.end = self.size;
                }
            }
        }
        loop {
            self.begin_parts();
            let Some(part) = self.parts.front_mut() else { return self.verify() };
            match part.pieces.recv().await {
                Some(piece) => {
                    let piece = piece?;
                    self.window.handed_out(piece.len());
                    return Ok(Some(piece));
                }
                None if part.end == self.position => {
                    self.parts.pop_front();
                }
                None => return Err(self.interrupted()),
            }
        }
    }

    /// Sends the first request: plain for a blob of one part, else ranged.
    fn begin(&mut self) {
        let part_size = self.target.transport.transfer.part_size.max(1);
        if self.size <= part_size {
            self.state = State::Running;
            if self.size > 0 {
                self.begin_part(self.size, Extent::Whole, None);
            }
        } else {
            let (opened, opening) = oneshot::channel();
            self.begin_part(part_size, Extent::Part(Some(self.size)), Some(opened));
            self.state = State::Opening(opening);
        }
    }

    fn begin_parts(&mut self) {
        let transfer = self.target.transport.transfer;
        while self.covered < self.size && self.parts.len() < transfer.parallel_parts.max(1) {
            let end = self.covered.saturating_add(transfer.part_size.max(1)).min(self.size);
            self.begin_part(end, Extent::Part(Some(self.size)), None);
        }
    }

    fn begin_part(&mut self, end: u64, extent: Extent, opened: Option<oneshot::Sender<Mode>>) {
        while self.tasks.try_join_next().is_some() {}
        let reader = PartReader::new(Arc::clone(&self.target), self.covered..end, extent);
        let (sender, pieces) = unbounded_channel();
        self.tasks.spawn(download(reader, sender, Arc::clone(&self.window), opened));
        self.parts.push_back(Part { end, pieces });
        self.covered = end;
    }

    fn verify(&mut self) -> Result<Option<Bytes>, Error> {
        let expected = self.target.digest;
        // The hasher is there until it is taken here, and `Verified` keeps this from running
        // twice.
        let actual = self.hasher.take().map(Hasher::finish);
        match actual {
            Some(actual) if actual == expected => {
                self.state = State::Verified;
                Ok(None)
            }
            Some(actual) => Err(Error::mismatch(self.target.request_line()?, expected, actual)),
            None => Err(self.interrupted()),
        }
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { digest: self.target.digest, offset: self.position }
    }
}

/// Runs one part: its pieces, then possibly an error, then the end of the channel.
async fn download(
    mut part: PartReader,
    sender: UnboundedSender<Result<Bytes, Error>>,
    window: Arc<Window>,
    opened: Option<oneshot::Sender<Mode>>,
) {
    let mut bounded = part.is_whole();
    if let Some(opened) = opened {
        match part.open().await {
            Ok(()) if part.ignores_ranges() => {
                part.become_whole();
                bounded = true;
                let _ = opened.send(Mode::Single);
            }
            Ok(()) => {
                let _ = opened.send(Mode::Parts);
            }
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        }
    }
    loop {
        let mut chunk = match part.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(window.max_piece()));
            if bounded {
                window.wait_for(piece.len()).await;
            }
            window.received(piece.len());
            if sender.send(Ok(piece)).is_err() {
                return;
            }
        }
    }
}

/// The bytes received and not yet handed out.
#[derive(Debug)]
struct Window {
    limit: u64,
    buffered: AtomicU64,
    peak: AtomicU64,
    /// Room left, for the mode in which parts do not bound it. Permits are bytes.
    room: Semaphore,
}

impl Window {
    fn new(limit: u64) -> Self {
        let permits = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS / 2);
        Self {
            limit,
            buffered: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            room: Semaphore::new(permits),
        }
    }

    fn max_piece(&self) -> usize {
        self.limit.min(MAX_PIECE) as usize
    }

    async fn wait_for(&self, bytes: usize) {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        if let Ok(permit) = self.room.acquire_many(permits).await {
            permit.forget();
        }
    }

    fn received(&self, bytes: usize) {
        let bytes = bytes as u64;
        let buffered = self.buffered.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(buffered, Ordering::Relaxed);
    }

    fn handed_out(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.room.add_permits(bytes);
    }
}

impl BlobTarget {
    fn request_line(&self) -> Result<RequestLine, Error> {
        let registry = self.transport.registry(&self.repository)?;
        Ok(RequestLine::new(&http::Method::GET, &self.url(&registry)?))
    }
}
