//! Inflates deflate streams (RFC 1951) as a ztoc needs it: in pieces of any size, stopping at the boundaries of blocks, with
//! the position in bits there and the 32 KiB before it, and beginning at such a place.
//!
//! Nobody wants all of the output at once. It is written into a buffer that is small enough to stay in the processor's
//! second-level cache, looked at there by whoever calls, and overwritten but for the last 32 KiB, to which what follows may
//! refer. [`Inflate::run`] decodes until the input is used up, the buffer is full, a boundary is reached
//! that was asked for, or the stream ends.
//!
//! What is accepted is what zlib accepts, and what zlib finds wrong is found at the same symbol, under the names that zlib has for
//! it. Go's `compress/flate` agrees on all of it but for the code of code lengths, where it also takes a single code of one bit.
//! `tests/it/inflate.rs` holds it against zlib-rs; the golden layers and the random ones of `tests/conformance` hold the ztocs
//! against the reference, which reads with both.
//!
//! | file | what |
//! | --- | --- |
//! | this one | blocks and their headers |
//! | `buffer.rs` | how large the buffer is |
//! | `corrupt.rs` | what is said of a stream that is not valid |
//! | `cursor.rs` | the bits of the stream |
//! | `codes.rs` | Huffman codes as tables |
//! | `enter.rs` | beginning in the middle of a stream |
//! | `find.rs` | where blocks may begin in the middle of a stream |
//! | `symbols.rs` | the loops over the symbols of a block |

mod buffer;
mod codes;
mod corrupt;
mod cursor;
mod enter;
mod find;
mod symbols;

use buffer::{BUFFER, Buffer, CAPACITY, LAST_OUTPUT, boxed};
use codes::{
    DISTANCE_SIZE, DistanceTable, LENGTHS_ORDER, LITERAL_SIZE, LengthsTable, LiteralTable,
};
use cursor::Cursor;
use symbols::{Block, Exit, INPUT_MARGIN, Symbol, careful, fast};

pub(crate) use buffer::Unit;
pub(crate) use corrupt::Corrupt;
pub(crate) use enter::MARK;
pub(crate) use find::find;

use crate::WINDOW_SIZE;

/// Why [`Inflate::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The input is used up, and nothing more can be told of it.
    NeedsInput,
    /// The output has to be looked at before there is room for more.
    Full,
    /// The next bit begins a block, and as much output has come as was asked for.
    Boundary,
    /// The last block has ended. The rest of its last byte means nothing.
    End,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the header of a block.
    Header,
    /// Behind a block that was not the last one.
    Boundary,
    /// Before the length of a stored block.
    StoredLength,
    /// In a stored block; bytes left.
    Stored(usize),
    /// Before the numbers of codes.
    Counts,
    /// In the lengths of the code lengths' codes; how many are read.
    LengthsLengths(usize),
    /// In the code lengths; how many are read.
    Lengths(usize),
    /// In the symbols.
    Symbols,
    /// Behind the last block.
    End,
}

/// What the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// Those of a block of its own.
    Dynamic,
    /// Those that the format gives.
    Fixed,
}

/// The state of one stream after the other. After an error it must not be used again.
pub(crate) struct Inflate<U: Unit = u8> {
    cursor: Cursor,
    state: State,
    /// Whether the block is the last one.
    last: bool,
    tables: Tables,
    /// What the last run has written begins here.
    begun: usize,
    /// Bytes of output before the buffer, modulo 2^64: the buffer begins with a window of nothing.
    before: u64,
    /// No distance leads to what is before this place of the buffer.
    floor: usize,
    /// Blocks with codes of their own that are not the last ones of their streams.
    to_find: u64,
    /// How many code lengths there are, and of them lengths of literals and lengths.
    counts: (usize, usize),
    /// How many lengths of code lengths' codes there are.
    lengths_count: usize,
    lengths_lengths: [u8; 19],
    lengths: [u8; 320],
    lengths_table: LengthsTable,
    literals: Box<LiteralTable>,
    distances: Box<DistanceTable>,
    buffer: Box<Buffer<U>>,
}

impl<U: Unit> std::fmt::Debug for Inflate<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Inflate {
    /// At the start of a stream.
    pub(crate) fn new() -> Self {
        Self::blank()
    }
}

