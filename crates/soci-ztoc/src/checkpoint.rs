//! Checkpoints: where inflating can begin, and what it needs to know there. `gzip.rs` takes them, and says
//! at which places.
//!
//! Format, from `gzip_zinfo.c` of soci-snapshotter, all little endian: the number of checkpoints
//! (i32) and the span size (i64), then for each checkpoint the compressed offset (i64), the
//! uncompressed offset (i64), the bits (u8) and the window (32,768 bytes, oldest first).

use crate::WINDOW_SIZE;

/// Bytes in front of the checkpoints.
pub(crate) const HEADER_SIZE: usize = 4 + 8;

/// Bytes of one checkpoint.
pub(crate) const CHECKPOINT_SIZE: usize = 8 + 8 + 1 + WINDOW_SIZE;

/// A place between two spans of the compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset of the first whole byte after the place.
    pub offset: u64,
    /// How many bits of the byte before `offset` (its high ones, 0 to 7) belong to what follows.
    pub bits: u8,
}

impl Cut {
    /// Where the span before this place ends.
    pub const fn end(self) -> u64 {
        self.offset
    }

    /// Where the span after this place begins: the byte that is shared belongs to both. At the very
    /// beginning there is no byte to share, whatever `bits` says.
    pub const fn start(self) -> u64 {
        if self.bits == 0 { self.offset } else { self.offset.saturating_sub(1) }
    }
}

/// The checkpoints of a layer in their stored form, in pieces that never move: this is most of a
/// ztoc, and nothing here may hold it twice.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pieces: Vec<Vec<u8>>,
    len: usize,
    span_size: u64,
}

/// Checkpoints in one piece: about a mebibyte, so that a piece is neither many nor much.
const PER_PIECE: usize = 32;

impl Checkpoints {
    pub(crate) const fn new(span_size: u64) -> Self {
        Self { pieces: Vec::new(), len: 0, span_size }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a checkpoint. `window` is the last 32 KiB of output.
    pub(crate) fn push(&mut self, cut: Cut, out: u64, window: &[u8]) {
        debug_assert_eq!(window.len(), WINDOW_SIZE);
        let full = PER_PIECE * CHECKPOINT_SIZE;
        let piece = match self.pieces.last_mut() {
            Some(piece) if piece.len() < full => piece,
            _ => {
                // The first piece grows as needed: most layers are small.
                let capacity = if self.pieces.is_empty() { CHECKPOINT_SIZE } else { full };
                self.pieces.push(Vec::with_capacity(capacity));
                // Just pushed, so there is a last one.
                let last = self.pieces.len() - 1;
                &mut self.pieces[last]
            }
        };
        piece.extend_from_slice(&cut.offset.to_le_bytes());
        piece.extend_from_slice(&out.to_le_bytes());
        piece.push(cut.bits);
        piece.extend_from_slice(window);
        self.len += 1;
    }

    /// Counts a checkpoint that is not kept.
    pub(crate) fn count(&mut self) {
        self.len += 1;
    }

    /// Frees what is kept. The number stays.
    pub(crate) fn forget(&mut self) {
        self.pieces = Vec::new();
    }

    /// The stored form, in pieces.
    pub(crate) fn into_pieces(self) -> Vec<Vec<u8>> {
        let mut header = Vec::with_capacity(HEADER_SIZE);
        // The limit on checkpoints keeps their number inside 31 bits.
        header.extend_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        header.extend_from_slice(&self.span_size.to_le_bytes());
        let mut pieces = self.pieces;
        pieces.insert(0, header);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_with_the_byte_that_is_shared_if_there_is_one() {
        for (offset, bits, start) in [(10, 0, 10), (10, 3, 9), (1, 7, 0), (0, 0, 0), (0, 3, 0)] {
            let cut = Cut { offset, bits };
            assert_eq!((cut.start(), cut.end()), (start, offset), "{cut:?}");
        }
        assert_eq!(Cut { offset: u64::MAX, bits: 7 }.start(), u64::MAX - 1);
    }
}
