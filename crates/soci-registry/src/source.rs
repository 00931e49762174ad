//! Bytes to upload, readable any number of times: from memory without a copy, or as a stream that is read anew.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use crate::streamed::{BlobPieces, KeptReading, StreamPart, StreamedBlob};

/// Largest piece handed to the connection at once, in bytes.
const PIECE: usize = 64 << 10;

/// The content of a blob: segments in memory that follow each other, or a stream. Cloning is cheap, and every
/// try of an upload reads the same bytes again.
#[derive(Clone, Debug)]
pub struct BlobSource {
    content: Content,
    size: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Segments(Arc<[Bytes]>),
    /// With the reading that the parts of it share.
    Streamed(Arc<dyn StreamedBlob>, KeptReading),
}

impl BlobSource {
    /// The blob made of these segments in order.
    pub fn new(segments: impl Into<Arc<[Bytes]>>) -> Self {
        let segments = segments.into();
        let size = segments.iter().map(|segment| segment.len() as u64).sum();
        Self { content: Content::Segments(segments), size }
    }

    /// A blob of `size` bytes that is read as a stream.
    pub fn streamed(size: u64, blob: Arc<dyn StreamedBlob>) -> Self {
        Self { content: Content::Streamed(blob, KeptReading::default()), size }
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The segments in order. None of a blob that is streamed, of which there are only [`BlobSource::pieces`].
    pub fn segments(&self) -> &[Bytes] {
        match &self.content {
            Content::Segments(segments) => segments,
            Content::Streamed(..) => &[],
        }
    }

    /// Whether it is read as a stream.
    pub fn is_streamed(&self) -> bool {
        matches!(self.content, Content::Streamed(..))
    }

    /// The blob in pieces from its start, wherever it is.
    pub fn pieces(&self) -> BlobPieces {
        match &self.content {
            Content::Segments(segments) => slices(Arc::clone(segments))
                .map(|piece| piece.map_err(|never| match never {}))
                .boxed(),
            Content::Streamed(blob, kept) => anew(blob, kept),
        }
    }

    /// Whether it is of no use to try an upload again.
    pub(crate) fn is_lost(&self) -> bool {
        match &self.content {
            Content::Segments(_) => false,
            Content::Streamed(blob, _) => blob.is_lost(),
        }
    }

    /// The blob's bytes from `start` to before `end`, or to its own end. Of what is streamed, parts in order are read in
    /// one go.
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let all = match &self.content {
            Content::Segments(all) => all,
            Content::Streamed(blob, kept) => {
                let (blob, kept, end) = (Arc::clone(blob), kept.clone(), end.min(self.size));
                let part = StreamPart { blob, kept, start, end };
                return Self::streamed(end.saturating_sub(start), Arc::new(part));
            }
        };
        let mut segments = Vec::new();
        let mut at = 0;
        for segment in all.iter() {
            let length = segment.len() as u64;
            let (from, to) = (start.max(at), end.min(at + length));
            if from < to {
                // Both are within the segment, whose length is a `usize`.
                let inside = |offset: u64| usize::try_from(offset - at).unwrap_or(usize::MAX);
                segments.push(segment.slice(inside(from)..inside(to)));
            }
            at += length;
        }
        Self::new(segments)
    }

    /// A request body that yields the blob from its start.
    pub(crate) fn body(&self) -> reqwest::Body {
        match &self.content {
            Content::Segments(segments) => reqwest::Body::wrap_stream(slices(Arc::clone(segments))),
            Content::Streamed(blob, kept) => reqwest::Body::wrap_stream(anew(blob, kept)),
        }
    }
}

/// A blob from its start. What was kept of an earlier reading is let go of first, as it may hold memory that this one waits
/// for.
fn anew(blob: &Arc<dyn StreamedBlob>, kept: &KeptReading) -> BlobPieces {
    kept.let_go();
    blob.pieces()
}

/// Segments in pieces that share their memory.
fn slices(
    segments: Arc<[Bytes]>,
) -> impl stream::Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold((segments, 0, 0), async |(segments, mut index, at)| {
        let mut at: usize = at;
        while segments.get(index).is_some_and(|segment| at == segment.len()) {
            (index, at) = (index + 1, 0);
        }
        let segment = segments.get(index)?;
        let end = segment.len().min(at + PIECE);
        let piece = segment.slice(at..end);
        Some((Ok::<_, Infallible>(piece), (segments, index, end)))
    })
}

impl From<Bytes> for BlobSource {
    fn from(bytes: Bytes) -> Self {
        Self::new([bytes])
    }
}

impl From<Vec<u8>> for BlobSource {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<Vec<Bytes>> for BlobSource {
    fn from(segments: Vec<Bytes>) -> Self {
        Self::new(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_bytes_between_its_ends() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let source = BlobSource::from(vec![bytes("01"), bytes(""), bytes("234"), bytes("56789")]);
        for start in 0..=10_usize {
            for end in start..=11 {
                let part = source.part(start as u64, end as u64);
                let got = part.segments().concat();
                assert_eq!(got, &b"0123456789"[start..end.min(10)], "{start}..{end}");
                assert_eq!(part.size(), got.len() as u64);
            }
        }
    }
}
