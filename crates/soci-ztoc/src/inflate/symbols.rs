//! The loops over the symbols of a block.
//!
//! [`fast`] does almost all of the work. It runs as long as there is more input than a round can take and more room than a
//! round can fill, so nothing in it asks whether there is. A round takes up to three entries of the table of literals and
//! lengths, perhaps a second level of the last one, and a distance, with two refills. Of the 56 bits of the first one three entries
//! take 12 each at most, a second level and extra bits 8 more; of the second one a distance takes 15 + 13. The next entry is
//! looked up before a match is copied, so that the processor has it by then. What is written too much behind a match is written
//! again by what follows.
//!
//! Bounds checks cost more than the work here. The buffer has a fixed size, positions are compared with it once or masked,
//! so the compiler sees that the loop stays in it: of all checks one is left, of the input, once for a match.
//!
//! [`careful`] does one symbol at a time, at both ends of each piece.

#![expect(clippy::inline_always, reason = "the loop is fast as one function")]

use super::buffer::{Buffer, CAPACITY, LAST_OUTPUT, Unit};
use super::codes::{
    self, DISTANCE_BITS, DISTANCE_SIZE, DistanceTable, LITERAL_BITS, LITERAL_SIZE, LiteralTable,
    MATCH, OTHER, SPECIAL,
};
use super::corrupt::Corrupt;
use super::cursor::{Cursor, low};

/// Input that has to be there for a round of [`fast`]: what it takes, and a word behind that.
pub(super) const INPUT_MARGIN: usize = 40;

const NO_LITERAL_CODE: Corrupt = Corrupt("invalid literal/length code");
const NO_DISTANCE_CODE: Corrupt = Corrupt("invalid distance code");
const TOO_FAR_BACK: Corrupt = Corrupt("invalid distance too far back");

/// What the symbols of a block are decoded with and into.
pub(super) struct Block<'a, U> {
    pub(super) literals: &'a LiteralTable,
    pub(super) distances: &'a DistanceTable,
    pub(super) buffer: &'a mut Buffer<U>,
    /// No distance leads to what is before this place of the buffer.
    pub(super) floor: usize,
}

/// Why a loop ends.
pub(super) enum Exit {
    /// Too little input or room for another round.
    Edge,
    /// The block has ended.
    EndOfBlock,
    /// A symbol is not valid.
    Corrupt(Corrupt),
}

/// Loads `N` bytes of the buffer.
#[inline(always)]
fn load<U: Unit, const N: usize>(buffer: &Buffer<U>, at: usize) -> [U; N] {
    // The slice has that length.
    buffer[at..at + N].try_into().unwrap_or([U::default(); N])
}

/// Stores `N` bytes in the buffer.
#[inline(always)]
fn store<U: Unit, const N: usize>(buffer: &mut Buffer<U>, at: usize, bytes: [U; N]) {
    buffer[at..at + N].copy_from_slice(&bytes);
}

