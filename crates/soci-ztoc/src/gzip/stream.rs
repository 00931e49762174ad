//! Gzip members one after the other, that arrive in pieces: header, deflate stream, checksum and length.
//!
//! It is read as zlib reads it, so a zlib stream is a member, too. Sources: RFC 1952 and RFC 1950.

use super::member::{MemberHeader, Wrapper};
use crate::WINDOW_SIZE;
use crate::ahead::Ahead;
use crate::inflate::{Corrupt, Inflate, Status};

/// Bytes behind the deflate stream of a gzip member: CRC-32 and length (RFC 1952, section 2.3.1).
const GZIP_TRAILER: usize = 8;

/// What one [`GzipStream::step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Part of a header or trailer, or of a deflate stream.
    Went,
    /// The header of a member is complete: a block begins.
    Begun,
    /// A block begins at which so much output has come as was asked for.
    Boundary,
    /// A member is complete, and right.
    Ended,
    /// More input is needed to tell anything.
    NeedsInput,
}

/// Where in a member it is.
#[derive(Debug)]
enum Part {
    Header,
    Stream(Trailer),
    Trailer(Trailer),
}

/// What has to come behind a stream, and what of it has come.
#[derive(Debug)]
struct Trailer {
    check: Check,
    length: u64,
    seen: [u8; GZIP_TRAILER],
    count: usize,
}

/// What is summed up of the output.
#[derive(Debug)]
enum Check {
    Crc(crc32fast::Hasher),
    Adler(adler2::Adler32),
    /// The beginning is not known, so nothing can be checked.
    Nothing,
}

impl Trailer {
    fn new(check: Check) -> Self {
        Self { check, length: 0, seen: [0; GZIP_TRAILER], count: 0 }
    }

    fn update(&mut self, output: &[u8]) {
        self.length += output.len() as u64;
        match &mut self.check {
            Check::Crc(crc) => crc.update(output),
            Check::Adler(adler) => adler.write_slice(output),
            Check::Nothing => {}
        }
    }

    fn size(&self) -> usize {
        match self.check {
            Check::Crc(_) | Check::Nothing => GZIP_TRAILER,
            Check::Adler(_) => 4,
        }
    }

    /// Takes the next bytes. Says how many those are.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.size() - self.count);
        self.seen[self.count..self.count + taken].copy_from_slice(&bytes[..taken]);
        self.count += taken;
        taken
    }

    fn is_complete(&self) -> bool {
        self.count == self.size()
    }

    /// Whether the stream was what it says.
    fn verify(&self) -> Result<(), Corrupt> {
        let [first, second] = [0, 4].map(|at| {
            let mut word = [0; 4];
            word.copy_from_slice(&self.seen[at..at + 4]);
            word
        });
        let (crc, length) = (u32::from_le_bytes(first), u32::from_le_bytes(second));
        let (right, long) = match &self.check {
            Check::Crc(sum) => {
                let long = self.length & u64::from(u32::MAX) == u64::from(length);
                (sum.clone().finalize() == crc, long)
            }
            Check::Adler(sum) => (sum.checksum() == u32::from_be_bytes(first), true),
            Check::Nothing => (true, true),
        };
        match (right, long) {
            (false, _) => Err(Corrupt("incorrect data check")),
            (true, false) => Err(Corrupt("incorrect length check")),
            (true, true) => Ok(()),
        }
    }
}

/// The state of one layer. After an error it must not be used again.
#[derive(Debug)]
pub(crate) struct GzipStream {
    inflate: Inflate,
    /// Of the member, or of the next one in front of it.
    header: MemberHeader,
    part: Part,
    /// Whether the last step has written output.
    wrote: bool,
    /// Bytes taken from the input.
    taken: u64,
    /// Boundaries of blocks in what was decoded ahead.
    skipped: u64,
}

impl GzipStream {
    /// In front of a member.
    pub(crate) fn new() -> Self {
        let (inflate, header) = (Inflate::new(), MemberHeader::new());
        Self { inflate, header, part: Part::Header, wrote: false, taken: 0, skipped: 0 }
    }

    /// Enters a member in the middle, as [`Inflate::enter`] does. Its checksum is not looked at.
    pub(crate) fn enter(&mut self, window: &[u8], bits: u8, value: u8) {
        self.inflate.enter(window, bits, value);
        self.part = Part::Stream(Trailer::new(Check::Nothing));
        self.wrote = false;
    }

    /// Gives back the whole bytes that were taken from the input and are not decoded, if those are at most `most`. Says how many.
    pub(super) fn give_back(&mut self, most: usize) -> Option<usize> {
        if self.inflate.unread_bits() as usize / 8 > most {
            return None;
        }
        let back = self.inflate.give_back();
        self.taken -= back as u64;
        Some(back)
    }

