//! The header of a gzip member.
//!
//! The reference reads a layer twice: with zlib for the checkpoints and with Go's `compress/gzip`
//! for the table of contents, and both must pass. zlib also takes zlib streams, and names of any
//! length; Go takes gzip only, with names and comments below 512 bytes. So a header is read as zlib reads it, and what Go
//! does not take is noted.
//! Sources: RFC 1952, section 2.3; RFC 1950, section 2.2; zlib's `inflate.c`.

use crate::inflate::Corrupt;

/// Longest name or comment in bytes that Go reads, its NUL included (the size of the buffer in
/// `compress/gzip`).
const MAX_STRING: u16 = 512;

const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
/// What no flag is.
const RESERVED: u8 = 0b1110_0000;

/// Deflate, the only method there is.
const DEFLATE: u8 = 8;

/// What surrounds a deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// A gzip member.
    Gzip,
    /// A zlib stream.
    Zlib,
}

/// Reads one header, in pieces of any size.
#[derive(Debug)]
pub(super) struct MemberHeader {
    part: Part,
    flags: u8,
    /// Of the header so far, while it may have to be right.
    crc: crc32fast::Hasher,
    /// Why Go does not read it, though zlib does.
    unreadable: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// The two bytes that say what it is, and the first one if it is there.
    Magic(Option<u8>),
    /// The ten fixed bytes; the number of those seen.
    Fixed(u8),
    /// The length of the extra field; the low byte if it is there.
    ExtraLength(Option<u8>),
    /// The extra field; bytes left.
    Extra(u16),
    /// The file name; bytes seen, as far as it matters.
    Name(u16),
    /// The comment; bytes seen, as far as it matters.
    Comment(u16),
    /// The number of a dictionary, which nobody has.
    Dictionary,
    /// The checksum; the low byte if it is there.
    Crc(Option<u8>),
    /// All of it has been seen.
    Done(Wrapper),
}

impl MemberHeader {
    pub(super) fn new() -> Self {
        Self { part: Part::Magic(None), flags: 0, crc: crc32fast::Hasher::new(), unreadable: None }
    }

    /// Whether its first two bytes have been seen, which say that there is a member.
    pub(super) fn is_begun(&self) -> bool {
        !matches!(self.part, Part::Magic(_))
    }

    /// Why Go does not read it, if that is known.
    pub(super) fn unreadable(&self) -> Option<&'static str> {
        match self.part {
            // Go has seen enough, though zlib has not.
            Part::Magic(Some(first)) if first != 0x1f => Some(NO_GZIP),
            _ => self.unreadable,
        }
    }

    /// Takes the next bytes, up to the end of the header. Says how many those are, and what surrounds the stream
    /// behind it when it is complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Wrapper>), Corrupt> {
        let mut taken = 0;
        for &byte in bytes {
            if matches!(self.part, Part::Done(_)) {
                break;
            }
            // The checksum is of what is in front of it.
            if let Part::Crc(None) = self.part {
                self.crc.update(&bytes[..taken]);
            }
            self.part = self.after(byte)?;
            taken += 1;
        }
        match self.part {
            Part::Done(wrapper) => return Ok((taken, Some(wrapper))),
            Part::Crc(Some(_)) => {}
            _ => self.crc.update(bytes),
        }
        Ok((taken, None))
    }

    /// What comes behind the next byte.
    fn after(&mut self, byte: u8) -> Result<Part, Corrupt> {
        Ok(match self.part {
            Part::Magic(None) => Part::Magic(Some(byte)),
            Part::Magic(Some(first)) => self.begin(first, byte)?,
            Part::Fixed(seen) => {
                match seen {
                    2 if byte != DEFLATE => return Err(Corrupt("unknown compression method")),
                    3 if byte & RESERVED != 0 => return Err(Corrupt("unknown header flags set")),
                    3 => self.flags = byte,
                    _ => {}
                }
                if seen < 9 { Part::Fixed(seen + 1) } else { self.from(EXTRA) }
            }
            Part::ExtraLength(None) => Part::ExtraLength(Some(byte)),
            Part::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.from(NAME),
                length => Part::Extra(length),
            },
            Part::Extra(1) => self.from(NAME),
            Part::Extra(left) => Part::Extra(left - 1),
            Part::Name(_) if byte == 0 => self.from(COMMENT),
            Part::Name(seen) => {
                Part::Name(self.longer(seen, "its file name is 512 bytes or longer"))
            }
            Part::Comment(_) if byte == 0 => self.behind_strings(),
            Part::Comment(seen) => {
                Part::Comment(self.longer(seen, "its comment is 512 bytes or longer"))
            }
            Part::Dictionary => return Err(Corrupt("a preset dictionary is needed")),
            Part::Crc(None) => Part::Crc(Some(byte)),
            Part::Crc(Some(low)) => {
                let stated = u16::from_le_bytes([low, byte]);
                // The low half counts.
                let [first, second, ..] = self.crc.clone().finalize().to_le_bytes();
                if stated != u16::from_le_bytes([first, second]) {
                    return Err(Corrupt("header crc mismatch"));
                }
                Part::Done(Wrapper::Gzip)
            }
            Part::Done(wrapper) => Part::Done(wrapper),
        })
    }

    /// By the first two bytes.
    fn begin(&mut self, first: u8, second: u8) -> Result<Part, Corrupt> {
        if [first, second] == [0x1f, 0x8b] {
            return Ok(Part::Fixed(2));
        }
        self.unreadable = Some(NO_GZIP);
        if !u16::from_be_bytes([first, second]).is_multiple_of(31) {
            return Err(Corrupt("incorrect header check"));
        }
        if first & 0x0f != DEFLATE {
            return Err(Corrupt("unknown compression method"));
        }
        if first >> 4 > 7 {
            return Err(Corrupt("invalid window size"));
        }
        let has_dictionary = second & 0x20 != 0;
        Ok(if has_dictionary { Part::Dictionary } else { Part::Done(Wrapper::Zlib) })
    }

    /// The part `from` or the first present one after it.
    fn from(&self, from: u8) -> Part {
        let present = |flag| from <= flag && self.flags & flag != 0;
        if present(EXTRA) {
            Part::ExtraLength(None)
        } else if present(NAME) {
            Part::Name(0)
        } else if present(COMMENT) {
            Part::Comment(0)
        } else {
            self.behind_strings()
        }
    }

    fn behind_strings(&self) -> Part {
        let has_crc = self.flags & HEADER_CRC != 0;
        if has_crc { Part::Crc(None) } else { Part::Done(Wrapper::Gzip) }
    }

    /// One more byte of a string that goes on.
    fn longer(&mut self, seen: u16, too_long: &'static str) -> u16 {
        if seen + 1 < MAX_STRING {
            return seen + 1;
        }
        self.unreadable.get_or_insert(too_long);
        seen
    }
}

