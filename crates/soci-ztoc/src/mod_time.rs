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

    /// Length of that text, at least and at most.
    pub(crate) const fn text_len(self) -> (usize, usize) {
        if self.seconds < FIRST_SECOND || self.seconds > LAST_SECOND {
            (0, 0)
        } else if self.nanoseconds == 0 {
            (SECONDS_LEN, SECONDS_LEN)
        } else {
            // A dot and one to nine digits.
            (SECONDS_LEN + 2, SECONDS_LEN + 10)
        }
    }
}

/// The first second of the year 0.
const FIRST_SECOND: i64 = -62_167_219_200;

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Length of a text without a fraction.
const SECONDS_LEN: usize = "1970-01-01T00:00:00Z".len();

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

    #[test]
    fn the_length_of_a_text_is_known_before_it_is_written() {
        for seconds in
            [i64::MIN, FIRST_SECOND - 1, FIRST_SECOND, -1, 0, LAST_SECOND, LAST_SECOND + 1]
        {
            for nanoseconds in [0, 1, 10, 123_000_000, 999_999_999] {
                let time = ModTime { seconds, nanoseconds };
                let (len, (least, most)) = (time.to_rfc3339().len(), time.text_len());
                assert!((least..=most).contains(&len), "{time:?} {len} {least} {most}");
            }
        }
    }
}
