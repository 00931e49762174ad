//! Digests of spans: the pieces of the compressed layer that a runtime fetches one at a time.
//!
//! Spans cover the layer from the first checkpoint to its end. A deflate block may begin in the
//! middle of a byte, so neighbours share that byte: it is the last of one span and the first of the
//! next, and is hashed for both. What lies in front of the first checkpoint, the first member's
//! header, belongs to no span.

use crate::checkpoint::Cut;
use crate::sha256::Sha256;

/// The SHA-256 hash of a span.
pub(crate) type Hash = [u8; 32];

/// Hashes the spans of a layer that arrives in pieces, cut where it is told; the layer itself, too, if that is wanted.
///
/// It is apart from the reading of the layer so that both can run at the same time. Invariant:
/// every cut lies in the piece that it is given with, or at one of its ends; [`crate::Scanner::finish`]
/// refuses a hasher for which it does not hold.
#[derive(Debug, Default)]
pub struct SpanHasher {
    /// The span being hashed; none before the first cut.
    current: Option<Sha256>,
    /// The layer, if it is hashed.
    layer: Option<Sha256>,
    /// The last byte of the piece before, which the next span may share.
    last: u8,
    offset: u64,
    hashes: Vec<Hash>,
    /// A cut did not lie in its piece: the hashes are of no use.
    broken: bool,
}

impl SpanHasher {
    /// A hasher at the start of a layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that hashes the layer as well, for little more than the spans alone take.
    pub fn of_layer_too() -> Self {
        Self { layer: Some(Sha256::new()), ..Self::default() }
    }

    /// The SHA-256 hash of all pieces so far, whatever cuts they were given with; none if the layer is not hashed.
    pub fn layer_sha256(&self) -> Option<[u8; 32]> {
        self.layer.clone().map(Sha256::finish)
    }

    /// Takes the next piece of the layer with the cuts that lie in it.
    pub fn push(&mut self, piece: &[u8], cuts: &[Cut]) {
        let mut done = 0;
        for cut in cuts {
            let at = usize::try_from(cut.offset.saturating_sub(self.offset))
                .unwrap_or(usize::MAX)
                .clamp(done, piece.len());
            self.broken |= self.offset + at as u64 != cut.offset;
            self.hash(&piece[done..at]);
            if let Some(span) = self.current.take() {
                self.hashes.push(span.finish());
            }
            let mut next = Sha256::new();
            if cut.bits > 0 {
                // The shared byte may have come with the piece before.
                next.update(&[if at == 0 { self.last } else { piece[at - 1] }]);
            }
            self.current = Some(next);
            done = at;
        }
        self.hash(&piece[done..]);
        if let Some(last) = piece.last() {
            self.last = *last;
        }
        self.offset += piece.len() as u64;
    }

    /// Takes the next bytes of the layer, in which nothing ends or begins.
    fn hash(&mut self, bytes: &[u8]) {
        match (&mut self.current, &mut self.layer) {
            (Some(span), Some(layer)) => span.update_both(layer, bytes),
            (Some(one), None) | (None, Some(one)) => one.update(bytes),
            (None, None) => {}
        }
    }

    /// Whether this hasher has seen `size` bytes with `cuts` cuts, each in its piece.
    pub(crate) fn has_seen(&self, size: u64, cuts: usize) -> bool {
        let begun = self.hashes.len() + usize::from(self.current.is_some());
        !self.broken && self.offset == size && begun == cuts
    }

    /// The layer has ended, and the last span with it. Returns the hashes of all spans.
    pub(crate) fn finish(mut self) -> Vec<[u8; 32]> {
        if let Some(span) = self.current.take() {
            self.hashes.push(span.finish());
        }
        self.hashes
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    fn hash(bytes: &[u8]) -> Hash {
        sha2::Sha256::digest(bytes).into()
    }

    #[test]
    fn a_layer_is_hashed_whatever_its_cuts_are() {
        let layer = [1, 2, 3, 4];
        let mut hasher = SpanHasher::of_layer_too();
        assert_eq!(hasher.layer_sha256(), Some(hash(&[])));
        hasher.push(&layer[..2], &[]);
        assert_eq!(hasher.layer_sha256(), Some(hash(&layer[..2])));
        // It lies nowhere.
        hasher.push(&layer[2..], &[Cut { offset: 9, bits: 0 }]);
        assert!(hasher.broken);
        assert_eq!(hasher.layer_sha256(), Some(hash(&layer)));
        assert_eq!(SpanHasher::new().layer_sha256(), None);
    }

    #[test]
    fn a_span_begins_with_the_byte_it_shares_and_ends_before_the_next_whole_byte() {
        let layer: Vec<u8> = (0..100).collect();
        let cuts = [
            Cut { offset: 10, bits: 0 },
            Cut { offset: 30, bits: 3 },
            Cut { offset: 31, bits: 7 },
            Cut { offset: 100, bits: 0 },
        ];
        let expected =
            [hash(&layer[10..30]), hash(&layer[29..31]), hash(&layer[30..100]), hash(&[])];
        for size in [1, 7, 10, 30, 31, 100] {
            let mut hasher = SpanHasher::of_layer_too();
            for (index, piece) in layer.chunks(size).enumerate() {
                let range = (index * size) as u64..=(index * size + piece.len()) as u64;
                // A cut at the seam of two pieces is known when the first of them is read.
                let inside: Vec<Cut> = cuts
                    .iter()
                    .copied()
                    .filter(|cut| range.contains(&cut.offset) && cut.offset != *range.start())
                    .collect();
                hasher.push(piece, &inside);
            }
            assert_eq!(hasher.layer_sha256(), Some(hash(&layer)), "pieces of {size}");
            assert_eq!(hasher.finish(), expected, "pieces of {size}");
        }
    }
}
