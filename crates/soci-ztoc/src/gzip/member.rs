//! The header of a gzip member, looked at for what Go rejects and zlib accepts.
//!
//! The reference reads a layer twice: with zlib for the checkpoints and with Go's `compress/gzip`
//! for the table of contents, and both must pass. zlib takes zlib streams and names of any
//! length; Go takes gzip only, with names and comments below 512 bytes.
//! Source: RFC 1952, section 2.3.

/// Longest name or comment in bytes that Go reads, its NUL included (the size of the buffer in
/// `compress/gzip`).
const MAX_STRING: u16 = 512;

const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;

/// What the header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not all of it has been seen.
    Unknown,
    /// Go reads it.
    Good,
    /// Go does not read it, for this reason.
    Bad(&'static str),
}

/// Reads one header byte by byte. zlib reads the same bytes and checks everything else.
#[derive(Debug)]
pub(super) struct MemberHeader {
    part: Part,
    flags: u8,
}

#[derive(Debug)]
enum Part {
    /// The ten fixed bytes; the number of those seen.
    Fixed(u8),
    /// The length of the extra field.
    ExtraLength {
        seen: u8,
        length: u16,
    },
    /// The extra field; bytes left.
    Extra(u16),
    /// The file name; bytes seen.
    Name(u16),
    /// The comment; bytes seen.
    Comment(u16),
    Done(Verdict),
}

impl MemberHeader {
    pub(super) const fn new() -> Self {
        Self { part: Part::Fixed(0), flags: 0 }
    }

    /// Takes the next bytes of the member, of which only those of the header are looked at.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Verdict {
        for &byte in bytes {
            if let Part::Done(_) = self.part {
                break;
            }
            self.step(byte);
        }
        if let Part::Done(verdict) = self.part { verdict } else { Verdict::Unknown }
    }

    fn step(&mut self, byte: u8) {
        match &mut self.part {
            Part::Fixed(seen) => {
                let expected = [0x1f, 0x8b, 8].get(usize::from(*seen));
                if expected.is_some_and(|expected| byte != *expected) {
                    self.part = Part::Done(Verdict::Bad("it is not a gzip member"));
                    return;
                }
                if *seen == 3 {
                    self.flags = byte;
                }
                *seen += 1;
                if *seen == 10 {
                    self.next(EXTRA);
                }
            }
            Part::ExtraLength { seen, length } => {
                *length |= u16::from(byte) << (8 * *seen);
                *seen += 1;
                if *seen == 2 {
                    let length = *length;
                    if length == 0 {
                        self.next(NAME);
                    } else {
                        self.part = Part::Extra(length);
                    }
                }
            }
            Part::Extra(left) => {
                *left -= 1;
                if *left == 0 {
                    self.next(NAME);
                }
            }
            Part::Name(seen) => match string(seen, byte) {
                Some(true) => self.next(COMMENT),
                Some(false) => {}
                None => {
                    self.part = Part::Done(Verdict::Bad("its file name is 512 bytes or longer"));
                }
            },
            Part::Comment(seen) => match string(seen, byte) {
                Some(true) => self.part = Part::Done(Verdict::Good),
                Some(false) => {}
                None => self.part = Part::Done(Verdict::Bad("its comment is 512 bytes or longer")),
            },
            Part::Done(_) => {}
        }
    }

    /// Goes on to the part `from` or the first present one after it.
    fn next(&mut self, from: u8) {
        let present = |flag| from <= flag && self.flags & flag != 0;
        self.part = if present(EXTRA) {
            Part::ExtraLength { seen: 0, length: 0 }
        } else if present(NAME) {
            Part::Name(0)
        } else if present(COMMENT) {
            Part::Comment(0)
        } else {
            Part::Done(Verdict::Good)
        };
    }
}

/// One more byte of a string: whether it ended, or nothing if it is too long.
fn string(seen: &mut u16, byte: u8) -> Option<bool> {
    if *seen == MAX_STRING {
        return None;
    }
    *seen += 1;
    Some(byte == 0)
}

/// What comes behind a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Not enough has been seen, or it was told before.
    Unknown,
    /// Another member.
    Member,
    /// Bytes that begin none.
    NoMember,
}

/// Says whether what comes behind a member begins another one, by its first two bytes.
#[derive(Debug, Default)]
pub(super) struct BehindMember {
    /// The first byte, while it is the only one.
    first: Option<u8>,
    known: bool,
}

impl BehindMember {
    /// Takes the next bytes. Says so once, with the second byte.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Behind {
        if self.known {
            return Behind::Unknown;
        }
        let (first, second) = match (self.first, bytes) {
            (_, []) => return Behind::Unknown,
            (None, [first]) => {
                self.first = Some(*first);
                return Behind::Unknown;
            }
            (None, [first, second, ..]) => (*first, *second),
            (Some(first), [second, ..]) => (first, *second),
        };
        self.known = true;
        // zlib streams as well, which zlib takes where Go has seen the archive's end.
        let is_zlib = first & 0x0f == 8
            && first >> 4 <= 7
            && u16::from_be_bytes([first, second]).is_multiple_of(31);
        let begins = [first, second] == [0x1f, 0x8b] || is_zlib;
        if begins { Behind::Member } else { Behind::NoMember }
    }

    /// Whether it has been told.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(flags: u8, rest: &[u8]) -> Verdict {
        let header = [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255], rest].concat();
        let mut whole = MemberHeader::new();
        let verdict = whole.push(&header);
        let mut pieces = MemberHeader::new();
        let last = header.iter().fold(Verdict::Unknown, |_, byte| pieces.push(&[*byte]));
        assert_eq!(verdict, last, "pieces change nothing");
        verdict
    }

    #[test]
    fn names_and_comments_end_below_512_bytes() {
        let string = |length: usize| [vec![b'n'; length], vec![0]].concat();
        assert_eq!(verdict(0, &[]), Verdict::Good);
        assert_eq!(verdict(NAME, &string(511)), Verdict::Good);
        assert!(matches!(verdict(NAME, &string(512)), Verdict::Bad(_)));
        assert_eq!(verdict(COMMENT, &string(511)), Verdict::Good);
        assert!(matches!(verdict(COMMENT, &string(512)), Verdict::Bad(_)));
        assert_eq!(verdict(NAME | COMMENT, &string(3)), Verdict::Unknown);
        let extra = [&[4, 0, 1, 2, 3, 4][..], &string(600)].concat();
        assert!(matches!(verdict(EXTRA | NAME, &extra), Verdict::Bad(_)));
        assert_eq!(verdict(EXTRA, &[0, 0]), Verdict::Good);
    }

    #[test]
    fn a_zlib_stream_is_no_member() {
        assert!(matches!(MemberHeader::new().push(&[0x78]), Verdict::Bad(_)));
    }
}
