//! What a store answers when it is looked for what it holds: what is broken for good is no result, and no failure either.

use crate::error::{IndexError, StoreError};

/// Why it cannot be told whether the store holds a result.
pub(crate) enum FindError {
    /// The store failed.
    Store(StoreError),
    /// The ztocs of what it holds cannot be looked into, or the lists of what refers to the image cannot be used.
    Index(IndexError),
}

impl From<StoreError> for FindError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the store gave. Something that is broken for good cannot be the result that is looked for,
/// and must not keep it from being built.
pub(crate) fn usable<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "part of an existing SOCI index cannot be used");
            Ok(None)
        }
    }
}
