//! Huffman codes as tables (RFC 1951, section 3.2).
//!
//! A code comes as the lengths of its symbols' codes. What is accepted is what zlib and Go's `compress/flate` both accept: a
//! complete code, no code at all, or a single code of one bit; the code of the code lengths has to be complete.
//!
//! A table is looked up with the next bits of the stream, lowest first. The first level has an entry for each
//! pattern of its bits; longer codes lead to a second level behind it. An entry holds all that is done about a symbol, so
//! that the loops only mask and shift. In the table of literals and lengths it holds up to two literals, or a literal and the
//! length behind it, wherever both codes fit into the bits of the first level: most literals come in pairs then.

#![expect(clippy::inline_always, reason = "the loops over symbols are made of these")]

use super::corrupt::Corrupt;

/// In which order the lengths of the code lengths' codes come (RFC 1951, section 3.2.7).
pub(super) const LENGTHS_ORDER: [u8; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bits of the first level of literals and lengths. More would make the table slow to build, fewer leave fewer pairs.
pub(super) const LITERAL_BITS: u32 = 12;
/// Entries of that table. A second level of `n` bits has at least `n + 1` codes, so those of 3 bits that 286 symbols can
/// lead to have 572 entries at most. A power of two makes a mask a check.
pub(super) const LITERAL_SIZE: usize = 8192;
/// Bits of the first level of distances.
pub(super) const DISTANCE_BITS: u32 = 9;
/// Entries of that table. By the same account the second levels of up to 6 bits have 274 at most.
pub(super) const DISTANCE_SIZE: usize = 1024;

/// The table of literals and lengths.
pub(super) type LiteralTable = [u32; LITERAL_SIZE];
/// The table of distances.
pub(super) type DistanceTable = [u32; DISTANCE_SIZE];

// An entry:
//   bits 0-5    bits to consume, extra bits included
//   bit  6      MATCH: it ends with a length
//   bit  7      OTHER: the end of the block, a second level, or no code
//   bits 8-9    how many literals it has (0, 1, 2)
//   bits 10-13  how many of the bits are codes: the extra bits begin there
//   bits 16-23  the first literal
//   bits 24-31  the second literal, or the base of the length less 3
// With OTHER: bits 14-15 say which, and of a second level bits 10-13 are its bits and bits 16-31 its start.
// Of a distance: bits 16-31 are its base.

/// It ends with a length.
pub(super) const MATCH: u32 = 1 << 6;
/// It is no literal and no length.
pub(super) const OTHER: u32 = 1 << 7;
/// It is more than literals.
pub(super) const SPECIAL: u32 = MATCH | OTHER;
/// One literal.
const LITERAL: u32 = 1 << 8;
/// How many literals it has.
const LITERALS: u32 = 3 << 8;
/// Which [`OTHER`] it is.
const KIND: u32 = 3 << 14;
const KIND_END: u32 = 1 << 14;
const KIND_SECOND: u32 = 2 << 14;
/// No code: neither of the kinds.
const NO_CODE: u32 = OTHER;
/// Where the number of the codes' bits is.
const CODE_SHIFT: u32 = 10;

/// Bits to consume.
#[inline(always)]
pub(super) const fn bits(entry: u32) -> u32 {
    entry & 63
}

/// How many of them are codes.
#[inline(always)]
pub(super) const fn code_bits(entry: u32) -> u32 {
    entry >> CODE_SHIFT & 15
}

/// How many literals there are.
#[inline(always)]
pub(super) const fn literals(entry: u32) -> usize {
    (entry >> 8 & 3) as usize
}

/// Both literals, the first in the low byte, whether they are there or not.
#[inline(always)]
pub(super) const fn literal_bytes(entry: u32) -> [u8; 2] {
    let [_, _, first, second] = entry.to_le_bytes();
    [first, second]
}

/// The length without its extra bits.
#[inline(always)]
pub(super) const fn length_base(entry: u32) -> usize {
    (entry >> 24) as usize + 3
}

/// The distance without its extra bits.
#[inline(always)]
pub(super) const fn distance_base(entry: u32) -> usize {
    (entry >> 16) as usize
}

/// Whether an [`OTHER`] entry leads to a second level.
#[inline(always)]
pub(super) const fn is_second(entry: u32) -> bool {
    entry & KIND == KIND_SECOND
}

/// Whether an [`OTHER`] entry is the end of the block.
#[inline(always)]
pub(super) const fn is_end(entry: u32) -> bool {
    entry & KIND == KIND_END
}

/// Where a second level has the entry for the next bits of the stream.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
pub(super) const fn second(entry: u32, stream: u64) -> usize {
    (entry >> 16) as usize + (stream as usize & ((1 << code_bits(entry)) - 1))
}

const LENGTH_BASES: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASES: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];

