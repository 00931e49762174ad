//! `Content-Range` of a partial response, RFC 9110, 14.4.

/// The bytes that a partial response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Offset of the first byte.
    pub(super) start: u64,
    /// Offset behind the last byte, greater than `start`.
    pub(super) end: u64,
    /// Size of the whole; `None` if the server does not say.
    pub(super) total: Option<u64>,
}

/// Reads `bytes first-last/total`, where total may be `*`.
pub(super) fn parse(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    let (start, end) = (number(first)?, number(last)?.checked_add(1)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let ok =
        unit.eq_ignore_ascii_case("bytes") && start < end && total.is_none_or(|total| end <= total);
    ok.then_some(ContentRange { start, end, total })
}

/// The size of the whole that an answer with 416 states: `bytes */total`.
pub(super) fn unsatisfied(value: &str) -> Option<u64> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let total = rest.trim().strip_prefix("*/")?;
    let digits = !total.is_empty() && total.bytes().all(|c| c.is_ascii_digit());
    if unit.eq_ignore_ascii_case("bytes") && digits { total.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_what_lacks_the_range_is_read() {
        assert_eq!(unsatisfied("bytes */1000"), Some(1000));
        for bad in ["", "bytes", "bytes */", "bytes */*", "bytes 0-1/2", "items */5", "bytes */+5"]
        {
            assert_eq!(unsatisfied(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_with_and_without_a_total_are_read() {
        let range = |start, end, total| Some(ContentRange { start, end, total });
        assert_eq!(parse("bytes 0-0/1"), range(0, 1, Some(1)));
        assert_eq!(parse("Bytes 5-9/*"), range(5, 10, None));
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for bad in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes -1-2/10",
            "bytes +0-2/10",
            "items 0-1/2",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
