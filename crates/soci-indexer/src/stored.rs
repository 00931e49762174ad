//! What the store holds of an image already, read back.

use bytes::Bytes;
use soci_manifest::BuiltZtoc;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::MemoryHold;
use soci_ztoc::{LayerLimits, Reader};

use crate::budget::Budget;
use crate::error::IndexError;
use crate::store::ImageStore;

/// Bytes of memory for each byte of a ztoc that is looked into: its own, and what its spans are read into.
pub(crate) const ZTOC_FACTOR: u64 = 2;

/// A ztoc that the store holds, with the memory that it takes; `None` if it takes more than there is.
pub(crate) async fn open_ztoc<S: ImageStore>(
    store: &S,
    layer: &Digest,
    ztoc: BuiltZtoc,
    budget: &Budget,
) -> Result<Option<(Reader<Bytes>, MemoryHold)>, IndexError> {
    let needed = ztoc.size.saturating_mul(ZTOC_FACTOR);
    if needed > budget.most_to_look_into() {
        return Ok(None);
    }
    let memory = budget.to_look_into(needed).await;
    Ok(Some((read_ztoc(store, layer, ztoc).await?, memory)))
}

/// The same where the memory is held already: [`ZTOC_FACTOR`] times its bytes.
pub(crate) async fn read_ztoc<S: ImageStore>(
    store: &S,
    layer: &Digest,
    ztoc: BuiltZtoc,
) -> Result<Reader<Bytes>, IndexError> {
    let bytes = read_blob(store, &ztoc.digest, ztoc.size).await?;
    Reader::parse(bytes, &LayerLimits::DEFAULT).map_err(|source| IndexError::Ztoc {
        digest: ztoc.digest,
        layer: *layer,
        source,
    })
}

/// A small blob of the image.
pub(crate) async fn read_blob<S: ImageStore>(
    store: &S,
    digest: &Digest,
    size: u64,
) -> Result<Bytes, IndexError> {
    let limit = usize::try_from(size).unwrap_or(usize::MAX);
    let bytes = store.blob_bytes(digest, limit).await;
    bytes.map_err(|source| IndexError::Read { target: TagOrDigest::Digest(*digest), source })
}

/// A size as people are told it, in whole MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
