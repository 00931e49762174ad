//! Why an archive cannot be read.

/// Why an archive has no table of contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive ends inside a header, an extended header or a file's data.
    #[error("the archive ends inside {0}")]
    Truncated(&'static str),
    /// A block that should be a header has a wrong checksum.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A numeric field of a header or a PAX record is malformed or too large.
    #[error("{0} holds a malformed number")]
    Number(&'static str),
    /// A PAX extended header is malformed.
    #[error("the PAX extended header {0}")]
    Pax(&'static str),
    /// A GNU sparse map is malformed or does not fit its file.
    #[error("the GNU sparse map is malformed")]
    Sparse,
    /// An entry claims a negative size.
    #[error("the entry's size is negative")]
    NegativeSize,
    /// One zero block is followed by something other than a second one.
    #[error("a single zero block is followed by more headers")]
    LoneZeroBlock,
    /// An entry's type cannot be recorded in a ztoc (for example a global PAX header `g`, an old
    /// GNU sparse file `S`, or a contiguous file `7`).
    #[error("entries of type {:?} are not supported", char::from(*.0))]
    UnsupportedType(u8),
    /// A sparse file in PAX format, where these are refused ([`MisreadEntries::Refused`](crate::MisreadEntries::Refused)).
    #[error("there is a sparse file, of which soci-snapshotter cannot load or misreads the ztoc")]
    SparseFile,
    /// An entry's size reaches over the next entry, where that is refused
    /// ([`MisreadEntries::Refused`](crate::MisreadEntries::Refused)).
    #[error(
        "an entry claims a size that reaches over the next one, and soci-snapshotter loads no such ztoc"
    )]
    SizeOverNext,
    /// An extended header is larger than the limit.
    #[error("an extended header of {size} bytes is over the limit of {limit}")]
    ExtendedHeaderTooLarge {
        /// Bytes the header claims.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A name is longer than the limit.
    #[error("a name of {size} bytes is over the limit of {limit}")]
    NameTooLong {
        /// Bytes of the name.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The table of contents would be larger than a ztoc may be.
    #[error("the table of contents would be larger than the limit of {limit} bytes for a ztoc")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The archive has more entries than the limit.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
}

impl TarError {
    /// Whether the archive may be unpacked all the same: only a ztoc has no word for what is in it.
    pub const fn is_of_the_ztoc(&self) -> bool {
        matches!(self, Self::UnsupportedType(_) | Self::SparseFile | Self::SizeOverNext)
    }

    /// Whether a limit of ours was passed, rather than the archive being malformed.
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::ExtendedHeaderTooLarge { .. }
                | Self::NameTooLong { .. }
                | Self::TooLarge { .. }
                | Self::TooManyEntries { .. }
        )
    }
}
