//! SHA-256 of bytes that arrive in pieces, and of two streams of the same bytes at once.
//!
//! A span and its layer are hashed from the same bytes. With the SHA extensions of x86-64 each step of a hash waits for the
//! one before, longer than the next one takes to begin. So the steps of two hashes take turns in one loop, which needs
//! little more time than one of them alone (FIPS 180-4 for the function, Intel's "New Instructions Supporting the Secure Hash Algorithm"
//! for the order of the words). On other processors, and for what is left over, `sha2` hashes one after the other.

use sha2::block_api::compress256;

/// Bytes that are hashed at once.
const BLOCK: usize = 64;

/// The state before the first block (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A hash that has not seen all of its bytes yet.
#[derive(Clone, Debug)]
pub(crate) struct Sha256 {
    state: [u32; 8],
    /// What is left of the bytes behind the last whole block.
    block: [u8; BLOCK],
    /// Bytes so far.
    length: u64,
}

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self { state: INITIAL, block: [0; BLOCK], length: 0 }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.fill(bytes).as_chunks();
        compress256(&mut self.state, blocks);
        self.keep(rest);
    }

    /// Takes the next bytes of two streams, which are the same for both.
    pub(crate) fn update_both(&mut self, other: &mut Self, bytes: &[u8]) {
        let (blocks, rest) = self.fill(bytes).as_chunks();
        let (other_blocks, other_rest) = other.fill(bytes).as_chunks();
        // One may have had more of a block than the other.
        let both = blocks.len().min(other_blocks.len());
        let (blocks, left) = blocks.split_at(both);
        let (other_blocks, other_left) = other_blocks.split_at(both);
        compress_both([&mut self.state, &mut other.state], [blocks, other_blocks]);
        compress256(&mut self.state, left);
        compress256(&mut other.state, other_left);
        self.keep(rest);
        other.keep(other_rest);
    }

    /// The hash of all bytes.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        let bits = self.length.wrapping_mul(8);
        let used = self.used();
        let mut end = [0; 2 * BLOCK];
        end[..used].copy_from_slice(&self.block[..used]);
        end[used] = 0x80;
        // The length takes eight bytes, behind at least one.
        let size = if used < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        end[size - 8..size].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, end[..size].as_chunks().0);
        let mut hash = [0; 32];
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }

    /// Bytes of the block that is not whole.
    fn used(&self) -> usize {
        // Less than a block.
        (self.length % BLOCK as u64).to_le_bytes()[0].into()
    }

    /// Completes the block with the first of these bytes. Returns those behind it.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let used = self.used();
        let missing = if used == 0 { 0 } else { BLOCK - used };
        let (first, rest) = bytes.split_at(missing.min(bytes.len()));
        self.block[used..used + first.len()].copy_from_slice(first);
        self.length += first.len() as u64;
        if missing > 0 && first.len() == missing {
            compress256(&mut self.state, &[self.block]);
        }
        // All that follows is counted here, whole blocks and what is kept.
        self.length += rest.len() as u64;
        rest
    }

    /// Keeps what is behind the last whole block, if anything is: then nothing was kept.
    fn keep(&mut self, rest: &[u8]) {
        self.block[..rest.len()].copy_from_slice(rest);
    }
}