const NO_GZIP: &str = "it is not a gzip member";

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a header, whole and byte by byte; what is behind it is not taken.
    fn read(header: &[u8]) -> Result<(Option<Wrapper>, Option<&'static str>), Corrupt> {
        let behind = [header, b"deflate"].concat();
        let mut whole = MemberHeader::new();
        let read = whole.push(&behind).map(|(taken, wrapper)| {
            if wrapper.is_some() {
                assert_eq!(taken, header.len());
            }
            (wrapper, whole.unreadable())
        });
        let mut pieces = MemberHeader::new();
        let mut last = Ok((None, None));
        for byte in header {
            last = pieces.push(&[*byte]).map(|(_, wrapper)| (wrapper, pieces.unreadable()));
            if last.is_err() {
                break;
            }
        }
        if last != Ok((None, None)) || read.is_err() {
            assert_eq!(read, last, "pieces change nothing");
        }
        read
    }

    fn gzip(flags: u8, rest: &[u8]) -> Result<(Option<Wrapper>, Option<&'static str>), Corrupt> {
        read(&[&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255], rest].concat())
    }

    #[test]
    fn go_takes_names_and_comments_that_end_below_512_bytes() {
        let string = |length: usize| [vec![b'n'; length], vec![0]].concat();
        let good = Ok((Some(Wrapper::Gzip), None));
        assert_eq!(gzip(0, &[]), good);
        assert_eq!(gzip(EXTRA, &[0, 0]), good);
        for flag in [NAME, COMMENT] {
            assert_eq!(gzip(flag, &string(0)), good);
            assert_eq!(gzip(flag, &string(511)), good);
            let (wrapper, unreadable) = gzip(flag, &string(512)).unwrap();
            assert!(
                wrapper == Some(Wrapper::Gzip)
                    && unreadable.is_some_and(|reason| reason.contains("512"))
            );
        }
        assert_eq!(gzip(NAME | COMMENT, &[string(3), string(3)].concat()), good);
        let extra = [&[4, 0, 1, 2, 3, 4][..], &string(600)].concat();
        assert!(gzip(EXTRA | NAME, &extra).unwrap().1.is_some());
    }

    #[test]
    fn a_checksum_of_the_header_has_to_be_right() {
        let header = [0x1f, 0x8b, 8, HEADER_CRC | NAME, 1, 2, 3, 4, 0, 255, b'n', 0];
        let crc = crc32fast::hash(&header).to_le_bytes();
        let whole = [&header[..], &crc[..2]].concat();
        assert_eq!(read(&whole), Ok((Some(Wrapper::Gzip), None)));
        // But for the end of the name, behind which nothing is where it was.
        for at in (4..whole.len()).filter(|at| *at != 11) {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x40;
            assert_eq!(read(&wrong), Err(Corrupt("header crc mismatch")), "{at}");
        }
    }

    #[test]
    fn what_zlib_refuses_is_refused() {
        for (bytes, reason) in [
            (&[0x1f, 0x8c][..], "incorrect header check"),
            (&[0, 0], "unknown compression method"),
            (&[0x88, 0x1c], "invalid window size"),
            (&[0x78, 0xbb, 0], "a preset dictionary is needed"),
            (&[0x1f, 0x8b, 7], "unknown compression method"),
            (&[0x1f, 0x8b, 8, 0x20], "unknown header flags set"),
        ] {
            assert_eq!(read(bytes), Err(Corrupt(reason)), "{bytes:?}");
        }
    }

    #[test]
    fn a_zlib_stream_is_none_for_go() {
        assert_eq!(read(&[0x78, 0x9c]), Ok((Some(Wrapper::Zlib), Some(NO_GZIP))));
        let mut header = MemberHeader::new();
        header.push(&[0x78]).unwrap();
        assert!(!header.is_begun() && header.unreadable().is_some());
    }
}
