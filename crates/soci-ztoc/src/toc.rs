//! The table of contents while it is built: one entry per tar entry, in the archive's order.
//!
//! A layer may have millions of entries, and what is kept of them is the larger part of the memory of
//! its build. So they are kept as bytes in a [`EntryStack`], each in some sixty bytes beside its names:
//! less than it takes in the ztoc. The ztoc is written from the last entry to the first, so entries are taken
//! off the end, and their memory is free when what they became is written.

use crate::checkpoint::Checkpoints;
use crate::memory::{MemoryGrant, Meter};
use crate::mod_time::ModTime;
use crate::tar::Records;

/// What an entry of the archive is. The names are those of the ztoc's `type` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A hard link to an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

impl FileType {
    const ALL: [Self; 7] = [
        Self::Regular,
        Self::HardLink,
        Self::Symlink,
        Self::CharDevice,
        Self::BlockDevice,
        Self::Directory,
        Self::Fifo,
    ];

    /// The ztoc's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "reg",
            Self::HardLink => "hardlink",
            Self::Symlink => "symlink",
            Self::CharDevice => "char",
            Self::BlockDevice => "block",
            Self::Directory => "dir",
            Self::Fifo => "fifo",
        }
    }

    /// The type that the ztoc's word names.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().as_bytes() == name)
    }

    /// The type that a tar type flag stands for, of those a ztoc can hold.
    pub(crate) const fn from_flag(flag: u8) -> Option<Self> {
        Some(match flag {
            b'0' => Self::Regular,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            _ => return None,
        })
    }

    /// Whether a tar entry of this type is followed by data.
    pub(crate) const fn has_data(self) -> bool {
        matches!(self, Self::Regular)
    }
}

/// One entry. Strings are bytes because tar does not promise UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) linkname: &'a [u8],
    pub(crate) uname: &'a [u8],
    pub(crate) gname: &'a [u8],
    pub(crate) fields: EntryFields,
}

/// The numbers of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryFields {
    pub(crate) offset: i64,
    pub(crate) size: i64,
    pub(crate) mode: i64,
    pub(crate) devmajor: i64,
    pub(crate) devminor: i64,
    pub(crate) mtime: ModTime,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) kind: FileType,
}

/// Bytes that something takes in a ztoc. How much padding there is depends on what is beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EncodedSize {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// A string of a ztoc: its length, its bytes, a zero, and padding to four bytes.
const fn string_size(len: usize) -> u64 {
    4 + (len as u64 + 1).next_multiple_of(4)
}

impl Entry<'_> {
    /// What the entry takes in a ztoc: strings, its table, and its places in two vectors.
    pub(crate) fn encoded_size(&self, records: &Records) -> EncodedSize {
        let EntryFields { offset, size, mode, devmajor, devminor, mtime, uid, gid, kind } =
            self.fields;
        let names = [self.name, self.linkname, self.uname, self.gname, kind.as_str().as_bytes()];
        let names: u64 = names.iter().map(|name| string_size(name.len())).sum();
        // Key, value, and a table of two references with its place in the vector.
        let records: u64 = records
            .iter()
            .map(|(key, value)| string_size(key.len()) + string_size(value.len()) + 12 + 4)
            .sum();
        // A number that is zero is left out.
        let long = [offset, size, mode, devmajor, devminor].map(|number| u64::from(number != 0));
        let short = [uid, gid].map(|number| u64::from(number != 0));
        let numbers = 8 * long.iter().sum::<u64>() + 4 * short.iter().sum::<u64>();
        // A table with seven references, the length of its vector of records, its own place.
        let table = 4 + 7 * 4 + 4 + 4;
        let (shortest, longest) = mtime.text_len();
        let others = names + records + numbers + table;
        // Numbers of eight bytes stand in three places of the table, each of which may be padded, and
        // the place of an entry is held apart until it is written.
        EncodedSize {
            least: others + string_size(shortest),
            most: others + string_size(longest) + 3 * 4 + 4,
        }
    }
}

/// Size of the pieces that entries are kept in, in bytes.
const PIECE: usize = 64 << 10;

/// Entries as bytes, the last one on top.
///
/// It neither moves what it holds when it grows, nor keeps the memory of what has been taken off.
/// An entry may lie across pieces, so none is left half empty.
#[derive(Debug, Default)]
pub(crate) struct EntryStack {
    pieces: Vec<Vec<u8>>,
    len: usize,
    /// The entry that is being put on or was taken off.
    scratch: Vec<u8>,
}

