//! Points in time as events write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use soci_text::clip;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds from 1970 to the end of the year 9999, the last that RFC 3339 can write.
const MAX_SECONDS: u64 = 253_402_300_799;

/// A point in time in whole seconds, UTC, of the years 1970 to 9999. Prints as RFC 3339, the way
/// EventBridge writes an event's `time`: `2026-08-01T12:34:56Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `seconds` after 1970-01-01T00:00:00Z; times after the year 9999 become its end.
    pub fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.min(MAX_SECONDS))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(self) -> u64 {
        self.0
    }

    /// How long `earlier` was before this; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Cuts to whole seconds; times before 1970 become 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_unix_seconds(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        // The bounds of the type are within what the system's clock can tell.
        UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

/// A string that is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2026-08-01T12:34:56Z, of the years 1970 to 9999")]
pub struct TimestampError(String);

/// Takes `YYYY-MM-DDThh:mm:ss[.fraction]Z`; the fraction is dropped, a leap second counts as the
/// second after it.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse(text).ok_or_else(|| TimestampError(clip(text)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bounds of the type are years that the calendar and RFC 3339 have.
        let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(self.0);
        f.write_str(&time.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    // RFC 3339 has more: small letters, blanks for the T, other offsets. No event is written so.
    if !text.ends_with('Z') || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    // `time` takes a leap second for the moment before it, and only at the end of a month.
    let (without_leap, leap) = match (text.get(..17), text.get(17..)?.strip_prefix("60")) {
        (Some(minute), Some(rest)) => (format!("{minute}59{rest}"), 1),
        _ => (text.to_owned(), 0),
    };
    let time = OffsetDateTime::parse(&without_leap, &Rfc3339).ok()?;
    let seconds = u64::try_from(time.unix_timestamp()).ok()?;
    Some(Timestamp::from_unix_seconds(seconds + leap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_have_their_unix_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2016-12-16T20:43:05Z", 1_481_920_985),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", MAX_SECONDS),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().unix_seconds(), seconds, "{text}");
            assert_eq!(Timestamp::from_unix_seconds(seconds).to_string(), text);
        }
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX).unix_seconds(), MAX_SECONDS);
    }

    #[test]
    fn a_fraction_is_dropped_and_a_leap_second_carries() {
        let parsed = |text: &str| text.parse::<Timestamp>().unwrap().to_string();
        assert_eq!(parsed("2026-08-01T12:34:56.999Z"), "2026-08-01T12:34:56Z");
        assert_eq!(parsed("2016-12-31T23:59:60Z"), "2017-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "time",
            "2026-08-01",
            "2026-08-01T12:34:56",
            "2026-08-01T12:34:56+00:00",
            "2026-08-01 12:34:56Z",
            "2026-08-01T12:34:56.Z",
            "2026-08-01T12:34:56.1xZ",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-08-00T00:00:00Z",
            "2026-08-01T24:00:00Z",
            "2026-08-01T00:60:00Z",
            "2026-08-01T00:00:61Z",
            "1969-12-31T23:59:59Z",
            "+026-08-01T00:00:00Z",
            "2026-08-01T00:00:0äZ",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_age_is_never_negative() {
        let (early, late) = (Timestamp::from_unix_seconds(5), Timestamp::from_unix_seconds(9));
        assert_eq!(late.since(early), Duration::from_secs(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_millis(5_900)), early);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::default());
    }

    proptest::proptest! {
        #[test]
        fn a_time_prints_as_it_was_parsed(seconds in 0..=MAX_SECONDS) {
            let time = Timestamp::from_unix_seconds(seconds);
            proptest::prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
