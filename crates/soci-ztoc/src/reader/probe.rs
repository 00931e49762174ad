//! Reads the span size of a ztoc, and the size of its archive, without the ztoc.

use std::ops::Range;

use super::{ReadError, read_compression};
use crate::Compression;
use crate::checkpoint::HEADER_SIZE;
use crate::flatbuf::field::{compression_info, tar_zinfo, ztoc};
use crate::flatbuf::read::Table;

/// Bytes that hold the description of an uncompressed layer's spans, whatever its numbers.
const TAR_ZINFO_SIZE: u64 = 64;

/// What the beginning of a ztoc tells: the size of the archive, and where the span size is stored. That is behind the
/// digests of the spans (80 bytes each), in front of the checkpoints, so that it can be fetched by ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZtocHead {
    compression: Compression,
    start: u64,
    uncompressed_size: u64,
}

impl ZtocHead {
    /// Reads the first bytes of a ztoc; a few hundred are enough.
    pub fn read(head: &[u8]) -> Result<Self, ReadError> {
        let root = Table::root(head)?;
        let uncompressed_size = root.i64(ztoc::UNCOMPRESSED_ARCHIVE_SIZE)?.cast_unsigned();
        let info = root.table(ztoc::COMPRESSION_INFO)?;
        let compression = read_compression(&info)?;
        let start = info.bytes_start(compression_info::CHECKPOINTS)?;
        Ok(Self { compression, start, uncompressed_size })
    }

    /// Size of the archive in bytes, up to its end mark, by the account of whoever wrote the ztoc.
    pub fn uncompressed_size(&self) -> u64 {
        self.uncompressed_size
    }

    /// The bytes of the ztoc that [`ZtocHead::span_size`] wants, as far as the ztoc has them.
    pub fn span_size_range(&self) -> Range<u64> {
        let size = match self.compression {
            Compression::Gzip => HEADER_SIZE as u64,
            Compression::Uncompressed => TAR_ZINFO_SIZE,
        };
        self.start..self.start + size
    }

    /// The span size that these bytes tell.
    pub fn span_size(&self, bytes: &[u8]) -> Result<u64, ReadError> {
        match self.compression {
            Compression::Gzip => {
                let stored = bytes.get(4..HEADER_SIZE).and_then(|stored| stored.try_into().ok());
                stored.map(u64::from_le_bytes).ok_or(ReadError::Malformed)
            }
            Compression::Uncompressed => {
                Ok(Table::root(bytes)?.i64(tar_zinfo::SPAN_SIZE)?.cast_unsigned())
            }
        }
    }
}