impl EntryStack {
    /// Entries in it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Puts an entry on top, with its PAX records in the order in which they are to be written.
    pub(crate) fn push(&mut self, entry: &Entry<'_>, records: &Records) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let EntryFields { offset, size, mode, devmajor, devminor, mtime, uid, gid, kind } =
            entry.fields;
        // `ALL` has every kind, and few.
        let kind = FileType::ALL.iter().position(|known| *known == kind).unwrap_or_default();
        bytes.push(u8::try_from(kind).unwrap_or_default());
        for number in [offset, size, mode, devmajor, devminor, mtime.seconds] {
            put_signed(&mut bytes, number);
        }
        for number in [mtime.nanoseconds, uid, gid] {
            put_number(&mut bytes, u64::from(number));
        }
        for name in [entry.name, entry.linkname, entry.uname, entry.gname] {
            put_bytes(&mut bytes, name);
        }
        for (key, value) in records.iter() {
            put_bytes(&mut bytes, key);
            put_bytes(&mut bytes, value);
        }
        // Names and records are within a few mebibytes.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.append(&bytes);
        self.append(&len.to_le_bytes());
        self.scratch = bytes;
        self.len += 1;
    }

    /// Takes the entry off that is on top.
    pub(crate) fn pop(&mut self) -> Option<(Entry<'_>, StoredRecords<'_>)> {
        self.len = self.len.checked_sub(1)?;
        self.take(4);
        let len = self.scratch.as_slice().try_into().map(u32::from_le_bytes).ok()?;
        self.take(len as usize);
        let mut bytes = StoredBytes(&self.scratch);
        let kind = *FileType::ALL.get(usize::from(bytes.byte()?))?;
        let [offset, size, mode, devmajor, devminor, seconds] = bytes.array(StoredBytes::signed)?;
        let [nanoseconds, uid, gid] = bytes.array(StoredBytes::short)?;
        let [name, linkname, uname, gname] = bytes.array(StoredBytes::bytes)?;
        let mtime = ModTime { seconds, nanoseconds };
        let fields = EntryFields { offset, size, mode, devmajor, devminor, mtime, uid, gid, kind };
        Some((Entry { name, linkname, uname, gname, fields }, StoredRecords(bytes)))
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.pieces.last() {
                Some(piece) => PIECE - piece.len(),
                None => 0,
            };
            if room == 0 {
                // The first piece grows as needed: most layers have few entries.
                let capacity = if self.pieces.is_empty() { 0 } else { PIECE };
                self.pieces.push(Vec::with_capacity(capacity));
                continue;
            }
            let (fitting, rest) = bytes.split_at(bytes.len().min(room));
            if let Some(piece) = self.pieces.last_mut() {
                piece.extend_from_slice(fitting);
            }
            bytes = rest;
        }
    }

    /// Moves the last `len` bytes to the scratch.
    fn take(&mut self, len: usize) {
        self.scratch.clear();
        self.scratch.resize(len, 0);
        let mut end = len;
        while end > 0 {
            let Some(piece) = self.pieces.last_mut() else { break };
            let part = piece.len().min(end);
            let tail = piece.len() - part;
            self.scratch[end - part..end].copy_from_slice(&piece[tail..]);
            piece.truncate(tail);
            end -= part;
            if tail == 0 {
                self.pieces.pop();
            }
        }
    }
}

/// Bits of a byte that belong to a number; the last one says that more follow.
const GROUP: u32 = 7;

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 1 << GROUP {
        bytes.push(number.to_le_bytes()[0] | 1 << GROUP);
        number >>= GROUP;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Small numbers of either sign take few bytes.
fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_number(bytes, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn put_bytes(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

/// What [`EntryStack::push`] has written, being read.
#[derive(Clone, Debug)]
struct StoredBytes<'a>(&'a [u8]);

impl<'a> StoredBytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(GROUP as usize) {
            let byte = self.byte()?;
            number |= u64::from(byte & !(1 << GROUP)) << shift;
            if byte >> GROUP == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn short(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    fn array<T: Default + Copy, const N: usize>(
        &mut self,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<[T; N]> {
        let mut all = [T::default(); N];
        for item in &mut all {
            *item = read(self)?;
        }
        Some(all)
    }
}

/// The PAX records of an entry that was taken off, in the order in which they were put on.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecords<'a>(StoredBytes<'a>);

impl<'a> Iterator for StoredRecords<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.bytes()?, self.0.bytes()?))
    }
}

/// Everything of a layer that is kept until its ztoc is written, as far as there is memory for it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) entries: EntryStack,
    pub(crate) checkpoints: Checkpoints,
    /// Entries seen, whether kept or not.
    pub(crate) files: usize,
    /// What the entries take in a ztoc at least, in bytes.
    pub(crate) least_toc_size: u64,
    meter: Meter,
}