/// Symbols of literals and lengths: 256 bytes, the end of the block, 29 lengths and two that mean nothing.
const LITERAL_SYMBOLS: usize = 288;

/// The entry of each symbol of literals and lengths, but for the length of its code.
const LITERAL_ENTRIES: [u32; LITERAL_SYMBOLS] = {
    let mut entries = [NO_CODE; LITERAL_SYMBOLS];
    let mut byte = 0;
    while byte < 256 {
        // Also where the second literal is, so that it stays when another is put in front of it.
        entries[byte as usize] = LITERAL | byte << 16 | byte << 24;
        byte += 1;
    }
    entries[256] = OTHER | KIND_END;
    let mut length = 0;
    while length < 29 {
        let base = (LENGTH_BASES[length] - 3) as u32;
        entries[257 + length] = MATCH | base << 24 | LENGTH_EXTRA[length] as u32;
        length += 1;
    }
    entries
};

/// The same for distances, of which there are 30 and two that mean nothing.
const DISTANCE_ENTRIES: [u32; 32] = {
    let mut entries = [NO_CODE; 32];
    let mut distance = 0;
    let mut extra = 0;
    while distance < 30 {
        entries[distance] = (DISTANCE_BASES[distance] as u32) << 16 | extra;
        distance += 1;
        // 0, 0, 0, 0, 1, 1, 2, 2, ...
        if distance >= 4 && distance.is_multiple_of(2) {
            extra += 1;
        }
    }
    entries
};

/// The code of the code lengths: for the next seven bits the symbol, times 16, and the bits of its code.
pub(super) type LengthsTable = [u16; 128];

/// Builds the table of the code lengths' own code.
pub(super) fn lengths_table(lengths: &[u8; 19], table: &mut LengthsTable) -> Result<(), Corrupt> {
    let mut counts = [0_u16; 8];
    for &length in lengths {
        counts[usize::from(length & 7)] += 1;
    }
    let mut next = [0_u16; 8];
    let mut code = 0;
    let mut left = 128;
    for length in 1..8 {
        next[length] = code;
        code = (code + counts[length]) << 1;
        left -= i32::from(counts[length]) << (7 - length);
    }
    if left != 0 {
        return Err(Corrupt("invalid code lengths set"));
    }
    for (symbol, &length) in (0_u16..).zip(lengths) {
        if length > 0 {
            let code = &mut next[usize::from(length & 7)];
            let first = usize::from(code.reverse_bits() >> (16 - length));
            *code += 1;
            for entry in table[first..].iter_mut().step_by(1 << length) {
                *entry = symbol << 4 | u16::from(length);
            }
        }
    }
    Ok(())
}

/// Builds the table of literals and lengths. False if the lengths are those of no code that is accepted.
pub(super) fn literal_table(lengths: &[u8], table: &mut LiteralTable) -> bool {
    let mut codes = Codes::default();
    let built = build(lengths, &LITERAL_ENTRIES, LITERAL_BITS, &mut table[..], &mut codes);
    if built {
        join(&codes, table);
    }
    built
}

/// Builds the table of distances. False if the lengths are those of no code that is accepted.
pub(super) fn distance_table(lengths: &[u8], table: &mut DistanceTable) -> bool {
    build(lengths, &DISTANCE_ENTRIES, DISTANCE_BITS, &mut table[..], &mut Codes::default())
}

/// The codes of the first level, in order of their length.
struct Codes {
    count: usize,
    list: [Code; LITERAL_SYMBOLS],
}

#[derive(Clone, Copy, Default)]
struct Code {
    entry: u32,
    /// The first of the stream lowest.
    bits: u16,
    length: u16,
}

impl Default for Codes {
    fn default() -> Self {
        Self { count: 0, list: [Code::default(); LITERAL_SYMBOLS] }
    }
}