/// Hashes as many blocks into one state as into the other.
fn compress_both(states: [&mut [u32; 8]; 2], blocks: [&[[u8; BLOCK]]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
    {
        // SAFETY: the function is safe but for the features that it is compiled for, which the processor was just found to
        // have (SSE2 is part of x86-64).
        #[allow(unsafe_code, reason = "there is no other way to call a function with features")]
        unsafe {
            x86::compress_both(states, blocks);
        }
        return;
    }
    for (state, blocks) in states.into_iter().zip(blocks) {
        compress256(state, blocks);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_cvtsi128_si64, _mm_extract_epi64,
        _mm_set_epi32, _mm_set_epi64x, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
        _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::BLOCK;

    /// The constants of the rounds (FIPS 180-4, section 4.2.2).
    const ROUNDS: [[[u32; 4]; 4]; 4] = [
        [
            [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
            [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
            [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
            [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        ],
        [
            [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
            [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
            [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
            [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        ],
        [
            [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
            [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
            [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
            [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        ],
        [
            [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
            [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
            [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
            [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
        ],
    ];

    /// Four words, the first of which is the lowest.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn words([a, b, c, d]: [u32; 4]) -> __m128i {
        _mm_set_epi32(d.cast_signed(), c.cast_signed(), b.cast_signed(), a.cast_signed())
    }

    #[target_feature(enable = "sse4.1")]
    #[inline]
    fn to_words(vector: __m128i) -> [u32; 4] {
        let low = _mm_cvtsi128_si64(vector).to_le_bytes();
        let high = _mm_extract_epi64::<1>(vector).to_le_bytes();
        let word = |bytes: &[u8; 8], at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        [word(&low, 0), word(&low, 4), word(&high, 0), word(&high, 4)]
    }

    /// Sixteen bytes of a block as words, whose first byte is the highest.
    #[target_feature(enable = "ssse3")]
    #[inline]
    fn load(bytes: &[u8; 16]) -> __m128i {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let [low, high] = [0, 8].map(|at| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[at..at + 8]);
            i64::from_le_bytes(half)
        });
        _mm_shuffle_epi8(_mm_set_epi64x(high, low), swap)
    }

    /// A state in the order of the instructions: A, B, E, F and C, D, G, H from the highest word down.
    #[derive(Clone, Copy)]
    struct State {
        abef: __m128i,
        cdgh: __m128i,
    }

    impl State {
        #[target_feature(enable = "sse2")]
        #[inline]
        fn new(state: [u32; 8]) -> Self {
            let of = |places: [usize; 4]| words(places.map(|place| state[place]));
            Self { abef: of([5, 4, 1, 0]), cdgh: of([7, 6, 3, 2]) }
        }

        #[target_feature(enable = "sse4.1")]
        #[inline]
        fn into_words(self) -> [u32; 8] {
            let (abef, cdgh) = (to_words(self.abef), to_words(self.cdgh));
            [abef[3], abef[2], cdgh[3], cdgh[2], abef[1], abef[0], cdgh[1], cdgh[0]]
        }
    }

    /// Four of the 64 rounds. `words` are those of the schedule, with the constants of the rounds added.
    #[target_feature(enable = "sha,sse2")]
    #[inline]
    fn four_rounds(state: &mut State, words: __m128i) {
        let half = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
        let high = _mm_shuffle_epi32::<0x0e>(words);
        *state = State { abef: _mm_sha256rnds2_epu32(state.abef, half, high), cdgh: half };
    }

    /// Puts the next four words of the schedule in the place of the earliest, which are those at `AT`.
    #[target_feature(enable = "sha,sse2,ssse3")]
    #[inline]
    fn go_on<const AT: usize>(schedule: &mut [__m128i; 4]) {
        let [first, second, third, last] = [0, 1, 2, 3].map(|behind| schedule[(AT + behind) % 4]);
        let earlier = _mm_sha256msg1_epu32(first, second);
        let sum = _mm_add_epi32(earlier, _mm_alignr_epi8::<4>(last, third));
        schedule[AT] = _mm_sha256msg2_epu32(sum, last);
    }

    /// Hashes as many blocks into one state as into the other.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress_both(words: [&mut [u32; 8]; 2], blocks: [&[[u8; BLOCK]]; 2]) {
        let [one, other] = words;
        let mut states = [State::new(*one), State::new(*other)];
        // If the compiler knew how many there are, it would write all out, and all of one hash before the other, too far apart
        // for the processor to do them at once.
        let rounds: &[[[u32; 4]; 4]] = std::hint::black_box(&ROUNDS);
        for (first, second) in blocks[0].iter().zip(blocks[1]) {
            let before = states;
            let mut schedules = [first, second].map(|block| {
                // A block is four times sixteen bytes.
                let mut schedule = [_mm_set_epi64x(0, 0); 4];
                for (words, bytes) in schedule.iter_mut().zip(block.as_chunks().0) {
                    *words = load(bytes);
                }
                schedule
            });
            for (number, constants) in rounds.iter().enumerate() {
                // Written out, so that the schedules stay in registers.
                macro_rules! rounds {
                    ($($at:literal)*) => {
                        $(for (state, schedule) in states.iter_mut().zip(&mut schedules) {
                            if number > 0 {
                                go_on::<$at>(schedule);
                            }
                            four_rounds(state, _mm_add_epi32(schedule[$at], self::words(constants[$at])));
                        })*
                    };
                }
                rounds!(0 1 2 3);
            }
            for (state, before) in states.iter_mut().zip(before) {
                state.abef = _mm_add_epi32(state.abef, before.abef);
                state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
            }
        }
        *one = states[0].into_words();
        *other = states[1].into_words();
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    fn expected(bytes: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(bytes).into()
    }

    #[test]
    fn all_lengths_in_pieces_of_all_sizes_give_what_sha2_gives() {
        let bytes: Vec<u8> =
            (0..300_u32).map(|number| (number * 7 % 251).to_le_bytes()[0]).collect();
        for length in 0..bytes.len() {
            for size in [1, 3, 63, 64, 65, 128, 300] {
                let mut hash = Sha256::new();
                for piece in bytes[..length].chunks(size) {
                    hash.update(piece);
                }
                assert_eq!(hash.finish(), expected(&bytes[..length]), "{length} by {size}");
            }
        }
    }

    #[test]
    fn two_streams_are_hashed_wherever_each_of_them_began() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..2000 {
            let bytes: Vec<u8> = (0..random.usize(..3000)).map(|_| random.u8(..)).collect();
            // What one and the other have seen before, and have in common.
            let [before, other_before] = [(); 2].map(|()| random.usize(..=bytes.len().min(200)));
            let (mut one, mut other) = (Sha256::new(), Sha256::new());
            one.update(&bytes[..before]);
            other.update(&bytes[..other_before]);
            let size = random.usize(1..1000);
            for piece in bytes.chunks(size) {
                one.update_both(&mut other, piece);
            }
            let whole = |before: usize| expected(&[&bytes[..before], &bytes].concat());
            assert_eq!(one.finish(), whole(before), "round {round}");
            assert_eq!(other.finish(), whole(other_before), "round {round}");
        }
    }

    #[test]
    fn blocks_of_two_streams_need_not_be_the_same() {
        let mut random = fastrand::Rng::with_seed(2);
        for count in [0, 1, 2, 5, 100] {
            let mut blocks = || -> Vec<[u8; BLOCK]> {
                (0..count).map(|_| std::array::from_fn(|_| random.u8(..))).collect()
            };
            let (first, second) = (blocks(), blocks());
            let mut states = [INITIAL, INITIAL.map(|word| word.rotate_left(3))];
            let mut alone = states;
            compress256(&mut alone[0], &first);
            compress256(&mut alone[1], &second);
            let [one, other] = &mut states;
            compress_both([one, other], [&first, &second]);
            assert_eq!(states, alone, "{count}");
        }
    }
}
