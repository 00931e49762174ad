//! Why a ztoc cannot be built.

use std::io;

use crate::tar::{TarError, TarReader};

/// Why a layer has no ztoc. But for [`BuildError::OutOfMemory`] none of these goes away by trying again: the layer
/// itself is so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The layer is not the gzip stream it should be.
    #[error("the gzip stream is not valid near compressed offset {offset}: {reason}")]
    Gzip {
        /// Compressed bytes that had been read.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The gzip stream ends in the middle of a member, or is empty.
    #[error("the gzip stream is cut short at compressed offset {offset}")]
    Truncated {
        /// Size of what there is in bytes.
        offset: u64,
    },
    /// The gzip layer has a second member, where one is allowed ([`GzipMembers::One`](crate::GzipMembers::One)). What
    /// comes behind has not been read.
    #[error("the gzip layer has several members, the second at compressed offset {offset}")]
    SeveralMembers {
        /// Where the second one begins.
        offset: u64,
    },
    /// Behind the last gzip member there are bytes that begin none.
    #[error("there are bytes behind the last gzip member, at compressed offset {offset}")]
    TrailingBytes {
        /// Where they begin.
        offset: u64,
    },
    /// The layer does not hold a tar archive that a ztoc can describe.
    #[error(
        "the tar archive cannot be indexed near uncompressed offset {archive_offset} \
         (compressed offset {compressed_offset}): {source}"
    )]
    Tar {
        /// What is wrong.
        source: TarError,
        /// Bytes of the archive that had been read.
        archive_offset: u64,
        /// Compressed bytes that had been read.
        compressed_offset: u64,
    },
    /// The layer inflates to more than the limit.
    #[error("the layer inflates to more than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The layer has more spans than the limit.
    #[error("the layer has more than {limit} spans; a larger span size helps")]
    TooManySpans {
        /// The limit.
        limit: usize,
    },
    /// The ztoc would be larger than the limit, or than the format allows.
    #[error("the ztoc of {size} bytes is over the limit of {limit}{}", advice(*size, *limit, *checkpoints))]
    ZtocTooLarge {
        /// What it would be, in bytes; what is known of it, if the layer was not read to its end.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// Bytes of its checkpoints, of which a larger span size makes fewer.
        checkpoints: usize,
    },
    /// There is not as much memory as the ztoc needs while it is built. The layer was read to its end,
    /// and nothing else is wrong with it.
    #[error("building the ztoc takes {needed} bytes of memory, which are not there")]
    OutOfMemory {
        /// What it takes, in bytes, beside [`Scanner::FIXED_MEMORY`](crate::Scanner::FIXED_MEMORY).
        needed: u64,
    },
    /// The builder or scanner was used again after an error.
    #[error("an earlier error has ended the build")]
    Failed,
    /// The spans were not hashed from the same bytes and cuts that were scanned.
    #[error("the spans were hashed from other bytes than those that were scanned")]
    SpansNotHashed,
    /// The span size cannot be used.
    #[error("span size {size} is not valid: {reason}")]
    SpanSize {
        /// The size asked for, in bytes.
        size: u64,
        /// Why.
        reason: &'static str,
    },
}

/// What helps against a ztoc that is too large.
fn advice(size: usize, limit: usize, checkpoints: usize) -> &'static str {
    if size.saturating_sub(checkpoints) < limit {
        "; a larger span size helps"
    } else {
        ": the layer has too many files, for whatever span size"
    }
}

impl BuildError {
    pub(crate) fn tar(source: TarError, tar: &TarReader, compressed_offset: u64) -> Self {
        Self::Tar { source, archive_offset: tar.position(), compressed_offset }
    }

    /// Whether only a ztoc is what cannot be had: the layer may be unpacked as it is. A layer that is broken for
    /// everybody, cut short or with a wrong checksum, is something else.
    ///
    /// Of these [`Scanner`](crate::Scanner) tells what it is when the layer has ended, so that one that is broken
    /// behind the place is told as broken. Limits and a second member it tells at once.
    pub const fn is_of_the_ztoc(&self) -> bool {
        match self {
            Self::SeveralMembers { .. } | Self::TrailingBytes { .. } => true,
            Self::Tar { source, .. } => source.is_of_the_ztoc() || source.is_limit(),
            _ => self.is_limit(),
        }
    }

    /// Whether reading goes on to see if the layer is broken, too.
    pub(crate) const fn is_set_aside(&self) -> bool {
        match self {
            Self::TrailingBytes { .. } => true,
            Self::Tar { source, .. } => source.is_of_the_ztoc(),
            _ => false,
        }
    }

    /// Whether a limit was passed, rather than the layer being malformed.
    pub const fn is_limit(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::TooManySpans { .. } | Self::ZtocTooLarge { .. } => true,
            Self::Tar { source, .. } => source.is_limit(),
            _ => false,
        }
    }
}

/// Why [`Ztoc::build`](crate::Ztoc::build) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFromReaderError {
    /// The layer's bytes cannot be read. Trying again may help.
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
    /// The layer has no ztoc.
    #[error(transparent)]
    Build(#[from] BuildError),
}
