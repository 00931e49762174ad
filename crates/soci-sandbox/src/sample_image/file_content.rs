//! Content that compresses like software: some three to one. A sequence of pseudo-random numbers
//! picks words from a list, those at its beginning more often. The content is the same on every
//! machine and in every release.

use std::io::{self, Read};

/// Words of a list.
const WORDS: usize = 4096;

/// The words that files are made of.
#[derive(Clone, Debug)]
pub(super) struct WordList {
    words: Vec<Vec<u8>>,
}

/// Pseudo-random numbers: `SplitMix64`, of which the whole state is one number (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct SplitMix64(u64);

/// The content of a file, to be read once.
#[derive(Debug)]
pub(super) struct FileContent<'a> {
    list: &'a WordList,
    numbers: SplitMix64,
    /// Bytes still to come.
    left: u64,
    /// The word that is being read, and how much of it was.
    word: (usize, usize),
}

impl WordList {
    /// Words as in texts and scripts.
    pub(super) fn text(seed: u64) -> Self {
        const LETTERS: &[u8] = b"eeeeettttaaaooiinnssrrhhllddccuummffppggwwyybbvvk_.";
        let mut numbers = SplitMix64::new(seed);
        let word = |_| {
            let length = 2 + numbers.below(9);
            let mut word: Vec<u8> =
                (0..length).map(|_| LETTERS[numbers.below(LETTERS.len())]).collect();
            word.push(if numbers.below(12) == 0 { b'\n' } else { b' ' });
            word
        };
        Self { words: (0..WORDS).map(word).collect() }
    }

    /// Short sequences of any bytes, as instructions are.
    pub(super) fn machine(seed: u64) -> Self {
        let mut numbers = SplitMix64::new(seed);
        let word = |_| {
            let length = 3 + numbers.below(9);
            (0..length).map(|_| numbers.next().to_le_bytes()[0]).collect()
        };
        Self { words: (0..WORDS).map(word).collect() }
    }

    /// The content of a file of `size` bytes, another one for every seed.
    pub(super) fn content(&self, seed: u64, size: u64) -> FileContent<'_> {
        let mut numbers = SplitMix64::new(seed);
        let first = numbers.word();
        FileContent { list: self, numbers, left: size, word: (first, 0) }
    }
}

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).unwrap_or(0)
    }

    /// Which word comes next. The product of two numbers favours the small ones.
    fn word(&mut self) -> usize {
        let number = self.next();
        let (one, two) = (number & 0xfff, (number >> 12) & 0xfff);
        usize::try_from((one * two) >> 12).unwrap_or(0)
    }
}

impl Read for FileContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut filled = 0;
        while filled < room {
            let (index, begun) = self.word;
            let word = &self.list.words[index][begun..];
            let taken = word.len().min(room - filled);
            buffer[filled..filled + taken].copy_from_slice(&word[..taken]);
            filled += taken;
            self.word =
                if taken == word.len() { (self.numbers.word(), 0) } else { (index, begun + taken) };
        }
        self.left -= filled as u64;
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &mut FileContent<'_>, piece: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            let count = content.read(&mut buffer).unwrap();
            if count == 0 {
                return all;
            }
            all.extend_from_slice(&buffer[..count]);
        }
    }

    #[test]
    fn content_is_the_same_however_it_is_read() {
        let words = WordList::text(1);
        let whole = read(&mut words.content(2, 10_000), 10_000);
        assert_eq!(whole.len(), 10_000);
        assert_eq!(read(&mut words.content(2, 10_000), 7), whole);
        assert_ne!(read(&mut words.content(3, 10_000), 10_000), whole);
    }

    #[test]
    fn content_stays_the_same_from_release_to_release() {
        let digest = |words: WordList| {
            let content = read(&mut words.content(7, 1000), 1000);
            soci_oci::Digest::sha256_of(&content).short()
        };
        assert_eq!(digest(WordList::text(1)), "76b58d6ae115");
        assert_eq!(digest(WordList::machine(1)), "7cb829741409");
    }

    #[test]
    fn content_compresses_like_software() {
        for words in [WordList::text(1), WordList::machine(1)] {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            io::copy(&mut words.content(2, 1 << 20), &mut encoder).unwrap();
            let size = encoder.finish().unwrap().len();
            assert!((300_000..560_000).contains(&size), "{size}");
        }
    }
}
