//! Bytes to upload, readable any number of times without a copy.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

/// Largest piece handed to the connection at once, in bytes.
const PIECE: usize = 64 << 10;

/// The content of a blob in memory: segments that follow each other. Cloning is cheap, and every
/// try of an upload reads the same segments again.
#[derive(Clone, Debug)]
pub struct BlobSource {
    segments: Arc<[Bytes]>,
    size: u64,
}

impl BlobSource {
    /// The blob made of these segments in order.
    pub fn new(segments: impl Into<Arc<[Bytes]>>) -> Self {
        let segments = segments.into();
        let size = segments.iter().map(|segment| segment.len() as u64).sum();
        Self { segments, size }
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The blob's bytes from `start` to before `end`, or to its own end.
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let mut segments = Vec::new();
        let mut at = 0;
        for segment in self.segments.iter() {
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
        let segments = Arc::clone(&self.segments);
        let pieces = stream::unfold((segments, 0, 0), async |(segments, mut index, at)| {
            let mut at: usize = at;
            while segments.get(index).is_some_and(|segment| at == segment.len()) {
                (index, at) = (index + 1, 0);
            }
            let segment = segments.get(index)?;
            let end = segment.len().min(at + PIECE);
            let piece = segment.slice(at..end);
            Some((Ok::<_, std::convert::Infallible>(piece), (segments, index, end)))
        });
        reqwest::Body::wrap_stream(pieces)
    }
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
