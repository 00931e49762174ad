//! Why bytes are no document.

use crate::digest::DigestError;
use crate::json::{self, FieldError, JsonError, Problem};

/// Why bytes are not the document they should be. None of these goes away on another try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field holds a value of another type.
    #[error("field {field:?} is of type {found}, not {expected}")]
    Type {
        /// The field, for example `layers[3].size`; empty for the document itself.
        field: String,
        /// The type that belongs there.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// A number is not an integer or out of range.
    #[error("field {field:?} holds {text}, which is not an integer in its range")]
    Number {
        /// The field.
        field: String,
        /// The number as written, cut if it is long.
        text: String,
    },
    /// A list is longer than any that occurs in practice.
    #[error("field {field:?} has more than {} elements", json::MAX_ELEMENTS)]
    TooMany {
        /// The field.
        field: String,
    },
    /// Embedded data is not base64.
    #[error("field {field:?} is not base64")]
    Base64 {
        /// The field.
        field: String,
    },
    /// A digest is missing or malformed.
    #[error("field {field:?} is not a digest")]
    Digest {
        /// The field.
        field: String,
        /// What is wrong with it.
        source: DigestError,
    },
    /// The document is of Docker's schema 1, which has layers but no digests of them in order.
    #[error("the document is a Docker schema 1 manifest, which is not supported")]
    Schema1,
    /// A manifest has fields or the media type of an index.
    #[error("the document should be a manifest but looks like an index")]
    IndexForManifest,
    /// An index has fields or the media type of a manifest.
    #[error("the document should be an index but looks like a manifest")]
    ManifestForIndex,
    /// The media type is neither a manifest's nor an index's.
    #[error("media type {0:?} is neither a manifest's nor an index's")]
    MediaType(String),
}

impl From<FieldError> for DocumentError {
    fn from(error: FieldError) -> Self {
        let field = error.path;
        match error.problem {
            Problem::Type { expected, found } => Self::Type { field, expected, found },
            Problem::Number(text) => Self::Number { field, text },
            Problem::TooMany => Self::TooMany { field },
            Problem::Base64 => Self::Base64 { field },
        }
    }
}
