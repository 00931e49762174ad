//! Why bytes are no ztoc.

use crate::flatbuf::read::Malformed;

/// Why bytes are not a ztoc that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An offset or length points outside the buffer, or a required part is missing.
    #[error("the ztoc is not a valid FlatBuffer of its schema")]
    Malformed,
    /// The format's version is not one that is known.
    #[error("the ztoc has version {0:?}, not \"0.9\"")]
    Version(String),
    /// The compression is not one that is known.
    #[error("the ztoc names compression algorithm {0}, which is not known")]
    Compression(i8),
    /// The checkpoints contradict themselves or the rest of the ztoc.
    #[error("the ztoc's checkpoints are not valid: {0}")]
    Checkpoints(&'static str),
    /// A span digest is not `sha256:` and 64 hex digits.
    #[error("the digest of span {0} is malformed")]
    SpanDigest(usize),
    /// An entry of the table of contents contradicts itself.
    #[error("entry {index} of the table of contents is not valid: {reason}")]
    Entry {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The ztoc passes a limit.
    #[error("the ztoc has more {what} than the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl From<Malformed> for ReadError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
