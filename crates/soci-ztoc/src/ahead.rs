//! A piece of a gzip layer that is decoded before what comes before it, so that a layer keeps several cores busy.
//!
//! A layer is cut into chunks of any size. [`Ahead::decode`] looks in a chunk for the first bit at which a deflate block seems to begin,
//! and decodes from there to the first such block behind the chunk's end. What it copies from the 32 KiB before
//! the piece it does not know, and marks. [`Scanner::push_chunk`](crate::Scanner::push_chunk) takes the piece once the layer is read up to
//! its first bit, and puts the bytes in the place of the marks; then only the archive's headers are looked at, and checkpoints taken. If what
//! seemed to be a block was none, nobody gets there, and the piece is of no use: the layer is inflated there as it always
//! is. So the result never depends on what was decoded ahead.
//!
//! Output is bytes, of which groups of 32 that have a mark are kept in 16 bits, too. After 32 KiB without a mark
//! no more can come, and the rest is decoded as fast as ever, its checksum with it.
//!
//! A piece ends early, at the last boundary of blocks, where it would take more memory than it may, where the stream is not valid,
//! where a member ends, and where it is stopped. Whoever reads on there finds out what comes.

use crate::inflate::{Inflate, MARK, Status, Unit, find};

/// Units that are kept together because one of them is a mark.
const GROUP: usize = 32;

/// Bytes whose marks are replaced and that are summed up together, so that they stay in the first-level cache.
const RESOLVED_AT_ONCE: usize = 16 << 10;

/// Most boundaries of blocks in a piece. Blocks of a few bytes are not worth it.
const MOST_PLACES: usize = 1 << 14;

/// Bits that are searched for a block before it is asked whether to stop.
const LOOKED_AT_ONCE: usize = 8 * (32 << 10);

/// What may seem to be a block and be none before a chunk is given up.
const MOST_TRIES: usize = 16;

/// A boundary of blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Bits of the layer in front of it.
    pub(crate) bit: u64,
    /// Bytes of the piece's output in front of it.
    pub(crate) out: usize,
}

/// A piece of a layer, decoded ahead. Its memory is used again by the next [`Ahead::decode`].
pub struct Ahead {
    most: usize,
    start: u64,
    places: Vec<Place>,
    /// The byte that the end lies in.
    shared: u8,
    bytes: Vec<u8>,
    /// Numbers of the groups with marks, and their units.
    groups: Vec<u32>,
    marked: Vec<[u16; GROUP]>,
    /// No marks are from here on, and this is the checksum of what is.
    clean: usize,
    clean_crc: crc32fast::Hasher,
    /// The byte for each unit, once there is a window.
    map: Vec<u8>,
    was_taken: bool,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("start", &self.start).finish_non_exhaustive()
    }
}

/// A chunk and what comes behind it.
struct Input<'a> {
    chunk: &'a [u8],
    behind: &'a [u8],
}

impl Input<'_> {
    /// What there is in one piece from this byte on.
    fn from(&self, at: usize) -> &[u8] {
        self.chunk
            .get(at..)
            .filter(|rest| !rest.is_empty())
            .or_else(|| self.behind.get(at.checked_sub(self.chunk.len())?..))
            .unwrap_or_default()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.from(at).first().copied()
    }

    /// Whether what begins at this bit is a block as [`find`] finds them.
    fn may_be_found(&self, bit: usize) -> bool {
        let [first, second] = [0, 1].map(|more| self.byte(bit / 8 + more).unwrap_or_default());
        u16::from_le_bytes([first, second]) >> (bit % 8) & 7 == 0b100
    }
}

/// Where decoding a piece is.
struct Progress<'a> {
    input: &'a Input<'a>,
    /// Bytes of the input that were taken.
    at: usize,
    /// Bytes of output.
    out: usize,
    /// Bits of the layer in front of the input.
    before: u64,
    /// Whether it goes on.
    goes_on: bool,
    /// Whether somebody wants what there is by now.
    stop: &'a mut dyn FnMut() -> bool,
}

