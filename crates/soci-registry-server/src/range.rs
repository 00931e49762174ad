//! The part of a blob that a request asks for.
//!
//! Source: RFC 9110, section 14.

use std::ops::Range;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range was asked for, several were, or the header is none.
    Whole,
    /// These bytes, at least one.
    Bytes(Range<u64>),
    /// Nothing, as the blob has none of the bytes.
    Outside,
}

/// What a `Range` header asks for of `size` bytes.
pub(crate) fn part(header: Option<&str>, size: u64) -> Part {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Part::Whole,
    };
    if range.is_empty() { Part::Outside } else { Part::Bytes(range) }
}

/// The `Content-Range` of a chunk of an upload: its first byte and its length. The OCI
/// specification leaves the unit out (`0-99`), which is the difference to RFC 9110.
pub(crate) fn chunk(header: &str) -> Option<(u64, u64)> {
    let (first, last) = header.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some((first, length))
}

/// Digits only: the integer parser would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_cut_to_the_blob() {
        for (header, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("bytes=2-", 2..10),
            ("bytes=2-99", 2..10),
            ("bytes=9-18446744073709551615", 9..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
        ] {
            assert_eq!(part(Some(header), 10), Part::Bytes(expected), "{header}");
        }
    }

    #[test]
    fn a_range_without_any_byte_of_the_blob_is_outside() {
        for header in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(part(Some(header), 10), Part::Outside, "{header}");
        }
        assert_eq!(part(Some("bytes=0-0"), 0), Part::Outside);
    }

    #[test]
    fn what_is_no_single_range_asks_for_the_whole() {
        assert_eq!(part(None, 10), Part::Whole);
        for header in
            ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=1-2,4-5", "items=1-2", "bytes=+1-2"]
        {
            assert_eq!(part(Some(header), 10), Part::Whole, "{header}");
        }
    }

    #[test]
    fn chunks_have_no_unit() {
        assert_eq!(chunk("0-99"), Some((0, 100)));
        assert_eq!(chunk("7-7"), Some((7, 1)));
        for header in ["bytes 0-9/10", "9-0", "0-18446744073709551615", "-5", "5-", ""] {
            assert_eq!(chunk(header), None, "{header}");
        }
    }
}