/// What one span takes beside its checkpoint: its hash in a list that may be growing, its digest as
/// a string of the ztoc, the places of that string.
const SPAN: u64 = 3 * 32 + string_size("sha256:".len() + 64) + 2 * 4;

/// Bytes that a layer's ztoc takes of a [`MemoryGrant`](crate::MemoryGrant) for each checkpoint, with what
/// its span takes.
pub const CHECKPOINT_MEMORY: u64 = SPAN + crate::checkpoint::CHECKPOINT_SIZE as u64;

impl Kept {
    pub(crate) fn new(checkpoints: Checkpoints, grant: Box<dyn MemoryGrant>) -> Self {
        Self {
            entries: EntryStack::default(),
            checkpoints,
            files: 0,
            least_toc_size: 0,
            meter: Meter::new(grant),
        }
    }

    /// Keeps an entry.
    pub(crate) fn add(&mut self, entry: &Entry<'_>, records: &Records, size: EncodedSize) {
        self.files += 1;
        self.least_toc_size += size.least;
        if self.take(size.most) {
            self.entries.push(entry, records);
        }
    }

    /// Keeps a checkpoint and what its span takes.
    pub(crate) fn add_checkpoint(&mut self, cut: crate::Cut, out: u64, window: &[u8]) {
        if self.take(CHECKPOINT_MEMORY) {
            self.checkpoints.push(cut, out, window);
        } else {
            self.checkpoints.count();
        }
    }

    /// Counts a span that needs no checkpoint.
    pub(crate) fn add_span(&mut self) {
        self.take(SPAN);
    }

    /// Counts bytes that something else takes until the end; true if they may be taken.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let had = self.meter.refused().is_none();
        let may = self.meter.take(bytes);
        if had && !may {
            self.entries = EntryStack::default();
            self.checkpoints.forget();
            self.meter.release();
        }
        may
    }

    /// Bytes that the ztoc would have needed, if they were not given.
    pub(crate) fn refused(&self) -> Option<u64> {
        self.meter.refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(random: &mut fastrand::Rng, text: &'a [u8]) -> Entry<'a> {
        let mut name = |most: usize| &text[..random.usize(0..=most.min(text.len()))];
        let [name, linkname, uname, gname] = [name(100_000), name(300), name(20), name(20)];
        let mut number = || random.i64(..) >> random.u32(0..64);
        let fields = EntryFields {
            offset: number(),
            size: number(),
            mode: number(),
            devmajor: number(),
            devminor: number(),
            mtime: ModTime { seconds: number(), nanoseconds: 5 },
            uid: u32::MAX,
            gid: 0,
            kind: FileType::ALL[random.usize(0..7)],
        };
        Entry { name, linkname, uname, gname, fields }
    }

    #[test]
    fn a_stack_returns_what_it_took_in_reverse() {
        let mut random = fastrand::Rng::with_seed(1);
        let text: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(200_000).collect();
        let body = b"6 a=1\n8 bc=23\n5 d=\n";
        let records = [Records::default(), crate::tar::parse_records(body).unwrap()];
        let mut stack = EntryStack::default();
        let mut expected = Vec::new();
        for _ in 0..500 {
            let (entry, records) = (entry(&mut random, &text), &records[random.usize(0..2)]);
            stack.push(&entry, records);
            expected.push((entry, records));
        }
        assert_eq!(stack.len(), 500);
        while let Some((entry, records)) = expected.pop() {
            let (found, stored) = stack.pop().unwrap();
            assert_eq!(found, entry);
            assert!(stored.eq(records.iter()));
        }
        assert!(stack.pop().is_none());
        assert_eq!((stack.len(), stack.pieces.len()), (0, 0));
    }
}
