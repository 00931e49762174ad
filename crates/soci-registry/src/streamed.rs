//! Blobs that are read from somewhere whenever their bytes are needed, whole or in parts.
//!
//! Parts are asked for in order, each by a request of its own, and a source can only be read from its start. So a part
//! that was read to its end leaves the reading for the next one. Only a part that is sent again, or from where
//! nobody expected it, begins anew and skips what is in front.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

/// The pieces of a blob from its start, or why they cannot be read.
pub type BlobPieces = BoxStream<'static, io::Result<Bytes>>;

/// A blob that is too large to be held, and read from somewhere whenever its bytes are needed.
pub trait StreamedBlob: fmt::Debug + Send + Sync + 'static {
    /// Its pieces from the start, once more for every try of an upload. Bytes that turn out not to be the blob's have to
    /// end in an error before the last of them: then no upload of them is ever complete.
    fn pieces(&self) -> BlobPieces;

    /// Whether reading it has failed in a way that another try does not help.
    fn is_lost(&self) -> bool;
}

/// A reading that has come to the end of a part. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct KeptReading(Arc<Mutex<Option<Reading>>>);

impl fmt::Debug for KeptReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptReading").finish_non_exhaustive()
    }
}

impl KeptReading {
    /// Forgets what is kept.
    pub(crate) fn let_go(&self) {
        drop(self.set(None));
    }

    fn set(&self, reading: Option<Reading>) -> Option<Reading> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut kept, reading)
    }
}

/// A blob being read.
struct Reading {
    /// Where its next byte is.
    at: u64,
    /// What was read and not handed on.
    rest: Bytes,
    pieces: BlobPieces,
}

/// A part of a blob.
#[derive(Debug)]
pub(crate) struct StreamPart {
    pub(crate) blob: Arc<dyn StreamedBlob>,
    pub(crate) kept: KeptReading,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl StreamedBlob for StreamPart {
    fn pieces(&self) -> BlobPieces {
        // What is kept and does not fit is let go of first: it may hold memory that the new reading waits for.
        let kept = self.kept.set(None).filter(|reading| reading.at == self.start);
        let reading = kept.unwrap_or_else(|| Reading {
            at: 0,
            rest: Bytes::new(),
            pieces: self.blob.pieces(),
        });
        let (kept, start, end) = (self.kept.clone(), self.start, self.end);
        let reading = (start < end).then_some(reading);
        stream::unfold(reading, move |reading| {
            let kept = kept.clone();
            async move {
                let mut reading = reading?;
                match reading.next(start, end).await {
                    Ok(piece) => {
                        // Whoever has all bytes of a part need not ask for more.
                        let more = reading.at < end;
                        let reading =
                            if more { Some(reading) } else { kept.set(Some(reading)).and(None) };
                        Some((Ok(piece), reading))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        })
        .boxed()
    }

    fn is_lost(&self) -> bool {
        self.blob.is_lost()
    }
}

impl Reading {
    /// The next bytes between `start` and `end`.
    async fn next(&mut self, start: u64, end: u64) -> io::Result<Bytes> {
        loop {
            if self.rest.is_empty() {
                self.rest = match self.pieces.next().await {
                    Some(piece) => piece?,
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            let wanted = if self.at < start { start } else { end } - self.at;
            let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.rest.len());
            let piece = self.rest.split_to(length);
            let skipped = self.at < start;
            self.at += length as u64;
            if !skipped && !piece.is_empty() {
                return Ok(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Digits(AtomicUsize);

    impl StreamedBlob for Digits {
        fn pieces(&self) -> BlobPieces {
            self.0.fetch_add(1, Ordering::SeqCst);
            stream::iter(["01", "", "234", "56789"].map(|text| Ok(Bytes::from(text)))).boxed()
        }

        fn is_lost(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn parts_in_order_are_read_in_one_go_and_others_from_the_start() {
        let (digits, kept) = (Arc::new(Digits::default()), KeptReading::default());
        let read = async |start: u64, end: u64| {
            let blob = Arc::clone(&digits) as Arc<dyn StreamedBlob>;
            let part = StreamPart { blob, kept: kept.clone(), start, end };
            let mut pieces = part.pieces();
            let mut bytes = Vec::new();
            // As a connection does that knows how much is to come.
            while bytes.len() < usize::try_from(end - start).unwrap() {
                bytes.extend_from_slice(&pieces.next().await.unwrap().unwrap());
            }
            String::from_utf8(bytes).unwrap()
        };
        for (start, end, begun) in
            [(0, 4, 1), (4, 8, 1), (8, 10, 1), (4, 8, 2), (8, 9, 2), (8, 10, 3), (0, 10, 4)]
        {
            let expected =
                &"0123456789"[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
            assert_eq!(read(start, end).await, expected);
            assert_eq!(digits.0.load(Ordering::SeqCst), begun, "{start}..{end}");
        }
    }
}
