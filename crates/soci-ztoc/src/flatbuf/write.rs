//! Writes FlatBuffers byte for byte as Go's builder does.
//!
//! A FlatBuffer is written from its end to its start, and every offset counts from the end. The
//! `flatbuffers` crate does the same in one growing buffer. Here the bulk (the checkpoints) is
//! taken over in pieces instead of being copied, so a ztoc is in memory once, not three times;
//! a test holds this writer against that crate.
//!
//! Source: FlatBuffers internals documentation; `go/builder.go` for the order of padding and for
//! which tables share a vtable.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a buffer is far below 2 GiB, or its caller drops it for being too large"
)]

/// Writes one buffer.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Bytes of the current piece, last byte of the buffer first.
    reversed: Vec<u8>,
    /// Finished pieces, the last one of the buffer first.
    pieces: Vec<Vec<u8>>,
    /// Bytes in `pieces`.
    sealed: usize,
    /// The largest alignment asked for, in bytes.
    alignment: usize,
    /// Field offsets and place of every vtable written. There are few: a ztoc's tables differ only
    /// in which of their numbers are zero and how they are padded.
    vtables: Vec<(Vec<u16>, usize)>,
    /// For each field of the table being written its place, 0 if it is absent.
    fields: Vec<usize>,
    /// Where the table being written ends.
    table_end: usize,
}

/// The place of something written: its distance from the end of the buffer in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset(u32);

/// Size at which a piece is finished, in bytes: a buffer that grows without end would be copied when it grows, and
/// half of it would be empty.
const PIECE: usize = 1 << 20;

impl Writer {
    pub(crate) const fn new() -> Self {
        Self {
            reversed: Vec::new(),
            pieces: Vec::new(),
            sealed: 0,
            alignment: 1,
            vtables: Vec::new(),
            fields: Vec::new(),
            table_end: 0,
        }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.sealed + self.reversed.len()
    }

    /// The place of what was written last.
    fn here(&self) -> Offset {
        Offset(self.len() as u32)
    }

    /// A string: its length, its bytes and a zero.
    pub(crate) fn string(&mut self, bytes: &[u8]) -> Offset {
        self.seal_if_full();
        self.align(4, bytes.len() + 1);
        self.reversed.push(0);
        self.reversed.extend(bytes.iter().rev());
        self.place_u32(bytes.len());
        self.here()
    }

    /// A vector of bytes, given in pieces that become part of the buffer as they are.
    pub(crate) fn byte_vector(&mut self, pieces: Vec<Vec<u8>>) -> Offset {
        let len = pieces.iter().map(Vec::len).sum();
        self.align(4, len);
        self.seal();
        self.pieces.extend(pieces.into_iter().rev());
        self.sealed += len;
        self.place_u32(len);
        self.here()
    }

    /// A vector of offsets to tables or strings.
    pub(crate) fn offset_vector(&mut self, offsets: &[Offset]) -> Offset {
        self.align(4, 4 * offsets.len());
        for offset in offsets.iter().rev() {
            self.seal_if_full();
            self.place_offset(*offset);
        }
        self.place_u32(offsets.len());
        self.here()
    }

    /// Begins a table with this many fields. What its fields refer to must have been written.
    pub(crate) fn begin_table(&mut self, fields: usize) {
        self.fields.clear();
        self.fields.resize(fields, 0);
        self.table_end = self.len();
    }

    /// A field that refers to something written before.
    pub(crate) fn field_offset(&mut self, field: usize, offset: Offset) {
        self.align(4, 0);
        self.place_offset(offset);
        self.fields[field] = self.len();
    }

    /// A scalar field, left out when it has its default value.
    pub(crate) fn field<const SIZE: usize>(&mut self, field: usize, value: Option<[u8; SIZE]>) {
        let Some(bytes) = value else { return };
        self.align(SIZE, 0);
        self.reversed.extend(bytes.iter().rev());
        self.fields[field] = self.len();
    }

    /// Ends the table begun last: its vtable is written in front of it, or an equal one shared.
    pub(crate) fn end_table(&mut self) -> Offset {
        self.align(4, 0);
        self.reversed.extend([0; 4]);
        let table = self.len();
        let present = self.fields.iter().rposition(|place| *place != 0).map_or(0, |last| last + 1);
        let offsets: Vec<u16> = self.fields[..present]
            .iter()
            .map(|place| if *place == 0 { 0 } else { (table - place) as u16 })
            .collect();
        // Go looks at the newest first, and does not compare the size of the table.
        let shared = self.vtables.iter().rev().find(|(known, _)| *known == offsets);
        let vtable = if let Some((_, place)) = shared {
            *place
        } else {
            for offset in offsets.iter().rev() {
                self.place_u16(*offset);
            }
            self.place_u16((table - self.table_end) as u16);
            self.place_u16((2 * (offsets.len() + 2)) as u16);
            let place = self.len();
            self.vtables.push((offsets, place));
            place
        };
        // The table begins with the signed distance to its vtable.
        let distance = (vtable as i64 - table as i64) as i32;
        let at = table - self.sealed;
        for (index, byte) in distance.to_le_bytes().into_iter().enumerate() {
            self.reversed[at - 1 - index] = byte;
        }
        Offset(table as u32)
    }

    /// Ends the buffer with the offset to its root table and returns its pieces in order.
    pub(crate) fn finish(mut self, root: Offset) -> Vec<Vec<u8>> {
        self.align(self.alignment, 4);
        self.align(4, 0);
        self.place_offset(root);
        self.seal();
        self.pieces.reverse();
        self.pieces
    }

    /// Pads so that after `additional` more bytes the place is a multiple of `size`.
    fn align(&mut self, size: usize, additional: usize) {
        self.alignment = self.alignment.max(size);
        let padding = (self.len() + additional).wrapping_neg() & (size - 1);
        self.reversed.resize(self.reversed.len() + padding, 0);
    }

    fn place_offset(&mut self, offset: Offset) {
        self.place_u32(self.len() - offset.0 as usize + 4);
    }

    fn place_u16(&mut self, value: u16) {
        self.reversed.extend(value.to_be_bytes());
    }

    /// A length or an offset. A buffer that is too large for them is dropped by the caller.
    fn place_u32(&mut self, value: usize) {
        self.reversed.extend((value as u32).to_be_bytes());
    }

    /// Never within a table, the start of which is written when its end is known.
    fn seal_if_full(&mut self) {
        if self.reversed.len() >= PIECE {
            self.seal();
            self.reversed = Vec::with_capacity(PIECE + PIECE / 16);
        }
    }

    fn seal(&mut self) {
        let mut piece = std::mem::take(&mut self.reversed);
        piece.reverse();
        piece.shrink_to_fit();
        self.sealed += piece.len();
        self.pieces.push(piece);
    }
}

/// The stored form of a scalar, or nothing when it is the default.
pub(crate) fn unless<const SIZE: usize, T: PartialEq + Copy>(
    value: T,
    default: T,
    bytes: impl FnOnce(T) -> [u8; SIZE],
) -> Option<[u8; SIZE]> {
    if value == default { None } else { Some(bytes(value)) }
}
