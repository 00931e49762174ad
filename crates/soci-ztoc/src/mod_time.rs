//! Modification times, as a ztoc writes them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: seconds since 1970 and nanoseconds (0 to 999,999,999) after them. Archives
/// hold any 64-bit number of seconds, so this reaches further than a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct ModTime {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl ModTime {
    /// RFC 3339 in UTC, with nanoseconds and without trailing zeros. Empty outside the years 0 to
    /// 9999: Go's `time.Time.MarshalText` refuses those, and the reference then stores no text.
    pub(crate) fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.seconds)
            .and_then(|time| time.replace_nanosecond(self.nanoseconds))
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_inside_the_years_0_to_9999() {
        let text = |seconds, nanoseconds| ModTime { seconds, nanoseconds }.to_rfc3339();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400, 120_000_000), "2000-02-29T00:00:00.12Z");
        assert_eq!(text(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(-62_167_219_200, 0), "0000-01-01T00:00:00Z");
        assert_eq!(text(253_402_300_799, 0), "9999-12-31T23:59:59Z");
        assert_eq!(text(253_402_300_800, 0), "");
        assert_eq!(text(-62_167_219_201, 0), "");
        assert_eq!(text(i64::MIN, 0), "");
    }
}
