//! The table of contents while it is built: one entry per tar entry, in the archive's order.

use std::sync::Arc;

use crate::mod_time::ModTime;

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

/// A PAX record: key and value.
pub(crate) type Record = (Box<[u8]>, Box<[u8]>);

/// One entry as it was read. Strings are bytes because tar does not promise UTF-8.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Box<[u8]>,
    pub(crate) linkname: Box<[u8]>,
    /// Shared between neighbours, which mostly have the same owner.
    pub(crate) uname: Arc<[u8]>,
    pub(crate) gname: Arc<[u8]>,
    /// All PAX records, by key in byte order.
    pub(crate) records: Box<[Record]>,
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

impl Entry {
    /// Bytes that the entry takes in a ztoc at least: a table with its offset and seven references,
    /// six strings with their lengths, and the names and records themselves.
    pub(crate) fn least_encoded_size(&self) -> usize {
        const FIXED: usize = (4 + 8 + 7 * 4) + 6 * 8 + 2 * 4;
        let names = self.name.len() + self.linkname.len() + self.uname.len() + self.gname.len();
        let records = self.records.iter().map(|(key, value)| key.len() + value.len() + 16);
        // A string of up to three bytes fits into what an empty one takes.
        FIXED + names.saturating_sub(4 * 3) + records.sum::<usize>()
    }
}

/// A stack in pieces: it neither moves what it holds when it grows, nor keeps the memory of what
/// has been taken off, so that encoding can free the entries as it writes them.
#[derive(Debug)]
pub(crate) struct Stack<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Stack<T> {
    const PIECE: usize = 1024;

    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < Self::PIECE => piece.push(item),
            _ => {
                let mut piece = Vec::with_capacity(if self.len == 0 { 0 } else { Self::PIECE });
                piece.push(item);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.pieces.last_mut()?.pop();
        if self.pieces.last().is_some_and(Vec::is_empty) {
            self.pieces.pop();
        }
        self.len -= usize::from(item.is_some());
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_returns_what_it_took_in_reverse() {
        let mut stack = Stack::new();
        for number in 0..5000 {
            stack.push(number);
        }
        assert_eq!(stack.len(), 5000);
        for number in (0..5000).rev() {
            assert_eq!(stack.pop(), Some(number));
        }
        assert_eq!((stack.pop(), stack.len()), (None, 0));
    }
}
