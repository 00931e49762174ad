//! When to try again.
//!
//! Whoever tries again at once adds to the load that made the first try fail, and whoever fails
//! together and waits equally long comes back together. So [`Backoff`] doubles the wait with every
//! failure up to a limit, and lets chance take away up to a half of it. Registries, queues and jobs
//! wait by this one rule and differ in the two times.
//!
//! Pure: chance is an argument, and nothing here waits. Which failures are worth another try, and
//! how many tries there are, is for each caller to say.

use std::time::Duration;

/// Times between tries: each is about twice the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest time before the second try.
    pub first: Duration,
    /// Longest time before any try.
    pub max: Duration,
}

impl Backoff {
    /// The time after the `tries`-th failure, `first * 2^(tries - 1)` up to `max`, less a part of up
    /// to a half that `random` (0 to 1) decides, so that what failed together does not come again
    /// together.
    pub fn delay(&self, tries: u32, random: f64) -> Duration {
        // Two to the power of 31 is beyond every limit that makes sense.
        let doublings = tries.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(30), max: Duration::from_mins(15) };

    #[test]
    fn delays_double_up_to_the_limit() {
        let seconds = |tries| BACKOFF.delay(tries, 0.0).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(seconds), [30, 30, 60, 120, 240, 480, 900]);
        assert_eq!([32, 33, u32::MAX].map(seconds), [900; 3]);
    }

    #[test]
    fn chance_takes_up_to_a_half_away() {
        assert_eq!(BACKOFF.delay(2, 0.5).as_secs(), 45);
        assert_eq!(BACKOFF.delay(2, 1.0).as_secs(), 30);
        assert_eq!(BACKOFF.delay(99, 1.0).as_secs(), 450);
    }
}
