//! Finds where blocks may begin, in the middle of a stream.
//!
//! Nothing in a deflate stream marks the beginning of a block. But the header of a block with codes of its own says so much
//! that hardly anything else looks like one: three bits of type, two counts with impossible values, and three codes that have to be complete.
//! All positions of a word are tested for the first two at once, a table adds up the code of the code lengths, and the
//! few that are left are read.

use super::codes::{self, LENGTHS_ORDER};
use super::cursor::Cursor;

/// What share of all codes four lengths of three bits each take together, in 128ths.
const SHARES: [u16; 4096] = {
    let mut shares = [0; 4096];
    let mut lengths = 0;
    while lengths < 4096 {
        let mut rest = lengths;
        let mut share = 0;
        while rest > 0 {
            if rest & 7 != 0 {
                share += 128 >> (rest & 7);
            }
            rest >>= 3;
        }
        shares[lengths] = share;
        lengths += 1;
    }
    shares
};

/// Where in the bits of `word`, of the lower 47, the first 13 bits of a block with codes of its own may be that is not the last one.
const fn beginnings(word: u64) -> u64 {
    let kind = !word & !(word >> 1) & (word >> 2);
    // Counts of 30 and 31.
    let literals = (word >> 4) & (word >> 5) & (word >> 6) & (word >> 7);
    let distances = (word >> 9) & (word >> 10) & (word >> 11) & (word >> 12);
    kind & !literals & !distances & ((1 << 48) - 1)
}

/// 64 bits from bit `at` on. There have to be 9 bytes.
fn bits_at(bytes: &[u8], at: usize) -> Option<u64> {
    let chunk = bytes.get(at / 8..)?.first_chunk::<9>()?;
    let [low @ .., high] = chunk;
    let shift = at % 8;
    let word = u64::from_le_bytes(*low) >> shift;
    Some(if shift == 0 { word } else { word | u64::from(*high) << (64 - shift) })
}

/// The first bit from `from` to before `to` at which a block with codes of its own seems to begin that is not the last one.
/// The last bytes of `bytes` are not looked at.
pub(crate) fn find(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    let mut at = from / 8;
    let mut mask = u64::MAX << (from % 8);
    while at * 8 < to {
        let word = u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?);
        let mut found = beginnings(word) & mask;
        while found != 0 {
            let bit = at * 8 + found.trailing_zeros() as usize;
            found &= found - 1;
            if bit >= to {
                return None;
            }
            let next = bits_at(bytes, bit + 13)?;
            if shares(next) == 128 && is_header(bytes, bit) {
                return Some(bit);
            }
        }
        mask = u64::MAX;
        at += 6;
    }
    None
}

/// Whether the lengths whose count these bits begin with give a complete code.
fn shares(bits: u64) -> u16 {
    let count = (bits & 15) as u32 + 4;
    let lengths = (bits >> 4) & (u64::MAX >> (64 - 3 * count));
    let share = |number: u32| SHARES[(lengths >> (12 * number)) as usize & 4095];
    share(0) + share(1) + share(2) + share(3) + share(4)
}

/// Whether the header of a block with codes of its own is at this bit.
fn is_header(bytes: &[u8], bit: usize) -> bool {
    let mut cursor = Cursor { input: bit / 8, ..Cursor::default() };
    cursor.fill(bytes);
    for _ in 0..bit % 8 + 3 {
        cursor.take(1);
    }
    let literals = cursor.take(5) as usize + 257;
    let distances = cursor.take(5) as usize + 1;
    let count = cursor.take(4) as usize + 4;
    let mut lengths_lengths = [0; 19];
    for &symbol in &LENGTHS_ORDER[..count] {
        if !cursor.has(3, bytes) {
            return false;
        }
        lengths_lengths[usize::from(symbol)] = cursor.take(3).to_le_bytes()[0];
    }
    let mut table = [0; 128];
    if codes::lengths_table(&lengths_lengths, &mut table).is_err() {
        return false;
    }
    let mut lengths = [0_u8; 320];
    let all = literals + distances;
    let mut read = 0;
    while read < all {
        if !cursor.has(14, bytes) {
            return false;
        }
        let entry = u32::from(table[usize::from(cursor.bits.to_le_bytes()[0] & 127)]);
        cursor.take(entry & 15);
        let symbol = entry >> 4;
        let (repeated, count) = match symbol {
            0..16 => (symbol.to_le_bytes()[0], 1),
            16 if read == 0 => return false,
            16 => (lengths[read - 1], 3 + cursor.take(2) as usize),
            17 => (0, 3 + cursor.take(3) as usize),
            _ => (0, 11 + cursor.take(7) as usize),
        };
        if read + count > all {
            return false;
        }
        lengths[read..read + count].fill(repeated);
        read += count;
    }
    let (literals, distances) = lengths[..all].split_at(literals);
    let share = |lengths: &[u8]| -> u32 {
        lengths.iter().filter(|length| **length > 0).map(|length| 1 << (15 - length)).sum()
    };
    let of_distances = share(distances);
    literals[256] > 0
        && share(literals) == 1 << 15
        && (of_distances == 1 << 15
            || of_distances == 0
            || of_distances == 1 << 14
                && distances.iter().filter(|length| **length > 0).count() == 1)
}

#[cfg(test)]
mod tests {
    use super::super::{Inflate, Status};
    use super::*;

    /// Words between noise, which make blocks of all sizes.
    fn stream(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut content = Vec::new();
        while content.len() < 1 << 20 {
            if random.u8(..20) == 0 {
                content.extend((0..random.usize(..3000)).map(|_| random.u8(..)));
            }
            content.extend_from_slice([&b"let "[..], b"return", b"\n    "][random.usize(..3)]);
            content.push(random.u8(b'a'..=b'z'));
        }
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        std::io::Write::write_all(&mut encoder, &content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_block_with_codes_of_its_own_is_found_and_little_else() {
        let mut random = fastrand::Rng::with_seed(1);
        let stream = stream(&mut random);
        let (mut inflate, mut at, mut expected) = (Inflate::new(), 0, Vec::new());
        loop {
            let (taken, status) = inflate.run(&stream[at..], 0).unwrap();
            at += taken;
            match status {
                Status::Boundary => {}
                Status::Full => continue,
                Status::End | Status::NeedsInput => break,
            }
            let bit = at * 8 - inflate.unread_bits() as usize;
            let head = u16::from_le_bytes([stream[bit / 8], stream[bit / 8 + 1]]);
            if head >> (bit % 8) & 7 == 0b100 {
                expected.push(bit);
            }
        }
        assert!(expected.len() > 5, "{expected:?}");
        let (mut from, mut found) = (1, Vec::new());
        while let Some(bit) = find(&stream, from, stream.len() * 8) {
            found.push(bit);
            from = bit + 1;
        }
        assert_eq!(found, expected);
        for bit in expected {
            assert_eq!(find(&stream, bit, bit + 1), Some(bit));
            assert_eq!(find(&stream, bit.saturating_sub(3), bit), None);
        }
    }

    #[test]
    fn noise_has_no_blocks_and_its_end_is_no_error() {
        let mut random = fastrand::Rng::with_seed(2);
        let noise: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
        assert_eq!(find(&noise, 0, noise.len() * 8), None);
        // As much as can be a header, and less and less behind it.
        let stream = stream(&mut random);
        for length in 0..400 {
            let _ = find(&stream[..length], 0, length * 8);
            assert_eq!(find(&stream[..length], length * 8, length * 8), None);
        }
    }
}
