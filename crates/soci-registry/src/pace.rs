//! Whether a response arrives fast enough, without a clock of its own.

use std::time::Duration;

/// Measures one response body, over periods of waiting for the network that are at least `grace`
/// long each. Only the last period counts, so that a fast start earns no slow end.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second; 0 asks for none.
    min_rate: u64,
    grace: Duration,
    /// Bytes received in this period.
    received: u64,
    /// Time waited for them.
    waited: Duration,
    kept: bool,
}

/// A period in which too little was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slow {
    /// Bytes received.
    pub(crate) received: u64,
    /// Time waited for them.
    pub(crate) waited: Duration,
}

impl Pace {
    /// A response that begins now.
    pub(crate) fn new(min_rate: u64, grace: Duration) -> Self {
        Self { min_rate, grace, received: 0, waited: Duration::ZERO, kept: false }
    }

    /// Counts `bytes` for which the client waited so long.
    pub(crate) fn received(&mut self, bytes: usize, waited: Duration) -> Result<(), Slow> {
        self.received = self.received.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < self.grace {
            return Ok(());
        }
        let slow = Slow { received: self.received, waited: self.waited };
        let least = u128::from(self.min_rate) * self.waited.as_millis() / 1000;
        if u128::from(self.received) < least {
            return Err(slow);
        }
        *self = Self { kept: true, ..Self::new(self.min_rate, self.grace) };
        Ok(())
    }

    /// Whether a whole period was fast enough.
    pub(crate) fn was_kept(&self) -> bool {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_drip_is_slow_once_the_grace_is_over() {
        let mut pace = Pace::new(100, GRACE);
        for _ in 0..9 {
            assert_eq!(pace.received(1, ms(1000)), Ok(()));
        }
        assert_eq!(pace.received(1, ms(1000)), Err(Slow { received: 10, waited: GRACE }));
    }

    #[test]
    fn a_fast_start_earns_no_slow_end() {
        let mut pace = Pace::new(100, GRACE);
        assert_eq!(pace.received(1 << 30, GRACE), Ok(()));
        assert!(pace.was_kept());
        assert_eq!(pace.received(999, GRACE), Err(Slow { received: 999, waited: GRACE }));
    }

    #[test]
    fn the_least_rate_itself_is_fast_enough() {
        let mut pace = Pace::new(100, GRACE);
        assert_eq!(pace.received(1500, ms(15_000)), Ok(()));
        assert_eq!(pace.received(1000, GRACE), Ok(()));
    }

    #[test]
    fn bytes_that_are_there_at_once_take_no_time() {
        let mut pace = Pace::new(u64::MAX, GRACE);
        for _ in 0..1000 {
            assert_eq!(pace.received(1, Duration::ZERO), Ok(()));
        }
        assert!(!pace.was_kept());
    }

    #[test]
    fn a_rate_of_zero_asks_for_nothing() {
        let mut pace = Pace::new(0, Duration::ZERO);
        assert_eq!(pace.received(0, Duration::MAX), Ok(()));
    }
}
