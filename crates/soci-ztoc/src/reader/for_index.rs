//! What a SOCI index says of a layer beside its ztoc's digest.
//!
//! Source: soci-snapshotter v0.16.1, `soci/soci_index.go` (`buildPrefetchLayer`, `xattrOptimization`),
//! `ztoc/compression/gzip_zinfo.c` (`pt_index_from_ucmp_offset`) and `tar_zinfo.go`.

use std::ops::RangeInclusive;

use super::{Entry, Reader};
use crate::Compression;

/// What PAX records of extended attributes begin with, as GNU tar and Go write them.
const XATTR_RECORD: &[u8] = b"SCHILY.xattr.";

/// How the name of an opaque whiteout ends: overlayfs marks the directory with an extended attribute.
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

impl<B: AsRef<[u8]>> Reader<B> {
    /// The spans that a prefetch artifact names for the data of `entry`, by their index from 0, as the reference
    /// counts them: up to the span of the first byte *behind* the data, which may be one span more than holds
    /// any of it. Links are not followed. In an uncompressed layer that ends with the data, the last one may be
    /// that behind the layer's last span. `None` if a number is beyond what the reference can count.
    pub fn prefetch_spans(&self, entry: &Entry<'_>) -> Option<RangeInclusive<u32>> {
        let begin = entry.offset.cast_signed();
        let (first, last) = (self.span_of(begin)?, self.span_of(begin.checked_add(entry.size)?)?);
        Some(first..=last.max(first))
    }

    /// The span that holds an uncompressed offset, the last of those that begin at the same byte.
    fn span_of(&self, offset: i64) -> Option<u32> {
        let offset = offset.max(0).cast_unsigned();
        let span = match self.compression {
            Compression::Gzip => {
                let behind = self.starts.partition_point(|start| start.out <= offset);
                behind.saturating_sub(1) as u64
            }
            Compression::Uncompressed => offset / self.span_size,
        };
        // The reference has 31 bits for it.
        i32::try_from(span).ok().map(i32::cast_unsigned)
    }

    /// Whether a file system that lacks extended attributes would show the layer wrongly: an entry has one, or is an
    /// opaque whiteout. The names of all entries are looked at until one is found.
    pub fn needs_xattrs(&self) -> bool {
        self.entries().any(|entry| {
            entry.name.ends_with(OPAQUE_WHITEOUT)
                || entry.pax_records().any(|(key, _)| key.starts_with(XATTR_RECORD))
        })
    }
}
