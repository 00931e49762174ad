//! One 512-byte tar header block, read as Go's `archive/tar` reads it.
//!
//! Sources: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format";
//! star(5) for Schily's variant.

use super::number::{BadNumber, c_string, numeric, octal};
use crate::mod_time::ModTime;

/// Size of a header and of every unit of padding in a tar archive.
pub const BLOCK_SIZE: usize = 512;

/// A raw header block.
pub(super) type Block = [u8; BLOCK_SIZE];

/// Whether a block of an archive is a header, by its checksum: what stands in front of every
/// entry's data, and hardly ever anywhere else.
pub fn is_header(block: &[u8; BLOCK_SIZE]) -> bool {
    block.iter().any(|byte| *byte != 0) && checksum_matches(block)
}

/// What a header block says before extended headers are applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) linkname: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) mtime: ModTime,
    pub(super) uname: Vec<u8>,
    pub(super) gname: Vec<u8>,
    pub(super) devmajor: i64,
    pub(super) devminor: i64,
}

/// Why a block is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Checksum,
    Number,
}

impl From<BadNumber> for BadHeader {
    fn from(_: BadNumber) -> Self {
        Self::Number
    }
}

/// The header dialects that Go tells apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    pub(super) fn parse(block: &Block) -> Result<Self, BadHeader> {
        if !checksum_matches(block) {
            return Err(BadHeader::Checksum);
        }
        let mut header = Self {
            kind: block[156],
            name: c_string(&block[..100]).to_vec(),
            mode: numeric(&block[100..108])?,
            uid: numeric(&block[108..116])?,
            gid: numeric(&block[116..124])?,
            size: numeric(&block[124..136])?,
            mtime: ModTime { seconds: numeric(&block[136..148])?, nanoseconds: 0 },
            linkname: c_string(&block[157..257]).to_vec(),
            ..Self::default()
        };
        let dialect = dialect(block);
        if dialect == Dialect::V7 {
            return Ok(header);
        }
        header.uname = c_string(&block[265..297]).to_vec();
        header.gname = c_string(&block[297..329]).to_vec();
        // Parsed on every entry, so a broken device number fails a regular file too.
        header.devmajor = numeric(&block[329..337])?;
        header.devminor = numeric(&block[337..345])?;
        let prefix = match dialect {
            Dialect::V7 => &[][..],
            Dialect::Ustar => c_string(&block[345..500]),
            Dialect::Star => {
                numeric(&block[476..488])?; // atime
                numeric(&block[488..500])?; // ctime
                c_string(&block[345..476])
            }
            Dialect::Gnu => gnu_prefix(block),
        };
        if !prefix.is_empty() {
            header.name = [prefix, b"/", &header.name].concat();
        }
        Ok(header)
    }
}

/// Go's writer before 1.8 put a prefix where GNU headers have atime and ctime. If those two do
/// not parse and the bytes are ASCII, Go takes them for a prefix, and so do we.
fn gnu_prefix(block: &Block) -> &[u8] {
    let broken = |field: &[u8]| field[0] != 0 && numeric(field).is_err();
    if broken(&block[345..357]) || broken(&block[357..369]) {
        let prefix = c_string(&block[345..500]);
        if prefix.is_ascii() {
            return prefix;
        }
    }
    &[]
}

fn dialect(block: &Block) -> Dialect {
    match (&block[257..263], &block[263..265], &block[508..512]) {
        (b"ustar\0", _, b"tar\0") => Dialect::Star,
        (b"ustar\0", _, _) => Dialect::Ustar,
        (b"ustar ", b" \0", _) => Dialect::Gnu,
        _ => Dialect::V7,
    }
}

/// The sum of all bytes, the checksum field taken as blanks; some old writers summed signed bytes.
fn checksum_matches(block: &Block) -> bool {
    let Ok(expected) = octal(&block[148..156]) else { return false };
    let (mut unsigned, mut signed) = (8 * u64::from(b' '), 8 * i64::from(b' '));
    for byte in block[..148].iter().chain(&block[156..]) {
        unsigned += u64::from(*byte);
        signed += i64::from(byte.cast_signed());
    }
    expected == unsigned || expected.cast_signed() == signed
}
