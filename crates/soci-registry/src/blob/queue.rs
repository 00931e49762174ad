//! The bytes of one part between the task that downloads them and the reader.
//!
//! The window counts bytes, and memory is what it is there to bound. So what is allocated must be
//! what is buffered. What the connection gives are slices of its read buffer, which grows with the
//! connection's pace, and a slice keeps all of it allocated, often twice its own size. So the bytes
//! are copied into blocks of one size, which come back to be filled again.
//!
//! The queue has no limit of its own: the reader begins no part that its window has no room for.
//! Its two ends may be dropped in any order. The sender's end is the end of the part, and an error
//! comes out behind all bytes that were pushed before it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::error::Error;
use crate::policy::Transfer;

/// Largest piece that a [`BlobReader`](crate::BlobReader) gives, in bytes. Also the size of the blocks that
/// it is a slice of: large enough that a part has few, small against the window.
pub const MAX_PIECE: u64 = 256 << 10;

/// The blocks of one reader that were handed out whole, to be filled again once the caller has
/// dropped what is in them.
///
/// The allocator alone would do with the same peak in theory, but freed blocks return to the arena
/// of the thread that allocated them, and another thread's download would grow its own.
#[derive(Debug)]
pub(super) struct BlockPool {
    /// Size of a block; the last one of a part may be smaller, and does not come back.
    size: usize,
    /// Most blocks kept.
    limit: AtomicUsize,
    /// In the order in which they were handed out.
    spent: Mutex<VecDeque<BytesMut>>,
}

impl BlockPool {
    pub(super) fn new(transfer: Transfer) -> Self {
        let size = transfer.part_size.clamp(1, MAX_PIECE);
        let limit = usize::try_from(transfer.window() / size).unwrap_or(usize::MAX);
        Self { size: size as usize, limit: AtomicUsize::new(limit), spent: Mutex::default() }
    }

    /// Keeps no more than `bytes` of blocks from now on.
    pub(super) fn keep(&self, bytes: u64) {
        let limit = usize::try_from(bytes / self.size as u64).unwrap_or(usize::MAX);
        if self.limit.swap(limit, Ordering::Relaxed) > limit {
            let mut spent = lock(&self.spent);
            let surplus = spent.len().saturating_sub(limit);
            // The oldest are those that the caller has dropped.
            spent.drain(..surplus);
        }
    }

    /// Size of a block.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// An empty block for the first of `wanted` bytes.
    fn take(&self, wanted: u64) -> Block {
        let room = self.size.min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let mut spent = lock(&self.spent);
        // The caller drops pieces in the order in which it got them, so the oldest is free first.
        let free = room == self.size && spent.front_mut().is_some_and(|old| old.try_reclaim(room));
        let reused = if free { spent.pop_front() } else { None };
        let data = reused.unwrap_or_else(|| BytesMut::with_capacity(room));
        Block { data, room, recycle: room == self.size }
    }

    fn give_back(&self, block: Block) {
        if !block.recycle {
            return;
        }
        let mut spent = lock(&self.spent);
        spent.push_back(block.data);
        // A caller that keeps its pieces keeps them without help.
        if spent.len() > self.limit.load(Ordering::Relaxed) {
            spent.pop_front();
        }
    }
}

/// A part of the queue with an allocation of its own.
#[derive(Debug)]
struct Block {
    /// Bytes that were not handed out.
    data: BytesMut,
    /// Bytes that still fit behind `data`.
    room: usize,
    recycle: bool,
}

impl Block {
    /// Appends as many of `bytes` as fit and gives the others back.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (fitting, rest) = bytes.split_at(bytes.len().min(self.room));
        self.data.extend_from_slice(fitting);
        self.room -= fitting.len();
        rest
    }
}

/// The two ends of a part's queue.
pub(super) fn part_queue(blocks: Arc<BlockPool>) -> (PartSender, PartReceiver) {
    let shared = Arc::new(PartQueue { blocks, state: Mutex::default(), changed: Notify::new() });
    (PartSender(Arc::clone(&shared)), PartReceiver(shared))
}

#[derive(Debug)]
struct PartQueue {
    blocks: Arc<BlockPool>,
    state: Mutex<PartContents>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct PartContents {
    blocks: VecDeque<Block>,
    error: Option<Error>,
    ended: bool,
}

/// The end that is written to. Dropping it ends the queue.
#[derive(Debug)]
pub(super) struct PartSender(Arc<PartQueue>);

impl PartSender {
    /// Appends a copy of `bytes`, behind which `rest` bytes are still to come.
    pub(super) fn push(&self, mut bytes: &[u8], rest: u64) {
        let mut state = lock(&self.0.state);
        while !bytes.is_empty() {
            match state.blocks.back_mut() {
                Some(block) if block.room > 0 => bytes = block.fill(bytes),
                _ => {
                    let wanted = rest.saturating_add(bytes.len() as u64);
                    let block = self.0.blocks.take(wanted);
                    state.blocks.push_back(block);
                }
            }
        }
        drop(state);
        // There is one reader. A notification that it does not wait for yet is kept for it.
        self.0.changed.notify_one();
    }