/// Builds a table of two levels from `lengths`, each at most 15. `entries` has an entry for each symbol.
fn build(
    lengths: &[u8],
    entries: &[u32],
    first_bits: u32,
    table: &mut [u32],
    codes: &mut Codes,
) -> bool {
    let mut counts = [0_u16; 16];
    for &length in lengths {
        counts[usize::from(length & 15)] += 1;
    }
    let longest = (1..16).rev().find(|length| counts[*length] > 0).unwrap_or(0);
    let mut left = 1;
    for &count in &counts[1..] {
        left = left * 2 - i32::from(count);
        if left < 0 {
            return false;
        }
    }
    let size = 1_usize << first_bits;
    if left > 0 {
        if longest > 1 {
            return false;
        }
        // One bit is enough to see that it is no code.
        table[..size].fill(NO_CODE | 1);
        if let Some(symbol) = lengths.iter().position(|length| *length == 1) {
            for entry in table[..size].iter_mut().step_by(2) {
                *entry = entries[symbol] + (1 << CODE_SHIFT | 1);
            }
        }
        return true;
    }
    let sorted = sort(lengths, &counts);
    // First level: each code is written once, and the table doubled with each bit.
    let mut code = 0;
    let mut at = 0;
    let mut filled = 2;
    for length in 1..=first_bits {
        if length > 1 {
            table.copy_within(..filled, filled);
            filled *= 2;
        }
        for _ in 0..counts[length as usize] {
            let entry = entries[usize::from(sorted[at])] + (length << CODE_SHIFT | length);
            table[code] = entry;
            codes.list[at] = Code { entry, bits: low16(code), length: low16(length as usize) };
            at += 1;
            code = next_code(code, length);
        }
    }
    codes.count = at;
    // Second levels.
    let mut free = size;
    let mut prefix = usize::MAX;
    let mut second_bits = 0;
    for length in first_bits + 1..16 {
        for done in 0..counts[length as usize] {
            if code & (size - 1) != prefix {
                prefix = code & (size - 1);
                second_bits = length - first_bits;
                // As many bits as the codes with this beginning need.
                let mut used = u32::from(counts[length as usize] - done);
                while used < 1 << second_bits {
                    second_bits += 1;
                    used = used * 2 + u32::from(counts[(first_bits + second_bits) as usize & 15]);
                }
                table[prefix] = OTHER
                    | KIND_SECOND
                    | first_bits
                    | second_bits << CODE_SHIFT
                    | u32::from(low16(free)) << 16;
                free += 1 << second_bits;
            }
            let more = length - first_bits;
            let entry = entries[usize::from(sorted[at])] + (more << CODE_SHIFT | more);
            at += 1;
            let from = free - (1 << second_bits);
            for entry_of_code in
                table[from..free].iter_mut().skip(code >> first_bits).step_by(1 << more)
            {
                *entry_of_code = entry;
            }
            code = next_code(code, length);
        }
    }
    true
}

/// The symbols that have a code, in the order of their codes.
fn sort(lengths: &[u8], counts: &[u16; 16]) -> [u16; LITERAL_SYMBOLS] {
    let mut next = [0_u16; 16];
    for length in 1..15 {
        next[length + 1] = next[length] + counts[length];
    }
    let mut sorted = [0; LITERAL_SYMBOLS];
    for (symbol, &length) in (0_u16..).zip(lengths) {
        if length > 0 {
            let place = &mut next[usize::from(length & 15)];
            sorted[usize::from(*place)] = symbol;
            *place += 1;
        }
    }
    sorted
}

/// A code, or a place in a table, in 16 bits: both are below 8192.
#[expect(clippy::cast_possible_truncation, reason = "tables have 8192 entries at most")]
const fn low16(value: usize) -> u16 {
    value as u16
}

/// The code of `length` bits behind `code`, both with their first bit lowest; behind the last one, that one again.
#[inline(always)]
const fn next_code(code: usize, length: u32) -> usize {
    let zeros = !code & ((1 << length) - 1);
    if zeros == 0 {
        return code;
    }
    let highest = 1 << (usize::BITS - 1 - zeros.leading_zeros());
    (code & (highest - 1)) | highest
}

/// Joins each literal with the literal or length behind it, where both codes fit into the first level. Each entry that
/// gains is written once, so this costs in proportion to what it brings.
fn join(codes: &Codes, table: &mut LiteralTable) {
    let list = &codes.list[..codes.count];
    let Some(shortest) = list.first().map(|code| u32::from(code.length)) else { return };
    for first in list {
        let length = u32::from(first.length);
        if length + shortest > LITERAL_BITS {
            break;
        }
        if first.entry & SPECIAL != 0 {
            continue;
        }
        let head = (first.entry & 0x00ff_0000) + (length << CODE_SHIFT | LITERAL | length);
        for second in list {
            let both = length + u32::from(second.length);
            if both > LITERAL_BITS {
                break;
            }
            if second.entry & OTHER != 0 {
                continue;
            }
            let joined = head + (second.entry & 0xff00_ffff);
            let from = usize::from(first.bits) | usize::from(second.bits) << length;
            for entry in table[..1 << LITERAL_BITS].iter_mut().skip(from).step_by(1 << both) {
                *entry = joined;
            }
        }
    }
}

