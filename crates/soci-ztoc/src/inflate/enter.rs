//! Beginning in the middle of a stream: with the 32 KiB before it, or without knowing them.
//!
//! In the second case a window of marks takes their place, of which each stands for one byte. Output is in units of 16 bits
//! then, and matches copy marks as they copy bytes. As soon as 32 KiB without a mark have come, nothing can refer to one any longer, and the
//! stream goes on in bytes.

use super::buffer::{BUFFER, Unit, boxed};
use super::cursor::{self, Cursor};
use super::{Inflate, State};
use crate::WINDOW_SIZE;

/// The mark of the first byte of the unknown window. That of another one is so much more; bytes are less.
pub(crate) const MARK: u16 = 1 << 15;

impl Inflate {
    /// Enters a stream in the middle: `window` is what came before, of which the last 32 KiB count, and the low `bits` bits of `value`
    /// (at most seven) are the first of the stream.
    pub(crate) fn enter(&mut self, window: &[u8], bits: u8, value: u8) {
        let window = &window[window.len().saturating_sub(WINDOW_SIZE)..];
        self.at_start(WINDOW_SIZE - window.len(), bits, value);
        self.buffer[self.floor..WINDOW_SIZE].copy_from_slice(window);
    }

    /// Goes on behind `output`, which somebody else has decoded from this boundary of blocks to another one. The low
    /// `bits` bits of `value` (at most seven) are the next ones there. At least 32 KiB of the stream have come before.
    pub(crate) fn skip(&mut self, output: &[u8], bits: u8, value: u8) {
        debug_assert!(matches!(self.state, State::Header));
        let total = self.total_out().wrapping_add(output.len() as u64);
        let kept = WINDOW_SIZE.saturating_sub(output.len());
        let end = self.cursor.output;
        self.buffer.copy_within(end - kept..end, 0);
        self.at_start(0, bits, value);
        self.buffer[kept..WINDOW_SIZE]
            .copy_from_slice(&output[output.len() + kept - WINDOW_SIZE..]);
        self.before = total.wrapping_sub(WINDOW_SIZE as u64);
    }
}

impl Inflate<u16> {
    /// Enters a stream in the middle without knowing what came before. The low `bits` bits of `value` (at most seven) are
    /// its first.
    pub(crate) fn enter_unknown(bits: u8, value: u8) -> Self {
        let mut inflate = Self::blank();
        inflate.at_start(0, bits, value);
        for (mark, unit) in (MARK..=u16::MAX).zip(&mut inflate.buffer[..WINDOW_SIZE]) {
            *unit = mark;
        }
        inflate
    }

    /// The same stream at the same place in bytes, if there are no marks in the window.
    pub(crate) fn in_bytes(self) -> Result<Inflate, Self> {
        if self.window().iter().fold(0, |all, unit| all | unit) >= MARK {
            return Err(self);
        }
        let mut buffer = boxed::<u8, BUFFER>();
        for (byte, unit) in buffer[..WINDOW_SIZE].iter_mut().zip(self.window()) {
            *byte = unit.to_le_bytes()[0];
        }
        let moved = self.cursor.output - WINDOW_SIZE;
        Ok(Inflate {
            cursor: Cursor { output: WINDOW_SIZE, ..self.cursor },
            state: self.state,
            last: self.last,
            tables: self.tables,
            begun: WINDOW_SIZE,
            before: self.before.wrapping_add(moved as u64),
            floor: 0,
            to_find: self.to_find,
            counts: self.counts,
            lengths_count: self.lengths_count,
            lengths_lengths: self.lengths_lengths,
            lengths: self.lengths,
            lengths_table: self.lengths_table,
            literals: self.literals,
            distances: self.distances,
            buffer,
        })
    }
}

impl<U: Unit> Inflate<U> {
    /// At the start of a stream whose first bits are the low `bits` bits of `value`. Distances lead to what is from `floor` on.
    fn at_start(&mut self, floor: usize, bits: u8, value: u8) {
        self.cursor.output = WINDOW_SIZE;
        self.begin();
        self.before = 0_u64.wrapping_sub(WINDOW_SIZE as u64);
        self.floor = floor;
        self.cursor.held = u32::from(bits & 7);
        self.cursor.bits = cursor::low(u64::from(value), self.cursor.held);
    }
}