    /// Ends the queue with an error, given to the reader behind the bytes.
    pub(super) fn fail(self, error: Error) {
        lock(&self.0.state).error = Some(error);
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_one();
    }
}

/// The end that is read.
#[derive(Debug)]
pub(super) struct PartReceiver(Arc<PartQueue>);

impl PartReceiver {
    /// The next bytes, as many as one block holds, or the error behind them; `None` at the end.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            {
                let mut state = lock(&self.0.state);
                if let Some(bytes) = self.take(&mut state) {
                    return Some(Ok(bytes));
                }
                if let Some(error) = state.error.take() {
                    return Some(Err(error));
                }
                if state.ended {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    fn take(&self, state: &mut PartContents) -> Option<Bytes> {
        let block = state.blocks.front_mut().filter(|block| !block.data.is_empty())?;
        let bytes = block.data.split().freeze();
        // A block with room left is still being filled behind these bytes.
        if block.room == 0
            && let Some(block) = state.blocks.pop_front()
        {
            self.0.blocks.give_back(block);
        }
        Some(bytes)
    }
}

/// No code that holds one of the locks can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(part_size: u64, parallel_parts: usize) -> Arc<BlockPool> {
        Arc::new(BlockPool::new(Transfer { part_size, parallel_parts }))
    }

    fn allocated(sender: &PartSender) -> usize {
        lock(&sender.0.state).blocks.iter().map(|block| block.data.len() + block.room).sum()
    }

    #[tokio::test]
    async fn single_bytes_share_blocks_and_the_last_block_has_no_slack() {
        let (sender, mut receiver) = part_queue(blocks(100, 2));
        for byte in 0..250_u8 {
            sender.push(&[byte], 249 - u64::from(byte));
        }
        assert_eq!(allocated(&sender), 250);
        drop(sender);
        let mut sizes = Vec::new();
        let mut all = Vec::new();
        while let Some(bytes) = receiver.next().await {
            let bytes = bytes.unwrap();
            sizes.push(bytes.len());
            all.extend_from_slice(&bytes);
        }
        assert_eq!(sizes, [100, 100, 50]);
        assert!(all.iter().copied().eq(0..250));
    }

    #[tokio::test]
    async fn bytes_are_given_before_their_block_is_full() {
        let (sender, mut receiver) = part_queue(blocks(100, 2));
        sender.push(b"ab", 98);
        assert_eq!(receiver.next().await.unwrap().unwrap(), b"ab"[..]);
        sender.push(b"c", 97);
        assert_eq!(receiver.next().await.unwrap().unwrap(), b"c"[..]);
        assert_eq!(allocated(&sender), 97);
    }

    #[tokio::test]
    async fn a_block_whose_bytes_were_dropped_is_filled_again() {
        let blocks = blocks(4, 2);
        let (sender, mut receiver) = part_queue(Arc::clone(&blocks));
        sender.push(b"abcd", 100);
        let first = receiver.next().await.unwrap().unwrap();
        let address = first.as_ptr();
        sender.push(b"efgh", 96);
        let second = receiver.next().await.unwrap().unwrap();
        assert_ne!(second.as_ptr(), address, "the first block is still in use");
        drop((first, second));
        sender.push(b"ijkl", 92);
        let third = receiver.next().await.unwrap().unwrap();
        assert_eq!((third.as_ptr(), &third[..]), (address, &b"ijkl"[..]));
    }

    #[tokio::test]
    async fn a_caller_that_keeps_its_bytes_makes_no_list_of_spent_blocks_grow() {
        let blocks = blocks(4, 2);
        let (sender, mut receiver) = part_queue(Arc::clone(&blocks));
        let mut kept = Vec::new();
        for _ in 0..100 {
            sender.push(b"abcd", 1000);
            kept.push(receiver.next().await.unwrap().unwrap());
        }
        assert_eq!(lock(&blocks.spent).len(), 2);
        assert!(kept.iter().all(|bytes| bytes == &b"abcd"[..]));
    }

    #[tokio::test]
    async fn spent_blocks_are_freed_when_there_is_less_room() {
        let blocks = blocks(4, 4);
        let (sender, mut receiver) = part_queue(Arc::clone(&blocks));
        sender.push(b"abcdefghijklmnop", 100);
        for _ in 0..4 {
            receiver.next().await.unwrap().unwrap();
        }
        assert_eq!(lock(&blocks.spent).len(), 4);
        blocks.keep(8);
        assert_eq!(lock(&blocks.spent).len(), 2);
        blocks.keep(1 << 20);
        assert_eq!(lock(&blocks.spent).len(), 2);
    }

    #[tokio::test]
    async fn an_error_comes_behind_the_bytes() {
        let (sender, mut receiver) = part_queue(blocks(100, 2));
        sender.push(b"ab", 98);
        sender.fail(Error::Url { url: "x".to_owned() });
        assert_eq!(receiver.next().await.unwrap().unwrap(), b"ab"[..]);
        assert!(receiver.next().await.unwrap().is_err());
        assert!(receiver.next().await.is_none());
    }
}
