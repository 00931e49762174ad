//! The bits of the stream, and where reading and writing are: what the loops keep in registers.

#![expect(clippy::inline_always, reason = "the loops over symbols are made of these")]

/// Reads bits, lowest first, from input that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Bits that were taken from the input and not from here. Those above `held` may be of the input behind `input`, which
    /// are read again.
    pub(super) bits: u64,
    /// How many are held, at most 63.
    pub(super) held: u32,
    /// The next byte of the piece.
    pub(super) input: usize,
    /// The next byte of the buffer that is written.
    pub(super) output: usize,
}

/// The low `count` bits (of which only the low six bits count).
#[inline(always)]
pub(super) const fn low(bits: u64, count: u32) -> u64 {
    bits & !(u64::MAX << (count & 63))
}

impl Cursor {
    /// Takes whole bytes until at least 56 bits are held or the piece ends.
    #[inline(always)]
    pub(super) fn fill(&mut self, piece: &[u8]) {
        if let Some(next) = piece.get(self.input..).and_then(|rest| rest.first_chunk::<8>()) {
            // Whole bytes that fit are counted. What more has come of the last one comes again, and is the same then.
            self.bits |= u64::from_le_bytes(*next) << self.held;
            self.input += ((63 - self.held) >> 3) as usize;
            self.held |= 0b11_1000;
        } else {
            self.bits = low(self.bits, self.held);
            while self.held < 56
                && let Some(byte) = piece.get(self.input)
            {
                self.bits |= u64::from(*byte) << self.held;
                self.input += 1;
                self.held += 8;
            }
        }
    }

    /// Whether `count` bits, at most 56, are there.
    #[inline(always)]
    pub(super) fn has(&mut self, count: u32, piece: &[u8]) -> bool {
        if self.held < count {
            self.fill(piece);
        }
        self.held >= count
    }

    /// Takes `count` bits, at most 32, which have to be there.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are taken")]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let taken = low(self.bits, count);
        self.bits >>= count;
        self.held -= count;
        taken as u32
    }
}
