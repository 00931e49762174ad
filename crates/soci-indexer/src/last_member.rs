//! The length that a gzip layer tells of itself at its end, held against what a ztoc says of the archive in it.

use soci_oci::Digest;

use crate::error::StoreError;
use crate::store::ImageStore;

/// Whether the last member of a gzip layer of `size` bytes may be its only one, if the archive in it has `archive`
/// bytes, and zeros behind it are less than `behind`. Reads the last four bytes of the layer, and fails where no part of it
/// can be read alone.
pub(crate) async fn fits_last_member<S: ImageStore>(
    store: &S,
    layer: &Digest,
    size: u64,
    archive: u64,
    behind: u32,
) -> Result<bool, StoreError> {
    if size < 4 {
        return Ok(false);
    }
    let tail = store.blob_range_only(layer, size - 4..size).await?;
    let Ok(told) = tail[..].try_into() else { return Ok(false) };
    // RFC 1952: the length of the member's data, modulo 2^32. Behind an archive's end there may be zeros.
    Ok(u32::from_le_bytes(told).wrapping_sub(low_bits(archive)) < behind)
}

/// A number modulo 2^32.
fn low_bits(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
