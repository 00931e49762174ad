//! When an operation that failed in passing is tried again, and when it is given up. Without a
//! clock of its own: times and chance are arguments.
//!
//! Two bounds hold together. Tries in a row without progress are counted, so that a registry that
//! is down is left alone soon. The time without progress is summed over the whole operation, so
//! that one that gives a byte per try is left alone as well. A download of hours through a hundred
//! short faults goes on: bytes that arrive reset the count, and the time in which they flow costs
//! nothing.
//!
//! A response that turns out too slow takes its progress back. It had reset the count with its
//! first byte; unless a whole period of it was fast enough ([`Retries::proved`]), the count goes on
//! from where it was.
//!
//! Waits follow [`Backoff`]. A server that names a time (`Retry-After`) is believed up to a cap, as
//! it knows more than we do, and may be wrong or hostile.

use std::time::{Duration, SystemTime};

use soci_retry::Backoff;

use crate::policy::RetryPolicy;

/// The failures of one operation so far.
///
/// Times are measured from any fixed origin, the same for all calls.
#[derive(Debug)]
pub(crate) struct Retries {
    policy: RetryPolicy,
    /// Failures since the last progress.
    failed: u32,
    /// Failures before the last progress, as long as its pace is not known.
    unproved: u32,
    /// Failures in all.
    failures: u32,
    /// Time spent without progress, summed up to `mark`.
    idle: Duration,
    mark: Duration,
}

impl Retries {
    /// An operation that starts at `now`.
    pub(crate) fn new(policy: RetryPolicy, now: Duration) -> Self {
        Self { policy, failed: 0, unproved: 0, failures: 0, idle: Duration::ZERO, mark: now }
    }

    /// Bytes arrived at `now`: tries count from zero again. The time that a recovery took stays
    /// in the sum, so that a server that gives one byte per try is given up as well.
    pub(crate) fn progress(&mut self, now: Duration) {
        // Without a failure before, the time since the mark was one in which bytes came.
        if self.failed > 0 {
            self.idle += now.saturating_sub(self.mark);
            self.failed = 0;
        }
        self.mark = now;
    }

    /// The bytes that arrived did so fast enough.
    pub(crate) fn proved(&mut self) {
        self.unproved = 0;
    }

    /// The bytes for which the client waited so long up to `now` came too slowly to be progress:
    /// the tries count on as if none had arrived.
    pub(crate) fn too_slow(&mut self, now: Duration, waited: Duration) {
        self.failed = self.failed.max(self.unproved);
        // Each byte that dripped in has moved the mark; all of the wait for them was without progress.
        self.idle += waited.max(now.saturating_sub(self.mark));
        self.mark = now;
    }

    /// A try failed at `now`. Returns the wait before the next one, or `None` to give up.
    /// `chance` is a random number in `0..1`.
    pub(crate) fn failed(
        &mut self,
        now: Duration,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        self.idle += now.saturating_sub(self.mark);
        self.mark = now;
        self.failed += 1;
        // Bytes may arrive next and turn out too slow; then the count goes on from here.
        self.unproved = self.failed;
        self.failures += 1;
        if self.failed >= self.policy.tries {
            return None;
        }
        let RetryPolicy { base, cap, .. } = self.policy;
        let wait = match retry_after {
            // The jitter on top keeps clients that were told the same second apart.
            Some(asked) => asked.min(self.policy.retry_after_cap) + base.mul_f64(chance),
            // There chance takes from the wait, and above it adds to it: 1 is the longest for both.
            None => Backoff { first: base, max: cap }.delay(self.failed, 1.0 - chance),
        };
        // A wait that would end too late is not begun: the caller learns of the failure now.
        (self.idle + wait <= self.policy.total).then_some(wait)
    }

    /// Failures since the last progress.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.failed
    }

    /// Failures in all.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Time spent without progress.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or an HTTP date (RFC 9110, 10.2.3). A