    /// Whether a piece that was decoded ahead from this bit can take the place of what comes: a block of a gzip member begins
    /// there, all input up to it was taken and no more, and nothing can refer to what is before the member.
    pub(super) fn may_skip_from(&self, bit: u64) -> bool {
        matches!(
            &self.part,
            Part::Stream(Trailer { check: Check::Crc(_), length, .. }) if *length >= WINDOW_SIZE as u64
        ) && self.inflate.is_at_boundary()
            && self.inflate.unread_bits() < 8
            && self.bit_position() == bit
    }

    /// Goes on behind such a piece, which has this checksum.
    pub(super) fn skip(&mut self, piece: &Ahead, piece_crc: &crc32fast::Hasher) {
        let (Part::Stream(trailer), Some(end)) = (&mut self.part, piece.end()) else { return };
        let (bits, value) = piece.end_bits();
        self.inflate.skip(piece.bytes(), bits, value);
        self.taken = end.div_ceil(8);
        self.skipped += piece.places().len() as u64;
        self.wrote = false;
        trailer.length += piece.bytes().len() as u64;
        if let Check::Crc(crc) = &mut trailer.check {
            crc.combine(piece_crc);
        }
    }

    /// What the last step has inflated.
    pub(crate) fn output(&self) -> &[u8] {
        if self.wrote { self.inflate.output() } else { &[] }
    }

    /// The 32 KiB of output before the next, of all members.
    pub(crate) fn window(&self) -> &[u8] {
        self.inflate.window()
    }

    /// Bytes of output, of all members.
    pub(crate) fn total_out(&self) -> u64 {
        self.inflate.total_out()
    }

    /// Blocks at which decoding ahead may begin so far, of all members. What was decoded ahead has nearly no others.
    pub(crate) fn blocks(&self) -> u64 {
        self.inflate.to_find() + self.skipped
    }

    /// What is known of the member's header, or of the next one's where a member has ended.
    pub(super) fn header(&self) -> &MemberHeader {
        &self.header
    }

    /// Bits from the start of the layer to the next one that means something.
    pub(crate) fn bit_position(&self) -> u64 {
        self.taken * 8 - u64::from(self.inflate.unread_bits())
    }

    /// Reads on from the start of `input` and says how much of it was taken. Boundaries of blocks are told from `stop_at` bytes of
    /// output on.
    pub(crate) fn step(&mut self, input: &[u8], stop_at: u64) -> Result<(usize, Step), Corrupt> {
        self.wrote = false;
        if let Part::Stream(trailer) = &mut self.part {
            let (taken, status) = self.inflate.run(input, stop_at)?;
            self.wrote = true;
            self.taken += taken as u64;
            trailer.update(self.inflate.output());
            let step = match status {
                Status::NeedsInput => Step::NeedsInput,
                Status::Full => Step::Went,
                Status::Boundary => Step::Boundary,
                Status::End => {
                    let behind = Trailer::new(Check::Nothing);
                    self.part = Part::Trailer(std::mem::replace(trailer, behind));
                    Step::Went
                }
            };
            return Ok((taken, step));
        }
        // Whole bytes behind a stream that were taken with it come first.
        if let Some(byte) = self.inflate.take_unread() {
            return match self.read_around(&[byte])? {
                (_, Step::NeedsInput) => Ok((0, Step::Went)),
                (_, step) => Ok((0, step)),
            };
        }
        let (taken, step) = self.read_around(input)?;
        self.taken += taken as u64;
        Ok((taken, step))
    }

    /// Reads a part of a header or a trailer.
    fn read_around(&mut self, bytes: &[u8]) -> Result<(usize, Step), Corrupt> {
        match &mut self.part {
            Part::Header => {
                let (taken, wrapper) = self.header.push(bytes)?;
                let check = match wrapper {
                    None => return Ok((taken, Step::NeedsInput)),
                    Some(Wrapper::Gzip) => Check::Crc(crc32fast::Hasher::new()),
                    Some(Wrapper::Zlib) => Check::Adler(adler2::Adler32::new()),
                };
                self.inflate.begin();
                self.part = Part::Stream(Trailer::new(check));
                Ok((taken, Step::Begun))
            }
            Part::Trailer(trailer) => {
                let taken = trailer.push(bytes);
                if !trailer.is_complete() {
                    return Ok((taken, Step::NeedsInput));
                }
                trailer.verify()?;
                self.header = MemberHeader::new();
                self.part = Part::Header;
                Ok((taken, Step::Ended))
            }
            // Nothing is around a stream that is being inflated.
            Part::Stream(_) => Ok((0, Step::Went)),
        }
    }
}
