//! Builds and reads ztocs, the tables of contents that make a container image layer seekable.
//!
//! [`Ahead`]: Ahead
//! [`Builder`]: Builder
//! [`Encoded`]: Encoded
//! [`LayerLimits`]: LayerLimits
//! [`Reader::entries`]: Reader::entries
//! [`Reader::extract`]: Reader::extract
//! [`Reader::extraction`]: Reader::extraction
//! [`Reader::from_bytes`]: Reader::from_bytes
//! [`Reader::read_file`]: Reader::read_file
//! [`Reader::read_file_async`]: Reader::read_file_async
//! [`Reader::spans`]: Reader::spans
//! [`Scanner`]: Scanner
//! [`Scanner::push_chunk`]: Scanner::push_chunk
//! [`SpanHasher`]: SpanHasher
//! [`Ztoc::build`]: Ztoc::build
// The README follows. Its links lead to docs.rs; of two targets the first counts, so that here they stay here.
#![doc = include_str!("../README.md")]

mod ahead;
mod build;
mod checkpoint;
mod encode;
mod error;
mod flatbuf;
mod gzip;
mod inflate;
mod limits;
mod members;
mod memory;
mod mod_time;
mod reader;
mod sha256;
mod span;
mod tar;
#[cfg(feature = "testing")]
pub mod testing;
mod toc;

use std::fmt;
use std::str::FromStr;

pub use ahead::Ahead;
pub use build::{Builder, Scanner, Ztoc, ZtocSettings};
pub use checkpoint::Cut;
pub use encode::Encoded;
pub use error::{BuildError, BuildFromReaderError};
pub use limits::LayerLimits;
pub use members::{GzipMembers, MisreadEntries};
pub use memory::{MemoryGrant, Unbounded};
pub use reader::{Entry, ExtractError, Extraction, FetchError, ReadError, Reader, Span, ZtocHead};
pub use span::SpanHasher;
pub use tar::{BLOCK_SIZE, TarError, is_header};
pub use toc::{CHECKPOINT_MEMORY, FileType};

/// Bytes of output that deflate can refer back to (RFC 1951, section 2).
pub(crate) const WINDOW_SIZE: usize = 32 << 10;

/// The reference's span size: 4 MiB (`defaultSpanSize` in soci-snapshotter).
pub const DEFAULT_SPAN_SIZE: u64 = 4 << 20;

/// How a layer is compressed, of the ways a ztoc can describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// A plain tar archive.
    Uncompressed,
}

impl Compression {
    /// The name, as media types and the command line have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Uncompressed => "uncompressed",
        }
    }

    /// The number in the ztoc (`CompressionAlgorithm` in `ztoc.fbs`).
    pub(crate) const fn stored(self) -> i8 {
        match self {
            Self::Gzip => 1,
            Self::Uncompressed => 2,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compression that no ztoc can describe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layers compressed with {0:?} cannot be indexed (gzip and uncompressed ones can)")]
pub struct UnsupportedCompression(pub String);

impl FromStr for Compression {
    type Err = UnsupportedCompression;

    fn from_str(name: &str) -> Result<Self, UnsupportedCompression> {
        match name {
            "gzip" => Ok(Self::Gzip),
            "uncompressed" => Ok(Self::Uncompressed),
            _ => Err(UnsupportedCompression(name.to_owned())),
        }
    }
}
