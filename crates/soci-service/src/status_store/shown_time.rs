//! Times and durations as the status has them.

use std::time::{Duration, SystemTime};

use soci_push::event::Timestamp;
use tokio::time::Instant;

/// To milliseconds, which is all that anybody reads.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// Time since then; none if the clocks differ.
pub(super) fn since(then: SystemTime) -> f64 {
    seconds(SystemTime::now().duration_since(then).unwrap_or_default())
}

/// The time of day of an instant, by the clock as it is now.
pub(super) fn at(instant: Instant) -> String {
    let now = Instant::now();
    time(SystemTime::now() + (instant - now) - (now - instant))
}

/// RFC 3339, in UTC.
pub(super) fn time(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}
