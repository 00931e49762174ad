//! What is said of a stream that is not valid.

/// The stream is not valid; the text is what zlib says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);