/// Decodes as long as no end of input or buffer is near.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "masks and shifts leave few bits")]
#[expect(
    clippy::too_many_lines,
    reason = "its state is in registers, which a function in it would spill"
)]
pub(super) fn fast<U: Unit>(cursor: &mut Cursor, piece: &[u8], block: &mut Block<'_, U>) -> Exit {
    let Cursor { mut bits, mut held, input: mut at, mut output } = *cursor;
    let Block { literals, distances, buffer, floor } = block;
    let (floor, buffer): (usize, &mut Buffer<U>) = (*floor, buffer);
    let Some(last) = piece.len().checked_sub(INPUT_MARGIN) else { return Exit::Edge };
    if at > last {
        return Exit::Edge;
    }

    // Only the low six bits of `held` count: the others are what consuming leaves there.
    macro_rules! refill {
        () => {
            let word: [u8; 8] = piece[at..at + 8].try_into().unwrap_or([0; 8]);
            bits |= u64::from_le_bytes(word) << (held & 63);
            at += 7 - (held >> 3 & 7) as usize;
            held |= 0b11_1000;
        };
    }
    macro_rules! consume {
        ($entry:expr) => {
            bits >>= $entry & 63;
            held = held.wrapping_sub($entry);
        };
    }
    // Both bytes are written, and as many kept as are literals.
    macro_rules! put {
        ($entry:expr) => {
            store(buffer, output, U::pair(codes::literal_bytes($entry)));
            output += codes::literals($entry);
        };
    }
    macro_rules! look {
        () => {
            literals[bits as usize & ((1 << LITERAL_BITS) - 1)]
        };
    }
    // The entry, and the bits from its own on, in which extra bits are found.
    let mut entry;
    let mut before;
    macro_rules! take_entry {
        () => {
            before = bits;
            consume!(entry);
            put!(entry);
        };
    }

    refill!();
    entry = look!();
    let exit = loop {
        if at > last || output > LAST_OUTPUT {
            break Exit::Edge;
        }
        refill!();
        take_entry!();
        if entry & SPECIAL == 0 {
            entry = look!();
            take_entry!();
            if entry & SPECIAL == 0 {
                entry = look!();
                take_entry!();
                if entry & SPECIAL == 0 {
                    entry = look!();
                    continue;
                }
            }
        }
        if entry & OTHER != 0 {
            if codes::is_second(entry) {
                entry = literals[codes::second(entry, bits) & (LITERAL_SIZE - 1)];
                take_entry!();
                if entry & SPECIAL == 0 {
                    entry = look!();
                    continue;
                }
            }
            if entry & OTHER != 0 {
                break if codes::is_end(entry) {
                    Exit::EndOfBlock
                } else {
                    Exit::Corrupt(NO_LITERAL_CODE)
                };
            }
        }
        let mut distance = distances[bits as usize & ((1 << DISTANCE_BITS) - 1)];
        let length =
            codes::length_base(entry) + (low(before, entry) >> codes::code_bits(entry)) as usize;
        refill!();
        if distance & OTHER != 0 {
            if codes::is_second(distance) {
                consume!(distance);
                distance = distances[codes::second(distance, bits) & (DISTANCE_SIZE - 1)];
            }
            if distance & OTHER != 0 {
                break Exit::Corrupt(NO_DISTANCE_CODE);
            }
        }
        let back = codes::distance_base(distance)
            + (low(bits, distance) >> codes::code_bits(distance)) as usize;
        consume!(distance);
        entry = look!();

        let from = output.wrapping_sub(back);
        if from > CAPACITY || from < floor {
            break Exit::Corrupt(TOO_FAR_BACK);
        }
        copy(buffer, from, output, back, length & 511);
        output += length & 511;
    };
    // Whole bytes are given back, as far as they are of this piece and not of one before.
    held &= 63;
    let back = (held >> 3).min(u32::try_from(at).unwrap_or(u32::MAX));
    at -= back as usize;
    held -= back * 8;
    *cursor = Cursor { bits: low(bits, held), held, input: at, output };
    exit
}

/// Copies a match: `length` bytes from `from` to `to`, which is `back` bytes behind it, and some more. `to` is at most
/// [`LAST_OUTPUT`] and a few, so the masks change nothing.
#[inline(always)]
fn copy<U: Unit>(buffer: &mut Buffer<U>, from: usize, to: usize, back: usize, length: usize) {
    const MASK: usize = CAPACITY - 1;
    if back >= 32 {
        // Always two of them: cheaper than a branch that is guessed wrong.
        let first: [U; 32] = load(buffer, from);
        store(buffer, to, first);
        let second: [U; 32] = load(buffer, from + 32);
        store(buffer, to + 32, second);
        let mut done = 64;
        while done < length {
            let bytes: [U; 32] = load(buffer, (from + done) & MASK);
            store(buffer, (to + done) & MASK, bytes);
            done += 32;
        }
    } else if back == 1 {
        let bytes = [buffer[from]; 32];
        let mut done = 0;
        loop {
            store(buffer, (to + done) & MASK, bytes);
            done += 32;
            if done >= length {
                break;
            }
        }
    } else {
        // The period is doubled until it is 16 or more.
        let mut period = back;
        let mut at = to;
        let end = to + length;
        while at < end {
            let bytes: [U; 16] = load(buffer, at.wrapping_sub(period) & MASK);
            store(buffer, at & MASK, bytes);
            if period < 16 {
                at += period;
                period *= 2;
            } else {
                at += 16;
            }
        }
    }
}