/// date in the past asks for no wait.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit()) {
        // More seconds than a number holds are as good as for ever, which the policy's cap bounds.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        tries: 4,
        base: Duration::from_millis(100),
        cap: Duration::from_millis(300),
        retry_after_cap: Duration::from_secs(10),
        total: Duration::from_secs(30),
    };

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn waits_double_up_to_the_cap_and_the_tries_are_bounded() {
        let mut retries = Retries::new(POLICY, ms(0));
        assert_eq!(retries.failed(ms(0), None, 1.0), Some(ms(100)));
        assert_eq!(retries.failed(ms(100), None, 1.0), Some(ms(200)));
        assert_eq!(retries.failed(ms(300), None, 1.0), Some(ms(300)));
        assert_eq!(retries.failed(ms(600), None, 1.0), None);
        assert_eq!(retries.failures(), 4);
    }

    #[test]
    fn jitter_stays_in_the_upper_half_of_a_step() {
        for chance in [0.0, 0.3, 0.999] {
            let wait = Retries::new(POLICY, ms(0)).failed(ms(0), None, chance).unwrap();
            assert!((ms(50)..=ms(100)).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn a_retry_after_is_honoured_up_to_its_cap() {
        let wait = |asked| Retries::new(POLICY, ms(0)).failed(ms(0), Some(asked), 0.0);
        assert_eq!(wait(ms(7000)), Some(ms(7000)));
        assert_eq!(wait(Duration::MAX), Some(ms(10_000)));
        let mut retries = Retries::new(POLICY, ms(0));
        assert_eq!(retries.failed(ms(0), Some(ms(7000)), 0.5), Some(ms(7050)));
    }

    #[test]
    fn progress_resets_the_tries_but_not_the_time_lost() {
        let mut retries = Retries::new(POLICY, ms(0));
        let mut now = ms(0);
        let mut recoveries = 0;
        while let Some(wait) = retries.failed(now, None, 0.0) {
            now += wait + ms(950);
            retries.progress(now);
            // An hour of good transfer costs nothing.
            now += Duration::from_hours(1);
            retries.progress(now);
            recoveries += 1;
        }
        assert_eq!(recoveries, 30);
        assert_eq!(retries.in_a_row(), 1);
    }

    #[test]
    fn bytes_that_came_too_slowly_give_no_new_tries() {
        let mut retries = Retries::new(POLICY, ms(0));
        for failed in 1..=4 {
            retries.progress(ms(failed * 1000));
            retries.too_slow(ms(failed * 1000), ms(1000));
            let wait = retries.failed(ms(failed * 1000), None, 0.0);
            assert_eq!((wait.is_some(), u64::from(retries.in_a_row())), (failed < 4, failed));
        }
    }

    #[test]
    fn a_slow_end_of_a_good_response_is_a_first_failure() {
        let mut retries = Retries::new(POLICY, ms(0));
        retries.failed(ms(0), None, 0.0);
        retries.failed(ms(0), None, 0.0);
        retries.progress(ms(100));
        retries.proved();
        retries.too_slow(ms(5000), ms(1000));
        retries.failed(ms(5000), None, 0.0);
        assert_eq!(retries.in_a_row(), 1);
    }

    #[test]
    fn slow_and_short_responses_in_turn_use_up_the_time() {
        let mut retries = Retries::new(POLICY, ms(0));
        let mut now = ms(0);
        let mut rounds = 0;
        loop {
            retries.progress(now);
            now += ms(1000);
            retries.too_slow(now, ms(1000));
            let slow = retries.failed(now, None, 0.0);
            retries.progress(now);
            let short = retries.failed(now, None, 0.0);
            if slow.is_none() || short.is_none() {
                break;
            }
            rounds += 1;
        }
        assert!((20..=30).contains(&rounds), "{rounds}");
    }

    #[test]
    fn a_wait_that_would_pass_the_total_is_not_begun() {
        let mut retries = Retries::new(POLICY, ms(0));
        assert_eq!(retries.failed(ms(29_990), None, 1.0), None);
        assert_eq!(retries.idle(), ms(29_990));
    }

    #[test]
    fn http_dates_and_seconds_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after("120", now), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(ms(30_000)));
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
        ] {
            assert_eq!(retry_after(date, UNIX_EPOCH), Some(Duration::from_secs(seconds)), "{date}");
        }
        for bad in ["", "soon", "-1", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
        assert_eq!(retry_after("99999999999999999999", now), Some(Duration::from_secs(u64::MAX)));
    }
}