impl<U: Unit> Inflate<U> {
    /// At the start of a stream, with nothing before it.
    fn blank() -> Self {
        let cursor = Cursor { output: WINDOW_SIZE, ..Cursor::default() };
        Self {
            cursor,
            state: State::Header,
            last: false,
            tables: Tables::Dynamic,
            begun: WINDOW_SIZE,
            before: 0_u64.wrapping_sub(WINDOW_SIZE as u64),
            floor: WINDOW_SIZE,
            to_find: 0,
            counts: (0, 0),
            lengths_count: 0,
            lengths_lengths: [0; 19],
            lengths: [0; 320],
            lengths_table: [0; 128],
            literals: boxed::<u32, LITERAL_SIZE>(),
            distances: boxed::<u32, DISTANCE_SIZE>(),
            buffer: boxed::<U, BUFFER>(),
        }
    }

    /// Begins another stream behind this one, with what of it is held. Nothing in it refers to what was before, but that
    /// stays the window of what comes.
    pub(crate) fn begin(&mut self) {
        self.state = State::Header;
        self.last = false;
        self.begun = self.cursor.output;
        self.floor = self.cursor.output;
    }

    /// What the last run has written.
    pub(crate) fn output(&self) -> &[U] {
        &self.buffer[self.begun..self.cursor.output]
    }

    /// The last 32 KiB of output, of all streams; zeros where there was none yet.
    pub(crate) fn window(&self) -> &[U] {
        &self.buffer[self.cursor.output - WINDOW_SIZE..self.cursor.output]
    }

    /// Bytes of output, of all streams.
    pub(crate) fn total_out(&self) -> u64 {
        self.before.wrapping_add(self.cursor.output as u64)
    }

    /// Blocks of the kind that [`find`] finds, of all streams.
    pub(crate) fn to_find(&self) -> u64 {
        self.to_find
    }

    /// Bits, at most 63, that were taken from the input and are not decoded yet.
    pub(crate) fn unread_bits(&self) -> u32 {
        self.cursor.held
    }

