//! Values of flags that several commands take.

use soci_config::bytes;

/// A number of bytes that a ztoc can hold as its span size.
pub(super) fn span_size(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|size| match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err("the largest span size is 2^63 - 1".to_owned()),
    })
}