impl Progress<'_> {
    /// Decodes on, and notes the boundary that is reached.
    fn step<'u, U: Unit>(
        &mut self,
        inflate: &'u mut Inflate<U>,
        places: &mut Vec<Place>,
    ) -> &'u [U] {
        let input = self.input.from(self.at);
        let Ok((taken, status)) = inflate.run(input, 0) else {
            self.goes_on = false;
            return &[];
        };
        self.at += taken;
        self.out += inflate.output().len();
        match status {
            Status::Full => self.goes_on = !(self.stop)(),
            Status::NeedsInput => self.goes_on = !self.input.from(self.at).is_empty(),
            Status::End => self.goes_on = false,
            Status::Boundary => {
                let bit = self.at * 8 - inflate.unread_bits() as usize;
                places.push(Place { bit: self.before + bit as u64, out: self.out });
                let is_end = bit >= self.input.chunk.len() * 8 && self.input.may_be_found(bit);
                self.goes_on = !is_end && places.len() < MOST_PLACES && !(self.stop)();
            }
        }
        inflate.output()
    }
}

impl Ahead {
    /// One that holds at most `most` bytes of output and marks.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            start: 0,
            places: Vec::new(),
            shared: 0,
            bytes: Vec::new(),
            groups: Vec::new(),
            marked: Vec::new(),
            clean: 0,
            clean_crc: crc32fast::Hasher::new(),
            map: Vec::new(),
            was_taken: false,
        }
    }

    /// Bytes that one takes at most that holds `most` bytes of output, beside what was decoded from.
    pub const fn memory(most: usize) -> u64 {
        // Vectors have a quarter of room more than is needed, and one of them half of all from a piece before; a run of the
        // decoder, boundaries, decoder and map.
        most as u64 + (most as u64 >> 2) * 3 + (1 << 20)
    }

    /// Decodes from the first block that seems to begin in `chunk`, which has `offset` bytes of the layer before it, to the
    /// first one in `behind`, the bytes that follow. Says whether there is anything.
    ///
    /// `stop` is asked every hundred microseconds or so, also after it has said yes. From then on what there is up to the last boundary of
    /// blocks is enough.
    pub fn decode(
        &mut self,
        offset: u64,
        chunk: &[u8],
        behind: &[u8],
        mut stop: impl FnMut() -> bool,
    ) -> bool {
        let input = Input { chunk, behind };
        let end = chunk.len() * 8;
        let (mut from, mut tries) = (0, 0);
        // What looked like a block may be none, and that shows soon.
        while from < end && tries < MOST_TRIES && !stop() {
            let to = end.min(from + LOOKED_AT_ONCE);
            let Some(start) = find(chunk, from, to) else {
                from = to;
                continue;
            };
            if self.decode_from(start, &input, offset * 8, &mut stop) {
                return true;
            }
            from = start + 1;
            tries += 1;
        }
        self.clear();
        false
    }

    fn clear(&mut self) {
        // One piece may have had much of one kind, the next of the other.
        if self.bytes.capacity() + self.marked.capacity() * size_of::<[u16; GROUP]>() > self.most {
            (self.bytes, self.marked) = (Vec::new(), Vec::new());
        }
        self.was_taken = false;
        self.places.clear();
        self.bytes.clear();
        self.groups.clear();
        self.marked.clear();
        self.clean_crc.reset();
    }

    fn decode_from(
        &mut self,
        start: usize,
        input: &Input<'_>,
        before: u64,
        stop: &mut dyn FnMut() -> bool,
    ) -> bool {
        self.clear();
        self.start = before + start as u64;
        let shift = start % 8;
        let bits = (8 - shift).to_le_bytes()[0] & 7;
        let value = input.byte(start / 8).unwrap_or_default() >> shift;
        let mut inflate = Inflate::enter_unknown(bits, value);
        let at = start.div_ceil(8);
        let mut progress = Progress { input, at, out: 0, before, goes_on: true, stop };
        // Whole groups are kept.
        let mut rest = Vec::with_capacity(GROUP);
        let in_bytes = loop {
            let output = progress.step(&mut inflate, &mut self.places);
            self.keep_groups(&mut rest, output);
            if !progress.goes_on || self.is_full() {
                break None;
            }
            match inflate.in_bytes() {
                Ok(in_bytes) => break Some(in_bytes),
                Err(marked) => inflate = marked,
            }
        };
        self.keep(&rest);
        self.clean = self.bytes.len();
        if let Some(mut inflate) = in_bytes {
            // Summed up while it is in the cache; what counts is the sum up to the last boundary.
            let mut crc = self.clean_crc.clone();
            while progress.goes_on && !self.is_full() {
                let places = self.places.len();
                let output = progress.step(&mut inflate, &mut self.places);
                crc.update(output);
                make_room(&mut self.bytes, output.len());
                self.bytes.extend_from_slice(output);
                if self.places.len() > places {
                    self.clean_crc = crc.clone();
                }
            }
        }
        // What is behind the last boundary is nothing to begin with.
        let Some(end) = self.places.last() else { return false };
        self.bytes.truncate(end.out);
        let bit = usize::try_from(end.bit - before).unwrap_or_default();
        self.shared = input.byte(bit / 8).unwrap_or_default();
        self.clean = self.clean.min(end.out);
        true
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + size_of_val(&self.marked[..]) > self.most
    }

    /// Keeps output in whole groups, and in `rest` what is left.
    fn keep_groups(&mut self, rest: &mut Vec<u16>, mut output: &[u16]) {
        if !rest.is_empty() {
            let (first, others) = output.split_at(output.len().min(GROUP - rest.len()));
            rest.extend_from_slice(first);
            output = others;
            if rest.len() < GROUP {
                return;
            }
            self.keep(rest);
            rest.clear();
        }
        let (groups, others) = output.split_at(output.len() - output.len() % GROUP);
        self.keep(groups);
        rest.extend_from_slice(others);
    }

    /// Keeps output that begins with a group.
    fn keep(&mut self, output: &[u16]) {
        let first = self.bytes.len() / GROUP;
        for (number, group) in (first..).zip(output.chunks(GROUP)) {
            if group.iter().fold(0, |all, unit| all | unit) >= MARK {
                let mut units = [0; GROUP];
                units[..group.len()].copy_from_slice(group);
                // A piece has less than 2^32 groups.
                make_room(&mut self.marked, 1);
                self.groups.push(u32::try_from(number).unwrap_or(u32::MAX));
                self.marked.push(units);
            }
        }
        make_room(&mut self.bytes, output.len());
        self.bytes.extend(output.iter().map(|unit| unit.to_le_bytes()[0]));
    }

    /// Whether what was decoded last was taken in the place of the bytes that it was decoded from.
    pub fn was_taken(&self) -> bool {
        self.was_taken
    }

    /// Bits of the layer in front of the piece.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Bits of the layer up to its end; none if nothing was decoded.
    pub(crate) fn end(&self) -> Option<u64> {
        self.places.last().map(|place| place.bit)
    }

    /// The boundaries of blocks behind its start, the last of which is its end.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The output. Before [`Ahead::resolve`] there is nothing in the place of marks.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bits of the byte that the end lies in are behind it, and these bits.
    pub(crate) fn end_bits(&self) -> (u8, u8) {
        let [shift, ..] = (self.end().unwrap_or_default() % 8).to_le_bytes();
        ((8 - shift) & 7, self.shared >> shift)
    }

    /// Puts bytes of `window`, the 32 KiB before the piece, in the place of the marks. Returns the checksum of the output.
    pub(crate) fn resolve(&mut self, window: &[u8]) -> crc32fast::Hasher {
        self.was_taken = true;
        self.map.resize(1 << 16, 0);
        for (byte, known) in (0..=u8::MAX).zip(&mut self.map[..]) {
            *known = byte;
        }
        let marks = &mut self.map[usize::from(MARK)..];
        let count = marks.len().min(window.len());
        marks[..count].copy_from_slice(&window[..count]);
        let map = &self.map[..1 << 16];
        let mut groups = self.groups.iter().zip(&self.marked).peekable();
        let mut crc = crc32fast::Hasher::new();
        let mut done = 0;
        for bytes in self.bytes[..self.clean].chunks_mut(RESOLVED_AT_ONCE) {
            let end = done + bytes.len();
            while let Some((group, units)) =
                groups.next_if(|(group, _)| (**group as usize) * GROUP < end)
            {
                let from = *group as usize * GROUP - done;
                for (byte, unit) in bytes[from..].iter_mut().zip(units) {
                    *byte = map[usize::from(*unit)];
                }
            }
            crc.update(bytes);
            done = end;
        }
        crc.combine(&self.clean_crc);
        crc
    }
}

/// Makes room for so many more, and for a quarter of what is there, so that memory is not held twice over.
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more + list.len() / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WINDOW_SIZE;

    #[test]
    fn marks_are_as_many_as_the_window_has_bytes() {
        assert_eq!(usize::from(u16::MAX - MARK) + 1, WINDOW_SIZE);
    }
}