    /// Whether the next bit begins a block, as far as is known.
    pub(crate) fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Header)
    }

    /// Gives back whole bytes that were taken from the input and are not decoded. Says how many.
    pub(crate) fn give_back(&mut self) -> usize {
        let whole = self.cursor.held / 8;
        self.cursor.held %= 8;
        self.cursor.bits = cursor::low(self.cursor.bits, self.cursor.held);
        whole as usize
    }

    /// At the end of a stream, gives back the next whole byte that was taken from the input and does not belong to it.
    pub(crate) fn take_unread(&mut self) -> Option<u8> {
        self.cursor.take(self.cursor.held & 7);
        (self.cursor.held > 0).then(|| self.cursor.take(8).to_le_bytes()[0])
    }

    /// Decodes from the start of `piece`. Says how much of it was taken: all of it, unless a boundary or the end is
    /// reached or the buffer is full. Stops at each boundary of blocks at which `stop_at` bytes of output have come.
    ///
    /// Everything that the input tells is told with it, so nothing depends on how it was cut into pieces.
    pub(crate) fn run(&mut self, piece: &[u8], stop_at: u64) -> Result<(usize, Status), Corrupt> {
        if self.cursor.output > LAST_OUTPUT {
            self.make_room();
        }
        self.cursor.input = 0;
        self.begun = self.cursor.output;
        let status = self.blocks(piece, stop_at);
        // What is beyond them comes again with the next piece.
        self.cursor.bits = cursor::low(self.cursor.bits, self.cursor.held);
        Ok((self.cursor.input, status?))
    }

    /// Moves the window to the front of the buffer.
    fn make_room(&mut self) {
        let moved = self.cursor.output - WINDOW_SIZE;
        self.buffer.copy_within(moved..self.cursor.output, 0);
        self.before = self.before.wrapping_add(moved as u64);
        self.cursor.output = WINDOW_SIZE;
        self.floor = self.floor.saturating_sub(moved);
    }

    fn blocks(&mut self, piece: &[u8], stop_at: u64) -> Result<Status, Corrupt> {
        loop {
            match self.state {
                State::End => return Ok(Status::End),
                State::Boundary => {
                    self.state = State::Header;
                    if self.total_out() >= stop_at {
                        return Ok(Status::Boundary);
                    }
                }
                State::Header => {
                    if !self.cursor.has(3, piece) {
                        return Ok(Status::NeedsInput);
                    }
                    self.header()?;
                }
                State::StoredLength => {
                    if !self.cursor.has(32, piece) {
                        return Ok(Status::NeedsInput);
                    }
                    let length = self.cursor.take(16);
                    if self.cursor.take(16) != length ^ 0xffff {
                        return Err(Corrupt("invalid stored block lengths"));
                    }
                    self.state = State::Stored(length as usize);
                }
                State::Stored(0) => self.end_block(),
                State::Stored(left) => {
                    let left = self.copy_stored(left, piece);
                    self.state = State::Stored(left);
                    if left > 0 {
                        let full = self.cursor.output > LAST_OUTPUT;
                        return Ok(if full { Status::Full } else { Status::NeedsInput });
                    }
                }
                State::Counts => {
                    if !self.cursor.has(14, piece) {
                        return Ok(Status::NeedsInput);
                    }
                    self.read_counts()?;
                }
                State::LengthsLengths(read) => {
                    let order = LENGTHS_ORDER.iter().enumerate();
                    for (number, &symbol) in order.take(self.lengths_count).skip(read) {
                        if !self.cursor.has(3, piece) {
                            self.state = State::LengthsLengths(number);
                            return Ok(Status::NeedsInput);
                        }
                        self.lengths_lengths[usize::from(symbol)] =
                            self.cursor.take(3).to_le_bytes()[0];
                    }
                    codes::lengths_table(&self.lengths_lengths, &mut self.lengths_table)?;
                    self.state = State::Lengths(0);
                }
                State::Lengths(read) => {
                    let read = self.read_lengths(read, piece)?;
                    if read < self.counts.0 {
                        self.state = State::Lengths(read);
                        return Ok(Status::NeedsInput);
                    }
                    self.build_tables()?;
                    self.state = State::Symbols;
                }
                State::Symbols => match self.symbols(piece)? {
                    None => self.end_block(),
                    Some(status) => return Ok(status),
                },
            }
        }
    }

    /// Reads the header of a block, whose three bits are there.
    fn header(&mut self) -> Result<(), Corrupt> {
        self.last = self.cursor.take(1) != 0;
        self.state = match self.cursor.take(2) {
            0 => {
                // Stored bytes begin with a whole byte.
                self.cursor.take(self.cursor.held & 7);
                State::StoredLength
            }
            1 => {
                self.fixed_tables();
                State::Symbols
            }
            2 => {
                self.to_find += u64::from(!self.last);
                State::Counts
            }
            _ => return Err(Corrupt("invalid block type")),
        };
        Ok(())
    }

    fn end_block(&mut self) {
        self.state = if self.last { State::End } else { State::Boundary };
    }

    /// Copies stored bytes, as many as there are and have room. Says how many are left.
    fn copy_stored(&mut self, mut left: usize, piece: &[u8]) -> usize {
        // First the whole bytes that are held. There are few of them.
        while left > 0 && self.cursor.held >= 8 && self.cursor.output < CAPACITY {
            self.buffer[self.cursor.output] = self.cursor.take(8).to_le_bytes()[0].into();
            self.cursor.output += 1;
            left -= 1;
        }
        if self.cursor.held == 0 {
            self.cursor.bits = 0;
            let Cursor { input, output, .. } = self.cursor;
            let count = left.min(piece.len() - input).min(CAPACITY - output);
            let to = &mut self.buffer[output..output + count];
            for (unit, byte) in to.iter_mut().zip(&piece[input..input + count]) {
                *unit = (*byte).into();
            }
            self.cursor.input += count;
            self.cursor.output += count;
            left -= count;
        }
        left
    }

    /// Reads the numbers of codes of a dynamic block, whose 14 bits are there.
    fn read_counts(&mut self) -> Result<(), Corrupt> {
        let literals = self.cursor.take(5) as usize + 257;
        let distances = self.cursor.take(5) as usize + 1;
        self.lengths_count = self.cursor.take(4) as usize + 4;
        if literals > 286 || distances > 30 {
            return Err(Corrupt("too many length or distance symbols"));
        }
        self.counts = (literals + distances, literals);
        // Its lengths come in the place of those.
        self.tables = Tables::Dynamic;
        self.lengths_lengths = [0; 19];
        self.state = State::LengthsLengths(0);
        Ok(())
    }

    /// Reads code lengths, of which `read` are there. Says how many are there then.
    fn read_lengths(&mut self, mut read: usize, piece: &[u8]) -> Result<usize, Corrupt> {
        const REPEAT: Corrupt = Corrupt("invalid bit length repeat");
        let mut cursor = self.cursor;
        while read < self.counts.0 {
            // A code of seven bits and seven more.
            if cursor.held < 14 {
                cursor.fill(piece);
            }
            let entry =
                u32::from(self.lengths_table[usize::from(cursor.bits.to_le_bytes()[0] & 127)]);
            let (symbol, bits) = (entry >> 4, entry & 15);
            if bits > cursor.held {
                break;
            }
            if symbol < 16 {
                cursor.take(bits);
                self.lengths[read] = symbol.to_le_bytes()[0];
                read += 1;
                continue;
            }
            let (extra, least) = match symbol {
                16 => (2, 3),
                17 => (3, 3),
                _ => (7, 11),
            };
            if bits + extra > cursor.held {
                break;
            }
            cursor.take(bits);
            let repeated = match (symbol, read.checked_sub(1)) {
                (16, None) => return Err(REPEAT),
                (16, Some(before)) => self.lengths[before],
                _ => 0,
            };
            let end = read + least + cursor.take(extra) as usize;
            if end > self.counts.0 {
                return Err(REPEAT);
            }
            self.lengths[read..end].fill(repeated);
            read = end;
        }
        self.cursor = cursor;
        Ok(read)
    }

    /// Builds the tables of a dynamic block, whose code lengths are there.
    fn build_tables(&mut self) -> Result<(), Corrupt> {
        if self.lengths[256] == 0 {
            return Err(Corrupt("invalid code -- missing end-of-block"));
        }
        let (all, literals) = self.counts;
        let (literals, distances) = self.lengths[..all].split_at(literals);
        if !codes::literal_table(literals, &mut self.literals) {
            return Err(Corrupt("invalid literal/lengths set"));
        }
        if !codes::distance_table(distances, &mut self.distances) {
            return Err(Corrupt("invalid distances set"));
        }
        Ok(())
    }

    /// Builds the tables that the format gives (RFC 1951, section 3.2.6), unless they are there.
    #[cold]
    fn fixed_tables(&mut self) {
        if self.tables == Tables::Fixed {
            return;
        }
        self.tables = Tables::Fixed;
        self.lengths[..144].fill(8);
        self.lengths[144..256].fill(9);
        self.lengths[256..280].fill(7);
        self.lengths[280..288].fill(8);
        // Both are complete codes.
        codes::literal_table(&self.lengths[..288], &mut self.literals);
        codes::distance_table(&[5; 32], &mut self.distances);
    }

    /// Decodes the symbols of a block. Nothing if it has ended.
    fn symbols(&mut self, piece: &[u8]) -> Result<Option<Status>, Corrupt> {
        let Self { cursor, literals, distances, buffer, floor, lengths, .. } = self;
        let mut block = Block { literals, distances, buffer, floor: *floor };
        loop {
            if cursor.output > LAST_OUTPUT {
                return Ok(Some(Status::Full));
            }
            if cursor.input + INPUT_MARGIN <= piece.len() {
                match fast(cursor, piece, &mut block) {
                    Exit::EndOfBlock => return Ok(None),
                    Exit::Corrupt(corrupt) => return Err(corrupt),
                    Exit::Edge if cursor.output > LAST_OUTPUT => continue,
                    Exit::Edge => {}
                }
            }
            match careful(cursor, piece, &mut block, lengths)? {
                Symbol::Done => {}
                Symbol::EndOfBlock => return Ok(None),
                Symbol::Incomplete => return Ok(Some(Status::NeedsInput)),
            }
        }
    }
}