/// Whether the entry begins with a literal.
#[inline(always)]
pub(super) const fn begins_with_literal(entry: u32) -> bool {
    entry & LITERALS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(lengths: &[u8]) -> bool {
        let mut table = super::super::buffer::boxed();
        literal_table(lengths, &mut table)
    }

    #[test]
    fn codes_are_accepted_as_zlib_and_go_both_do() {
        for (lengths, accepted) in [
            (&[][..], true),
            (&[0, 0, 0], true),
            (&[0, 1, 0], true),
            (&[1, 1], true),
            (&[2, 2, 2, 2], true),
            (&[1, 2, 3, 3], true),
            // Incomplete.
            (&[2], false),
            (&[2, 2], false),
            (&[1, 2], false),
            (&[15; 2], false),
            // Over-subscribed.
            (&[1, 1, 1], false),
            (&[1, 1, 15], false),
            (&[1, 2, 2, 2], false),
        ] {
            assert_eq!(built(lengths), accepted, "{lengths:?}");
            assert_eq!(distance_table(lengths, &mut [0; DISTANCE_SIZE]), accepted, "{lengths:?}");
        }
    }

    #[test]
    fn the_code_of_code_lengths_has_to_be_complete() {
        let with = |pairs: &[(usize, u8)]| {
            let mut lengths = [0; 19];
            for (symbol, length) in pairs {
                lengths[*symbol] = *length;
            }
            lengths_table(&lengths, &mut [0; 128]).is_ok()
        };
        assert!(with(&[(0, 1), (18, 1)]) && with(&[(0, 1), (1, 2), (2, 2)]));
        assert!(!with(&[]) && !with(&[(0, 1)]) && !with(&[(0, 1), (1, 1), (2, 1)]));
    }

    /// Every symbol is found by its own code, and by nothing else.
    #[test]
    fn each_code_leads_to_its_symbol() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let lengths = random_lengths(&mut random, 30);
            let mut table = [0; DISTANCE_SIZE];
            assert!(distance_table(&lengths, &mut table), "{lengths:?}");
            let mut covered = 0_u32;
            for (symbol, code, length) in canonical(&lengths) {
                covered += 1 << (15 - length);
                for noise in 0..1 << (15 - length) {
                    let stream = u64::from(code) | noise << length;
                    let mut entry = table[usize::try_from(stream & 511).unwrap()];
                    let mut taken = bits(entry);
                    if entry & OTHER != 0 && is_second(entry) {
                        entry = table[second(entry, stream >> DISTANCE_BITS)];
                        taken = DISTANCE_BITS + code_bits(entry);
                        assert!(taken > DISTANCE_BITS);
                    } else {
                        taken -= DISTANCE_ENTRIES[symbol] & 63;
                    }
                    assert_eq!(taken, length, "{lengths:?} {symbol}");
                    assert_eq!(distance_base(entry), distance_base(DISTANCE_ENTRIES[symbol]));
                }
            }
            assert_eq!(covered, 1 << 15);
        }
    }

    /// Lengths of a complete code: leaves of a tree that is split at random.
    fn random_lengths(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
        let mut lengths = vec![1_u8, 1];
        while lengths.len() < most {
            let at = random.usize(..lengths.len());
            if lengths[at] < 15 {
                lengths[at] += 1;
                lengths.push(lengths[at]);
            } else if lengths.iter().all(|length| *length == 15) {
                break;
            }
        }
        random.shuffle(&mut lengths);
        lengths
    }

    /// Symbol, code with its first bit lowest, and length, as RFC 1951 gives them out.
    fn canonical(lengths: &[u8]) -> Vec<(usize, u16, u32)> {
        let mut codes = Vec::new();
        let mut code = 0_u16;
        for length in 1..16_u8 {
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, own)| **own == length) {
                codes.push((symbol, code.reverse_bits() >> (16 - length), u32::from(length)));
                code += 1;
            }
            code <<= 1;
        }
        codes
    }
}
