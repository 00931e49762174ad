//! Values of flags that several commands take.

use soci_config::bytes;

/// The code of a reason that a dead letter can have.
#[cfg(feature = "aws")]
pub(super) fn letter_reason(text: &str) -> Result<String, String> {
    if soci_jobs::reasons::of_letters().any(|code| code == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<_> = soci_jobs::reasons::of_letters().collect();
    Err(format!("no dead letter has this reason; there are {}", known.join(", ")))
}

/// A number of bytes that a ztoc can hold as its span size.
pub(super) fn span_size(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|size| match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err("the largest span size is 2^63 - 1".to_owned()),
    })
}