/// What [`careful`] did.
pub(super) enum Symbol {
    /// One literal or one match.
    Done,
    /// The end of the block.
    EndOfBlock,
    /// Nothing: not all of its bits are there.
    Incomplete,
}

/// Decodes one literal, one match or the end of the block. There has to be room for a match. `lengths` are those of the
/// codes of the literals.
#[expect(clippy::cast_possible_truncation, reason = "masks and shifts leave few bits")]
pub(super) fn careful<U: Unit>(
    cursor: &mut Cursor,
    piece: &[u8],
    block: &mut Block<'_, U>,
    lengths: &[u8; 320],
) -> Result<Symbol, Corrupt> {
    cursor.fill(piece);
    // Nothing is taken before all of the symbol is there.
    let mut next = *cursor;
    let mut entry = block.literals[next.bits as usize & ((1 << LITERAL_BITS) - 1)];
    if codes::begins_with_literal(entry) && entry & OTHER == 0 {
        // The entry may hold more than one symbol, for which there need not be all bits.
        let [literal, _] = codes::literal_bytes(entry);
        let length = u32::from(lengths[usize::from(literal)]);
        if length > next.held {
            return Ok(Symbol::Incomplete);
        }
        next.take(length);
        block.buffer[next.output] = literal.into();
        next.output += 1;
        *cursor = next;
        return Ok(Symbol::Done);
    }
    if entry & OTHER != 0 && codes::is_second(entry) {
        if next.held < LITERAL_BITS {
            return Ok(Symbol::Incomplete);
        }
        next.take(LITERAL_BITS);
        entry = block.literals[codes::second(entry, next.bits) & (LITERAL_SIZE - 1)];
    }
    if codes::bits(entry) > next.held {
        return Ok(Symbol::Incomplete);
    }
    let extra = next.take(codes::bits(entry)) >> codes::code_bits(entry);
    if entry & OTHER != 0 {
        if !codes::is_end(entry) {
            return Err(NO_LITERAL_CODE);
        }
        *cursor = next;
        return Ok(Symbol::EndOfBlock);
    }
    if entry & MATCH == 0 {
        let [literal, _] = codes::literal_bytes(entry);
        block.buffer[next.output] = literal.into();
        next.output += 1;
        *cursor = next;
        return Ok(Symbol::Done);
    }
    let length = codes::length_base(entry) + extra as usize;
    let mut distance = block.distances[next.bits as usize & ((1 << DISTANCE_BITS) - 1)];
    if distance & OTHER != 0 && codes::is_second(distance) {
        if next.held < DISTANCE_BITS {
            return Ok(Symbol::Incomplete);
        }
        next.take(DISTANCE_BITS);
        distance = block.distances[codes::second(distance, next.bits) & (DISTANCE_SIZE - 1)];
    }
    if codes::bits(distance) > next.held {
        return Ok(Symbol::Incomplete);
    }
    if distance & OTHER != 0 {
        return Err(NO_DISTANCE_CODE);
    }
    let extra = next.take(codes::bits(distance)) >> codes::code_bits(distance);
    let back = codes::distance_base(distance) + extra as usize;
    if back > next.output - block.floor {
        return Err(TOO_FAR_BACK);
    }
    for at in next.output..next.output + length {
        block.buffer[at] = block.buffer[at - back];
    }
    next.output += length;
    *cursor = next;
    Ok(Symbol::Done)
}
